#include "engine/testing/synthetic_model.h"

#include <ggml.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <fstream>
#include <span>
#include <thread>
#include <vector>

#include "base/assert.h"
#include "engine/sampler.h"
#include "engine/testing/synthetic_vocabulary.h"
#include "model/testing/gguf_writer.h"

namespace exomesh::engine::testing {

using model::Architecture;
using model::ExpectedTensor;
using model::Rope;
using model::RopeScalingKind;
using model::TensorType;
using model::TensorUse;
using model::testing::GgufWriter;

namespace {

constexpr std::uint64_t alignment_bytes = 32;  // GGUF's default
constexpr std::uint64_t chunk_value_count = 1 << 20;

// The file format's number for "what most of the weights are", which programs show to people.
std::uint32_t file_type_of(TensorType type) {
    switch (type) {
        case TensorType::f32:
            return 0;
        case TensorType::f16:
            return 1;
        case TensorType::q4_0:
            return 2;
        case TensorType::q4_1:
            return 3;
        case TensorType::q8_0:
            return 7;
        case TensorType::q5_0:
            return 8;
        case TensorType::q5_1:
            return 9;
        case TensorType::q2_k:
            return 10;
        case TensorType::q3_k:
            return 12;
        case TensorType::q4_k:
            return 15;
        case TensorType::q5_k:
            return 17;
        case TensorType::q6_k:
            return 18;
        case TensorType::iq4_nl:
            return 25;
        case TensorType::bf16:
            return 32;
        case TensorType::mxfp4:
            return 38;
        case TensorType::q8_1:
        case TensorType::q8_k:
        case TensorType::i32:
            break;
    }
    EXO_ASSERT(false && "a type of weights");
    return 0;
}

const char* name_of(RopeScalingKind kind) {
    switch (kind) {
        case RopeScalingKind::none:
            return "none";
        case RopeScalingKind::linear:
            return "linear";
        case RopeScalingKind::yarn:
            return "yarn";
        case RopeScalingKind::long_rope:
            return "longrope";
    }
    EXO_ASSERT(false && "a kind of scaling");
    return "";
}

class MetadataWriter {
  public:
    MetadataWriter(const Architecture& architecture, GgufWriter& writer)
        : architecture_(architecture), writer_(writer) {}

    void write() {
        const Architecture& a = architecture_;
        count("block_count", a.layer_count);
        count("context_length", a.context_length);
        count("embedding_length", a.embedding_length);
        count("feed_forward_length", a.feed_forward_length);
        count("attention.head_count", a.head_count);
        count("attention.head_count_kv", a.key_value_head_count);
        count("attention.key_length", a.key_length);
        count("attention.value_length", a.value_length);
        number("attention.layer_norm_rms_epsilon", a.norm_epsilon);
        count("vocab_size", a.vocabulary_size);
        if (a.final_logit_softcap > 0.0) number("final_logit_softcapping", a.final_logit_softcap);
        if (a.sliding_window > 0) write_sliding_window();
        if (a.experts) {
            count("expert_count", a.experts->count);
            count("expert_used_count", a.experts->used_count);
            count("expert_feed_forward_length", a.experts->feed_forward_length);
            if (a.experts->weights_scale != 1.0) {
                number("expert_weights_scale", a.experts->weights_scale);
            }
        }
        write_rope(a.rope);
    }

  private:
    void write_rope(const Rope& rope) {
        count("rope.dimension_count", rope.dimension_count);
        number("rope.freq_base", rope.frequency_base);
        if (rope.frequency_base_sliding != Rope{}.frequency_base_sliding) {
            number("rope.freq_base_swa", rope.frequency_base_sliding);
        }
        if (rope.attention_factor != 1.0) number("rope.scaling.attn_factor", rope.attention_factor);
        if (rope.scaling == RopeScalingKind::none) return;
        writer_.add(key("rope.scaling.type"), name_of(rope.scaling));
        number("rope.scaling.factor", rope.scaling_factor);
        count("rope.scaling.original_context_length", rope.original_context_length);
    }

    // The period where there is one, as the converters write it.
    void write_sliding_window() {
        const std::vector<bool>& slides = architecture_.layer_is_sliding;
        count("attention.sliding_window", architecture_.sliding_window);
        for (std::uint32_t period = 1; period <= slides.size() + 1; ++period) {
            bool fits = true;
            for (std::size_t i = 0; i < slides.size(); ++i) {
                fits = fits && slides[i] == ((i + 1) % period != 0);
            }
            if (fits) return count("attention.sliding_window_pattern", period);
        }
        writer_.add(key("attention.sliding_window_pattern"), slides);
    }

    [[nodiscard]] std::string key(std::string_view name) const {
        return architecture_.family + "." + std::string(name);
    }
    void count(std::string_view name, std::uint32_t value) { writer_.add(key(name), value); }
    void number(std::string_view name, double value) {
        writer_.add(key(name), static_cast<float>(value));
    }

    const Architecture& architecture_;
    GgufWriter& writer_;
};

struct Tensor {
    std::string name;
    TensorType type;
    std::vector<std::uint64_t> shape;
    float center;     // values are uniform around it ...
    float amplitude;  // ... up to this far
    std::uint64_t seed;
    std::uint64_t offset_bytes = 0;
    std::uint64_t size_bytes = 0;
};

TensorType type_that_fits(TensorType wanted, std::uint64_t column_count) {
    for (const TensorType type : {wanted, TensorType::q8_0}) {
        if (column_count % model::tensor_type_traits(type).block_count == 0) return type;
    }
    return TensorType::f16;
}

// Values keep the activations near one: uniform with the deviation gain / sqrt(inputs). Queries,
// keys and logits are larger, so that attention and the most probable token have something to
// decide.
Tensor describe(const ExpectedTensor& expected, const Architecture& architecture,
                const SyntheticOptions& options) {
    Tensor tensor{.name = expected.name,
                  .type = TensorType::f32,
                  .shape = {expected.shape.begin(), expected.shape.end()},
                  .center = 0.0F,
                  .amplitude = 0.0F,
                  .seed = 0};
    while (tensor.shape.size() > 1 && tensor.shape.back() == 1) tensor.shape.pop_back();
    if (expected.use == TensorUse::vector) {
        const bool is_bias = expected.name.ends_with(".bias");
        const bool is_factor = expected.name.starts_with("rope_");
        tensor.center = is_bias ? 0.0F : is_factor ? 3.0F : 1.0F;
        tensor.amplitude = is_factor ? 2.0F : 0.4F;
        return tensor;
    }
    TensorType wanted = options.weight_type;
    double gain = 1.0;
    double input_count = static_cast<double>(expected.shape[0]);
    const auto is = [&](std::string_view suffix) { return expected.name.ends_with(suffix); };
    if (is("token_embd.weight")) {
        wanted = options.embedding_type.value_or(wanted);
        gain = architecture.tied_output ? 4.0 : 1.0;
        if (!architecture.tied_output) input_count = 1.0;
    } else if (is("output.weight") && !is("attn_output.weight")) {
        wanted = options.output_type.value_or(wanted);
        gain = 4.0;
    } else if (is("ffn_gate_inp.weight")) {
        wanted = TensorType::f32;
        gain = 2.0;
    } else if (is("attn_q.weight") || is("attn_k.weight")) {
        gain = 1.5;
    }
    tensor.type = type_that_fits(wanted, expected.shape[0]);
    tensor.amplitude = static_cast<float>(gain * std::sqrt(3.0 / input_count));
    return tensor;
}

// Optional tensors are those of the options: biases and rope factors.
bool is_wanted(const ExpectedTensor& tensor, const SyntheticOptions& options) {
    if (tensor.presence == model::TensorPresence::required) return true;
    if (tensor.name.ends_with(".bias")) {
        return options.has_biases && !tensor.name.ends_with("attn_output.bias");
    }
    return options.has_rope_factors;
}

void fill(std::span<float> values, const Tensor& tensor, std::uint64_t chunk) {
    RandomGenerator random(tensor.seed + chunk);
    const float scale = tensor.amplitude / 32768.0F;
    std::uint64_t bits = 0;
    for (std::size_t i = 0; i < values.size(); ++i) {
        bits = i % 4 == 0 ? random.next() : bits >> 16U;
        const auto signed_bits = static_cast<std::int16_t>(bits & 0xFFFFU);
        values[i] = tensor.center + scale * static_cast<float>(signed_bits);
    }
}

// The tensor's bytes. Chunks have their own seeds, so that threads do not change the result.
std::vector<std::byte> encode(const Tensor& tensor, std::uint32_t thread_count) {
    std::vector<std::byte> bytes(tensor.size_bytes);
    const std::uint64_t columns = tensor.shape[0];
    std::uint64_t rows = 1;
    for (std::size_t i = 1; i < tensor.shape.size(); ++i) rows *= tensor.shape[i];
    const std::uint64_t chunk_rows = std::max<std::uint64_t>(1, chunk_value_count / columns);
    const std::uint64_t row_bytes = tensor.size_bytes / rows;
    std::atomic<std::uint64_t> next_chunk = 0;
    const auto work = [&] {
        std::vector<float> values(chunk_rows * columns);
        for (;;) {
            const std::uint64_t chunk = next_chunk++;
            if (chunk * chunk_rows >= rows) return;
            const std::uint64_t count = std::min(chunk_rows, rows - chunk * chunk_rows);
            fill(std::span(values).first(count * columns), tensor, chunk);
            ggml_quantize_chunk(static_cast<ggml_type>(tensor.type), values.data(),
                                bytes.data() + chunk * chunk_rows * row_bytes, 0,
                                static_cast<std::int64_t>(count),
                                static_cast<std::int64_t>(columns), nullptr);
        }
    };
    std::vector<std::jthread> threads;
    for (std::uint32_t i = 1; i < thread_count; ++i) threads.emplace_back(work);
    work();
    threads.clear();  // joins
    return bytes;
}

std::vector<Tensor> tensors_of(const Architecture& architecture, const SyntheticOptions& options) {
    std::vector<Tensor> tensors;
    RandomGenerator seeds(options.seed);
    std::uint64_t offset_bytes = 0;
    for (const ExpectedTensor& expected : model::expected_tensors(architecture)) {
        if (!is_wanted(expected, options)) continue;
        Tensor tensor = describe(expected, architecture, options);
        tensor.seed = seeds.next();
        tensor.offset_bytes = offset_bytes;
        tensor.size_bytes = model::testing::tensor_size_bytes(tensor.type, tensor.shape);
        offset_bytes +=
            (tensor.size_bytes + alignment_bytes - 1) / alignment_bytes * alignment_bytes;
        tensors.push_back(std::move(tensor));
    }
    return tensors;
}

}  // namespace

Architecture tiny_architecture(std::string_view family) {
    Architecture architecture;
    architecture.family = family;
    architecture.name = "synthetic " + architecture.family;
    architecture.layer_count = 2;
    architecture.embedding_length = 256;
    architecture.feed_forward_length = 512;
    architecture.head_count = 4;
    architecture.key_value_head_count = 2;
    architecture.key_length = 64;
    architecture.value_length = 64;
    architecture.vocabulary_size = synthetic_vocabulary_size_min;
    architecture.context_length = 512;
    architecture.attention_scale = 1.0 / 8.0;
    architecture.rope.dimension_count = 64;
    architecture.rope.original_context_length = 512;
    if (family == "llama") {
        architecture.rope.kind = model::RopeKind::adjacent;
    } else if (family == "qwen2") {
        architecture.tied_output = true;
    } else if (family == "qwen3") {
        architecture.query_key_norm = true;
        architecture.rope.frequency_base = 1e6;
    } else if (family == "qwen3moe") {
        architecture.query_key_norm = true;
        architecture.experts = model::Experts{.count = 8,
                                              .used_count = 2,
                                              .feed_forward_length = 256,
                                              .weights_normalized = true,
                                              .weights_scale = 1.0};
    } else if (family == "gemma3") {
        architecture.layer_count = 3;
        architecture.sliding_window = 16;
        architecture.layer_is_sliding = {true, true, false};
        architecture.query_key_norm = true;
        architecture.post_norms = true;
        architecture.activation = model::Activation::gelu;
        architecture.scales_query = true;
        architecture.embedding_scale = 16.0;
        architecture.rope.frequency_base = 1e6;
        architecture.tied_output = true;
    } else {
        EXO_ASSERT(family == "phi3");
        architecture.fused_query_key_value = true;
        architecture.fused_gate_up = true;
        architecture.scales_query = true;
    }
    architecture.layer_is_sliding.resize(architecture.layer_count, false);
    return architecture;
}

Result<> write_synthetic_model(const Architecture& architecture, const SyntheticOptions& options,
                               const std::string& path) {
    GgufWriter header;
    header.add("general.architecture", architecture.family)
        .add("general.name", architecture.name)
        .add("general.file_type", file_type_of(options.weight_type))
        .add("general.quantization_version", std::uint32_t{2});
    MetadataWriter(architecture, header).write();
    add_synthetic_vocabulary(header, architecture.family, architecture.vocabulary_size,
                             options.seed);
    if (!options.chat_template.empty()) {
        header.add("tokenizer.chat_template", options.chat_template);
    }
    const std::vector<Tensor> tensors = tensors_of(architecture, options);
    for (const Tensor& tensor : tensors) {
        header.add_raw_tensor(tensor.name, static_cast<std::uint32_t>(tensor.type), tensor.shape,
                              tensor.offset_bytes);
    }
    std::ofstream file(path, std::ios::binary | std::ios::trunc);
    const auto write = [&](std::span<const std::byte> bytes) {
        file.write(reinterpret_cast<const char*>(bytes.data()),
                   static_cast<std::streamsize>(bytes.size()));
    };
    write(header.bytes());
    for (const Tensor& tensor : tensors) {
        std::vector<std::byte> bytes = encode(tensor, options.thread_count);
        bytes.resize((bytes.size() + alignment_bytes - 1) / alignment_bytes * alignment_bytes);
        write(bytes);
    }
    file.close();
    if (!file) {
        return fail(ErrorCode::io, "cannot write '" + path + "'.", "Is there room on the disk?");
    }
    return {};
}

}  // namespace exomesh::engine::testing
