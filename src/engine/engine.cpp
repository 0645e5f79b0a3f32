#include "engine/engine.h"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <exception>
#include <future>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <utility>

#include "base/assert.h"
#include "engine/chunk_choice.h"
#include "engine/open_shard.h"
#include "engine/sequence.h"
#include "engine/shard.h"
#include "engine/step_plan.h"
#include "platform/clock.h"
#include "platform/trace.h"

namespace exomesh::engine {

namespace {

// One place for a running request, and the tokens whose keys and values it holds once the steps in
// flight are over.
struct Slot {
    std::vector<TokenId> tokens;
    std::optional<Sequence> sequence;
    std::uint64_t last_used = 0;
    std::uint32_t step_count = 0;  // steps in flight that compute for it
    bool is_cancelled = false;     // ends when they are over
};

// A step that was started: what it computes, for which tokens.
struct RunningStep {
    std::vector<PlannedTokens> plan;
    std::vector<SlotTokens> batch;
    std::uint32_t prompt_token_count = 0;
    bool follows_another = false;  // which was in flight when this one began
    std::uint64_t begin_us = 0;

    [[nodiscard]] bool is_all_prompt() const { return prompt_token_count == token_count(batch); }
};

struct LoadedModel {
    std::unique_ptr<const ModelFile> file;
    model::Tokenizer tokenizer;
    std::optional<model::ChatTemplate> chat_template = {};
    std::optional<Error> chat_template_error = {};
};

Result<LoadedModel> load_model(const std::string& path) {
    EXO_TRY_ASSIGN(auto file, ModelFile::open(path));
    auto tokenizer = model::Tokenizer::create(file->gguf);
    if (!tokenizer) return std::unexpected(about_file(path, std::move(tokenizer).error()));
    LoadedModel loaded{.file = std::move(file), .tokenizer = *std::move(tokenizer)};
    const auto source = loaded.file->gguf.string("tokenizer.chat_template");
    if (!source) return loaded;  // a base model
    auto parsed = model::ChatTemplate::create(*source);
    if (parsed) {
        loaded.chat_template = *std::move(parsed);
    } else {
        loaded.chat_template_error = about_file(
            path, {.code = ErrorCode::unsupported,
                   .message = "its conversations cannot be written: " + parsed.error().message,
                   .hint = "Give it plain text: `exomesh run --raw`, or POST /v1/completions."});
    }
    return loaded;
}

}  // namespace

struct Engine::State {
    explicit State(LoadedModel loaded) : model(std::move(loaded)) {}

    // Read-only once create() has returned.
    LoadedModel model;
    EngineOptions options;

    // Shared with the callers.
    std::mutex mutex;
    EngineInformation information;
    std::condition_variable wake;
    std::deque<Sequence> waiting;
    std::set<RequestId> cancelled;
    bool stopping = false;
    EngineStatistics statistics;
    RequestId next_id = 1;

    // Of the compute thread alone.
    std::unique_ptr<StepExecutor> shard;
    std::vector<Slot> slots;
    std::uint64_t use_count = 0;
    std::deque<RunningStep> running;  // oldest first
    std::uint64_t last_finish_us = 0;
    ChunkChooser chunk_chooser;
    std::optional<std::uint32_t> chunk_length;  // empty: to be chosen anew

    std::thread thread;

    bool is_broken = false;  // what options.open opened has failed and must be opened anew

    Result<OpenedShard> open_executor();
    Result<void> open();
    Result<void> reopen();
    void tell(const std::string& event) const;
    void run();
    bool wait_for_work();
    void cancel_sequences();
    void end_if_cancelled(Slot& slot);
    void notice_loss();
    void fill_slots();
    void start(Sequence sequence);
    bool start_step();
    void finish_step();
    void advance(const std::vector<PlannedTokens>& plan, std::span<const OutputRow> rows);
    void abandon(const Error& error);
    void fail_waiting(const Error& error);
    void finish_slot(Slot& slot);
    [[nodiscard]] std::vector<SlotWork> work() const;
    [[nodiscard]] std::uint32_t choose_chunk_length(std::span<const SlotWork> work);
    void observe(const RunningStep& step, std::uint64_t duration_us);
    [[nodiscard]] bool has_active() const;
};

// On the compute thread, where an exception would end the process.
Result<OpenedShard> Engine::State::open_executor() try {
    return options.open ? options.open(*model.file, options) : open_shard(*model.file, options);
} catch (const std::exception& exception) {
    return fail(ErrorCode::unavailable,
                std::string("the model cannot be opened: ") + exception.what() + ".");
}

Result<void> Engine::State::open() {
    EXO_TRY_ASSIGN(OpenedShard opened, open_executor());
    options.on_progress = nullptr;  // what it draws on may be gone once the model is loaded
    shard = std::move(opened.shard);
    information = std::move(opened.information);
    options.context_length = information.context_length;
    options.chunk_length = std::clamp(options.chunk_length, 1U, information.context_length);
    slots.resize(options.slot_count);
    return {};
}

// After a rank was lost, say. What it replaces ends first: both might not fit.
Result<void> Engine::State::reopen() {
    shard.reset();
    EXO_TRY_ASSIGN(OpenedShard opened, open_executor());
    shard = std::move(opened.shard);
    is_broken = false;
    {
        const std::scoped_lock lock(mutex);
        information = std::move(opened.information);
    }
    tell("it computes again");
    return {};
}

void Engine::State::tell(const std::string& event) const {
    if (options.on_device_event) options.on_device_event(event);
}

bool Engine::State::has_active() const {
    return std::ranges::any_of(slots, [](const Slot& slot) { return slot.sequence.has_value(); });
}

// False when the engine is to end.
bool Engine::State::wait_for_work() {
    std::unique_lock lock(mutex);
    wake.wait(lock,
              [&] { return stopping || !waiting.empty() || !cancelled.empty() || has_active(); });
    return !stopping;
}

void Engine::State::run() {
    while (wait_for_work()) {
        cancel_sequences();
        fill_slots();
        if (shard == nullptr) continue;
        if (running.size() < shard->steps_in_flight_max() && start_step()) continue;
        if (!running.empty()) finish_step();
    }
    for (Slot& slot : slots) {
        if (slot.sequence) slot.sequence->cancel();
        slot.sequence.reset();
    }
    for (Sequence& sequence : waiting) sequence.cancel();
    waiting.clear();
}

void Engine::State::cancel_sequences() {
    std::set<RequestId> ids;
    std::vector<Sequence> ended;
    {
        const std::scoped_lock lock(mutex);
        ids.swap(cancelled);
        for (auto it = waiting.begin(); it != waiting.end();) {
            if (!ids.contains(it->id())) {
                ++it;
                continue;
            }
            ended.push_back(std::move(*it));
            it = waiting.erase(it);
        }
        statistics.requests_waiting = static_cast<std::uint32_t>(waiting.size());
    }
    for (Sequence& sequence : ended) sequence.cancel();
    for (Slot& slot : slots) {
        if (!slot.sequence || !ids.contains(slot.sequence->id())) continue;
        slot.is_cancelled = true;
        end_if_cancelled(slot);
    }
}

// Not before the steps that compute for it are over.
void Engine::State::end_if_cancelled(Slot& slot) {
    if (!slot.is_cancelled || slot.step_count > 0) return;
    slot.sequence->cancel();
    finish_slot(slot);
}

// A device that was lost while nothing ran costs no request.
void Engine::State::notice_loss() {
    const auto is_busy = [](const Slot& slot) { return slot.sequence.has_value(); };
    if (is_broken || !options.open || std::ranges::any_of(slots, is_busy)) return;
    if (const std::optional<Error> loss = shard->loss()) abandon(*loss);
}

void Engine::State::fill_slots() {
    while (true) {
        const auto is_free = [](const Slot& slot) { return !slot.sequence.has_value(); };
        if (std::ranges::none_of(slots, is_free)) return;
        std::optional<Sequence> next;
        {
            const std::scoped_lock lock(mutex);
            if (waiting.empty()) return;
        }
        notice_loss();
        if (is_broken) {
            if (auto reopened = reopen(); !reopened) {
                // Whatever the reason (a model file that has gone, say), it is not the requests'.
                reopened.error().code = ErrorCode::unavailable;
                return fail_waiting(reopened.error());
            }
        }
        {
            const std::scoped_lock lock(mutex);
            next = std::move(waiting.front());
            waiting.pop_front();
            statistics.requests_waiting = static_cast<std::uint32_t>(waiting.size());
            ++statistics.slots_busy;
        }
        start(*std::move(next));
    }
}

void Engine::State::start(Sequence sequence) {
    std::vector<SlotView> views;
    for (std::uint32_t i = 0; i < slots.size(); ++i) {
        views.push_back({.slot = i,
                         .busy = slots[i].sequence.has_value(),
                         .last_used = slots[i].last_used,
                         .tokens = slots[i].tokens});
    }
    const SlotChoice choice = choose_slot(views, sequence.prompt());
    Slot& slot = slots[choice.slot];
    slot.last_used = ++use_count;
    slot.sequence = std::move(sequence);
    if (choice.copy_from != choice.slot) {
        const auto copied = shard->copy_slot(choice.copy_from, choice.slot, choice.cached_count);
        if (!copied) return abandon(copied.error());
        slot.tokens = slots[choice.copy_from].tokens;
    }
    slot.tokens.resize(choice.cached_count);
    slot.sequence->start(choice.cached_count);
    chunk_length.reset();
    const std::scoped_lock lock(mutex);
    statistics.prompt_tokens_cached_total += choice.cached_count;
}

// What could be computed now. In a pipeline each step decodes a fair part of the slots, so that
// there are some for each stage; the chunks of one prompt follow each other. As many steps decode
// as there are stages: with one more all would be smaller for good, and each reads all weights.
std::vector<SlotWork> Engine::State::work() const {
    const auto decodes = [](const Slot& slot) {
        return slot.sequence && slot.sequence->decoding() && !slot.is_cancelled;
    };
    const auto decoding_count = static_cast<std::size_t>(std::ranges::count_if(slots, decodes));
    const std::size_t stage_count = shard->stage_count();
    const auto decoding_steps = static_cast<std::size_t>(std::ranges::count_if(
        running, [](const RunningStep& step) { return !step.is_all_prompt(); }));
    std::size_t decoding_left =
        decoding_steps < stage_count ? (decoding_count + stage_count - 1) / stage_count : 0;
    std::vector<SlotWork> out;
    for (std::uint32_t i = 0; i < slots.size(); ++i) {
        const Slot& slot = slots[i];
        if (!slot.sequence || slot.is_cancelled || slot.sequence->tokens_left().empty()) continue;
        const Sequence& sequence = *slot.sequence;
        if (sequence.decoding()) {
            if (decoding_left == 0) continue;
            --decoding_left;
        }
        out.push_back({.slot = i,
                       .request = sequence.id(),
                       .tokens_left = static_cast<std::uint32_t>(sequence.tokens_left().size()),
                       .decoding = sequence.decoding()});
    }
    return out;
}

// Once for the prompts there are, and anew when another comes.
std::uint32_t Engine::State::choose_chunk_length(std::span<const SlotWork> work) {
    std::uint64_t prompt_tokens = 0;
    for (const SlotWork& slot : work) prompt_tokens += slot.decoding ? 0 : slot.tokens_left;
    if (prompt_tokens > 0 && !chunk_length) {
        chunk_length =
            chunk_chooser.choose(prompt_tokens, shard->stage_count(), options.chunk_length);
    }
    return chunk_length.value_or(options.chunk_length);
}

// False where no slot waits for a step.
bool Engine::State::start_step() {
    const std::vector<SlotWork> waiting_work = work();
    RunningStep step{.plan = plan_step(waiting_work, choose_chunk_length(waiting_work)),
                     .batch = {},
                     .follows_another = !running.empty(),
                     .begin_us = platform::monotonic_us()};
    if (step.plan.empty()) return false;
    for (const PlannedTokens& planned : step.plan) {
        const Slot& slot = slots[planned.slot];
        if (!slot.sequence->decoding()) step.prompt_token_count += planned.token_count;
        step.batch.push_back({.slot = planned.slot,
                              .first_position = static_cast<std::uint32_t>(slot.tokens.size()),
                              .tokens = slot.sequence->tokens_left().first(planned.token_count),
                              .outputs = planned.finishes ? OutputRows::last : OutputRows::none,
                              .needs = planned.finishes ? slot.sequence->row_needs() : RowNeeds{}});
    }
    if (const auto started = shard->start(step.batch); !started) {
        abandon(started.error());
        return true;
    }
    for (const SlotTokens& started : step.batch) {
        Slot& slot = slots[started.slot];
        ++slot.step_count;
        slot.tokens.insert(slot.tokens.end(), started.tokens.begin(), started.tokens.end());
        slot.sequence->tokens_started(started.tokens.size());
    }
    running.push_back(std::move(step));
    return true;
}

// The oldest one.
void Engine::State::finish_step() {
    const auto rows = shard->finish();
    const RunningStep step = std::move(running.front());
    running.pop_front();
    if (!rows) {
        abandon(rows.error());
        return;
    }
    // Steps overlap in a pipeline, their times must not.
    const std::uint64_t now_us = platform::monotonic_us();
    const std::uint64_t duration_us = now_us - std::max(step.begin_us, last_finish_us);
    last_finish_us = now_us;
    observe(step, duration_us);
    {
        const std::scoped_lock lock(mutex);
        statistics.device_failure.clear();
        ++statistics.steps_total;
        statistics.prompt_tokens_total += step.prompt_token_count;
        (step.prompt_token_count > 0 ? statistics.prefill_us_total : statistics.decode_us_total) +=
            duration_us;
    }
    advance(step.plan, *rows);
}

// Where stages are at work all the time, steps end as far apart as the slowest stage takes for one.
void Engine::State::observe(const RunningStep& step, std::uint64_t duration_us) {
    if (step.follows_another && step.is_all_prompt()) {
        chunk_chooser.observe(step.prompt_token_count, duration_us);
    }
}

void Engine::State::advance(const std::vector<PlannedTokens>& plan,
                            std::span<const OutputRow> rows) {
    const platform::TraceScope trace(platform::SpanKind::sample, plan.size());
    for (const PlannedTokens& planned : plan) {
        Slot& slot = slots[planned.slot];
        --slot.step_count;
        const std::span<const OutputRow> row = rows.first(planned.finishes ? 1 : 0);
        rows = rows.subspan(row.size());
        end_if_cancelled(slot);
        if (row.empty() || !slot.sequence || slot.is_cancelled) continue;
        const auto positions_left =
            options.context_length - static_cast<std::uint32_t>(slot.tokens.size());
        {  // before the callback: who has seen the last event sees its token counted
            const std::scoped_lock lock(mutex);
            ++statistics.completion_tokens_total;
        }
        if (slot.sequence->advance(row.front(), positions_left)) finish_slot(slot);
    }
}

// The device failed: what the cache holds is unknown, and every running request ends.
void Engine::State::abandon(const Error& error) {
    if (error.code == ErrorCode::unavailable) {
        const std::scoped_lock lock(mutex);
        statistics.device_failure = error.text();
    }
    is_broken = static_cast<bool>(options.open);
    tell(error.text());
    // What other steps in flight give is of no use.
    for (; !running.empty(); running.pop_front()) std::ignore = shard->finish();
    for (Slot& slot : slots) {
        slot.tokens.clear();
        slot.step_count = 0;
        if (!slot.sequence) continue;
        slot.sequence->fail_with(error);
        finish_slot(slot);
    }
}

void Engine::State::fail_waiting(const Error& error) {
    std::deque<Sequence> failed;
    {
        const std::scoped_lock lock(mutex);
        failed.swap(waiting);
        statistics.requests_waiting = 0;
        statistics.requests_failed_total += failed.size();
        statistics.device_failure = error.text();
    }
    tell(error.text());
    for (Sequence& sequence : failed) sequence.fail_with(error);
}

void Engine::State::finish_slot(Slot& slot) {
    const bool has_failed = slot.sequence->has_failed();
    slot.sequence.reset();
    slot.is_cancelled = false;
    slot.last_used = ++use_count;
    const std::scoped_lock lock(mutex);
    --statistics.slots_busy;
    if (has_failed) ++statistics.requests_failed_total;
}

Engine::Engine(std::unique_ptr<State> state) : state_(std::move(state)) {}

Engine::~Engine() {
    {
        const std::scoped_lock lock(state_->mutex);
        state_->stopping = true;
    }
    state_->wake.notify_all();
    if (state_->thread.joinable()) state_->thread.join();
}

Result<std::unique_ptr<Engine>> Engine::create(const EngineOptions& options) {
    EXO_TRY_ASSIGN(LoadedModel loaded, load_model(options.model_path));
    auto state = std::make_unique<State>(std::move(loaded));
    state->options = options;
    std::unique_ptr<Engine> engine(new Engine(std::move(state)));
    // The shard is opened on the thread that will compute: see device::Compute.
    std::promise<Result<void>> opened;
    State* shared = engine->state_.get();
    shared->thread = std::thread([shared, &opened] {
        Result<void> result = shared->open();
        const bool usable = result.has_value();
        opened.set_value(std::move(result));
        if (usable) shared->run();
        shared->shard.reset();
    });
    EXO_TRY(opened.get_future().get());
    return engine;
}

Result<RequestId> Engine::submit(GenerateRequest request, GenerationCallback callback) {
    State& state = *state_;
    const auto vocabulary_size = static_cast<TokenId>(state.model.tokenizer.vocabulary_size());
    if (request.prompt.empty()) {
        return fail(ErrorCode::invalid_argument, "the prompt is empty.");
    }
    for (const TokenId token : request.prompt) {
        if (token >= 0 && token < vocabulary_size) continue;
        return fail(ErrorCode::invalid_argument,
                    "the prompt has the token " + std::to_string(token) + "; the vocabulary has " +
                        std::to_string(vocabulary_size) + ".");
    }
    if (request.prompt.size() >= state.options.context_length) {
        return fail(
            ErrorCode::invalid_argument,
            "the prompt has " + std::to_string(request.prompt.size()) +
                " tokens, the context holds " + std::to_string(state.options.context_length) +
                " with the answer.",
            "Shorten the prompt, or start with a longer --context where the model has one.");
    }
    RequestId id = 0;
    {
        const std::scoped_lock lock(state.mutex);
        id = state.next_id++;
    }
    EXO_TRY_ASSIGN(Sequence sequence, Sequence::create(id, std::move(request), std::move(callback),
                                                       state.model.tokenizer));
    {
        const std::scoped_lock lock(state.mutex);
        // Those a free slot is about to take do not wait.
        const std::size_t free_count = state.slots.size() - state.statistics.slots_busy;
        if (state.waiting.size() >= state.options.queue_length_max + free_count) {
            return fail(ErrorCode::resource_exhausted,
                        std::to_string(state.waiting.size()) + " requests are waiting already.",
                        "Try again later.");
        }
        state.waiting.push_back(std::move(sequence));
        ++state.statistics.requests_total;
        state.statistics.requests_waiting = static_cast<std::uint32_t>(state.waiting.size());
    }
    state.wake.notify_all();
    return id;
}

void Engine::cancel(RequestId id) {
    {
        const std::scoped_lock lock(state_->mutex);
        if (id == 0 || id >= state_->next_id) return;
        state_->cancelled.insert(id);
    }
    state_->wake.notify_all();
}

const model::Architecture& Engine::architecture() const {
    return state_->model.file->architecture;
}
const model::Tokenizer& Engine::tokenizer() const {
    return state_->model.tokenizer;
}
const model::ChatTemplate* Engine::chat_template() const {
    return state_->model.chat_template ? &*state_->model.chat_template : nullptr;
}
const Error* Engine::chat_template_error() const {
    return state_->model.chat_template_error ? &*state_->model.chat_template_error : nullptr;
}
EngineInformation Engine::information() const {
    const std::scoped_lock lock(state_->mutex);
    return state_->information;
}

EngineStatistics Engine::statistics() const {
    const std::scoped_lock lock(state_->mutex);
    return state_->statistics;
}

}  // namespace exomesh::engine
