// Carries packets between hosts: reads them from their devices, lets lines and paths decide when
// they arrive, and delivers them then.
#pragma once

#include <poll.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <queue>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "host.h"
#include "wire.h"

namespace exomesh::link_emulator {

// What a path may hold: 64 MiB are 0.5 s of 1 Gbit/s. More is dropped.
inline constexpr std::size_t carried_bytes_max = std::size_t{64} << 20;

struct Statistics {
    std::uint64_t packet_count = 0, wire_bytes = 0;
    std::uint64_t lost_count = 0;     // as the options want it
    std::uint64_t dropped_count = 0;  // beyond carried_bytes_max, or refused by the kernel
    std::int64_t late_ns_sum = 0, late_ns_max = 0;  // of deliveries behind their time
};

class Emulator {
  public:
    [[nodiscard]] static Result<std::unique_ptr<Emulator>> create(std::size_t host_count,
                                                                  std::uint64_t seed);

    // "line HOST key=value ..." or "path FROM TO key=value ...", where * stands for all hosts.
    // Keys are the fields of LineOptions and PathOptions.
    [[nodiscard]] Result<> command(std::string_view text);

    // Carries packets until `control` can be read.
    [[nodiscard]] Result<> run_until_readable(int control);

    [[nodiscard]] const std::vector<Host>& hosts() const { return hosts_; }
    [[nodiscard]] const Statistics& statistics() const { return statistics_; }

  private:
    struct Delivery {
        std::int64_t at_ns;
        std::uint64_t order;
        std::size_t to;
        std::shared_ptr<const std::vector<std::byte>> packet;

        // The queue has the earliest on top.
        bool operator<(const Delivery& other) const {
            return at_ns != other.at_ns ? at_ns > other.at_ns : order > other.order;
        }
    };

    explicit Emulator(std::vector<Host> hosts, std::uint64_t seed);

    [[nodiscard]] Path& path(std::size_t from, std::size_t to) {
        return paths_[from * hosts_.size() + to];
    }
    [[nodiscard]] Result<> set_line(std::size_t host, std::string_view key, double value);
    [[nodiscard]] Result<> set_path(std::size_t from, std::size_t to, std::string_view key,
                                    double value);
    [[nodiscard]] Result<> set_segmentation();
    [[nodiscard]] Result<std::vector<std::size_t>> hosts_of(std::string_view text) const;

    [[nodiscard]] std::int64_t next_ns(std::int64_t now_ns) const;
    [[nodiscard]] Result<std::size_t> wait(std::span<pollfd> polled);
    void take_from(std::size_t host);
    void carry(std::size_t from, std::span<const std::byte> packet, std::int64_t now_ns);
    void deliver_due();
    void deliver(std::size_t to, std::span<const std::byte> packet);

    std::vector<Host> hosts_;
    std::vector<Line> lines_;
    std::vector<Path> paths_;
    std::priority_queue<Delivery> queue_;
    std::uint64_t order_ = 0;
    std::size_t carried_bytes_ = 0;
    std::vector<std::byte> buffer_;
    std::int64_t lead_ns_ = 0;  // so much earlier than wanted timers are set, as they come late
    Statistics statistics_;
};

}  // namespace exomesh::link_emulator
