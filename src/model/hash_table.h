// Two small open-addressing tables: the tokenizer looks up millions of pairs and pieces a second in
// tables of hundreds of thousands of entries, and std::unordered_map costs a cache miss more for
// each.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <vector>

namespace exomesh::model {

namespace detail {
inline constexpr std::uint64_t hash_multiplier = 0x9E3779B97F4A7C15U;  // 2^64 / golden ratio

inline std::uint64_t mix(std::uint64_t value) {
    value *= hash_multiplier;
    value ^= value >> 32;
    return value * hash_multiplier;
}

// Room for `count` entries with at most two thirds of the slots in use.
inline std::size_t slots_for(std::size_t count) {
    return std::bit_ceil(count + count / 2 + 2);
}
}  // namespace detail

// From a 64-bit key (never all ones) to a small value. Grows as needed; entries are never removed.
template <typename Value>
class IntegerTable {
  public:
    explicit IntegerTable(std::size_t expected_count = 0) { resize(expected_count); }

    // False, and nothing changes, where the key is there already.
    bool insert(std::uint64_t key, Value value) {
        if ((count_ + 1) * 3 > slots_.size() * 2) grow();
        Slot& slot = slots_[slot_of(key)];
        if (slot.key == key) return false;
        slot = {key, value};
        ++count_;
        return true;
    }

    [[nodiscard]] const Value* find(std::uint64_t key) const {
        const Slot& slot = slots_[slot_of(key)];
        return slot.key == key ? &slot.value : nullptr;
    }

  private:
    static constexpr std::uint64_t empty_key = ~std::uint64_t{0};
    struct Slot {
        std::uint64_t key = empty_key;
        Value value{};
    };

    // Where the key is, or the free slot where it belongs.
    [[nodiscard]] std::size_t slot_of(std::uint64_t key) const {
        std::size_t position = detail::mix(key) >> shift_;
        while (slots_[position].key != key && slots_[position].key != empty_key) {
            position = (position + 1) & (slots_.size() - 1);
        }
        return position;
    }

    void resize(std::size_t expected_count) {
        slots_.assign(detail::slots_for(expected_count), Slot{});
        shift_ = 64 - std::countr_zero(slots_.size());
    }

    void grow() {
        std::vector<Slot> old = std::move(slots_);
        resize(old.size());
        for (const Slot& slot : old) {
            if (slot.key != empty_key) slots_[slot_of(slot.key)] = slot;
        }
    }

    std::vector<Slot> slots_;
    std::size_t count_ = 0;
    int shift_ = 0;
};

// From a byte string to its token. The strings stay where they are: `texts` and what it views must
// outlive the table. A string of up to seven bytes, as most are, is its own key, so that finding it
// touches one slot and nothing else.
class TextTable {
  public:
    static constexpr std::int32_t none = -1;

    TextTable(std::span<const std::string_view> texts, std::size_t expected_count)
        : texts_(texts), slots_(detail::slots_for(expected_count)) {
        shift_ = 64 - std::countr_zero(slots_.size());
    }

    // Maps texts[token] to token; false, and nothing changes, where an equal text is there already.
    // At most `expected_count` calls.
    bool insert(std::int32_t token) {
        const std::string_view text = texts_[static_cast<std::size_t>(token)];
        const std::uint64_t key = key_of(text);
        Slot& slot = slots_[slot_of(text, key)];
        if (slot.token != none) return false;
        slot = {key, token};
        return true;
    }

    [[nodiscard]] std::int32_t find(std::string_view text) const {
        return slots_[slot_of(text, key_of(text))].token;
    }

    // Brings the slot of `text` near for a later find(): many look-ups can then wait together.
    void prefetch(std::string_view text) const {
        __builtin_prefetch(&slots_[detail::mix(key_of(text)) >> shift_]);
    }

  private:
    static constexpr std::size_t short_size_max = 7;
    static constexpr std::uint64_t long_mark = std::uint64_t{1} << 63;  // sizes are far below it

    struct Slot {
        std::uint64_t key = 0;
        std::int32_t token = none;
    };

    template <typename Word>
    static std::uint64_t load(const char* data) {
        Word word = 0;
        std::memcpy(&word, data, sizeof(word));
        return word;
    }

    // Of up to seven bytes the bytes and the size; of more a hash.
    static std::uint64_t key_of(std::string_view text) {
        const char* const data = text.data();
        const std::size_t size = text.size();
        if (size > short_size_max) {
            std::uint64_t hash = size;
            for (std::size_t i = 0; i + 8 < size; i += 8) {
                hash = detail::mix(hash ^ load<std::uint64_t>(data + i));
            }
            return detail::mix(hash ^ load<std::uint64_t>(data + size - 8)) | long_mark;
        }
        const std::uint64_t size_bits = std::uint64_t{size} << 56;
        if (size >= 4) {  // the two words overlap where their bytes are the same
            const std::uint64_t last = load<std::uint32_t>(data + size - 4);
            return size_bits | load<std::uint32_t>(data) | last << ((size - 4) * 8);
        }
        if (size == 0) return size_bits;
        return size_bits | load<std::uint8_t>(data) |
               load<std::uint8_t>(data + size / 2) << (size / 2 * 8) |
               load<std::uint8_t>(data + size - 1) << ((size - 1) * 8);
    }

    // Where the text is, or the free slot where it belongs.
    [[nodiscard]] std::size_t slot_of(std::string_view text, std::uint64_t key) const {
        std::size_t position = detail::mix(key) >> shift_;
        for (;; position = (position + 1) & (slots_.size() - 1)) {
            const Slot& slot = slots_[position];
            if (slot.token == none) return position;
            if (slot.key != key) continue;
            if (key < long_mark || texts_[static_cast<std::size_t>(slot.token)] == text) {
                return position;
            }
        }
    }

    std::span<const std::string_view> texts_;
    std::vector<Slot> slots_;
    int shift_ = 0;
};

}  // namespace exomesh::model
