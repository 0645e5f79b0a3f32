// The seam between a shard's graph and the other ranks of its tensor group.
#pragma once

#include <cstdint>

namespace exomesh::engine {

// Each rank computes a part of a sum; the reducer puts the whole sum in its place, on every rank
// the same bits. Called on the thread that computes, in the same order on all ranks. It cannot fail
// towards ggml: an implementation keeps its error, leaves the values alone from then on, and its
// owner asks for the error when the step is over.
class Reducer {
  public:
    virtual ~Reducer() = default;

    // Sends this rank's part on its way. `values`: [row_length, row_count] f32, contiguous; they
    // stay where they are, and nobody touches them, until finish(). One sum at a time.
    virtual void start(float* values, std::int64_t row_length, std::int64_t row_count) = 0;
    // Waits for the other parts: `values` are the sum.
    virtual void finish() = 0;

    // Both at once.
    virtual void reduce(float* values, std::int64_t row_length, std::int64_t row_count) {
        start(values, row_length, row_count);
        finish();
    }
};

}  // namespace exomesh::engine
