#include "runner/member.h"

#include <array>
#include <functional>
#include <string>
#include <utility>

#include "engine/self_test_needs.h"
#include "platform/trace.h"

namespace exomesh::runner {

namespace {

using platform::SpanKind;
using platform::TraceScope;

constexpr auto states_type = static_cast<net::FrameType>(MessageType::states);

std::vector<net::DataLink*> group_links(const LoadRequest& request, Links& links) {
    std::vector<net::DataLink*> members;
    const std::uint16_t stage = request.ranks[request.rank].stage;
    for (std::size_t rank = 0; rank < request.ranks.size(); ++rank) {
        if (request.ranks[rank].stage != stage) continue;
        members.push_back(rank == request.rank ? nullptr : &links.at(rank));
    }
    return members;
}

}  // namespace

Member::Member(const LoadRequest& request, Links& links, ComputeWatch* watch)
    : request_(request),
      links_(&links),
      watch_(watch),
      group_(request.wire, group_links(request, links), request.link, watch) {
    const std::uint16_t stage = request.ranks[request.rank].stage;
    is_last_stage_ = stage == request.ranks.back().stage;
    is_leader_ = leader_of(request.ranks, stage) == request.rank;
    for (std::size_t rank = 1; request.rank == 0 && rank < request.ranks.size(); ++rank) {
        if (request.ranks[rank].stage == request.ranks.back().stage)
            output_links_.push_back(&links.at(rank));
    }
    if (request.checks_sums) check_.emplace(group_, group_links(request, links));
}

Result<std::unique_ptr<Member>> Member::create(const engine::ModelFile& model,
                                               const LoadRequest& request, Links& links,
                                               std::function<void(double)> on_progress,
                                               ComputeWatch* watch) {
    std::unique_ptr<Member> member(new Member(request, links, watch));
    const bool is_alone = member->group_.size() == 1;
    EXO_TRY_ASSIGN(const device::Choice choice,
                   device::DeviceRegistry::instance().choose(
                       request.device, engine::self_test_groups_for(model, request.cache_type)));
    member->device_id_ = choice.device.facts.id;
    member->device_kind_ = choice.device.facts.kind;
    member->embedding_length_ = model.architecture.embedding_length;
    engine::Reducer* sums = &member->group_;
    if (member->check_) sums = &*member->check_;
    const engine::ShardOptions options{.device = choice.device,
                                       .thread_count = request.thread_count,
                                       .slot_count = request.slot_count,
                                       .context_length = request.context_length,
                                       .chunk_length = request.chunk_length,
                                       .cache_type = request.cache_type,
                                       .weight_layout = request.weight_layout,
                                       .attention = request.flash_attention
                                                        ? engine::AttentionKind::flash
                                                        : engine::AttentionKind::plain,
                                       .reducer = is_alone ? nullptr : sums,
                                       .overlap_tokens_min = request.overlap_tokens_min,
                                       .on_progress = std::move(on_progress)};
    EXO_TRY_ASSIGN(member->shard_,
                   engine::Shard::create(model, request.ranks[request.rank].slice, options));
    return member;
}

Result<std::span<const float>> Member::compute(std::span<const engine::SlotTokens> batch,
                                               net::Deadline deadline) {
    batch_.assign(batch.begin(), batch.end());
    for (engine::SlotTokens& slot : batch_) {
        // The next stage needs every token's states for its keys and values.
        if (!is_last_stage_) slot.outputs = engine::OutputRows::all;
    }
    states_.clear();
    if (request_.ranks[request_.rank].stage > 0)
        EXO_TRY(receive_states(engine::token_count(batch_), deadline));
    group_.begin_step(deadline);
    const auto output = compute_states();
    EXO_TRY(group_.end_step());
    if (check_) EXO_TRY(check_->compare(deadline));
    if (!output) return std::unexpected(output.error());
    if (is_last_stage_) return output;
    if (is_leader_) EXO_TRY(send_states(*output, deadline));
    return std::span<const float>();
}

Result<std::span<const float>> Member::compute_states() {
    const ComputeScope scope(watch_, extent_of(batch_));
    return shard_->compute_states(batch_, states_);
}

Result<void> Member::receive_states(std::size_t token_count, net::Deadline deadline) {
    const auto stage = request_.ranks[request_.rank].stage;
    net::DataLink& link =
        links_->at(leader_of(request_.ranks, static_cast<std::uint16_t>(stage - 1)));
    states_.resize(token_count * embedding_length_);
    encoded_.resize(encoded_size_bytes(request_.wire, states_.size()));
    const TraceScope trace(SpanKind::states_in, states_.size(), link.peer_rank());
    TraceScope part(SpanKind::wait, encoded_.size(), link.peer_rank());
    EXO_TRY(link.receive_into(states_type, encoded_, deadline));
    part.next(SpanKind::decode, encoded_.size());
    decode(request_.wire, encoded_, states_);
    if (check_) check_->add(states_);
    return {};
}

Result<void> Member::send_states(std::span<const float> states, net::Deadline deadline) {
    encoded_.resize(encoded_size_bytes(request_.wire, states.size()));
    const TraceScope trace(SpanKind::states_out, states.size());
    TraceScope part(SpanKind::encode, encoded_.size());
    encode(request_.wire, states, encoded_);
    const std::array<net::Bytes, 1> parts = {encoded_};
    std::vector<net::Outgoing> messages;
    const std::uint16_t stage = request_.ranks[request_.rank].stage;
    for (std::size_t rank = 0; rank < request_.ranks.size(); ++rank) {
        if (request_.ranks[rank].stage != stage + 1) continue;
        messages.push_back({.link = &links_->at(rank), .type = states_type, .parts = parts});
    }
    part.next(SpanKind::send, encoded_.size());
    return net::send_all(messages, deadline, output_links_);
}

Result<void> Member::sum(std::span<float> values, net::Deadline deadline) {
    group_.begin_step(deadline);
    group_.reduce(values.data(), static_cast<std::int64_t>(values.size()), 1);
    return group_.end_step();
}

Result<void> Member::copy_slot(const CopySlot& copy) {
    const TraceScope trace(SpanKind::copy_slot, copy.length);
    const ComputeScope scope(watch_, {.token_count = 0, .position = copy.length});
    return shard_->copy_slot(copy.from_slot, copy.to_slot, copy.length);
}

}  // namespace exomesh::runner
