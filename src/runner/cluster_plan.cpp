#include "runner/cluster_plan.h"

#include <openssl/rand.h>

#include <algorithm>
#include <filesystem>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/assert.h"
#include "engine/open_shard.h"
#include "net/frame.h"
#include "runner/model_content.h"
#include "runner/model_identity.h"

namespace exomesh::runner {

namespace {

// Every slot may want a whole row in one step, and a rank's rows of a step are one message.
Result<void> check_slot_count(std::uint32_t slot_count, std::span<const PlannedRank> workers) {
    std::size_t row_bytes = 1;
    for (const PlannedRank& rank : workers) {
        if (rank.slice.heads)
            row_bytes = std::max(row_bytes, rank.slice.vocabulary.count * sizeof(float));
    }
    const std::size_t count_max = net::frame_payload_bytes_max / row_bytes;
    if (slot_count <= count_max) return {};
    return fail(ErrorCode::invalid_argument,
                std::to_string(slot_count) + " slots are too many for this model: " +
                    "their probabilities do not fit into one message to the head.",
                "Use at most --slots " + std::to_string(count_max) + ".");
}

// The states of a chunk are one message, to the next stage or to be summed.
Result<void> check_chunk_length(std::uint32_t chunk_length, std::uint32_t embedding_length,
                                WireType wire) {
    const std::size_t count_max =
        net::frame_payload_bytes_max / encoded_size_bytes(wire, embedding_length);
    if (chunk_length <= count_max) return {};
    return fail(ErrorCode::invalid_argument,
                "a chunk of " + std::to_string(chunk_length) +
                    " prompt tokens is too long for this model: its states do not fit into one " +
                    "message between ranks.",
                "Use at most --chunk " + std::to_string(count_max) + ".");
}

Result<void> check_count_of_devices(const ClusterOptions& cluster, std::size_t rank_count) {
    if (cluster.devices.empty() || cluster.devices.size() == rank_count) return {};
    return fail(ErrorCode::invalid_argument,
                std::to_string(cluster.devices.size()) + " of the devices were given for " +
                    std::to_string(rank_count) + " ranks.",
                "Name one for each rank, in their order.");
}

// Who computes what: the head, and then the workers.
Result<std::vector<RankPlan>> plan_all(const engine::ModelFile& model,
                                       const engine::EngineOptions& options,
                                       const ClusterOptions& cluster) {
    const std::size_t worker_count = cluster.workers.size();
    const std::size_t computing_count = worker_count + (cluster.is_head_idle ? 0 : 1);
    if (worker_count >= rank_count_max) {
        return fail(ErrorCode::invalid_argument,
                    std::to_string(worker_count) + " workers are too many.",
                    "Use at most " + std::to_string(rank_count_max - 1) + ".");
    }
    EXO_TRY_ASSIGN(const auto planned,
                   plan_ranks(model, cluster.split, static_cast<std::uint32_t>(computing_count),
                              cluster.shares));
    EXO_TRY(check_count_of_devices(cluster, computing_count));
    EXO_ASSERT(cluster.thread_counts.empty() || cluster.thread_counts.size() == computing_count);
    EXO_TRY(check_slot_count(options.slot_count, std::span(planned).last(worker_count)));
    std::vector<RankPlan> ranks;
    if (cluster.is_head_idle) {
        engine::ShardSlice nothing;
        nothing.embeds = false;
        nothing.heads = false;
        ranks.push_back({.stage = stage_none, .slice = nothing});
    }
    for (const PlannedRank& rank : planned)
        ranks.push_back({.stage = rank.stage, .slice = rank.slice});
    ranks.front().peer_id = cluster.identity.peer_id().text();
    for (std::size_t i = 0; i < worker_count; ++i) {
        const WorkerAddress& worker = cluster.workers[i];
        RankPlan& rank = ranks[i + 1];
        rank.host = worker.host;
        rank.port = worker.port;
        rank.peer_id = worker.peer_id.text();
    }
    return ranks;
}

}  // namespace

Result<LoadRequest> make_cluster_plan(const engine::ModelFile& model,
                                      const engine::EngineOptions& options,
                                      const ClusterOptions& cluster) {
    EXO_TRY_ASSIGN(const std::uint32_t context_length,
                   engine::choose_context_length(options, model.architecture));
    LoadRequest request;
    EXO_TRY_ASSIGN(request.ranks, plan_all(model, options, cluster));
    // A worker on this machine may stand in another folder.
    std::error_code ignored;
    request.model_path = std::filesystem::absolute(options.model_path, ignored).string();
    request.model_size_bytes = model.file.bytes().size();
    request.model_checksum = model_checksum(model);
    request.model_stamp = model_stamp(model);
    const int random = RAND_bytes(reinterpret_cast<unsigned char*>(request.session_id.data()),
                                  static_cast<int>(request.session_id.size()));
    if (random != 1) return fail(ErrorCode::io, "the system has no random numbers.");
    request.wire = cluster.wire;
    request.device = cluster.devices.empty() ? options.device : cluster.devices[0];
    request.thread_count =
        cluster.thread_counts.empty() ? options.thread_count : cluster.thread_counts[0];
    request.slot_count = options.slot_count;
    request.context_length = context_length;
    request.chunk_length = std::clamp(options.chunk_length, 1U, context_length);
    if (cluster.is_head_idle ? cluster.workers.size() > 1 : !cluster.workers.empty()) {
        EXO_TRY(check_chunk_length(request.chunk_length, model.architecture.embedding_length,
                                   cluster.wire));
    }
    request.spin_us = cluster.spin_us;
    request.cache_type = options.cache_type;
    request.weight_layout = options.weight_layout;
    request.flash_attention = options.flash_attention;
    request.recording = cluster.recording;
    request.checks_sums = cluster.checks_sums;
    return request;
}

}  // namespace exomesh::runner
