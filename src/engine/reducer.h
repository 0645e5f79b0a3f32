// The seam between a shard's graph and the other ranks of its tensor group.
#pragma once

#include <cstdint>

namespace exomesh::engine {

// Each rank computes a part of a sum; reduce() puts the whole sum in its place, on every rank the
// same bits. Called by the graph on the CPU, on the thread that computes, in the same order on all
// ranks. It cannot fail towards ggml: an implementation keeps its error, leaves the values alone
// from then on, and its owner asks for the error when the step is over.
class Reducer {
  public:
    virtual ~Reducer() = default;

    // `values`: [row_length, row_count] f32, contiguous.
    virtual void reduce(float* values, std::int64_t row_length, std::int64_t row_count) = 0;
};

}  // namespace exomesh::engine
