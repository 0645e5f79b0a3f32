#include "model/tensor_type.h"

#include <algorithm>
#include <array>

#include "base/assert.h"

namespace exomesh::model {

namespace {

using enum TensorType;

constexpr std::array type_table = std::to_array<TensorTypeTraits>({
    {f32, "f32", 1, 4},
    {f16, "f16", 1, 2},
    {q4_0, "q4_0", 32, 18},
    {q4_1, "q4_1", 32, 20},
    {q5_0, "q5_0", 32, 22},
    {q5_1, "q5_1", 32, 24},
    {q8_0, "q8_0", 32, 34},
    {q8_1, "q8_1", 32, 36},
    {q2_k, "q2_K", 256, 84},
    {q3_k, "q3_K", 256, 110},
    {q4_k, "q4_K", 256, 144},
    {q5_k, "q5_K", 256, 176},
    {q6_k, "q6_K", 256, 210},
    {q8_k, "q8_K", 256, 292},
    {iq4_nl, "iq4_nl", 32, 18},
    {i32, "i32", 1, 4},
    {bf16, "bf16", 1, 2},
    {mxfp4, "mxfp4", 32, 17},
});

}  // namespace

std::span<const TensorTypeTraits> tensor_types() {
    return type_table;
}

std::optional<TensorTypeTraits> tensor_type_traits(std::uint32_t type) {
    const auto found =
        std::ranges::find(type_table, static_cast<TensorType>(type), &TensorTypeTraits::type);
    if (found == type_table.end()) return std::nullopt;
    return *found;
}

TensorTypeTraits tensor_type_traits(TensorType type) {
    const auto traits = tensor_type_traits(static_cast<std::uint32_t>(type));
    EXO_ASSERT(traits.has_value());
    return *traits;
}

}  // namespace exomesh::model
