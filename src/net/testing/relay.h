// Someone between two ends of a connection: passes bytes on, and meddles with them on request.
#pragma once

#include <atomic>
#include <cstddef>
#include <functional>
#include <thread>
#include <utility>
#include <vector>

namespace exomesh::net::testing {

// From one thread: what the bytes of one direction become.
using Meddle = std::function<std::vector<std::byte>(std::vector<std::byte>)>;

class Relay {
  public:
    // Meddles with what flows from the left end to the right one.
    explicit Relay(Meddle left_to_right);
    Relay(const Relay&) = delete;
    Relay& operator=(const Relay&) = delete;
    ~Relay();

    // The descriptors of the two ends, which become the caller's.
    [[nodiscard]] std::pair<int, int> ends() const { return {left_.first, right_.first}; }
    // Passes on at most so many bytes at a time.
    void set_pass_bytes_max(std::size_t count) { pass_bytes_max_ = count; }
    // Closes both connections at once.
    void cut();

  private:
    void run();

    Meddle left_to_right_;
    std::pair<int, int> left_;
    std::pair<int, int> right_;
    std::atomic<std::size_t> pass_bytes_max_ = std::size_t{1} << 16;
    std::atomic<bool> is_cut_ = false;
    std::thread thread_;
};

}  // namespace exomesh::net::testing
