#include "runner/choose_cluster.h"

#include <algorithm>
#include <map>
#include <utility>

#include "base/assert.h"
#include "engine/kv_cache.h"
#include "engine/open_shard.h"
#include "engine/partition.h"
#include "engine/self_test_needs.h"
#include "model/tensor_type.h"
#include "net/tls_context.h"
#include "runner/device_survey.h"

namespace exomesh::runner {

namespace {

// The type most of the weights have.
std::string main_type(const engine::ModelFile& model) {
    std::map<std::string, std::uint64_t> bytes;
    for (const model::TensorInfo& tensor : model.gguf.tensors()) {
        bytes[std::string(model::tensor_type_traits(tensor.type).name)] += tensor.size_bytes;
    }
    const auto most = std::ranges::max_element(
        bytes, {}, [](const auto& type_and_bytes) { return type_and_bytes.second; });
    return most == bytes.end() ? "" : most->first;
}

std::string rank_name(std::size_t rank, const RankCandidate& candidate, const std::string& device) {
    const std::string where = candidate.worker ? " at " + candidate.worker->host : "";
    return "rank " + std::to_string(rank) + " (" + device + where + ")";
}

// Asks one candidate after the other; devices of this machine once.
class Surveyor {
  public:
    // `question` is everyone's, but for the device.
    Surveyor(const net::TlsContext& tls, SurveyQuestion question)
        : tls_(tls), question_(std::move(question)) {}

    Result<SurveyedRank> ask(std::size_t rank, const RankCandidate& candidate) {
        SurveyedRank out{.candidate = rank, .device = {}};
        question_.device = candidate.device;
        if (!candidate.worker) {
            auto known = here_.find(candidate.device);
            if (known == here_.end()) {
                EXO_TRY_ASSIGN(DeviceSurvey survey, survey_here(candidate));
                known = here_.emplace(candidate.device, std::move(survey)).first;
            }
            out.device = known->second;
            return out;
        }
        EXO_TRY_ASSIGN(WorkerSurvey worker, survey_worker(*candidate.worker, tls_, question_));
        out.device = std::move(worker.device);
        out.link = worker.link;
        return out;
    }

  private:
    Result<DeviceSurvey> survey_here(const RankCandidate& candidate) {
        if (!candidate.measured_by) return survey_device(question_);
        EXO_TRY_ASSIGN(WorkerSurvey survey, survey_worker(*candidate.measured_by, tls_, question_));
        return std::move(survey.device);
    }

    const net::TlsContext& tls_;
    SurveyQuestion question_;
    std::map<std::string, DeviceSurvey> here_;  // by the device as it was typed
};

placement::CandidateRank describe(const SurveyedRank& surveyed, const RankCandidate& candidate) {
    const DeviceSurvey& device = surveyed.device;
    const bool is_cpu = device.device == "cpu";
    return {.name = rank_name(surveyed.candidate, candidate, device.device),
            .device = {.read_bytes_per_s = device.read_bytes_per_s,
                       .flops_per_s = guessed::flops_per_s,
                       .part_us = is_cpu ? guessed::part_us_cpu : guessed::part_us_gpu,
                       .value_us = guessed::value_us,
                       .wake_us = guessed::wake_us},
            .memory_bytes = static_cast<double>(device.memory_bytes),
            .processor = device.processor};
}

placement::LinkFigures to_head(const LinkFigures& link) {
    return {.latency_us = static_cast<double>(link.latency_us),
            .bytes_per_s = 1e3 * static_cast<double>(link.bytes_per_ms),
            .message_us = guessed::message_us};
}

// All of a link counts where two differ: latency and rate of the slower way to the head.
placement::LinkFigures between(const SurveyedRank& a, const SurveyedRank& b) {
    if (!a.link && !b.link) return guessed::loopback;
    if (!a.link) return to_head(*b.link);
    if (!b.link) return to_head(*a.link);
    return to_head({.latency_us = std::max(a.link->latency_us, b.link->latency_us),
                    .bytes_per_ms = std::min(a.link->bytes_per_ms, b.link->bytes_per_ms)});
}

// With the scale that a block of Q8_0 has.
double bytes_per_value(WireType wire) {
    constexpr std::size_t value_count = 1024;
    return static_cast<double>(encoded_size_bytes(wire, value_count)) / value_count;
}

// Who shares a processor measured the same one: the slower figures were disturbed.
void settle_processors(std::vector<SurveyedRank>& surveyed) {
    std::map<std::string, double> fastest;
    for (const SurveyedRank& one : surveyed) {
        double& best = fastest[one.device.processor];
        best = std::max(best, one.device.read_bytes_per_s);
    }
    for (SurveyedRank& one : surveyed) {
        if (one.device.processor.empty()) continue;
        one.device.read_bytes_per_s = fastest[one.device.processor];
    }
}

}  // namespace

Result<placement::Workload> workload_of(const model::Architecture& architecture,
                                        const engine::EngineOptions& options) {
    EXO_TRY_ASSIGN(const std::uint32_t context_length,
                   engine::choose_context_length(options, architecture));
    const double token_bytes =
        4.0 * guessed::chunk_vector_count * architecture.embedding_length + 2.0 * context_length;
    return placement::Workload{
        .context_length = std::min(guessed::context_length, context_length),
        .cache_positions = static_cast<double>(options.slot_count) * context_length,
        .compute_bytes = token_bytes * std::clamp(options.chunk_length, 1U, context_length)};
}

placement::ModelCost cost_of(const engine::ModelFile& model, engine::CacheType cache_type) {
    const ggml_type type = engine::ggml_type_of(cache_type);
    const double cache_value_bytes =
        static_cast<double>(ggml_type_size(type)) / static_cast<double>(ggml_blck_size(type));
    placement::ModelCost cost =
        placement::model_cost(model.gguf, model.architecture, cache_value_bytes);
    const engine::Alignment alignment = engine::alignment_of(model.gguf, model.architecture);
    const engine::ShardSlice whole = engine::ShardSlice::whole(model.architecture);
    const auto units = [](std::uint32_t count, std::uint32_t unit) {
        return (count + unit - 1) / unit;
    };
    cost.units = {
        .attention = alignment.attention_unit_count,
        .feed_forward = units(whole.feed_forward.count, alignment.feed_forward_unit),
        .vocabulary = units(whole.vocabulary.count, alignment.vocabulary_unit),
    };
    return cost;
}

placement::SplitChoice choose_by_surveys(const placement::ModelCost& model,
                                         const placement::Workload& workload,
                                         std::vector<SurveyedRank> surveyed,
                                         const std::vector<RankCandidate>& candidates,
                                         WireType wire) {
    EXO_ASSERT(!surveyed.empty() && surveyed.front().candidate == 0);
    settle_processors(surveyed);
    std::vector<placement::CandidateRank> ranks;
    std::vector<placement::LinkFigures> links;
    for (const SurveyedRank& from : surveyed) {
        ranks.push_back(describe(from, candidates[from.candidate]));
        for (const SurveyedRank& to : surveyed) links.push_back(between(from, to));
    }
    placement::SplitChoice choice =
        placement::choose_split(model, ranks, links, workload, bytes_per_value(wire));
    for (std::size_t& rank : choice.ranks) rank = surveyed[rank].candidate;
    return choice;
}

ChosenRanks chosen_ranks(const placement::SplitChoice& choice,
                         const std::vector<RankCandidate>& candidates) {
    const auto rank_count = static_cast<std::uint32_t>(choice.ranks.size());
    ChosenRanks out{.split = {.kind = SplitKind::hybrid,
                              .stage_count = choice.stage_count,
                              .ranks_per_stage = rank_count / choice.stage_count},
                    .shares = choice.shares,
                    .devices = {},
                    .peers = {}};
    for (const std::size_t rank : choice.ranks) {
        const RankCandidate& candidate = candidates[rank];
        out.devices.push_back(candidate.device);
        if (candidate.worker) {
            out.peers.push_back(*candidate.worker);
        } else {
            EXO_ASSERT(out.peers.empty());
            ++out.local_count;
        }
    }
    return out;
}

Result<placement::SplitChoice> choose_cluster(const engine::ModelFile& model,
                                              const engine::EngineOptions& options,
                                              const net::Identity& identity,
                                              const std::vector<RankCandidate>& candidates,
                                              WireType wire) {
    EXO_TRY_ASSIGN(const placement::Workload workload, workload_of(model.architecture, options));
    EXO_TRY_ASSIGN(const net::TlsContext tls, net::TlsContext::create(identity));
    Surveyor surveyor(tls,
                      {.weight_type = main_type(model),
                       .self_test_groups = engine::self_test_groups_for(model, options.cache_type),
                       .thread_count = options.thread_count});
    std::vector<SurveyedRank> surveyed;
    std::vector<std::string> not_measured;
    for (std::size_t rank = 0; rank < candidates.size(); ++rank) {
        auto one = surveyor.ask(rank, candidates[rank]);
        if (one) {
            surveyed.push_back(*std::move(one));
            continue;
        }
        Error error = std::move(one).error();
        const std::string name = rank_name(rank, candidates[rank], candidates[rank].device);
        if (error.code != ErrorCode::unsupported || rank == 0) {
            error.message = name + ": " + error.message;
            if (error.code == ErrorCode::unsupported && error.hint.empty()) {
                error.hint = "Name the split, or begin with a device that can be measured.";
            }
            return std::unexpected(std::move(error));
        }
        not_measured.push_back(name + " cannot be measured: " + error.message);
    }
    placement::SplitChoice choice = choose_by_surveys(cost_of(model, options.cache_type), workload,
                                                      std::move(surveyed), candidates, wire);
    choice.left_out.insert(choice.left_out.end(), not_measured.begin(), not_measured.end());
    return choice;
}

}  // namespace exomesh::runner
