#include "main/cluster_figures.h"

#include <algorithm>
#include <format>
#include <memory>
#include <utility>

#include "main/note_queue.h"
#include "main/terminal.h"
#include "model/printable.h"

namespace exomesh::main {

namespace {

constexpr std::size_t name_length_max = 40;

double milliseconds(std::uint64_t us) {
    return static_cast<double>(us) / 1e3;
}

double kib(double bytes) {
    return bytes / 1024;
}

std::string rank_text(std::size_t rank, const runner::RankFacts& name) {
    return std::format("rank {} ({})", rank,
                       name.is_idle ? "no device" : model::printable(name.device));
}

std::string pair_text(const runner::Quantiles& us) {
    return std::format("{:.2f} / {:.2f}", milliseconds(us.p50), milliseconds(us.p99));
}

std::string row(std::string_view rank, std::string_view compute, std::string_view sums,
                std::string_view waiting, std::string_view sent, std::string_view received,
                std::string_view slowest) {
    return std::format("{:<24} {:>17} {:>17} {:>17} {:>10} {:>10} {:>8}\n", rank, compute, sums,
                       waiting, sent, received, slowest);
}

model::Json quantiles_json(const runner::Quantiles& quantiles) {
    return {{"p50", quantiles.p50}, {"p99", quantiles.p99}};
}

}  // namespace

CLI::Option* add_figures_flag(CLI::App& command, ClusterFlags& flags) {
    // What is no value of an option is the next argument: a prompt.
    return command.validate_optional_arguments()
        ->add_option("--cluster-figures", flags.figures,
                     "show what the ranks spent: at the end (the default), or with each token, too")
        ->expected(0, 1)
        ->default_str("end")
        ->option_text("[end|token]")
        ->check(CLI::IsMember({"end", "token"}));
}

void record_as_asked(const ClusterFlags& flags, runner::ClusterOptions& cluster) {
    const bool is_shown = !flags.figures.empty();
    if (!is_shown && !flags.records_spans) return;
    cluster.recording = flags.records_spans ? runner::Recording::spans : runner::Recording::figures;
    std::shared_ptr<NoteQueue> queue;
    if (flags.figures == "token") {
        // Steps are told of by the thread that keeps the ranks alive.
        queue = std::make_shared<NoteQueue>([](const std::string& note) { print_note(note); });
        cluster.on_step = [queue](const runner::StepReport& report) {
            queue->push(styled(Style::faint, step_line(report)) + "\n");
        };
    }
    cluster.on_close = [is_shown, queue,
                        on_record = flags.on_record](runner::ClusterRecord record) {
        if (queue) queue->flush();
        if (is_shown) print_note(styled(Style::faint, statistics_table(record.statistics)));
        if (on_record) on_record(std::move(record));
    };
}

std::string step_line(const runner::StepReport& report) {
    const runner::StepFigures& head = report.ranks.front();
    const std::size_t slowest = report.slowest_rank();
    return std::format(
        "[step {}, {} token{}: {:.2f} ms; compute {:.2f}, sums {:.2f}, waiting {:.2f} ms; {:.1f} "
        "KiB sent, {:.1f} KiB received; slowest {}, {:.2f} ms behind the fastest]",
        report.step, report.token_count, report.token_count == 1 ? "" : "s",
        milliseconds(head.total_us), milliseconds(head.compute_us), milliseconds(head.sum_us),
        milliseconds(head.wait_us), kib(head.sent_bytes), kib(head.received_bytes),
        rank_text(slowest, report.names[slowest]), milliseconds(report.behind_us()));
}

std::string statistics_table(const runner::ClusterStatistics& statistics) {
    std::string text;
    if (statistics.prompt_step_count > 0) {
        text += std::format("[{} prompt tokens in {} step{}, {:.2f} ms]\n",
                            statistics.prompt_token_count, statistics.prompt_step_count,
                            statistics.prompt_step_count == 1 ? "" : "s",
                            milliseconds(statistics.prompt_us));
    }
    if (statistics.decode_step_count == 0) return text;
    text += std::format(
        "[{} decode steps: {} ms each (p50 / p99), the slowest rank {} ms behind "
        "the fastest]\n",
        statistics.decode_step_count, pair_text(statistics.step_us),
        pair_text(statistics.behind_us));
    text += row("decode, p50 / p99", "compute ms", "sums ms", "waiting ms", "KiB sent", "received",
                "slowest");
    const auto steps = static_cast<double>(statistics.decode_step_count);
    for (std::size_t rank = 0; rank < statistics.ranks.size(); ++rank) {
        const runner::RankStatistics& figures = statistics.ranks[rank];
        text +=
            row(rank_text(rank, figures.name).substr(0, name_length_max),
                pair_text(figures.compute_us), pair_text(figures.sum_us),
                pair_text(figures.wait_us), std::format("{:.1f}", kib(figures.sent_bytes)),
                std::format("{:.1f}", kib(figures.received_bytes)),
                std::format("{:.0f} %", 100 * static_cast<double>(figures.slowest_count) / steps));
    }
    return text;
}

model::Json statistics_json(const runner::ClusterStatistics& statistics) {
    model::Json ranks = model::Json::array();
    for (const runner::RankStatistics& rank : statistics.ranks) {
        ranks.push_back({{"device", rank.name.device},
                         {"host", rank.name.host},
                         {"compute_us", quantiles_json(rank.compute_us)},
                         {"sum_us", quantiles_json(rank.sum_us)},
                         {"wait_us", quantiles_json(rank.wait_us)},
                         {"sent_bytes_per_step", rank.sent_bytes},
                         {"received_bytes_per_step", rank.received_bytes},
                         {"slowest_count", rank.slowest_count}});
    }
    return {{"decode_steps", statistics.decode_step_count},
            {"decode_step_us", quantiles_json(statistics.step_us)},
            {"slowest_behind_us", quantiles_json(statistics.behind_us)},
            {"prompt_steps", statistics.prompt_step_count},
            {"prompt_tokens", statistics.prompt_token_count},
            {"prompt_us", statistics.prompt_us},
            {"ranks", std::move(ranks)}};
}

}  // namespace exomesh::main
