// A moment after which a call gives up, on the clock of monotonic_us().
#pragma once

#include <cstdint>
#include <limits>

#include "platform/clock.h"

namespace exomesh::platform {

struct Deadline {
    std::uint64_t at_us = 0;

    [[nodiscard]] static Deadline after_us(std::uint64_t duration_us) {
        const std::uint64_t now_us = monotonic_us();
        const bool overflows = duration_us > std::numeric_limits<std::uint64_t>::max() - now_us;
        return {overflows ? std::numeric_limits<std::uint64_t>::max() : now_us + duration_us};
    }
    [[nodiscard]] static Deadline after_ms(std::uint64_t duration_ms) {
        const std::uint64_t largest_ms = std::numeric_limits<std::uint64_t>::max() / 1000;
        return after_us((duration_ms < largest_ms ? duration_ms : largest_ms) * 1000);
    }
    [[nodiscard]] bool passed() const { return monotonic_us() >= at_us; }
    [[nodiscard]] std::uint64_t left_us() const {
        const std::uint64_t now_us = monotonic_us();
        return now_us >= at_us ? 0 : at_us - now_us;
    }
    // The earlier of both.
    [[nodiscard]] Deadline or_sooner(Deadline other) const {
        return at_us < other.at_us ? *this : other;
    }
};

}  // namespace exomesh::platform
