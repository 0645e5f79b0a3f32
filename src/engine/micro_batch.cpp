#include "engine/micro_batch.h"

#include "base/assert.h"

namespace exomesh::engine {

MicroBatches split_batch(std::span<const SlotTokens> batch) {
    const std::size_t count = token_count(batch);
    EXO_ASSERT(count >= micro_batch_tokens_min);
    std::size_t left = count / 2 / micro_batch_step * micro_batch_step;  // for the first half
    MicroBatches halves;
    for (const SlotTokens& slot : batch) {
        if (left >= slot.tokens.size()) {
            halves.first.push_back(slot);
            left -= slot.tokens.size();
            continue;
        }
        SlotTokens rest = slot;
        if (left > 0) {
            SlotTokens begin = slot;
            begin.tokens = slot.tokens.first(left);
            if (slot.outputs == OutputRows::last) begin.outputs = OutputRows::none;
            halves.first.push_back(begin);
            rest.tokens = slot.tokens.subspan(left);
            rest.first_position += static_cast<std::uint32_t>(left);
            left = 0;
        }
        halves.second.push_back(rest);
    }
    return halves;
}

}  // namespace exomesh::engine
