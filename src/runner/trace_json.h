// A trace of several ranks as a file that ui.perfetto.dev and chrome://tracing read: Google's Trace
// Event Format, JSON. Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "platform/trace.h"
#include "runner/clock_alignment.h"
#include "runner/cluster_figures.h"

namespace exomesh::runner {

struct TracedRank {
    RankFacts name = {};
    std::vector<platform::TraceSpan> spans = {};  // of its own clock
    std::uint64_t dropped_count = 0;
    // Of its clock with the head's; the head's own has no samples and needs none.
    ClockAlignment clock = {};
};

struct TraceDescription {
    std::string program = {};  // and its version
    std::string model = {};
};

using TextSink = std::function<Result<void>(std::string_view)>;

// One process for each rank, the head first; all times on the head's clock, from the first span on.
// What is not UTF-8 in a name is replaced. Errors are the sink's.
[[nodiscard]] Result<void> write_trace(const TraceDescription& description,
                                       const std::vector<TracedRank>& ranks, const TextSink& sink);

}  // namespace exomesh::runner
