#include "runner/sum_check.h"

#include <array>
#include <bit>
#include <cstddef>
#include <utility>

#include "runner/messages.h"

namespace exomesh::runner {

namespace {

constexpr auto sum_check = static_cast<net::FrameType>(MessageType::sum_check);

// One step of a multiplicative hash; every bit of both changes the result.
std::uint64_t mixed(std::uint64_t hash, std::uint64_t value) {
    hash = (hash ^ value) * 0x9e3779b97f4a7c15U;
    return hash ^ (hash >> 32U);
}

}  // namespace

SumCheck::SumCheck(engine::Reducer& sums, std::vector<net::DataLink*> members)
    : sums_(sums), members_(std::move(members)) {}

void SumCheck::start(float* values, std::int64_t row_length, std::int64_t row_count) {
    values_ = {values, static_cast<std::size_t>(row_length * row_count)};
    sums_.start(values, row_length, row_count);
}

void SumCheck::finish() {
    sums_.finish();
    add(values_);
}

void SumCheck::add(std::span<const float> values) {
    hash_ = mixed(hash_, values.size());
    for (const float value : values) hash_ = mixed(hash_, std::bit_cast<std::uint32_t>(value));
}

Result<void> SumCheck::compare(net::Deadline deadline) {
    const std::array<std::uint64_t, 1> own = {std::exchange(hash_, 0)};
    const std::array<net::Bytes, 1> parts = {std::as_bytes(std::span(own))};
    std::vector<net::Outgoing> messages;
    for (net::DataLink* link : members_) {
        if (link != nullptr) messages.push_back({.link = link, .type = sum_check, .parts = parts});
    }
    EXO_TRY(net::send_all(messages, deadline));
    for (net::DataLink* link : members_) {
        if (link == nullptr) continue;
        std::array<std::uint64_t, 1> theirs{};
        EXO_TRY(link->receive_into(sum_check, std::as_writable_bytes(std::span(theirs)), deadline));
        if (theirs == own) continue;
        return fail(ErrorCode::internal,
                    link->peer_name() +
                        " holds other sums than this rank: what they computed is "
                        "wrong.",
                    "Run the same version of exomesh everywhere; if it is, please report this.");
    }
    return {};
}

}  // namespace exomesh::runner
