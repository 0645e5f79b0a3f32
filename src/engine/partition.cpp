#include "engine/partition.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>

#include "base/assert.h"
#include "model/tensor_type.h"

namespace exomesh::engine {

namespace {

Result<void> check_shares(std::span<const double> shares) {
    double sum = 0;
    for (const double share : shares) {
        if (!std::isfinite(share) || share < 0) {
            return fail(ErrorCode::invalid_argument, "shares must be numbers of at least 0.");
        }
        sum += share;
    }
    if (!std::isfinite(sum)) {
        return fail(ErrorCode::invalid_argument, "the shares' sum is beyond any number.");
    }
    if (sum <= 0) return fail(ErrorCode::invalid_argument, "all shares are 0.", "Raise one.");
    return {};
}

// The block length of the inputs of a row-parallel matrix, the largest over all layers.
std::uint32_t weight_block_length(const model::Gguf& gguf, const model::Architecture& architecture,
                                  const std::string& name) {
    std::uint32_t length = 1;
    for (std::uint32_t layer = 0; layer < architecture.layer_count; ++layer) {
        const auto* tensor = gguf.tensor("blk." + std::to_string(layer) + "." + name);
        if (tensor == nullptr) continue;
        length = std::max(length, static_cast<std::uint32_t>(
                                      model::tensor_type_traits(tensor->type).block_count));
    }
    return length;
}

// Heads that together fill whole blocks.
std::uint32_t heads_per_block(std::uint32_t head_length, std::uint32_t block) {
    return block / std::gcd(head_length, block);
}

// `count` in units of `unit`; the last unit may be smaller and belongs to whoever ends last.
std::vector<Range> ranges_of(std::uint32_t count, std::uint32_t unit,
                             std::span<const double> shares) {
    const std::uint32_t unit_count = (count + unit - 1) / unit;
    std::vector<Range> ranges;
    std::uint32_t first = 0;
    for (const std::uint32_t units : apportion(unit_count, shares)) {
        const std::uint32_t end = std::min(count, first + units * unit);
        ranges.push_back({first, end - first});
        first = end;
    }
    return ranges;
}

}  // namespace

Alignment alignment_of(const model::Gguf& gguf, const model::Architecture& architecture) {
    Alignment out;
    const std::uint32_t output_block =
        weight_block_length(gguf, architecture, "attn_output.weight");
    const std::uint32_t heads = architecture.head_count;
    const std::uint32_t key_value_heads = architecture.key_value_head_count;
    EXO_ASSERT(key_value_heads > 0);
    const std::uint32_t queries_per_key = heads / key_value_heads;
    EXO_ASSERT(architecture.value_length > 0);
    const std::uint32_t aligned_heads = heads_per_block(architecture.value_length, output_block);
    EXO_ASSERT(aligned_heads > 0);
    if (key_value_heads == 1) {
        out.replicates_key_value_head = true;
        out.query_heads_per_unit = aligned_heads;
        if (heads % aligned_heads != 0) out.query_heads_per_unit = heads;
    } else {
        out.key_value_heads_per_unit = aligned_heads / std::gcd(aligned_heads, queries_per_key);
        EXO_ASSERT(out.key_value_heads_per_unit > 0);
        if (key_value_heads % out.key_value_heads_per_unit != 0) {
            out.key_value_heads_per_unit = key_value_heads;
        }
        out.query_heads_per_unit = out.key_value_heads_per_unit * queries_per_key;
    }
    out.attention_unit_count = heads / out.query_heads_per_unit;

    const std::uint32_t down_block =
        std::max(weight_block_length(gguf, architecture, "ffn_down.weight"),
                 weight_block_length(gguf, architecture, "ffn_down_exps.weight"));
    const std::uint32_t feed_forward_length = ShardSlice::whole(architecture).feed_forward.count;
    // Whole 256s keep every quantization type and repacked layout possible; small models are cut
    // finer, as far as their blocks allow.
    const std::uint32_t fine = std::max(down_block, 32U);
    out.feed_forward_unit =
        feed_forward_length % 256 == 0 && feed_forward_length >= 4096 ? 256U : fine;
    return out;
}

std::vector<std::uint32_t> apportion(std::uint32_t unit_count, std::span<const double> shares) {
    const double sum = std::accumulate(shares.begin(), shares.end(), 0.0);
    EXO_ASSERT(sum > 0);
    std::vector<std::uint32_t> units(shares.size());
    std::vector<double> remainders(shares.size());
    std::uint32_t given = 0;
    for (std::size_t i = 0; i < shares.size(); ++i) {
        const double exact = unit_count * (shares[i] / sum);
        units[i] = std::min(static_cast<std::uint32_t>(exact), unit_count - given);
        remainders[i] = shares[i] > 0 ? exact - units[i] : -1.0;
        given += units[i];
    }
    while (given < unit_count) {
        const auto largest = std::ranges::max_element(remainders);
        const auto index = static_cast<std::size_t>(largest - remainders.begin());
        ++units[index];
        *largest -= 1.0;
        ++given;
    }
    // A positive share means to take part: the largest gives it a unit.
    for (std::size_t i = 0; i < shares.size(); ++i) {
        const auto largest = std::ranges::max_element(units);
        if (shares[i] > 0 && units[i] == 0 && *largest > 1) {
            --*largest;
            ++units[i];
        }
    }
    return units;
}

Result<std::vector<Range>> split_layers(std::uint32_t layer_count, std::span<const double> shares) {
    EXO_TRY(check_shares(shares));
    const auto stages = std::ranges::count_if(shares, [](double share) { return share > 0; });
    if (static_cast<std::uint32_t>(stages) > layer_count ||
        stages != static_cast<std::ptrdiff_t>(shares.size())) {
        return fail(ErrorCode::invalid_argument, "a pipeline of " + std::to_string(shares.size()) +
                                                     " stages wants a share and " +
                                                     "a layer for each; the model has " +
                                                     std::to_string(layer_count) + " layers.");
    }
    return ranges_of(layer_count, 1, shares);
}

Result<std::vector<ShardSlice>> split_tensor(const Alignment& alignment,
                                             const model::Architecture& architecture, Range layers,
                                             std::span<const double> shares) {
    EXO_TRY(check_shares(shares));
    const ShardSlice whole = ShardSlice::whole(architecture);
    const auto attention =
        ranges_of(whole.query_heads.count, alignment.query_heads_per_unit, shares);
    const auto feed_forward =
        ranges_of(whole.feed_forward.count, alignment.feed_forward_unit, shares);
    const auto vocabulary = ranges_of(whole.vocabulary.count, alignment.vocabulary_unit, shares);
    const std::uint32_t queries_per_key =
        architecture.head_count / architecture.key_value_head_count;
    std::vector<ShardSlice> slices;
    for (std::size_t rank = 0; rank < shares.size(); ++rank) {
        const Range queries = attention[rank];
        Range keys{queries.first / queries_per_key, queries.count / queries_per_key};
        if (alignment.replicates_key_value_head) keys = {0, queries.count == 0 ? 0U : 1U};
        slices.push_back(
            {.layers = layers,
             .query_heads = queries,
             .key_value_heads = keys,
             .feed_forward = feed_forward[rank],
             .vocabulary = vocabulary[rank],
             .embeds = layers.first == 0,
             .heads = layers.end() == architecture.layer_count && vocabulary[rank].count > 0});
    }
    return slices;
}

Result<void> check_slice(const Alignment& alignment, const model::Architecture& architecture,
                         const ShardSlice& slice) {
    const ShardSlice whole = ShardSlice::whole(architecture);
    const auto fits = [](Range part, Range all, std::uint32_t unit) {
        const bool is_aligned =
            part.first % unit == 0 && (part.count % unit == 0 || part.end() == all.end());
        return part.end() <= all.end() && (part.count == 0 || is_aligned);
    };
    const auto bad = [](const std::string& why) { return fail(ErrorCode::invalid_argument, why); };
    if (slice.layers.count == 0 || !fits(slice.layers, whole.layers, 1))
        return bad("has layers that the model lacks");
    if (!fits(slice.query_heads, whole.query_heads, alignment.query_heads_per_unit))
        return bad("has attention heads that cannot be cut out");
    const std::uint32_t queries_per_key =
        architecture.head_count / architecture.key_value_head_count;
    Range keys{slice.query_heads.first / queries_per_key,
               slice.query_heads.count / queries_per_key};
    if (alignment.replicates_key_value_head) keys = {0, slice.query_heads.count == 0 ? 0U : 1U};
    if (slice.key_value_heads != keys) return bad("has heads that do not belong together");
    if (!fits(slice.feed_forward, whole.feed_forward, alignment.feed_forward_unit))
        return bad("has feed-forward columns that cannot be cut out");
    if (!fits(slice.vocabulary, whole.vocabulary, 1))
        return bad("has vocabulary rows that the model lacks");
    if (slice.embeds != (slice.layers.first == 0))
        return bad("has an embedding without the first layer, or the other way round");
    const bool may_head = slice.layers.end() == whole.layers.end() && slice.vocabulary.count > 0;
    if (slice.heads != may_head) return bad("has an output that does not fit its layers");
    return {};
}

}  // namespace exomesh::engine
