// What happens to a frame between two hosts, without any I/O: a line of finite rate out of each
// host, and from there to each other host a path with a delay, jitter, loss, duplicates and
// stragglers.
//
// Times are nanoseconds of a monotonic clock. The same seed and the same frames at the same times
// give the same result.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <random>

namespace exomesh::link_emulator {

struct LineOptions {
    double rate_mbit = 0;  // as of an Ethernet: headers, preamble and gap count; 0: without limit
};

struct PathOptions {
    double delay_us = 0;        // one way
    double jitter_us = 0;       // more than that, evenly distributed; frames keep their order
    double loss = 0;            // probability, of each frame on its own
    double duplicate = 0;       // probability that a frame arrives twice
    double straggle = 0;        // probability that a frame is overtaken by those behind it,
    double straggle_us = 2000;  // which is so much later

    [[nodiscard]] bool has_faults() const { return loss > 0 || duplicate > 0 || straggle > 0; }
};

// The line out of a host: one frame after the other.
class Line {
  public:
    LineOptions options;

    // When the last bit of a frame of so many bytes on the wire is out that is ready at `now_ns`.
    [[nodiscard]] std::int64_t send(std::int64_t now_ns, std::size_t wire_bytes);
    // How long it is busy with what it has.
    [[nodiscard]] std::int64_t backlog_ns(std::int64_t now_ns) const;

  private:
    std::int64_t free_ns_ = 0;
};

// When copies of a frame arrive: none (lost), one or two.
struct Arrivals {
    std::size_t count = 0;
    std::array<std::int64_t, 2> at_ns = {};
};

class Path {
  public:
    explicit Path(std::uint64_t seed) : random_(seed) {}

    PathOptions options;

    [[nodiscard]] Arrivals pass(std::int64_t sent_ns);

  private:
    [[nodiscard]] bool happens(double probability);

    std::mt19937_64 random_;
    std::int64_t last_ns_ = 0;  // arrival of the last frame that keeps the order
};

// What an IPv4 packet takes on an Ethernet. `segment_bytes`: where it is many segments in one
// (TSO), the payload of each; 0 otherwise.
[[nodiscard]] std::size_t wire_bytes_of(std::size_t packet_bytes, std::size_t header_bytes,
                                        std::size_t segment_bytes);

}  // namespace exomesh::link_emulator
