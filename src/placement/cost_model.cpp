#include "placement/cost_model.h"

#include <algorithm>
#include <numeric>
#include <span>
#include <utility>

#include "base/assert.h"

namespace exomesh::placement {

namespace {

constexpr double us_per_s = 1e6;
// A step names its slots, positions and tokens: a header and 4 bytes a token.
constexpr double step_bytes = 32;
constexpr double token_bytes = 4;

// The clocks of all ranks while steps pass through them.
class Walk {
  public:
    Walk(const ModelCost& model, const Split& split, const Cluster& cluster)
        : model_(model),
          split_(split),
          cluster_(cluster),
          rank_count_(split.ranks.size()),
          clocks_us_(rank_count_),
          link_bytes_(rank_count_ * rank_count_) {
        for (std::size_t rank = 0; rank < rank_count_; ++rank) {
            const std::uint32_t stage = split.ranks[rank].stage;
            if (stage == stages_.size()) stages_.emplace_back();
            EXO_ASSERT(stage + 1 == stages_.size());
            stages_[stage].push_back(rank);
        }
    }

    // One step of `token_count` tokens that look back at `context_length` positions; the head has
    // its output when the clock of rank 0 stands where it then stands.
    void step(double token_count, double context_length, bool wants_output) {
        std::vector<double> ready_us(rank_count_);
        send(0, others_of(all(), 0), step_bytes + token_bytes * token_count, ready_us);
        for (std::size_t stage = 0; stage < stages_.size(); ++stage) {
            const std::vector<std::size_t>& ranks = stages_[stage];
            for (const std::size_t rank : ranks) {
                if (rank > 0) take(rank, ready_us[rank], 1);
            }
            if (stage > 0) receive_states(stage, token_count);
            compute_stage(ranks, token_count, context_length);
        }
        if (wants_output) return_output();
    }

    [[nodiscard]] double head_us() const { return clocks_us_[0]; }
    [[nodiscard]] std::vector<double> link_bytes() && { return std::move(link_bytes_); }

  private:
    [[nodiscard]] std::vector<std::size_t> all() const {
        std::vector<std::size_t> ranks(rank_count_);
        for (std::size_t rank = 0; rank < rank_count_; ++rank) ranks[rank] = rank;
        return ranks;
    }

    [[nodiscard]] static std::vector<std::size_t> others_of(std::vector<std::size_t> ranks,
                                                            std::size_t rank) {
        std::erase(ranks, rank);
        return ranks;
    }

    [[nodiscard]] const LinkFigures& link(std::size_t from, std::size_t to) const {
        return cluster_.links[from * rank_count_ + to];
    }

    // One message to each receiver, one after the other over the sender's uplink. `arrivals_us` of
    // a receiver moves to its message's arrival, if that is later.
    void send(std::size_t from, std::span<const std::size_t> receivers, double bytes,
              std::vector<double>& arrivals_us) {
        double uplink_us = 0;
        for (const std::size_t to : receivers) {
            const LinkFigures& figures = link(from, to);
            clocks_us_[from] += figures.message_us / 2;
            uplink_us =
                std::max(uplink_us, clocks_us_[from]) + bytes / figures.bytes_per_s * us_per_s;
            arrivals_us[to] = std::max(arrivals_us[to], uplink_us + figures.latency_us);
            link_bytes_[from * rank_count_ + to] += bytes;
        }
    }

    // Rank goes on when what it waits for has arrived.
    void take(std::size_t rank, double arrival_us, double message_count, std::size_t from = 0) {
        const double wait_us = arrival_us - clocks_us_[rank];
        clocks_us_[rank] = std::max(clocks_us_[rank], arrival_us);
        if (wait_us > split_.spin_us) clocks_us_[rank] += cluster_.devices[rank].wake_us;
        clocks_us_[rank] += message_count * link(from, rank).message_us / 2;
    }

    void compute(std::size_t rank, const PartCost& part, double share, double token_count,
                 double context_length, double fixed_us) {
        const DeviceFigures& device = cluster_.devices[rank];
        const double bytes = part.read_bytes + part.position_bytes * context_length;
        const double flops =
            token_count * (2 * part.weights_read + part.position_flops * context_length);
        const double read_us = bytes / device.read_bytes_per_s * us_per_s;
        const double work_us = token_count > 1 ? flops / device.flops_per_s * us_per_s : 0;
        clocks_us_[rank] += fixed_us + share * std::max(read_us, work_us);
    }

    void compute_stage(const std::vector<std::size_t>& ranks, double token_count,
                       double context_length) {
        for (const std::size_t rank : ranks) clocks_us_[rank] += cluster_.devices[rank].step_us;
        const RankShare& first = split_.ranks[ranks.front()];
        for (std::uint32_t i = 0; i < first.layer_count; ++i) {
            const std::uint32_t layer = first.layer_first + i;
            for (const std::size_t rank : ranks) {
                compute(rank, model_.attention[layer], split_.ranks[rank].attention, token_count,
                        context_length, cluster_.devices[rank].part_us);
            }
            sum(ranks, token_count);
            for (const std::size_t rank : ranks) {
                compute(rank, model_.feed_forward[layer], split_.ranks[rank].feed_forward,
                        token_count, 0, cluster_.devices[rank].part_us);
            }
            sum(ranks, token_count);
        }
    }

    void sum(const std::vector<std::size_t>& ranks, double token_count) {
        if (ranks.size() == 1) return;
        const double values = token_count * model_.embedding_length;
        std::vector<double> arrivals_us(rank_count_);
        for (const std::size_t rank : ranks) {
            clocks_us_[rank] += values * cluster_.devices[rank].value_us;
            send(rank, others_of(ranks, rank), values * split_.bytes_per_value, arrivals_us);
        }
        for (const std::size_t rank : ranks) {
            const std::size_t from = ranks.front() == rank ? ranks.back() : ranks.front();
            take(rank, arrivals_us[rank], static_cast<double>(ranks.size() - 1), from);
        }
    }

    // The first rank of the stage before sends what it has computed.
    void receive_states(std::size_t stage, double token_count) {
        const std::size_t from = stages_[stage - 1].front();
        const double values = token_count * model_.embedding_length;
        std::vector<double> arrivals_us(rank_count_);
        send(from, stages_[stage], values * split_.bytes_per_value, arrivals_us);
        for (const std::size_t rank : stages_[stage]) take(rank, arrivals_us[rank], 1, from);
    }

    // Every rank of the last stage computes its rows of the LM head for one token.
    void return_output() {
        std::vector<double> arrivals_us(rank_count_);
        double message_count = 0;
        for (const std::size_t rank : stages_.back()) {
            const double share = split_.ranks[rank].vocabulary;
            compute(rank, model_.output, share, 1, 0, 0);
            if (rank == 0) continue;
            const std::size_t head = 0;
            send(rank, {&head, 1}, split_.output_bytes, arrivals_us);
            message_count += 1;
        }
        if (message_count > 0) take(0, arrivals_us[0], message_count, rank_count_ - 1);
    }

    const ModelCost& model_;
    const Split& split_;
    const Cluster& cluster_;
    std::size_t rank_count_;
    std::vector<std::vector<std::size_t>> stages_;
    std::vector<double> clocks_us_;
    std::vector<double> link_bytes_;
};

std::vector<double> bytes_of_ranks(const ModelCost& model, const Split& split) {
    std::vector<double> bytes;
    const std::uint32_t last_stage = split.ranks.back().stage;
    for (const RankShare& rank : split.ranks) {
        double sum = rank.stage == 0 ? model.embedding_bytes : 0;
        for (std::uint32_t i = 0; i < rank.layer_count; ++i) {
            sum += rank.attention * model.attention[rank.layer_first + i].size_bytes;
            sum += rank.feed_forward * model.feed_forward[rank.layer_first + i].size_bytes;
        }
        if (rank.stage == last_stage) sum += rank.vocabulary * model.output.size_bytes;
        bytes.push_back(sum);
    }
    return bytes;
}

std::vector<double> reserved_by_ranks(const ModelCost& model, const Split& split,
                                      const Workload& workload) {
    std::vector<double> bytes;
    for (const RankShare& rank : split.ranks) {
        double position_bytes = 0;
        for (std::uint32_t i = 0; i < rank.layer_count; ++i) {
            position_bytes += rank.attention * model.attention[rank.layer_first + i].position_bytes;
        }
        bytes.push_back(workload.compute_bytes + workload.cache_positions * position_bytes);
    }
    return bytes;
}

void check(const ModelCost& model, const Split& split, const Cluster& cluster) {
    EXO_ASSERT(!split.ranks.empty());
    EXO_ASSERT(cluster.devices.size() == split.ranks.size());
    EXO_ASSERT(cluster.links.size() == split.ranks.size() * split.ranks.size());
    EXO_ASSERT(split.chunk_length > 0);
    for (const RankShare& rank : split.ranks) {
        EXO_ASSERT(rank.layer_first + rank.layer_count <= model.attention.size());
    }
}

}  // namespace

Split equal_split(const ModelCost& model, std::uint32_t stage_count,
                  std::uint32_t ranks_per_stage) {
    EXO_ASSERT(stage_count > 0 && ranks_per_stage > 0);
    const auto layer_count = static_cast<std::uint32_t>(model.attention.size());
    Split split;
    std::uint32_t first = 0;
    for (std::uint32_t stage = 0; stage < stage_count; ++stage) {
        // The lower stages take what is left over, as the engine deals layers out.
        const std::uint32_t count =
            layer_count / stage_count + (stage < layer_count % stage_count ? 1 : 0);
        const double share = 1.0 / ranks_per_stage;
        split.ranks.insert(split.ranks.end(), ranks_per_stage,
                           {.stage = stage,
                            .layer_first = first,
                            .layer_count = count,
                            .attention = share,
                            .feed_forward = share,
                            .vocabulary = share});
        first += count;
    }
    return split;
}

Cluster Cluster::uniform(std::size_t rank_count, const DeviceFigures& device,
                         const LinkFigures& link) {
    return {.devices = std::vector(rank_count, device),
            .links = std::vector(rank_count * rank_count, link)};
}

Prediction predict(const ModelCost& model, const Split& split, const Cluster& cluster,
                   const Workload& workload) {
    check(model, split, cluster);
    Prediction prediction;
    Walk decode(model, split, cluster);
    decode.step(1, workload.context_length, true);
    prediction.decode_us = decode.head_us();
    prediction.decode_link_bytes = std::move(decode).link_bytes();

    Walk prefill(model, split, cluster);
    for (std::uint32_t done = 0; done < workload.prompt_length;) {
        const std::uint32_t count = std::min(split.chunk_length, workload.prompt_length - done);
        // On average a token of the chunk sees half of the chunk.
        prefill.step(count, done + count / 2.0, done + count == workload.prompt_length);
        done += count;
    }
    prediction.prefill_us = prefill.head_us();
    prediction.prefill_link_bytes = std::move(prefill).link_bytes();
    prediction.rank_bytes = bytes_of_ranks(model, split);
    prediction.reserved_bytes = reserved_by_ranks(model, split, workload);
    return prediction;
}

std::optional<double> break_even_latency_us(const ModelCost& model, const Split& a,
                                            const Cluster& cluster_a, const Split& b,
                                            const Cluster& cluster_b, const Workload& workload,
                                            double latency_us_max) {
    const auto at = [&](double latency_us, const Split& split, Cluster cluster) {
        for (LinkFigures& link : cluster.links) link.latency_us = latency_us;
        return predict(model, split, cluster, {workload.context_length, 0}).decode_us;
    };
    const auto is_faster = [&](double latency_us) {
        return at(latency_us, a, cluster_a) < at(latency_us, b, cluster_b);
    };
    double low_us = 0, high_us = latency_us_max;
    if (!is_faster(low_us) || is_faster(high_us)) return std::nullopt;
    while (high_us - low_us > 0.01) {
        const double middle_us = std::midpoint(low_us, high_us);
        (is_faster(middle_us) ? low_us : high_us) = middle_us;
    }
    return low_us;
}

}  // namespace exomesh::placement
