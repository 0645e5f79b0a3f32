// Bytes written as test vectors are.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace exomesh::net::testing {

[[nodiscard]] inline std::vector<std::byte> from_hexadecimal(std::string_view text) {
    std::vector<std::byte> bytes;
    for (std::size_t i = 0; i + 1 < text.size(); i += 2)
        bytes.push_back(
            static_cast<std::byte>(std::stoi(std::string(text.substr(i, 2)), nullptr, 16)));
    return bytes;
}

}  // namespace exomesh::net::testing
