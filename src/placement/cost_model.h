// Predicts what a split of a model over devices does: the time of a token, the time of a prompt,
// the bytes each rank holds and each link carries. Pure; to be called often, by whoever compares
// splits.
//
// Method: a max-plus recursion over the ranks' clocks (Baccelli et al., "Synchronization and
// Linearity", 1992). Within a part of a layer a rank computes; at a sum it sends its part to all
// others of its stage and goes on when the last of theirs has arrived. See README.md for what that
// comes to in simple cases.
//
// Units: microseconds, bytes, bytes per second. All figures are finite and not negative; rates are
// positive.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "model/architecture.h"
#include "model/gguf.h"

namespace exomesh::placement {

// One half of a layer: attention, or the FFN.
struct PartCost {
    double size_bytes = 0;      // of its matrices
    double read_bytes = 0;      // of them for one token: less than all where experts are chosen
    double weights_read = 0;    // how many weights that is: two operations each
    double position_bytes = 0;  // of the cache, for each position: held, and read by who looks back
    double position_flops = 0;  // for each position a token looks back at
};

// Into how many equal pieces a tensor group can cut a layer's halves and the LM head: whole KV
// heads, whole blocks of weights. 0: as finely as one likes.
struct TensorUnits {
    std::uint32_t attention = 0;
    std::uint32_t feed_forward = 0;
    std::uint32_t vocabulary = 0;
};

struct ModelCost {
    std::vector<PartCost> attention;     // of each layer
    std::vector<PartCost> feed_forward;  // of each layer
    PartCost output;                     // the LM head
    double embedding_bytes = 0;          // the token embedding: only looked up
    std::uint32_t embedding_length = 0;
    TensorUnits units = {};  // for choose_split.h; whoever reads the model's tensors knows them
};

// With a cache of `cache_value_bytes` a value (F16: 2). Sliding windows count as full attention.
[[nodiscard]] ModelCost model_cost(const model::Gguf& gguf, const model::Architecture& architecture,
                                   double cache_value_bytes = 2.0);

// What a device reaches, measured with the weight type in question.
struct DeviceFigures {
    double read_bytes_per_s = 0;  // of weights, while it computes one token
    double flops_per_s = 0;       // while it computes many tokens
    double step_us = 0;           // of a step, however small its slice
    double part_us = 0;   // of half a layer, however small its slice: norms, starting kernels
    double value_us = 0;  // of each value of a sum: encode it, add the others'
    double wake_us = 0;   // from the arrival of what a sleeping rank waits for to its next work
};

// One direction between two ranks.
struct LinkFigures {
    double latency_us = 0;  // from the end of sending to arrival: half of what `ping` shows
    double bytes_per_s = 0;
    double message_us = 0;  // of processor time for a message, half of it on either side
};

// What one rank holds. Fractions are of 1; those of a stage add up to 1.
struct RankShare {
    std::uint32_t stage = 0;  // counted from 0 without gaps, in the order of ranks
    std::uint32_t layer_first = 0;
    std::uint32_t layer_count = 0;
    double attention = 1;
    double feed_forward = 1;
    double vocabulary = 1;  // of the LM head; counts in the last stage only
};

inline constexpr double q8_0_bytes_per_value = 34.0 / 32.0;

struct Split {
    std::vector<RankShare> ranks;                   // rank 0 is the head: it samples
    double bytes_per_value = q8_0_bytes_per_value;  // of sums and hidden states on the wire
    // What each rank of the last stage gives back for a token: 40 candidates of a usual top-k. A
    // whole row, where sampling needs one, is 4 for each of its vocabulary entries.
    double output_bytes = 320;
    std::uint32_t chunk_length = 512;  // tokens of a prompt in one step
    double spin_us = 30;               // a longer wait sleeps, and costs wake_us
};

// `ranks_per_stage` equal ranks in each of `stage_count` stages of as equal layer counts as can be:
// 1 × n is a tensor group, n × 1 a pipeline.
[[nodiscard]] Split equal_split(const ModelCost& model, std::uint32_t stage_count,
                                std::uint32_t ranks_per_stage);

struct Cluster {
    std::vector<DeviceFigures> devices;  // of each rank
    std::vector<LinkFigures> links;      // from rank a to rank b at [a × ranks + b]; a = b unused

    [[nodiscard]] static Cluster uniform(std::size_t rank_count, const DeviceFigures& device,
                                         const LinkFigures& link);
};

struct Prediction {
    double decode_us = 0;   // one token of one request, from its step's start to its output
    double prefill_us = 0;  // a prompt, to the logits behind its last token
    std::vector<double> rank_bytes;         // weights each rank holds
    std::vector<double> reserved_bytes;     // what it sets aside beside them
    std::vector<double> decode_link_bytes;  // of one token, as Cluster::links; without headers
    std::vector<double> prefill_link_bytes;
};

struct Workload {
    std::uint32_t context_length = 0;  // positions a decoded token looks back at
    std::uint32_t prompt_length = 512;
    double cache_positions = 0;  // of all slots together: memory is set aside for each of them
    double compute_bytes = 0;    // of buffers that every rank needs, whatever its share
};

// Asserts that shapes fit together: one device for each rank, a link for each pair, stages in
// order.
[[nodiscard]] Prediction predict(const ModelCost& model, const Split& split, const Cluster& cluster,
                                 const Workload& workload);

// The one-way latency on all links at which a token takes as long with `a` as with `b`: below it
// `a` is the faster one. Nothing where `a` is slower even at none, or still faster at
// `latency_us_max`. `a` must be the one that latency hurts more.
[[nodiscard]] std::optional<double> break_even_latency_us(const ModelCost& model, const Split& a,
                                                          const Cluster& cluster_a, const Split& b,
                                                          const Cluster& cluster_b,
                                                          const Workload& workload,
                                                          double latency_us_max = 1e6);

}  // namespace exomesh::placement
