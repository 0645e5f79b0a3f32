// GET /metrics: Prometheus' text format, version 0.0.4.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>

#include "api/backend.h"

namespace exomesh::api {

// What the server counts itself. Used on its I/O thread only.
struct HttpCounters {
    std::size_t connections = 0;  // open now
    std::uint64_t connections_total = 0;
    std::uint64_t connections_refused_total = 0;
    std::map<unsigned, std::uint64_t> responses_total;  // by status
    std::uint64_t answers_running = 0;
    std::uint64_t disconnects_total = 0;   // clients that left before their answer's end
    std::uint64_t slow_readers_total = 0;  // answers cut because nobody read them
};

[[nodiscard]] std::string metrics_text(const HttpCounters& counters, const Backend& backend);

}  // namespace exomesh::api
