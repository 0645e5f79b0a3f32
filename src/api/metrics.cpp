#include "api/metrics.h"

#include <format>
#include <string_view>

namespace exomesh::api {

namespace {

class Writer {
  public:
    void describe(std::string_view name, std::string_view type, std::string_view help) {
        text_ +=
            std::format("# HELP exomesh_{} {}\n# TYPE exomesh_{} {}\n", name, help, name, type);
    }
    void value(std::string_view name, double value) {
        text_ += std::format("exomesh_{} {}\n", name, value);
    }
    void gauge(std::string_view name, std::string_view help, double number) {
        describe(name, "gauge", help);
        value(name, number);
    }
    void counter(std::string_view name, std::string_view help, double number) {
        describe(name, "counter", help);
        value(name, number);
    }
    std::string take() { return std::move(text_); }

  private:
    std::string text_;
};

// Label values escape backslash, quote and line feed.
std::string label(std::string_view text) {
    std::string escaped;
    for (const char character : text) {
        if (character == '\n') {
            escaped += "\\n";
            continue;
        }
        if (character == '\\' || character == '"') escaped += '\\';
        escaped += character;
    }
    return escaped;
}

double seconds(std::uint64_t time_us) {
    return static_cast<double>(time_us) / 1e6;
}
double number(std::uint64_t count) {
    return static_cast<double>(count);
}

void write_engine(Writer& writer, const Backend& backend) {
    const engine::EngineStatistics engine = backend.statistics();
    const engine::EngineInformation information = backend.information();
    writer.describe("model_info", "gauge", "The served model; always 1.");
    writer.value(std::format(R"(model_info{{model="{}",device="{}"}})", label(backend.model().id),
                             label(information.device)),
                 1);
    writer.gauge("slots", "Requests that can be computed at the same time.",
                 information.slot_count);
    writer.gauge("slots_busy", "Requests being computed.", engine.slots_busy);
    writer.gauge("requests_waiting", "Requests waiting for a slot.", engine.requests_waiting);
    writer.counter("requests_total", "Requests given to the engine.",
                   number(engine.requests_total));
    writer.counter("requests_failed_total", "Requests that ended with an error.",
                   number(engine.requests_failed_total));
    writer.counter("prompt_tokens_total", "Prompt tokens computed.",
                   number(engine.prompt_tokens_total));
    writer.counter("prompt_tokens_cached_total", "Prompt tokens found in the KV cache.",
                   number(engine.prompt_tokens_cached_total));
    writer.counter("completion_tokens_total", "Tokens generated.",
                   number(engine.completion_tokens_total));
    writer.counter("prefill_seconds_total", "Compute time of steps with prompt tokens.",
                   seconds(engine.prefill_us_total));
    writer.counter("decode_seconds_total", "Compute time of steps without prompt tokens.",
                   seconds(engine.decode_us_total));
    writer.counter("steps_total", "Steps computed.", number(engine.steps_total));
    writer.gauge("weight_bytes", "Memory of the weights.", number(information.weight_bytes));
    writer.gauge("cache_bytes", "Memory of the KV cache.", number(information.cache_bytes));
    writer.gauge("compute_bytes", "Memory of the compute buffers.",
                 number(information.compute_bytes));
}

}  // namespace

std::string metrics_text(const HttpCounters& counters, const Backend& backend) {
    Writer writer;
    write_engine(writer, backend);
    writer.gauge("http_connections", "Open connections.", number(counters.connections));
    writer.counter("http_connections_total", "Connections accepted.",
                   number(counters.connections_total));
    writer.counter("http_connections_refused_total", "Connections refused: too many were open.",
                   number(counters.connections_refused_total));
    writer.gauge("http_answers_running", "Answers being generated or sent.",
                 number(counters.answers_running));
    writer.counter("http_disconnects_total", "Clients that left before the end of their answer.",
                   number(counters.disconnects_total));
    writer.counter("http_slow_readers_total", "Answers cut because their client did not read.",
                   number(counters.slow_readers_total));
    writer.describe("http_responses_total", "counter", "Responses by status.");
    for (const auto& [status, count] : counters.responses_total) {
        writer.value(std::format("http_responses_total{{status=\"{}\"}}", status), number(count));
    }
    return writer.take();
}

}  // namespace exomesh::api
