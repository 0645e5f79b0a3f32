#include "runner/tensor_group.h"

#include <array>
#include <string>
#include <utility>

#include "platform/clock.h"
#include "platform/trace.h"
#include "runner/messages.h"

namespace exomesh::runner {

namespace {

using platform::SpanKind;
using platform::TraceScope;

constexpr auto partial_sums = static_cast<net::FrameType>(MessageType::partial_sums);

}  // namespace

TensorGroup::TensorGroup(WireType wire, std::vector<net::DataLink*> members)
    : wire_(wire), members_(std::move(members)) {}

void TensorGroup::begin_step(net::Deadline deadline) {
    deadline_ = deadline;
    result_ = {};
}

Result<void> TensorGroup::end_step() {
    return result_;
}

void TensorGroup::reduce(float* values, std::int64_t row_length, std::int64_t row_count) {
    if (members_.size() == 1 || !result_) return;
    const TraceScope trace(SpanKind::sum, static_cast<std::size_t>(row_length * row_count));
    const std::uint64_t begin_us = platform::monotonic_us();
    result_ = exchange({values, static_cast<std::size_t>(row_length * row_count)});
    ++statistics_.reduce_count;
    statistics_.reduce_us += platform::monotonic_us() - begin_us;
}

Result<void> TensorGroup::exchange(std::span<float> values) {
    encoded_.resize(encoded_size_bytes(wire_, values.size()));
    TraceScope trace(SpanKind::encode, encoded_.size());
    encode(wire_, values, encoded_);
    const std::array<net::Bytes, 1> parts = {encoded_};
    std::array<net::Outgoing, rank_count_max> messages;
    std::size_t count = 0;
    for (net::DataLink* link : members_) {
        if (link == nullptr) continue;
        messages[count++] = {.link = link, .type = partial_sums, .parts = parts};
    }
    trace.next(SpanKind::send, encoded_.size());
    EXO_TRY(net::send_all({messages.data(), count}, deadline_));
    statistics_.sent_bytes += encoded_.size() * count;

    std::array<net::Bytes, rank_count_max> received;
    for (std::size_t i = 0; i < members_.size(); ++i) {
        if (members_[i] == nullptr) {
            received[i] = encoded_;
            continue;
        }
        trace.next(SpanKind::wait, encoded_.size(), members_[i]->peer_rank());
        EXO_TRY_ASSIGN(const net::Message message, members_[i]->receive(deadline_));
        if (message.type != partial_sums || message.payload.size() != encoded_.size()) {
            return fail(ErrorCode::corrupt_data,
                        members_[i]->peer_name() + " sent something else than its partial sum.");
        }
        received[i] = message.payload;
    }
    trace.next(SpanKind::decode, encoded_.size() * members_.size());
    decode(wire_, received[0], values);
    for (std::size_t i = 1; i < members_.size(); ++i) decode_add(wire_, received[i], values);
    return {};
}

}  // namespace exomesh::runner
