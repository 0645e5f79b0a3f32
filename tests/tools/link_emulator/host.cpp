#include "host.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <system_error>

#include "wire.h"

namespace exomesh::link_emulator {

namespace {

using platform::Descriptor;

constexpr const char* device_name = "link0";
constexpr std::uint32_t network = 0x0A4D'0000;  // 10.77.0.0/24
constexpr std::uint32_t netmask = 0xFFFF'FF00;
constexpr std::size_t ipv4_header_bytes_min = 20;
constexpr std::uint8_t protocol_tcp = 6;

// struct virtio_net_hdr of linux/virtio_net.h, which is no C++.
struct OffloadHeader {
    std::uint8_t flags;
    std::uint8_t segmentation;  // 0: one segment
    std::uint16_t header_bytes;
    std::uint16_t segment_bytes;
    std::uint16_t checksum_start;
    std::uint16_t checksum_offset;
};
static_assert(sizeof(OffloadHeader) == offload_header_bytes);

std::unexpected<Error> refused(const std::string& what) {
    const int error = errno;
    return fail(
        error == EPERM || error == EACCES || error == ENOENT || error == ENODEV || error == ENOSYS
            ? ErrorCode::unsupported
            : ErrorCode::io,
        "cannot " + what + ": " + std::system_category().message(error) + ".");
}

ifreq request_for(const char* name) {
    ifreq request{};
    std::strncpy(request.ifr_name, name, IFNAMSIZ - 1);
    return request;
}

Result<> set_address(int socket, unsigned long what, std::uint32_t value) {
    ifreq request = request_for(device_name);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(value);
    std::memcpy(&request.ifr_addr, &address, sizeof address);
    if (::ioctl(socket, what, &request) != 0) return refused("set the address of a TUN device");
    return {};
}

Result<> set_up(int socket, const char* name) {
    ifreq request = request_for(name);
    request.ifr_flags = IFF_UP | IFF_RUNNING;
    if (::ioctl(socket, SIOCSIFFLAGS, &request) != 0) return refused("start a network device");
    return {};
}

Result<Descriptor> open_tun() {
    Descriptor device(::open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC));
    if (device.get() < 0) return refused("open /dev/net/tun");
    ifreq request = request_for(device_name);
    request.ifr_flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR;
    if (::ioctl(device.get(), TUNSETIFF, &request) != 0) return refused("make a TUN device");
    return device;
}

std::uint8_t byte_at(std::span<const std::byte> bytes, std::size_t index) {
    return std::to_integer<std::uint8_t>(bytes[index]);
}

// The IPv4 packet behind the kernel's header; empty where it is none.
std::span<const std::byte> ipv4_of(std::span<const std::byte> packet) {
    if (packet.size() < offload_header_bytes + ipv4_header_bytes_min) return {};
    const auto ipv4 = packet.subspan(offload_header_bytes);
    if (byte_at(ipv4, 0) >> 4 != 4) return {};
    return ipv4;
}

}  // namespace

std::string address_of(std::size_t host) {
    return "10.77.0." + std::to_string(host + 1);
}

std::size_t destination_of(std::span<const std::byte> packet) {
    const auto ipv4 = ipv4_of(packet);
    if (ipv4.empty()) return host_count_max;
    std::uint32_t address = 0;
    std::memcpy(&address, &ipv4[16], sizeof address);
    address = ntohl(address);
    if ((address & netmask) != network) return host_count_max;
    return std::min<std::size_t>((address & ~netmask) - 1U, host_count_max);
}

std::size_t wire_bytes_of_packet(std::span<const std::byte> packet) {
    OffloadHeader header{};
    std::memcpy(&header, packet.data(), std::min(sizeof header, packet.size()));
    const auto ipv4 = ipv4_of(packet);
    const std::size_t packet_bytes = packet.size() - std::min(packet.size(), offload_header_bytes);
    if (ipv4.empty() || header.segmentation == 0) {
        return wire_bytes_of(packet_bytes, 0, 0);
    }
    std::size_t header_bytes = 4U * (byte_at(ipv4, 0) & 0xFU);
    if (byte_at(ipv4, 9) == protocol_tcp && ipv4.size() > header_bytes + 12) {
        header_bytes += 4U * (byte_at(ipv4, header_bytes + 12) >> 4U);
    }
    return wire_bytes_of(packet_bytes, header_bytes, header.segment_bytes);
}

Result<Host> Host::create(std::size_t index) {
    if (::unshare(CLONE_NEWNET) != 0) return refused("make a network namespace");
    Descriptor name_space(::open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC));
    if (name_space.get() < 0) return refused("open a network namespace");
    EXO_TRY_ASSIGN(Descriptor device, open_tun());
    const Descriptor socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    if (socket.get() < 0) return refused("make a socket");
    const auto address = network + static_cast<std::uint32_t>(index) + 1;
    EXO_TRY(set_address(socket.get(), SIOCSIFADDR, address));
    EXO_TRY(set_address(socket.get(), SIOCSIFNETMASK, netmask));
    EXO_TRY(set_up(socket.get(), device_name));
    EXO_TRY(set_up(socket.get(), "lo"));
    Host host(std::move(name_space), std::move(device));
    EXO_TRY(host.set_segmentation(true));
    return host;
}

std::string Host::namespace_path() const {
    return "/proc/" + std::to_string(::getpid()) + "/fd/" + std::to_string(namespace_.get());
}

Result<> Host::set_segmentation(bool in_kernel) {
    const unsigned long offloads = in_kernel ? TUN_F_CSUM | TUN_F_TSO4 : TUN_F_CSUM;
    if (::ioctl(device_.get(), TUNSETOFFLOAD, offloads) != 0) {
        return refused("set what a TUN device may leave to others");
    }
    return {};
}

std::size_t Host::receive(std::span<std::byte> into) const {
    const ssize_t count = ::read(device_.get(), into.data(), into.size());
    return count > 0 ? static_cast<std::size_t>(count) : 0;
}

bool Host::deliver(std::span<const std::byte> packet) const {
    return ::write(device_.get(), packet.data(), packet.size()) ==
           static_cast<ssize_t>(packet.size());
}

}  // namespace exomesh::link_emulator
