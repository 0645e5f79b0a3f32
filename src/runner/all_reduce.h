// One sum over the ranks of a tensor group, without any I/O: who sends which values to whom in
// which round, and what is added in which order. Every rank ends with the same bits, since all
// decode the same bytes (their own contribution too) and add them in the order of ranks.
//
// one_shot: each rank sends its whole part to all others and adds all parts. One round.
// scatter_gather: each rank owns a range of the values, gets the others' parts of it, adds them,
// and sends the sum to all. Two rounds, but only 2/n of the bytes. Both hops are direct: a ring, as
// in Thakur, Rabenseifner, Gropp, "Optimization of Collective Communication Operations in MPICH"
// (2005), has n-1 times the latency. The sum is encoded a second time.
//
// recursive_doubling (Thakur et al. too), for powers of two: in round k, pairs 2^k ranks apart
// exchange the sums so far. log2(n) rounds and messages instead of n-1, so it wins where a message
// costs the processor more than the link; the sum is encoded anew in each round. Trees that reduce
// to a root and broadcast from it take twice its rounds for nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "runner/wire_codec.h"

namespace exomesh::runner {

enum class AllReduceMethod : std::uint8_t { one_shot, scatter_gather, recursive_doubling };

// Every method for any number of ranks but recursive_doubling, which wants a power of two.
[[nodiscard]] bool can_reduce(AllReduceMethod method, std::size_t rank_count);

struct ValueRange {
    std::size_t first = 0;
    std::size_t count = 0;
};

// The values whose sum `rank` makes in scatter_gather: whole blocks of Q8_0, as many for each rank
// as possible, and what is no whole block. May be empty.
[[nodiscard]] ValueRange owned_values(std::size_t value_count, std::size_t rank_count,
                                      std::size_t rank);

// One rank's side, used for one sum after the other; keeps its memory between them.
class AllReduce {
  public:
    AllReduce(WireType wire, std::size_t rank, std::size_t rank_count);

    // Encodes this rank's part and begins the first round. `values` become the sum in the last one.
    void begin(AllReduceMethod method, std::span<float> values);
    [[nodiscard]] bool is_done() const { return is_done_; }

    // What this rank sends to `peer` in this round; nothing where empty. Stays until the round
    // ends.
    [[nodiscard]] std::span<const std::byte> outgoing(std::size_t peer) const;
    // How many bytes `peer` sends to this rank in this round; nothing where 0.
    [[nodiscard]] std::size_t incoming_bytes(std::size_t peer) const;

    // Ends the round. received[peer] has incoming_bytes(peer) bytes; this rank's own is ignored.
    void finish_round(std::span<const std::span<const std::byte>> received);

  private:
    [[nodiscard]] std::span<std::byte> encoded(ValueRange range);
    [[nodiscard]] std::span<const std::byte> encoded(ValueRange range) const;
    // The rank this one pairs with in this round of recursive_doubling.
    [[nodiscard]] std::size_t partner() const { return rank_ ^ (std::size_t{1} << round_); }

    using Received = std::span<const std::span<const std::byte>>;
    // All parts of `range`, summed in the order of ranks.
    void add_parts(ValueRange range, Received received);
    void finish_scattering(Received received);
    void finish_gathering(Received received);
    void finish_doubling(std::span<const std::byte> theirs);

    WireType wire_;
    std::size_t rank_;
    std::vector<ValueRange> owned_;  // by rank
    std::span<float> values_;
    std::vector<std::byte> encoded_;  // this rank's part, later what it has summed
    AllReduceMethod method_ = AllReduceMethod::one_shot;
    std::size_t round_ = 0;
    bool is_done_ = true;
};

}  // namespace exomesh::runner
