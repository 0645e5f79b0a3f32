#include "runner/testing/load_request.h"

#include "base/assert.h"
#include "runner/model_identity.h"
#include "runner/split.h"

namespace exomesh::runner::testing {

LoadRequest make_load_request(const TemporaryModel& model, const std::string& split,
                              std::uint32_t rank_count) {
    const auto parsed = parse_split(split);
    EXO_ASSERT(parsed.has_value());
    const auto planned = plan_ranks(model.file(), *parsed, rank_count, {});
    EXO_ASSERT(planned.has_value());
    LoadRequest request;
    request.model_path = model.path();
    request.model_size_bytes = model.file().file.bytes().size();
    request.model_checksum = model_checksum(model.file());
    request.session_id.fill(std::byte{3});
    request.rank = 1;
    for (const PlannedRank& rank : *planned) {
        RankPlan plan;
        plan.host = "127.0.0.1";
        plan.stage = rank.stage;
        plan.slice = rank.slice;
        request.ranks.push_back(std::move(plan));
    }
    request.wire = WireType::f32;
    request.thread_count = 1;
    request.slot_count = play_slot_count;
    request.context_length = 256;
    request.chunk_length = 16;
    request.spin_us = 0;
    return request;
}

}  // namespace exomesh::runner::testing
