// A host of the emulator: a network namespace without a name, with a loopback device and a TUN
// device whose packets come to us. Both are gone when this object and the last process in the
// namespace are.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "base/result.h"
#include "platform/descriptor.h"

namespace exomesh::link_emulator {

inline constexpr std::size_t host_count_max = 64;
// The kernel's header before each packet, and the largest packet (many TCP segments in one).
inline constexpr std::size_t offload_header_bytes = 10;
inline constexpr std::size_t packet_bytes_max = 65535 + offload_header_bytes;

// The IPv4 address of a host, in the network all of them share.
[[nodiscard]] std::string address_of(std::size_t host);
// The host an IPv4 packet goes to; host_count_max where that is none.
[[nodiscard]] std::size_t destination_of(std::span<const std::byte> packet);
[[nodiscard]] std::size_t wire_bytes_of_packet(std::span<const std::byte> packet);

class Host {
  public:
    // Leaves the calling thread in the new host's namespace. Errors: unsupported where namespaces
    // or TUN devices are not permitted.
    [[nodiscard]] static Result<Host> create(std::size_t index);

    // For setns() and nsenter, as long as this process and the object live.
    [[nodiscard]] std::string namespace_path() const;
    [[nodiscard]] int device() const { return device_.get(); }

    // Whether the kernel hands over many TCP segments in one packet: a fraction of the cost, but
    // what befalls a packet befalls all of them.
    [[nodiscard]] Result<> set_segmentation(bool in_kernel);

    // Packets with the kernel's header before them. 0: there is none now.
    [[nodiscard]] std::size_t receive(std::span<std::byte> into) const;
    [[nodiscard]] bool deliver(std::span<const std::byte> packet) const;

  private:
    Host(platform::Descriptor name_space, platform::Descriptor device)
        : namespace_(std::move(name_space)), device_(std::move(device)) {}

    platform::Descriptor namespace_;
    platform::Descriptor device_;
};

}  // namespace exomesh::link_emulator
