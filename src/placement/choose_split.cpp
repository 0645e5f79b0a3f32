#include "placement/choose_split.h"

#include <algorithm>
#include <cmath>
#include <format>
#include <functional>
#include <numeric>
#include <optional>
#include <span>
#include <utility>

#include "base/assert.h"
#include "placement/whole_units.h"

namespace exomesh::placement {

namespace {

constexpr double gain_min = 0.03;  // of a further rank

struct Considered {
    SplitChoice choice;
    double excess_bytes = 0;  // beyond the memories
};

class Chooser {
  public:
    Chooser(const ModelCost& model, const std::vector<CandidateRank>& candidates,
            const std::vector<LinkFigures>& links, const Workload& workload, double bytes_per_value)
        : model_(model),
          candidates_(candidates),
          links_(links),
          workload_(workload),
          bytes_per_value_(bytes_per_value) {}

    // Every way to use exactly these ranks.
    void consider(const std::vector<std::size_t>& ranks) {
        const std::size_t count = ranks.size();
        if (count == 1) return add(ChosenKind::one_process, ranks, 1, {1.0});
        const std::vector<double> speeds = speeds_of(ranks);
        add(ChosenKind::tensor, ranks, 1, speeds);
        if (count > model_.attention.size()) return;
        add(ChosenKind::pipeline, ranks, static_cast<std::uint32_t>(count), speeds);
        add(ChosenKind::pipeline, ranks, static_cast<std::uint32_t>(count), fastest_first(ranks));
        for (std::uint32_t stages = 2; stages < count; ++stages) {
            if (count % stages == 0) add(ChosenKind::hybrid, ranks, stages, speeds);
        }
    }

    // The best of all that were considered, with the best of the other kinds beside it.
    [[nodiscard]] SplitChoice best() const {
        const Considered* best = nullptr;
        for (const Considered& one : considered_) {
            if (best == nullptr || is_better(one, *best)) best = &one;
        }
        EXO_ASSERT(best != nullptr);
        SplitChoice choice = best->choice;
        choice.fits = best->excess_bytes == 0;
        for (const ChosenKind kind : {ChosenKind::tensor, ChosenKind::pipeline, ChosenKind::hybrid,
                                      ChosenKind::one_process}) {
            if (kind == choice.kind) continue;
            if (const auto other = best_of(kind)) {
                choice.alternatives.push_back(
                    {.name = choice_name(*other), .tokens_per_s = other->tokens_per_s});
            }
        }
        return choice;
    }

  private:
    // How many of them compute on the processor of this one. They divide what it can do and hold.
    [[nodiscard]] double sharing(std::size_t rank, const std::vector<std::size_t>& ranks) const {
        const std::string& processor = candidates_[rank].processor;
        if (processor.empty()) return 1;
        return static_cast<double>(std::ranges::count_if(
            ranks, [&](std::size_t other) { return candidates_[other].processor == processor; }));
    }

    [[nodiscard]] double memory_of(std::size_t rank, const std::vector<std::size_t>& ranks) const {
        return candidates_[rank].memory_bytes / sharing(rank, ranks);
    }

    [[nodiscard]] DeviceFigures figures_of(std::size_t rank,
                                           const std::vector<std::size_t>& ranks) const {
        DeviceFigures figures = candidates_[rank].device;
        const double sharing = this->sharing(rank, ranks);
        figures.read_bytes_per_s /= sharing;
        figures.flops_per_s /= sharing;
        return figures;
    }

    [[nodiscard]] std::vector<double> speeds_of(const std::vector<std::size_t>& ranks) const {
        std::vector<double> speeds;
        for (const std::size_t rank : ranks) {
            speeds.push_back(figures_of(rank, ranks).read_bytes_per_s);
        }
        return speeds;
    }

    // For a pipeline and one request: the fastest devices take what their memories hold.
    [[nodiscard]] std::vector<double> fastest_first(const std::vector<std::size_t>& ranks) const {
        const std::vector<double> speeds = speeds_of(ranks);
        std::vector<std::size_t> order(ranks.size());
        std::ranges::iota(order, std::size_t{0});
        std::ranges::stable_sort(order, std::greater(), [&](std::size_t i) { return speeds[i]; });
        const auto layer_count = static_cast<double>(model_.attention.size());
        double layer_bytes = 0;
        for (std::size_t i = 0; i < model_.attention.size(); ++i) {
            layer_bytes += model_.attention[i].size_bytes + model_.feed_forward[i].size_bytes +
                           model_.attention[i].position_bytes * workload_.cache_positions;
        }
        layer_bytes /= layer_count;
        // Whoever has the embedding or the output holds it beside its layers.
        const double edge_bytes =
            std::max(model_.output.size_bytes, model_.embedding_bytes) + workload_.compute_bytes;
        std::vector<double> layers(ranks.size(), 1.0);
        double left = layer_count - static_cast<double>(ranks.size());
        for (const std::size_t i : order) {
            const double room = (memory_of(ranks[i], ranks) - edge_bytes) / layer_bytes - 1;
            const double more = std::clamp(std::floor(room), 0.0, left);
            layers[i] += more;
            left -= more;
        }
        layers[order.front()] += left;  // it fits nowhere
        return layers;
    }

    void add(ChosenKind kind, const std::vector<std::size_t>& ranks, std::uint32_t stage_count,
             std::vector<double> shares) {
        const double sum = std::accumulate(shares.begin(), shares.end(), 0.0);
        for (double& share : shares) share /= sum;
        const auto split = split_of(stage_count, shares);
        if (!split) return;
        Cluster cluster;
        for (const std::size_t from : ranks) {
            cluster.devices.push_back(figures_of(from, ranks));
            for (const std::size_t to : ranks) {
                cluster.links.push_back(links_[from * candidates_.size() + to]);
            }
        }
        const Prediction prediction = predict(model_, *split, cluster, workload_);
        Considered one{.choice = {.kind = kind,
                                  .ranks = ranks,
                                  .stage_count = stage_count,
                                  .shares = std::move(shares),
                                  .tokens_per_s = 1e6 / prediction.decode_us}};
        for (std::size_t i = 0; i < ranks.size(); ++i) {
            const double bytes = prediction.rank_bytes[i] + prediction.reserved_bytes[i];
            one.excess_bytes += std::max(0.0, bytes - memory_of(ranks[i], ranks));
        }
        considered_.push_back(std::move(one));
    }

    // Layers by the shares of the stages, at least one each; nothing where there are too few. The
    // shares become what they come to in whole layers.
    [[nodiscard]] std::optional<Split> split_of(std::uint32_t stage_count,
                                                std::vector<double>& shares) const {
        const std::size_t per_stage = shares.size() / stage_count;
        const auto layer_count = static_cast<std::uint32_t>(model_.attention.size());
        if (stage_count > layer_count) return std::nullopt;
        Split split{.ranks = {}, .bytes_per_value = bytes_per_value_};
        double share_before = 0;
        std::uint32_t first = 0;
        for (std::uint32_t stage = 0; stage < stage_count; ++stage) {
            const std::span own = std::span(shares).subspan(stage * per_stage, per_stage);
            const double stage_share = std::accumulate(own.begin(), own.end(), 0.0);
            share_before += stage_share;
            const std::uint32_t stages_after = stage_count - 1 - stage;
            const auto wanted = static_cast<std::uint32_t>(std::lround(layer_count * share_before));
            const std::uint32_t end =
                stages_after == 0 ? layer_count
                                  : std::clamp(wanted, first + 1, layer_count - stages_after);
            const auto attention = in_whole_units(model_.units.attention, own);
            const auto feed_forward = in_whole_units(model_.units.feed_forward, own);
            const auto vocabulary = in_whole_units(model_.units.vocabulary, own);
            for (std::size_t i = 0; i < per_stage; ++i) {
                split.ranks.push_back({.stage = stage,
                                       .layer_first = first,
                                       .layer_count = end - first,
                                       .attention = attention[i],
                                       .feed_forward = feed_forward[i],
                                       .vocabulary = vocabulary[i]});
                own[i] *= (end - first) / (stage_share * layer_count);
            }
            first = end;
        }
        return split;
    }

    // What fits comes first; then speed, if it is worth the ranks.
    [[nodiscard]] static bool is_better(const Considered& a, const Considered& b) {
        if (a.excess_bytes != b.excess_bytes) return a.excess_bytes < b.excess_bytes;
        const auto worth = [](const SplitChoice& choice) {
            const auto further = static_cast<double>(choice.ranks.size() - 1);
            return choice.tokens_per_s * std::pow(1 + gain_min, -further);
        };
        return worth(a.choice) > worth(b.choice);
    }

    [[nodiscard]] std::optional<SplitChoice> best_of(ChosenKind kind) const {
        const Considered* best = nullptr;
        for (const Considered& one : considered_) {
            if (one.choice.kind != kind || one.excess_bytes > 0) continue;
            if (best == nullptr || is_better(one, *best)) best = &one;
        }
        return best == nullptr ? std::nullopt : std::optional(best->choice);
    }

    const ModelCost& model_;
    const std::vector<CandidateRank>& candidates_;
    const std::vector<LinkFigures>& links_;
    const Workload& workload_;
    double bytes_per_value_;
    std::vector<Considered> considered_;
};

// The head, and of the others the fastest.
std::vector<std::size_t> considered_ranks(const std::vector<CandidateRank>& candidates) {
    std::vector<std::size_t> ranks(candidates.size());
    std::ranges::iota(ranks, std::size_t{0});
    std::ranges::stable_sort(ranks.begin() + 1, ranks.end(), std::greater(), [&](std::size_t rank) {
        return candidates[rank].device.read_bytes_per_s;
    });
    ranks.resize(std::min(ranks.size(), choice_rank_count_max));
    std::ranges::sort(ranks);
    return ranks;
}

std::string reason(const SplitChoice& choice, const std::vector<CandidateRank>& candidates,
                   const std::vector<std::size_t>& compared, std::size_t rank) {
    const std::string& name = candidates[rank].name;
    const std::string& processor = candidates[rank].processor;
    for (const std::size_t chosen : choice.ranks) {
        if (!processor.empty() && candidates[chosen].processor == processor) {
            return name + " computes on the processor of " + candidates[chosen].name;
        }
    }
    if (!std::ranges::contains(compared, rank)) {
        return std::format("{} was not tried: the head and the {} fastest others were", name,
                           compared.size() - 1);
    }
    return name + " would only slow it down";
}

}  // namespace

SplitChoice choose_split(const ModelCost& model, const std::vector<CandidateRank>& candidates,
                         const std::vector<LinkFigures>& links, const Workload& workload,
                         double bytes_per_value) {
    EXO_ASSERT(!candidates.empty() && !model.attention.empty());
    EXO_ASSERT(links.size() == candidates.size() * candidates.size());
    const std::vector<std::size_t> all = considered_ranks(candidates);
    Chooser chooser(model, candidates, links, workload, bytes_per_value);
    for (std::size_t subset = 0; subset < (std::size_t{1} << (all.size() - 1)); ++subset) {
        std::vector<std::size_t> ranks = {0};
        for (std::size_t i = 1; i < all.size(); ++i) {
            if (((subset >> (i - 1)) & 1U) != 0) ranks.push_back(all[i]);
        }
        chooser.consider(ranks);
    }
    SplitChoice choice = chooser.best();
    for (std::size_t rank = 1; rank < candidates.size(); ++rank) {
        if (!std::ranges::contains(choice.ranks, rank)) {
            choice.left_out.push_back(reason(choice, candidates, all, rank));
        }
    }
    return choice;
}

std::string choice_name(const SplitChoice& choice) {
    std::string name;
    switch (choice.kind) {
        case ChosenKind::one_process:
            return "one process";
        case ChosenKind::tensor:
            name = "tensor ";
            break;
        case ChosenKind::pipeline:
            name = "pipeline ";
            break;
        case ChosenKind::hybrid:
            name =
                std::format("{}x{} ", choice.stage_count, choice.ranks.size() / choice.stage_count);
            break;
    }
    for (std::size_t i = 0; i < choice.shares.size(); ++i) {
        name += std::format("{}{:.2f}", i == 0 ? "" : "/", choice.shares[i]);
    }
    return name;
}

std::string choice_text(const SplitChoice& choice) {
    std::string text =
        std::format("[split: {}, predicted {:.1f} tok/s", choice_name(choice), choice.tokens_per_s);
    for (std::size_t i = 0; i < choice.alternatives.size(); ++i) {
        const Alternative& other = choice.alternatives[i];
        text += std::format("{} {} {:.1f}", i == 0 ? ";" : ",", other.name, other.tokens_per_s);
    }
    if (!choice.fits) text += "; more than the memories hold";
    for (const std::string& reason : choice.left_out) text += "; " + reason;
    return text + "]";
}

}  // namespace exomesh::placement
