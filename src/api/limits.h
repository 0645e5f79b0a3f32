// Everything of the HTTP server that could grow, and how far it may.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>

namespace exomesh::api {

// Those a server is created with; tests make them small.
struct Limits {
    std::size_t connections_max = 256;  // one more is answered 503 and closed
    std::chrono::milliseconds header_timeout = std::chrono::seconds(10);  // first byte → its end
    std::chrono::milliseconds keep_alive_timeout = std::chrono::seconds(60);  // between requests
    std::chrono::milliseconds body_timeout = std::chrono::seconds(60);        // header → body's end
    // A client that reads nothing for so long is cut.
    std::chrono::milliseconds write_timeout = std::chrono::seconds(30);
    // A silent event stream gets a comment, so that proxies do not close it.
    std::chrono::milliseconds comment_interval = std::chrono::seconds(15);
    // Answers under way may end when the server stops.
    std::chrono::milliseconds shutdown_grace = std::chrono::seconds(5);
    std::size_t body_bytes_max = 16 << 20;
    std::size_t body_bytes_total_max = 64 << 20;  // of all requests being read
    // Events of one answer that its client has not read; beyond it the request is cancelled.
    std::size_t unread_event_bytes_max = 4 << 20;
    // What an answer that is not streamed may occupy, roughly (Choice::size_bytes); beyond it the
    // request is cancelled and refused.
    std::size_t answer_bytes_max = 64 << 20;
};

inline constexpr std::uint32_t header_bytes_max = 16 << 10;
inline constexpr std::size_t target_bytes_max = 4 << 10;
inline constexpr std::size_t pipelined_bytes_max =
    64 << 10;  // read ahead while answering; more closes
// After a refusal, what is still arriving is read and dropped for this long, so that the client
// sees the answer rather than a reset connection.
inline constexpr std::chrono::milliseconds linger_time{2000};

// JSON bodies.
inline constexpr std::size_t json_depth_max = 64;
inline constexpr std::size_t json_value_count_max = 1 << 18;
// In one object: each key is compared with all before it.
inline constexpr std::size_t json_key_count_max = 2048;

// Fields of a request.
inline constexpr std::size_t message_count_max = 4096;
inline constexpr std::size_t content_part_count_max = 256;
inline constexpr std::size_t logit_bias_count_max = 1024;
inline constexpr int choice_count_max = 4;  // `n`
inline constexpr std::size_t stop_count_max =
    8;  // the engine takes more: a plain conversation adds one
inline constexpr int completion_logprob_count_max = 5;  // OpenAI's limit for /v1/completions

inline constexpr int retry_after_s = 1;

}  // namespace exomesh::api
