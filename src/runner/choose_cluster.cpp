#include "runner/choose_cluster.h"

#include <algorithm>
#include <map>
#include <utility>

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

struct Surveyed {
    std::size_t rank = 0;  // of the candidates
    DeviceSurvey device;
    std::optional<placement::LinkFigures> link;  // to the head; nothing: it is on the same machine
};

// Asks one candidate after the other; devices of this machine once.
class Surveyor {
  public:
    Surveyor(const net::TlsContext& tls, std::string weight_type)
        : tls_(tls), weight_type_(std::move(weight_type)) {}

    Result<Surveyed> ask(std::size_t rank, const RankCandidate& candidate) {
        Surveyed out{.rank = rank, .device = {}, .link = std::nullopt};
        const SurveyQuestion question{.device = candidate.device, .weight_type = weight_type_};
        if (!candidate.worker) {
            auto known = here_.find(candidate.device);
            if (known == here_.end()) {
                EXO_TRY_ASSIGN(DeviceSurvey survey, survey_device(question));
                known = here_.emplace(candidate.device, std::move(survey)).first;
            }
            out.device = known->second;
            return out;
        }
        EXO_TRY_ASSIGN(WorkerSurvey worker, survey_worker(*candidate.worker, tls_, question));
        out.device = std::move(worker.device);
        out.link = placement::LinkFigures{
            .latency_us = static_cast<double>(worker.link.latency_us),
            .bytes_per_s = 1e3 * static_cast<double>(worker.link.bytes_per_ms),
            .message_us = guessed::message_us};
        return out;
    }

  private:
    const net::TlsContext& tls_;
    std::string weight_type_;
    std::map<std::string, DeviceSurvey> here_;  // by the device as it was typed
};

placement::CandidateRank describe(const Surveyed& surveyed, const RankCandidate& candidate) {
    const DeviceSurvey& device = surveyed.device;
    const bool is_cpu = device.device == "cpu";
    return {.name = rank_name(surveyed.rank, candidate, device.device),
            .device = {.read_bytes_per_s = device.read_bytes_per_s,
                       .flops_per_s = guessed::flops_per_s,
                       .part_us = is_cpu ? guessed::part_us_cpu : guessed::part_us_gpu,
                       .value_us = guessed::value_us,
                       .wake_us = guessed::wake_us},
            .memory_bytes = static_cast<double>(device.memory_bytes),
            .processor = device.processor};
}

// All of a link counts where two differ: latency and rate of the slower way to the head.
placement::LinkFigures between(const Surveyed& a, const Surveyed& b) {
    if (!a.link && !b.link) return guessed::loopback;
    if (!a.link) return *b.link;
    if (!b.link) return *a.link;
    return {.latency_us = std::max(a.link->latency_us, b.link->latency_us),
            .bytes_per_s = std::min(a.link->bytes_per_s, b.link->bytes_per_s),
            .message_us = guessed::message_us};
}

// Who shares a processor measured the same one: the slower figures were disturbed.
void settle_processors(std::vector<Surveyed>& surveyed) {
    std::map<std::string, double> fastest;
    for (const Surveyed& one : surveyed) {
        double& best = fastest[one.device.processor];
        best = std::max(best, one.device.read_bytes_per_s);
    }
    for (Surveyed& one : surveyed) {
        if (one.device.processor.empty()) continue;
        one.device.read_bytes_per_s = fastest[one.device.processor];
    }
}

placement::SplitChoice decide(const engine::ModelFile& model, const std::vector<Surveyed>& surveyed,
                              const std::vector<RankCandidate>& candidates,
                              engine::CacheType cache_type) {
    std::vector<placement::CandidateRank> ranks;
    std::vector<placement::LinkFigures> links;
    for (const Surveyed& from : surveyed) {
        ranks.push_back(describe(from, candidates[from.rank]));
        for (const Surveyed& to : surveyed) links.push_back(between(from, to));
    }
    const double cache_value_bytes = cache_type == engine::CacheType::q8_0 ? 34.0 / 32.0 : 2.0;
    placement::SplitChoice choice = placement::choose_split(
        placement::model_cost(model.gguf, model.architecture, cache_value_bytes), ranks, links,
        {.context_length = guessed::context_length});
    for (std::size_t& rank : choice.ranks) rank = surveyed[rank].rank;
    return choice;
}

}  // namespace

Result<placement::SplitChoice> choose_cluster(const engine::ModelFile& model,
                                              const std::vector<RankCandidate>& candidates,
                                              const ChooseOptions& options) {
    EXO_TRY_ASSIGN(const net::TlsContext tls, net::TlsContext::create(options.identity));
    Surveyor surveyor(tls, main_type(model));
    std::vector<Surveyed> surveyed;
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
    settle_processors(surveyed);
    placement::SplitChoice choice = decide(model, surveyed, candidates, options.cache_type);
    choice.left_out.insert(choice.left_out.end(), not_measured.begin(), not_measured.end());
    return choice;
}

}  // namespace exomesh::runner
