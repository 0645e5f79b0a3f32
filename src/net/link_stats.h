// What a data link has moved and how long it has waited, cheap enough to keep always.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace exomesh::net {

// Durations in buckets a quarter of a power of two wide: quantiles are right within 25 %.
class WaitHistogram {
  public:
    static constexpr std::size_t bucket_count = 128;

    void add(std::uint64_t duration_us);
    [[nodiscard]] std::uint64_t count() const { return count_; }
    [[nodiscard]] std::uint64_t sum_us() const { return sum_us_; }
    [[nodiscard]] std::uint64_t largest_us() const { return largest_us_; }
    // The duration that a share of all (0.5, 0.99) does not exceed; 0 of none.
    [[nodiscard]] std::uint64_t quantile_us(double share) const;

  private:
    std::array<std::uint64_t, bucket_count> counts_ = {};
    std::uint64_t count_ = 0;
    std::uint64_t sum_us_ = 0;
    std::uint64_t largest_us_ = 0;
};

struct LinkStats {
    std::uint64_t sent_messages = 0;
    std::uint64_t sent_bytes = 0;  // payloads, as the caller gave them
    std::uint64_t received_messages = 0;
    std::uint64_t received_bytes = 0;
    std::uint64_t sent_wire_bytes = 0;  // as they went into the socket, after the handshake
    std::uint64_t received_wire_bytes = 0;
    std::uint64_t sleep_count = 0;  // waits that outlasted the spinning
    WaitHistogram send_wait;        // whole send calls
    WaitHistogram receive_wait;     // from the call of receive to the message
};

}  // namespace exomesh::net
