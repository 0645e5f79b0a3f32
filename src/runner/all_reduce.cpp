#include "runner/all_reduce.h"

#include <algorithm>
#include <bit>

#include "base/assert.h"

namespace exomesh::runner {

namespace {

// Where the bytes of a range begin: ranges do, but for the last, at whole blocks.
std::size_t offset_bytes(WireType wire, ValueRange range) {
    return encoded_size_bytes(wire, range.first);
}

}  // namespace

bool can_reduce(AllReduceMethod method, std::size_t rank_count) {
    return method != AllReduceMethod::recursive_doubling || std::has_single_bit(rank_count);
}

ValueRange owned_values(std::size_t value_count, std::size_t rank_count, std::size_t rank) {
    const std::size_t block_count = (value_count + wire_block_values - 1) / wire_block_values;
    const auto begin = [&](std::size_t index) {
        return std::min(block_count * index / rank_count * wire_block_values, value_count);
    };
    return {.first = begin(rank), .count = begin(rank + 1) - begin(rank)};
}

AllReduce::AllReduce(WireType wire, std::size_t rank, std::size_t rank_count)
    : wire_(wire), rank_(rank), owned_(rank_count) {
    EXO_ASSERT(rank < rank_count);
}

void AllReduce::begin(AllReduceMethod method, std::span<float> values) {
    EXO_ASSERT(can_reduce(method, owned_.size()));
    method_ = method;
    values_ = values;
    round_ = 0;
    is_done_ = owned_.size() == 1;
    if (is_done_) return;
    for (std::size_t rank = 0; rank < owned_.size(); ++rank)
        owned_[rank] = owned_values(values.size(), owned_.size(), rank);
    encoded_.resize(encoded_size_bytes(wire_, values.size()));
    encode(wire_, values, encoded_);
}

std::span<std::byte> AllReduce::encoded(ValueRange range) {
    return std::span(encoded_).subspan(offset_bytes(wire_, range),
                                       encoded_size_bytes(wire_, range.count));
}

std::span<const std::byte> AllReduce::encoded(ValueRange range) const {
    return std::span(encoded_).subspan(offset_bytes(wire_, range),
                                       encoded_size_bytes(wire_, range.count));
}

std::span<const std::byte> AllReduce::outgoing(std::size_t peer) const {
    if (is_done_ || peer == rank_) return {};
    switch (method_) {
        case AllReduceMethod::one_shot:
            return encoded_;
        case AllReduceMethod::scatter_gather:
            return encoded(owned_[round_ == 0 ? peer : rank_]);
        case AllReduceMethod::recursive_doubling:
            return peer == partner() ? std::span<const std::byte>(encoded_)
                                     : std::span<const std::byte>();
    }
    return {};
}

std::size_t AllReduce::incoming_bytes(std::size_t peer) const {
    if (is_done_ || peer == rank_) return 0;
    switch (method_) {
        case AllReduceMethod::one_shot:
            return encoded_.size();
        case AllReduceMethod::scatter_gather:
            return encoded_size_bytes(wire_, owned_[round_ == 0 ? rank_ : peer].count);
        case AllReduceMethod::recursive_doubling:
            return peer == partner() ? encoded_.size() : 0;
    }
    return 0;
}

void AllReduce::add_parts(ValueRange range, Received received) {
    const std::span<float> sum = values_.subspan(range.first, range.count);
    for (std::size_t rank = 0; rank < owned_.size(); ++rank) {
        const std::span<const std::byte> part = rank == rank_ ? encoded(range) : received[rank];
        if (rank == 0) {
            decode(wire_, part, sum);
        } else {
            decode_add(wire_, part, sum);
        }
    }
}

void AllReduce::finish_scattering(Received received) {
    const ValueRange own = owned_[rank_];
    add_parts(own, received);
    encode(wire_, values_.subspan(own.first, own.count), encoded(own));
}

void AllReduce::finish_gathering(Received received) {
    for (std::size_t rank = 0; rank < owned_.size(); ++rank) {
        const ValueRange range = owned_[rank];
        decode(wire_, rank == rank_ ? encoded(range) : received[rank],
               values_.subspan(range.first, range.count));
    }
    is_done_ = true;
}

void AllReduce::finish_doubling(std::span<const std::byte> theirs) {
    const bool is_lower = rank_ < partner();
    decode(wire_, is_lower ? encoded_ : theirs, values_);
    decode_add(wire_, is_lower ? theirs : encoded_, values_);
    is_done_ = (std::size_t{2} << round_) == owned_.size();
    if (!is_done_) encode(wire_, values_, encoded_);
}

void AllReduce::finish_round(Received received) {
    EXO_ASSERT(!is_done_ && received.size() == owned_.size());
    switch (method_) {
        case AllReduceMethod::one_shot:
            add_parts({.first = 0, .count = values_.size()}, received);
            is_done_ = true;
            break;
        case AllReduceMethod::scatter_gather:
            if (round_ == 0) {
                finish_scattering(received);
            } else {
                finish_gathering(received);
            }
            break;
        case AllReduceMethod::recursive_doubling:
            finish_doubling(received[partner()]);
            break;
    }
    ++round_;
}

}  // namespace exomesh::runner
