#include "runner/tensor_group.h"

#include <algorithm>
#include <string>
#include <utility>

#include "base/assert.h"
#include "platform/trace.h"

namespace exomesh::runner {

namespace {

using platform::SpanKind;
using platform::TraceScope;

constexpr auto partial_sums = static_cast<net::FrameType>(MessageType::partial_sums);

std::size_t own_rank(const std::vector<net::DataLink*>& members) {
    const auto own = std::ranges::find(members, nullptr);
    EXO_ASSERT(own != members.end() && members.size() <= rank_count_max);
    return static_cast<std::size_t>(own - members.begin());
}

}  // namespace

TensorGroup::TensorGroup(WireType wire, std::vector<net::DataLink*> members,
                         const LinkFigures& figures, ComputeWatch* watch)
    : wire_(wire),
      members_(std::move(members)),
      figures_(figures),
      watch_(watch),
      sum_(wire, own_rank(members_), members_.size()) {}

void TensorGroup::begin_step(net::Deadline deadline) {
    deadline_ = deadline;
    result_ = {};
}

Result<void> TensorGroup::end_step() {
    return result_;
}

void TensorGroup::start(float* values, std::int64_t row_length, std::int64_t row_count) {
    if (members_.size() == 1 || !result_) return;
    const ComputePause pause(watch_);
    const auto count = static_cast<std::size_t>(row_length * row_count);
    const TraceScope trace(SpanKind::sum, count);
    result_ = begin({values, count});
}

void TensorGroup::finish() {
    if (members_.size() == 1 || !result_) return;
    const ComputePause pause(watch_);
    const TraceScope trace(SpanKind::sum);
    result_ = finish_rounds();
}

void TensorGroup::reduce(float* values, std::int64_t row_length, std::int64_t row_count) {
    if (members_.size() == 1 || !result_) return;
    const ComputePause pause(watch_);
    const auto count = static_cast<std::size_t>(row_length * row_count);
    const TraceScope trace(SpanKind::sum, count);
    result_ = begin({values, count});
    if (result_) result_ = finish_rounds();
}

Result<void> TensorGroup::begin(std::span<float> values) {
    {
        const TraceScope trace(SpanKind::encode, encoded_size_bytes(wire_, values.size()));
        sum_.begin(choose_all_reduce(members_.size(), values.size(), wire_, figures_), values);
    }
    return begin_round();
}

Result<void> TensorGroup::begin_round() {
    messages_.clear();
    std::size_t bytes_max = 0;
    for (std::size_t rank = 0; rank < members_.size(); ++rank) {
        outgoing_parts_[rank] = sum_.outgoing(rank);
        if (outgoing_parts_[rank].empty()) continue;
        messages_.push_back({.link = members_[rank],
                             .type = partial_sums,
                             .parts = std::span(outgoing_parts_).subspan(rank, 1)});
        bytes_max = std::max(bytes_max, outgoing_parts_[rank].size());
    }
    const TraceScope trace(SpanKind::send, bytes_max);
    return net::begin_all(messages_);
}

Result<void> TensorGroup::finish_round() {
    EXO_TRY(net::finish_all(messages_, deadline_));
    std::array<net::Bytes, rank_count_max> received;
    std::size_t received_bytes = 0;
    for (std::size_t rank = 0; rank < members_.size(); ++rank) {
        const std::size_t expected_bytes = sum_.incoming_bytes(rank);
        if (expected_bytes == 0) continue;
        const TraceScope wait(SpanKind::wait, expected_bytes, members_[rank]->peer_rank());
        EXO_TRY_ASSIGN(const net::Message message, members_[rank]->receive(deadline_));
        if (message.type != partial_sums || message.payload.size() != expected_bytes) {
            return fail(ErrorCode::corrupt_data,
                        members_[rank]->peer_name() + " sent something else than its partial sum.");
        }
        received[rank] = message.payload;
        received_bytes += expected_bytes;
    }
    const TraceScope trace(SpanKind::decode, received_bytes);
    sum_.finish_round(std::span(received).first(members_.size()));
    return {};
}

Result<void> TensorGroup::finish_rounds() {
    while (true) {
        EXO_TRY(finish_round());
        if (sum_.is_done()) return {};
        EXO_TRY(begin_round());
    }
}

}  // namespace exomesh::runner
