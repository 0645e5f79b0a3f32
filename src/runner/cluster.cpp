#include "runner/cluster.h"

#include <algorithm>
#include <array>
#include <deque>
#include <utility>

#include "platform/clock.h"
#include "platform/short_turns.h"
#include "platform/trace.h"
#include "runner/cluster_plan.h"
#include "runner/control.h"
#include "runner/head_recording.h"
#include "runner/link_probe.h"
#include "runner/links.h"
#include "runner/member.h"
#include "runner/messages.h"
#include "runner/model_content.h"
#include "runner/monitor.h"
#include "runner/output_rows.h"

namespace exomesh::runner {

namespace {

constexpr std::uint64_t connect_ms_max = 10'000;
constexpr std::uint64_t links_ms_max = 60'000;
constexpr std::uint64_t step_ms_max = 600'000;

// Of one rank. Links keep that and a bit: what encrypting adds.
constexpr std::size_t kept_output_bytes_max = net::frame_payload_bytes_max;

Error about_rank(std::size_t rank, Error error) {
    error.message = "rank " + std::to_string(rank) + ": " + error.message;
    return error;
}

// For the largest tensor group: all stages are given the same.
std::uint32_t worthwhile_overlap(const engine::ModelFile& model, const LoadRequest& request) {
    std::size_t group_size = 1;
    for (const RankPlan& rank : request.ranks) {
        const auto size = std::ranges::count(request.ranks, rank.stage, &RankPlan::stage);
        group_size = std::max(group_size, static_cast<std::size_t>(size));
    }
    if (group_size == 1) return 0;
    const std::uint64_t sum_count = 2ULL * model.architecture.layer_count * group_size;
    return choose_overlap_tokens({.rank_count = group_size,
                                  .embedding_length = model.architecture.embedding_length,
                                  .chunk_length = request.chunk_length,
                                  .weight_bytes = request.model_size_bytes / sum_count,
                                  .wire = request.wire,
                                  .link = request.link});
}

struct StepInFlight {
    std::uint32_t number = 0;
    std::vector<engine::RowNeeds> rows;
    std::size_t output_bytes = 0;  // of the rank that sends most of it
    OutputCollector output;
    bool is_collected = false;
    Result<void> collected;  // how that went
};

class Cluster final : public engine::StepExecutor {
  public:
    Cluster(const engine::ModelFile& model, LoadRequest request, const ClusterOptions& options)
        : model_(model), request_(std::move(request)), options_(options) {}

    ~Cluster() override {
        if (!recording_ || step_number_ == 0) return;
        std::vector<RecordedSpans> recorded = monitor_->collect(step_number_);
        monitor_.reset();
        if (!options_.on_close) return;
        options_.on_close({recording_->figures().statistics(), std::move(recorded)});
    }

    Result<std::vector<ReadyReport>> open(std::function<void(double)> on_progress) {
        if (is_idle()) platform::prefer_short_turns();  // ranks may compute on all processors
        EXO_TRY_ASSIGN(const net::TlsContext tls, net::TlsContext::create(options_.identity));
        EXO_TRY_ASSIGN(std::vector<net::DataLink> controls, order_workers(tls));
        if (request_.recording != Recording::nothing)
            recording_.emplace(request_.ranks.size(), options_.on_step);
        monitor_.emplace(
            std::move(controls), [this] { links_.interrupt(); }, options_.explain_loss, watch());
        EXO_TRY(monitor_->wait_until_dialling());
        const auto linked =
            links_.open(request_, tls, nullptr, net::Deadline::after_ms(links_ms_max));
        if (!linked) return std::unexpected(explained(linked.error()));
        if (!is_idle()) {
            EXO_TRY_ASSIGN(member_, Member::create(model_, request_, links_, on_progress));
            on_progress = nullptr;  // it was the head's own
        }
        EXO_TRY_ASSIGN(auto reports, monitor_->wait_until_ready(on_progress));
        EXO_TRY(check_contents(reports));
        if (recording_) recording_->figures().set_names(rank_names(reports));
        if (!options_.on_links || is_idle()) return reports;
        const auto links = survey_links(request_, links_, *member_);
        if (!links) return std::unexpected(explained(links.error()));
        options_.on_links(*links);
        return reports;
    }

    [[nodiscard]] std::uint32_t stage_count() const override {
        return request_.ranks.back().stage + 1U;
    }

    Result<void> start(std::span<const engine::SlotTokens> batch) override {
        StepInFlight step = describe(batch);
        EXO_TRY(named(make_room(step)));
        if (recording_) recording_->begin_step(step.number, batch, links_);
        auto started = start_step(batch, std::move(step));
        if (recording_ && started) recording_->started(links_);
        if (recording_ && !started) recording_->failed();
        return named(std::move(started));
    }

    std::optional<Error> loss() override { return monitor_->known_failure(); }

    Result<std::span<const engine::OutputRow>> finish() override {
        finished_ = std::move(in_flight_.front());
        in_flight_.pop_front();
        auto collected = collect(finished_);
        if (recording_) recording_->finished(links_);
        EXO_TRY(named(std::move(collected)));
        return finished_.output.finish();
    }

    Result<void> copy_slot(std::uint32_t from_slot, std::uint32_t to_slot,
                           std::uint32_t length) override {
        const CopySlot copy{.from_slot = from_slot, .to_slot = to_slot, .length = length};
        const auto payload = encode_copy_slot(copy);
        EXO_TRY(named(tell_all(MessageType::copy_slot, payload)));
        return is_idle() ? Result<void>() : member_->copy_slot(copy);
    }

    [[nodiscard]] std::uint32_t output_length() const override {
        return model_.architecture.vocabulary_size;
    }
    [[nodiscard]] std::uint32_t context_length() const override { return request_.context_length; }
    // Of the head alone.
    [[nodiscard]] std::uint64_t weight_bytes() const override {
        return is_idle() ? 0 : member_->shard().weight_bytes();
    }
    [[nodiscard]] std::uint64_t cache_bytes() const override {
        return is_idle() ? 0 : member_->shard().cache_bytes();
    }
    [[nodiscard]] std::uint64_t compute_bytes() const override {
        return is_idle() ? 0 : member_->shard().compute_bytes();
    }
    [[nodiscard]] std::string device_id() const {
        return is_idle() ? std::string() : member_->device_id();
    }
    [[nodiscard]] bool is_idle() const { return is_head_idle(request_.ranks); }

  private:
    // Connects to every worker and tells it what to load. All are connected before the first is
    // told: none loads in vain where another one is busy.
    Result<std::vector<net::DataLink>> order_workers(const net::TlsContext& tls) {
        std::vector<net::DataLink> controls;
        for (std::size_t rank = 1; rank < request_.ranks.size(); ++rank) {
            EXO_TRY_ASSIGN(net::DataLink control, call_until_free([&] { return call(rank, tls); }));
            controls.push_back(std::move(control));
        }
        EXO_TRY_ASSIGN(const LinkFigures measured, probe_links(controls));
        const bool is_here =
            std::ranges::all_of(options_.workers, is_loopback, &WorkerAddress::host);
        request_.link =
            settled_figures(measured, is_here ? Nearness::one_machine : Nearness::network);
        request_.overlap_tokens_min =
            options_.overlap_tokens_min.value_or(worthwhile_overlap(model_, request_));
        for (std::size_t rank = 1; rank < request_.ranks.size(); ++rank) {
            LoadRequest order = request_;
            order.rank = static_cast<std::uint16_t>(rank);
            const std::size_t place = is_idle() ? rank - 1 : rank;  // among those that compute
            if (!options_.devices.empty()) order.device = options_.devices[place];
            if (!options_.thread_counts.empty()) order.thread_count = options_.thread_counts[place];
            const auto payload = encode_load_request(order);
            auto sent = controls[rank - 1].send(frame_type(MessageType::load), {payload},
                                                net::Deadline::after_ms(connect_ms_max));
            if (!sent) {
                return std::unexpected(
                    error_of_worker(rank, controls[rank - 1], std::move(sent).error()));
            }
        }
        return controls;
    }

    Result<net::DataLink> call(std::size_t rank, const net::TlsContext& tls) const {
        const WorkerAddress& worker = options_.workers[rank - 1];
        const net::LinkSetup setup = control_setup(tls, ControlRole::head, {worker.peer_id});
        auto control = net::DataLink::connect(worker.host, worker.port, setup,
                                              net::Deadline::after_ms(connect_ms_max));
        if (!control) return std::unexpected(lost(rank, std::move(control).error()));
        auto welcome = await_welcome(*control, net::Deadline::after_ms(connect_ms_max));
        if (welcome) return control;
        return std::unexpected(error_of_worker(rank, *control, std::move(welcome).error()));
    }

    // Why somebody cannot be reached, where the host of its process knows more.
    [[nodiscard]] Error lost(std::size_t rank, Error error) const {
        const std::string reason =
            options_.explain_loss ? options_.explain_loss(rank) : std::string();
        if (!reason.empty()) error.message = reason;
        return about_rank(rank, std::move(error));
    }

    // Whether all have the same weights. The head's file is read only where somebody has another
    // one.
    Result<void> check_contents(const std::vector<ReadyReport>& reports) {
        for (std::size_t worker = 0; worker < reports.size(); ++worker) {
            const std::string& theirs = reports[worker].model_content;
            if (theirs.empty()) continue;
            if (theirs == content_checksum(model_, content_cache_folder())) continue;
            return std::unexpected(
                about_rank(worker + 1, {ErrorCode::invalid_argument,
                                        "its copy of the model has other weights than the head's.",
                                        "Copy the head's file there."}));
        }
        return {};
    }

    // The step to come, in the memory of the one that was finished last.
    StepInFlight describe(std::span<const engine::SlotTokens> batch) {
        StepInFlight step = std::exchange(finished_, {});
        step.number = step_number_;
        step.is_collected = false;
        step.collected = {};
        step.output_bytes = 0;
        list_rows(batch, step.rows);
        for (const RankPlan& rank : std::span(request_.ranks).subspan(1)) {
            if (!rank.slice.heads) continue;
            step.output_bytes =
                std::max(step.output_bytes, output_bytes(step.rows, rank.slice.vocabulary.count));
        }
        return step;
    }

    // The last stage may send all of its output while this step goes out. What a link keeps then
    // has a limit, at which nobody would get on.
    Result<void> make_room(const StepInFlight& step) {
        std::size_t kept_bytes = step.output_bytes;
        for (const StepInFlight& other : in_flight_)
            kept_bytes += other.is_collected ? 0 : other.output_bytes;
        for (StepInFlight& other : in_flight_) {
            if (kept_bytes <= kept_output_bytes_max) break;
            if (other.is_collected) continue;
            EXO_TRY(collect(other));
            kept_bytes -= other.output_bytes;
        }
        return {};
    }

    // Tells all ranks and does the head's own part; in a pipeline the others go on meanwhile.
    Result<void> start_step(std::span<const engine::SlotTokens> batch, StepInFlight step) {
        const auto deadline = net::Deadline::after_ms(step_ms_max);
        platform::trace_step(step.number);
        const platform::TraceScope trace(platform::SpanKind::step, engine::token_count(batch));
        encode_step(step_number_++, batch, payload_);
        EXO_TRY(tell_all(MessageType::step, payload_));
        if (!is_idle()) EXO_TRY(compute_own(batch, step.rows, deadline));
        in_flight_.push_back(std::move(step));
        return {};
    }

    Result<void> compute_own(std::span<const engine::SlotTokens> batch,
                             const std::vector<engine::RowNeeds>& rows, net::Deadline deadline) {
        EXO_TRY_ASSIGN(const std::span<const float> logits, member_->compute(batch, deadline));
        const engine::ShardSlice& slice = request_.ranks.front().slice;
        if (slice.heads) own_output_ = encoder_.encode(rows, logits, slice.vocabulary);
        return {};
    }

    // Puts the rows of the oldest output to come together, once.
    Result<void> collect(StepInFlight& step) {
        platform::trace_step(step.number);
        if (!std::exchange(step.is_collected, true)) step.collected = gather(step);
        return step.collected;
    }

    // From the ranks of the last stage.
    Result<void> gather(StepInFlight& step) {
        const platform::TraceScope trace(platform::SpanKind::logits_in, step.rows.size());
        const auto deadline = net::Deadline::after_ms(step_ms_max);
        step.output.begin(step.rows, output_length());
        for (std::size_t rank = 0; rank < request_.ranks.size(); ++rank) {
            const engine::ShardSlice& slice = request_.ranks[rank].slice;
            if (!slice.heads) continue;
            if (rank == 0) {
                EXO_TRY(step.output.add(slice.vocabulary, own_output_));
                continue;
            }
            const platform::TraceScope wait(platform::SpanKind::wait, 0,
                                            links_.at(rank).peer_rank());
            EXO_TRY_ASSIGN(const net::Message message, links_.at(rank).receive(deadline));
            if (message.type == frame_type(MessageType::failure)) {
                return std::unexpected(decode_failure(message.payload));
            }
            if (message.type != frame_type(MessageType::output)) {
                return fail(ErrorCode::corrupt_data,
                            links_.at(rank).peer_name() + " sent something else than its output.");
            }
            if (auto added = step.output.add(slice.vocabulary, message.payload); !added) {
                return std::unexpected(about_rank(rank, std::move(added).error()));
            }
        }
        return {};
    }

    Result<void> tell_all(MessageType type, std::span<const std::byte> payload) {
        const platform::TraceScope trace(platform::SpanKind::order, payload.size());
        const std::array<net::Bytes, 1> parts = {payload};
        std::vector<net::Outgoing>& messages = messages_;
        messages.clear();
        for (std::size_t rank = 1; rank < request_.ranks.size(); ++rank) {
            messages.push_back(
                {.link = &links_.at(rank), .type = frame_type(type), .parts = parts});
        }
        return net::send_all(messages, net::Deadline::after_ms(step_ms_max));
    }

    // The reason behind a broken link, where the monitor knows it.
    Error explained(const Error& error) { return monitor_->failure().value_or(error); }

    template <typename T>
    Result<T> named(Result<T> result) {
        if (result || result.error().code == ErrorCode::invalid_argument) return result;
        return std::unexpected(explained(result.error()));
    }

    Watch watch() {
        return {.recording = request_.recording,
                .on_figures = [this](std::size_t rank,
                                     std::span<const StepFigures> figures) -> Result<void> {
                    for (const StepFigures& step : figures)
                        EXO_TRY(recording_->figures().add(rank, step));
                    return {};
                }};
    }

    [[nodiscard]] std::vector<RankFacts> rank_names(const std::vector<ReadyReport>& reports) const {
        std::vector<RankFacts> names;
        for (std::size_t rank = 0; rank < request_.ranks.size(); ++rank) {
            const engine::Range layers = request_.ranks[rank].slice.layers;
            RankFacts facts{.layer_first = layers.first, .layer_count = layers.count};
            facts.is_idle = rank == 0 && is_idle();
            facts.device = rank == 0 ? device_id() : reports[rank - 1].device;
            if (rank > 0) {
                const WorkerAddress& worker = options_.workers[rank - 1];
                facts.host = worker.host + ":" + std::to_string(worker.port);
            }
            names.push_back(std::move(facts));
        }
        return names;
    }

    const engine::ModelFile& model_;
    LoadRequest request_;
    const ClusterOptions options_;
    Links links_;
    std::unique_ptr<Member> member_;  // none of an idle head
    std::optional<HeadRecording> recording_;
    std::optional<Monitor> monitor_;  // ends before what it may interrupt and tell
    std::uint32_t step_number_ = 0;
    std::vector<std::byte> payload_;
    std::vector<net::Outgoing> messages_;
    std::deque<StepInFlight> in_flight_;     // oldest first
    std::span<const std::byte> own_output_;  // of the step that was started last
    StepInFlight finished_;                  // whose rows were given last
    OutputEncoder encoder_;
};

}  // namespace

Result<engine::OpenedShard> open_cluster(const engine::ModelFile& model,
                                         const engine::EngineOptions& options,
                                         const ClusterOptions& cluster) {
    const std::uint64_t begin_us = platform::monotonic_us();
    EXO_TRY_ASSIGN(LoadRequest request, make_cluster_plan(model, options, cluster));
    const std::uint32_t context_length = request.context_length;
    auto executor = std::make_unique<Cluster>(model, std::move(request), cluster);
    EXO_TRY_ASSIGN(const std::vector<ReadyReport> reports, executor->open(options.on_progress));
    const std::size_t rank_count = reports.size() + (cluster.is_head_idle ? 0 : 1);
    engine::EngineInformation information{
        .device = executor->device_id(),
        .device_reason = std::to_string(rank_count) + " ranks compute together.",
        .context_length = context_length,
        .slot_count = options.slot_count,
        .weight_bytes = executor->weight_bytes(),
        .cache_bytes = executor->cache_bytes(),
        .compute_bytes = executor->compute_bytes(),
        .load_us = platform::monotonic_us() - begin_us};
    for (const ReadyReport& report : reports) {
        information.device += (information.device.empty() ? "" : " + ") + report.device;
        information.weight_bytes += report.weight_bytes;
        information.cache_bytes += report.cache_bytes;
        information.compute_bytes += report.compute_bytes;
    }
    return engine::OpenedShard{std::move(executor), std::move(information)};
}

}  // namespace exomesh::runner
