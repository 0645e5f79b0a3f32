#include "runner/trace_json.h"

#include <algorithm>
#include <cmath>
#include <format>
#include <limits>
#include <map>
#include <utility>

#include <nlohmann/json.hpp>

namespace exomesh::runner {

namespace {

using Json = nlohmann::ordered_json;
using platform::SpanKind;
using platform::TraceSpan;

constexpr std::size_t chunk_bytes = 64 << 10;
constexpr int compute_thread = 1;

// A span on the clock of the head.
struct Placed {
    TraceSpan span;
    std::int64_t begin_ns = 0, end_ns = 0;
};

struct PlacedRank {
    std::vector<Placed> spans;  // by their begin, outer ones before what is in them
    double uncertainty_us = 0;
};

std::string dump(const Json& json) {
    return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

class TraceWriter {
  public:
    explicit TraceWriter(const TextSink& sink) : sink_(&sink) {}

    void begin() { text_ = "{\"traceEvents\":["; }

    Result<void> event(std::string_view json) {
        text_ += std::exchange(separator_, ",\n");
        text_ += json;
        return text_.size() < chunk_bytes ? Result<void>() : flush();
    }

    Result<void> end(const Json& rest) {
        text_ += "],\n\"displayTimeUnit\":\"ns\",\n\"otherData\":" + dump(rest) + "}\n";
        return flush();
    }

  private:
    Result<void> flush() {
        const std::string text = std::exchange(text_, "");
        return (*sink_)(text);
    }

    const TextSink* sink_;
    std::string text_;
    std::string_view separator_ = "\n";
};

std::int64_t rounded(double ns) {
    constexpr double ns_max = 4e18;  // what a peer's clock may show has no limit, this has
    return std::llround(std::clamp(ns, -ns_max, ns_max));
}

PlacedRank place(const TracedRank& rank, bool is_head) {
    PlacedRank out;
    for (const TraceSpan& span : rank.spans) {
        const std::int64_t begin_ns = rounded(rank.clock.to_own_ns(span.begin_ns));
        const std::int64_t end_ns = rounded(rank.clock.to_own_ns(span.end_ns));
        out.spans.push_back({span, begin_ns, std::max(begin_ns, end_ns)});
        if (is_head) continue;
        out.uncertainty_us =
            std::max({out.uncertainty_us, rank.clock.uncertainty_ns(span.begin_ns) / 1000,
                      rank.clock.uncertainty_ns(span.end_ns) / 1000});
    }
    std::ranges::stable_sort(out.spans, [](const Placed& left, const Placed& right) {
        return left.begin_ns != right.begin_ns ? left.begin_ns < right.begin_ns
                                               : left.end_ns > right.end_ns;
    });
    return out;
}

// In microseconds, exactly.
std::string microseconds(std::int64_t ns) {
    return std::format("{}.{:03}", ns / 1000, ns % 1000);
}

bool is_in_sum(const std::vector<Placed>& open) {
    return !open.empty() && open.back().span.kind == SpanKind::sum;
}

const char* amount_name(SpanKind kind) {
    switch (kind) {
        case SpanKind::step:
            return "tokens";
        case SpanKind::order:
        case SpanKind::encode:
        case SpanKind::send:
        case SpanKind::wait:
        case SpanKind::decode:
        case SpanKind::logits_out:
            return "bytes";
        case SpanKind::sum:
        case SpanKind::states_in:
        case SpanKind::states_out:
            return "values";
        case SpanKind::logits_in:
        case SpanKind::sample:
            return "rows";
        case SpanKind::copy_slot:
            return "positions";
        case SpanKind::idle:
        case SpanKind::inputs:
        case SpanKind::compute:
            return nullptr;
    }
    return nullptr;
}

// Which sum of a layer a part of a step is or leads to. A layer has two sums, and as many spans for
// each as the ranks need: one, or its start and its end, or those for each half of a prompt.
std::string place_of(const TraceSpan& span, std::uint32_t part_count, const RankFacts& rank) {
    const std::uint32_t sum_count = 2 * rank.layer_count;
    if (sum_count == 0 || part_count % sum_count != 0 || span.part >= part_count) return "";
    const std::uint32_t parts_per_sum = part_count / sum_count;
    const std::uint32_t sum = span.part / parts_per_sum;
    return std::format(R"("layer":{},"sum":"{}")", rank.layer_first + sum / 2,
                       sum % 2 == 0 ? "attention" : "feed-forward");
}

std::string arguments_of(const TraceSpan& span, const std::string& place) {
    std::string text = place;
    const auto add = [&text](std::string_view name, const auto& value) {
        text += std::format("{}\"{}\":{}", text.empty() ? "" : ",", name, value);
    };
    if (span.kind != SpanKind::idle) add("step", span.step);
    const char* amount = amount_name(span.kind);
    if (amount != nullptr && span.amount > 0) add(amount, span.amount);
    if (span.peer != platform::no_peer) add("peer", std::format("\"rank {}\"", span.peer));
    return text;
}

Result<void> write_names(TraceWriter& writer, std::size_t rank, const TracedRank& traced,
                         double uncertainty_us) {
    const auto metadata = [&](std::string_view name, const Json& arguments) {
        return writer.event(dump({{"name", name},
                                  {"ph", "M"},
                                  {"pid", rank},
                                  {"tid", compute_thread},
                                  {"args", arguments}}));
    };
    const std::string where = traced.name.host.empty() ? "" : " at " + traced.name.host;
    EXO_TRY(metadata("process_name",
                     {{"name", std::format("rank {}: {}{}", rank, traced.name.device, where)}}));
    EXO_TRY(metadata("process_sort_index", {{"sort_index", rank}}));
    if (rank > 0) {
        EXO_TRY(metadata(
            "process_labels",
            {{"labels", std::isinf(uncertainty_us)
                            ? "clock not compared"
                            : std::format("clock right within {:.1f} µs", uncertainty_us)}}));
    }
    return metadata("thread_name", {{"name", "compute"}});
}

Result<void> write_spans(TraceWriter& writer, std::size_t rank, const TracedRank& traced,
                         const PlacedRank& placed, std::int64_t origin_ns) {
    std::map<std::uint32_t, std::uint32_t> part_counts;  // sums, by step
    for (const TraceSpan& span : traced.spans) {
        if (span.kind == SpanKind::sum) ++part_counts[span.step];
    }
    std::vector<Placed> open;  // the spans around the next one
    for (const Placed& next : placed.spans) {
        while (!open.empty() && open.back().end_ns <= next.begin_ns) open.pop_back();
        const TraceSpan& span = next.span;
        const bool is_part =
            span.kind == SpanKind::sum || span.kind == SpanKind::compute || is_in_sum(open);
        const std::string place =
            is_part ? place_of(span, part_counts[span.step], traced.name) : "";
        EXO_TRY(writer.event(
            std::format(R"({{"name":"{}","cat":"{}","ph":"X","pid":{},"tid":{},)"
                        R"("ts":{},"dur":{},"args":{{{}}}}})",
                        platform::span_name(span.kind), is_in_sum(open) ? "sum" : "step", rank,
                        compute_thread, microseconds(next.begin_ns - origin_ns),
                        microseconds(next.end_ns - next.begin_ns), arguments_of(span, place))));
        open.push_back(next);
    }
    return {};
}

// What the head waited for: each step from its order to its logits. They overlap in a pipeline.
Result<void> write_steps(TraceWriter& writer, const PlacedRank& head, std::int64_t origin_ns) {
    struct Whole {
        std::int64_t begin_ns = std::numeric_limits<std::int64_t>::max();
        std::int64_t end_ns = std::numeric_limits<std::int64_t>::min();
        std::uint32_t token_count = 0;
    };
    std::map<std::uint32_t, Whole> steps;
    for (const Placed& placed : head.spans) {
        const SpanKind kind = placed.span.kind;
        if (kind != SpanKind::step && kind != SpanKind::logits_in) continue;
        Whole& step = steps[placed.span.step];
        step.begin_ns = std::min(step.begin_ns, placed.begin_ns);
        step.end_ns = std::max(step.end_ns, placed.end_ns);
        if (kind == SpanKind::step) step.token_count = placed.span.amount;
    }
    for (const auto& [number, step] : steps) {
        const std::string name = std::format("step {}: {} token{}", number, step.token_count,
                                             step.token_count == 1 ? "" : "s");
        const auto event = [&](char phase, std::int64_t ns) {
            return writer.event(std::format(
                R"({{"name":"{}","cat":"steps","ph":"{}","id":{},"pid":0,"tid":{},"ts":{}}})", name,
                phase, number, compute_thread, microseconds(ns - origin_ns)));
        };
        EXO_TRY(event('b', step.begin_ns));
        EXO_TRY(event('e', step.end_ns));
    }
    return {};
}

}  // namespace

Result<void> write_trace(const TraceDescription& description, const std::vector<TracedRank>& ranks,
                         const TextSink& sink) {
    std::vector<PlacedRank> placed;
    std::int64_t origin_ns = std::numeric_limits<std::int64_t>::max();
    Json about_ranks = Json::array();
    for (std::size_t rank = 0; rank < ranks.size(); ++rank) {
        const TracedRank& traced = ranks[rank];
        placed.push_back(place(traced, rank == 0));
        if (!placed[rank].spans.empty())
            origin_ns = std::min(origin_ns, placed[rank].spans.front().begin_ns);
        about_ranks.push_back({{"rank", rank},
                               {"device", traced.name.device},
                               {"host", traced.name.host},
                               {"spans", traced.spans.size()},
                               {"spans_dropped", traced.dropped_count},
                               {"clock_uncertainty_us", placed[rank].uncertainty_us}});
    }
    TraceWriter writer(sink);
    writer.begin();
    for (std::size_t rank = 0; rank < ranks.size(); ++rank) {
        EXO_TRY(write_names(writer, rank, ranks[rank], placed[rank].uncertainty_us));
        EXO_TRY(write_spans(writer, rank, ranks[rank], placed[rank], origin_ns));
    }
    if (!placed.empty()) EXO_TRY(write_steps(writer, placed.front(), origin_ns));
    return writer.end({{"program", description.program},
                       {"model", description.model},
                       {"ranks", std::move(about_ranks)}});
}

}  // namespace exomesh::runner
