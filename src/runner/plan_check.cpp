#include "runner/plan_check.h"

#include <string>

#include "engine/partition.h"

namespace exomesh::runner {

namespace {

std::unexpected<Error> bad_plan(std::size_t rank, const std::string& why) {
    return fail(ErrorCode::invalid_argument,
                "the plan cannot be carried out: rank " + std::to_string(rank) + " " + why + ".",
                "Run the same version of exomesh everywhere.");
}

}  // namespace

Result<void> check_plan(const engine::ModelFile& model, const LoadRequest& request) {
    const engine::Alignment alignment = engine::alignment_of(model.gguf, model.architecture);
    if (request.rank == 0) return bad_plan(0, "is the head itself");
    std::uint32_t layer_end = 0;
    const std::size_t first_rank = is_head_idle(request.ranks) ? 1 : 0;
    for (std::size_t rank = first_rank; rank < request.ranks.size(); ++rank) {
        const RankPlan& plan = request.ranks[rank];
        const bool is_first = rank == first_rank || plan.stage != request.ranks[rank - 1].stage;
        const int expected_stage =
            rank == first_rank ? 0 : request.ranks[rank - 1].stage + (is_first ? 1 : 0);
        if (plan.stage != expected_stage) return bad_plan(rank, "has a stage out of order");
        const engine::Range layers = plan.slice.layers;
        const bool follows =
            is_first ? layers.first == layer_end : layers == request.ranks[rank - 1].slice.layers;
        if (!follows) return bad_plan(rank, "has layers out of order");
        layer_end = layers.end();
        const auto checked = engine::check_slice(alignment, model.architecture, plan.slice);
        if (!checked) return bad_plan(rank, checked.error().message);
    }
    if (layer_end != model.architecture.layer_count) {
        return bad_plan(request.ranks.size() - 1, "does not have the last layers");
    }
    return {};
}

}  // namespace exomesh::runner
