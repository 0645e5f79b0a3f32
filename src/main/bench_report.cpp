#include "main/bench_report.h"

#include <cmath>
#include <format>

#include "base/version.h"
#include "device/cpu_topology.h"
#include "model/printable.h"

namespace exomesh::main {

namespace {

std::string test_name(const engine::BenchTest& test) {
    const std::string depth = test.depth > 0 ? std::format(" @ d{}", test.depth) : "";
    if (test.generated_count == 0) return std::format("pp{}{}", test.prompt_count, depth);
    if (test.prompt_count == 0) return std::format("tg{}{}", test.generated_count, depth);
    return std::format("pp{}+tg{}{}", test.prompt_count, test.generated_count, depth);
}

double ms(std::uint64_t duration_us) {
    return static_cast<double>(duration_us) / 1e3;
}

std::uint64_t rounded(double value) {
    return static_cast<std::uint64_t>(std::llround(value));
}

const char* kind_of(const runner::PairMeasurement& pair) {
    return pair.is_loopback ? "loopback" : "network";
}

void add_cluster_members(model::Json& entry, const BenchLine& line) {
    entry["split"] = line.split;
    entry["wire"] = line.wire;
    model::Json links = model::Json::array();
    for (const runner::PairMeasurement& pair : line.links.pairs) {
        links.push_back({{"from", pair.from},
                         {"to", pair.to},
                         {"kind", kind_of(pair)},
                         {"round_trip_us_p50", pair.link.round_trip_p50_us},
                         {"round_trip_us_p99", pair.link.round_trip_p99_us},
                         {"bytes_per_s", pair.link.bytes_per_s}});
    }
    entry["links"] = std::move(links);
    if (const auto& sums = line.links.sums) {
        entry["sums"] = {{"n_values", sums->value_count},
                         {"n_ranks", sums->rank_count},
                         {"n_per_token", sums->count_per_token},
                         {"us_p50", sums->p50_us},
                         {"us_p99", sums->p99_us}};
    }
}

}  // namespace

std::string table_head(bool is_cluster) {
    std::string names = std::format("| {:<30} | {:>10} | {:>10} | {:<10} | {:>7} |", "model",
                                    "size", "params", "backend", "threads");
    std::string rules =
        std::format("| {:-<30} | {:->9}: | {:->9}: | {:-<10} | {:->6}: |", "", "", "", "", "");
    if (is_cluster) {
        names += std::format(" {:<10} | {:>5} |", "split", "ranks");
        rules += std::format(" {:-<10} | {:->4}: |", "", "");
    }
    names += std::format(" {:>15} | {:>20} |", "test", "t/s");
    rules += std::format(" {:->14}: | {:->19}: |", "", "");
    if (is_cluster) {
        names += std::format(" {:>10} | {:>10} |", "ms/tok p50", "ms/tok p99");
        rules += std::format(" {:->9}: | {:->9}: |", "", "");
    }
    return names + "\n" + rules + "\n";
}

std::string table_row(const BenchLine& line, bool is_cluster) {
    const engine::BenchResult& result = line.result;
    std::string row =
        std::format("| {:<30} | {:>10} | {:>10} | {:<10} | {:>7} |", line.facts.type,
                    bytes_text(line.facts.tensor_bytes), count_text(line.facts.parameter_count),
                    model::printable(line.information.device), line.thread_count);
    if (is_cluster) row += std::format(" {:<10} | {:>5} |", line.split, line.rank_count);
    row += std::format(" {:>15} | {:>20} |", test_name(line.test),
                       std::format("{:.2f} ± {:.2f}", result.avg_ts, result.stddev_ts));
    if (is_cluster && line.test.generated_count == 0) {
        row += std::format(" {:>10} | {:>10} |", "", "");
    } else if (is_cluster) {
        row += std::format(" {:>10.2f} | {:>10.2f} |", ms(result.token_p50_us),
                           ms(result.token_p99_us));
    }
    return row + "\n";
}

std::string links_table(const BenchLine& line) {
    std::string text = std::format("\n| {:<36} | {:>17} | {:>6} | {:>6} |\n", "links",
                                   "round trip p50 us", "p99 us", "MB/s");
    text += std::format("| {:-<36} | {:->16}: | {:->5}: | {:->5}: |\n", "", "", "", "");
    for (const runner::PairMeasurement& pair : line.links.pairs) {
        text += std::format("| {:<36} | {:>17} | {:>6} | {:>6.0f} |\n",
                            std::format("ranks {} and {}, {}", pair.from, pair.to, kind_of(pair)),
                            pair.link.round_trip_p50_us, pair.link.round_trip_p99_us,
                            pair.link.bytes_per_s / 1e6);
    }
    if (const auto& sums = line.links.sums) {
        text += std::format("| {:<36} | {:>17} | {:>6} | {:>6} |\n",
                            std::format("sum of {} values, {} ranks, {}", sums->value_count,
                                        sums->rank_count, line.wire),
                            sums->p50_us, sums->p99_us, "");
    }
    return text;
}

model::Json json_entry(const BenchLine& line, const model::Json& settings) {
    const engine::BenchResult& result = line.result;
    model::Json entry = {{"build_version", version},
                         {"cpu_info", device::processor_name()},
                         {"backends", line.information.device},
                         {"model_filename", line.facts.path},
                         {"model_type", line.facts.type},
                         {"model_size", line.facts.tensor_bytes},
                         {"model_n_params", line.facts.parameter_count},
                         {"n_threads", line.thread_count},
                         {"n_prompt", line.test.prompt_count},
                         {"n_gen", line.test.generated_count},
                         {"n_depth", line.test.depth},
                         {"test_time", line.began_s},
                         {"avg_ns", rounded(result.avg_ns)},
                         {"stddev_ns", rounded(result.stddev_ns)},
                         {"avg_ts", result.avg_ts},
                         {"stddev_ts", result.stddev_ts},
                         {"samples_ns", result.samples_ns},
                         {"samples_ts", result.samples_ts},
                         {"token_ms_p50", ms(result.token_p50_us)},
                         {"token_ms_p99", ms(result.token_p99_us)},
                         {"n_ranks", line.rank_count}};
    entry.update(settings);
    if (line.rank_count > 1) add_cluster_members(entry, line);
    return entry;
}

}  // namespace exomesh::main
