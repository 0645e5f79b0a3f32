#include "model/byte_level.h"

#include <array>
#include <cstddef>
#include <cstdint>

namespace exomesh::model {

namespace {

constexpr std::size_t alphabet_end =
    0x100 + 68;  // 68 bytes have no printable character of their own
constexpr std::int16_t no_byte = -1;

constexpr bool is_written_as_itself(unsigned byte) {
    return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

struct Alphabet {
    std::array<std::uint16_t, 256> character_of{};
    std::array<std::int16_t, alphabet_end> byte_of{};

    constexpr Alphabet() {
        byte_of.fill(no_byte);
        std::uint16_t next = 0x100;
        for (unsigned byte = 0; byte < 256; ++byte) {
            const auto character =
                is_written_as_itself(byte) ? static_cast<std::uint16_t>(byte) : next++;
            character_of[byte] = character;
            byte_of[character] = static_cast<std::int16_t>(byte);
        }
    }
};

constexpr Alphabet alphabet;

}  // namespace

bool append_byte_level(std::string_view written, std::string& bytes) {
    for (std::size_t i = 0; i < written.size(); ++i) {
        const auto lead = static_cast<std::uint8_t>(written[i]);
        unsigned character = lead;
        if (lead >= 0x80) {  // the alphabet ends below U+0800: two bytes at most
            if ((lead & 0xE0U) != 0xC0U || i + 1 == written.size()) return false;
            const auto second = static_cast<std::uint8_t>(written[++i]);
            if ((second & 0xC0U) != 0x80U) return false;
            character = (lead & 0x1FU) << 6U | (second & 0x3FU);
        }
        if (character >= alphabet_end || alphabet.byte_of[character] == no_byte) return false;
        bytes.push_back(static_cast<char>(alphabet.byte_of[character]));
    }
    return true;
}

std::string to_byte_level(std::string_view bytes) {
    std::string written;
    for (const char byte : bytes) {
        const unsigned character = alphabet.character_of[static_cast<std::uint8_t>(byte)];
        if (character < 0x80) {
            written.push_back(static_cast<char>(character));
        } else {
            written.push_back(static_cast<char>(0xC0U | character >> 6U));
            written.push_back(static_cast<char>(0x80U | (character & 0x3FU)));
        }
    }
    return written;
}

}  // namespace exomesh::model
