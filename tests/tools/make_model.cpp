// Writes a model with random weights of any shape: what benches and speed comparisons run on.
//
//     make_model OUT --family llama --type q4_0 --embedding 2048 --ffn 5632 --layers 22 --heads 32
//                --kv-heads 4 --vocab 32000 --seed 1          (1.1 billion weights)
//     make_model OUT --type q4_0 --embedding 4096 --ffn 14336 --layers 32 --heads 32 --kv-heads 8
//                --vocab 128256                               (8 billion)
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <map>
#include <optional>
#include <string>
#include <thread>

#include <CLI/CLI.hpp>

#include "engine/testing/synthetic_model.h"

namespace {

using exomesh::engine::testing::SyntheticOptions;
using exomesh::model::Architecture;
using exomesh::model::TensorType;

constexpr std::array weight_types = {
    TensorType::f32,  TensorType::f16,  TensorType::bf16, TensorType::q4_0,   TensorType::q4_1,
    TensorType::q5_0, TensorType::q5_1, TensorType::q8_0, TensorType::q2_k,   TensorType::q3_k,
    TensorType::q4_k, TensorType::q5_k, TensorType::q6_k, TensorType::iq4_nl, TensorType::mxfp4};

std::map<std::string, TensorType> type_names() {
    std::map<std::string, TensorType> names;
    for (const TensorType type : weight_types) {
        names.emplace(exomesh::model::tensor_type_traits(type).name, type);
    }
    return names;
}

struct Arguments {
    std::string path;
    std::string family = "llama";
    std::uint32_t embedding = 2048, ffn = 5632, layers = 22, heads = 32, kv_heads = 4;
    std::uint32_t head_length = 0, vocabulary = 32000, context = 4096;
    std::uint32_t experts = 128, experts_used = 8, expert_ffn = 768, sliding_window = 512;
    bool tied = false;
    double rope_base = 10000.0;
    SyntheticOptions options;
};

Architecture architecture_of(const Arguments& arguments) {
    Architecture architecture = exomesh::engine::testing::tiny_architecture(arguments.family);
    architecture.embedding_length = arguments.embedding;
    architecture.feed_forward_length = arguments.ffn;
    architecture.layer_count = arguments.layers;
    architecture.head_count = arguments.heads;
    architecture.key_value_head_count = arguments.kv_heads;
    architecture.key_length =
        arguments.head_length > 0 ? arguments.head_length : arguments.embedding / arguments.heads;
    architecture.value_length = architecture.key_length;
    architecture.attention_scale = 1.0 / std::sqrt(architecture.key_length);
    architecture.embedding_scale =
        architecture.embedding_scale == 1.0 ? 1.0 : std::sqrt(arguments.embedding);
    architecture.vocabulary_size = arguments.vocabulary;
    architecture.context_length = arguments.context;
    architecture.rope.dimension_count = architecture.key_length;
    architecture.rope.frequency_base = arguments.rope_base;
    architecture.rope.original_context_length = arguments.context;
    architecture.tied_output = arguments.tied || architecture.tied_output;
    architecture.layer_is_sliding.assign(arguments.layers, false);
    if (architecture.sliding_window > 0) {
        architecture.sliding_window = arguments.sliding_window;
        for (std::uint32_t i = 0; i < arguments.layers; ++i) {
            architecture.layer_is_sliding[i] = (i + 1) % 6 != 0;
        }
    }
    if (architecture.experts) {
        architecture.experts->count = arguments.experts;
        architecture.experts->used_count = arguments.experts_used;
        architecture.experts->feed_forward_length = arguments.expert_ffn;
    }
    return architecture;
}

}  // namespace

int main(int argc, char** argv) {
    Arguments arguments;
    arguments.options.thread_count = std::max(1U, std::thread::hardware_concurrency());
    CLI::App app("Writes a GGUF model with random weights.");
    app.add_option("path", arguments.path, "file to write")->required();
    app.add_option("--family", arguments.family)
        ->check(CLI::IsMember({"llama", "qwen2", "qwen3", "qwen3moe", "gemma3", "phi3"}));
    const CLI::CheckedTransformer to_type(type_names(), CLI::ignore_case);
    app.add_option("--type", arguments.options.weight_type)->transform(to_type);
    app.add_option("--output-type", arguments.options.output_type)->transform(to_type);
    app.add_option("--embedding-type", arguments.options.embedding_type)->transform(to_type);
    app.add_option("--embedding", arguments.embedding);
    app.add_option("--ffn", arguments.ffn);
    app.add_option("--layers", arguments.layers)->check(CLI::Range(1, 1024));
    app.add_option("--heads", arguments.heads)->check(CLI::PositiveNumber);
    app.add_option("--kv-heads", arguments.kv_heads)->check(CLI::PositiveNumber);
    app.add_option("--head-length", arguments.head_length, "default: embedding / heads");
    app.add_option("--vocab", arguments.vocabulary)
        ->check(CLI::Range(exomesh::engine::testing::synthetic_vocabulary_size_min, 1U << 20U));
    app.add_option("--context", arguments.context);
    app.add_option("--experts", arguments.experts, "of qwen3moe");
    app.add_option("--experts-used", arguments.experts_used, "of qwen3moe");
    app.add_option("--expert-ffn", arguments.expert_ffn, "of qwen3moe");
    app.add_option("--sliding-window", arguments.sliding_window, "of gemma3");
    app.add_option("--rope-base", arguments.rope_base);
    app.add_flag("--tied", arguments.tied, "the LM head is the token embedding");
    app.add_flag("--biases", arguments.options.has_biases, "of query, key and value");
    app.add_flag("--rope-factors", arguments.options.has_rope_factors, "as in Llama 3.1");
    app.add_option("--seed", arguments.options.seed);
    app.add_option("--threads", arguments.options.thread_count)->check(CLI::Range(1, 256));
    CLI11_PARSE(app, argc, argv);

    const auto written = exomesh::engine::testing::write_synthetic_model(
        architecture_of(arguments), arguments.options, arguments.path);
    if (!written) {
        std::fprintf(stderr, "make_model: %s\n", written.error().text().c_str());
        return 1;
    }
    return 0;
}
