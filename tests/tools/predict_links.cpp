// Asks the cost model about links, for tools/bench/links.py.
//
//     predict_links MODEL < QUESTIONS
//
// A question is {"stages", "ranks_per_stage", "context", "prompt", "output_bytes", "head_us":
// what the head spends on a step besides, "device": {fields of DeviceFigures}, "link": {fields of
// LinkFigures}}, and its answer {"decode_us", "prefill_us"}. With "against", another question, it
// is {"latency_us"}: at which both take as long for a token; null where there is none. QUESTIONS is
// a JSON array, and so is the answer.
#include <cstdint>
#include <iostream>
#include <print>

#include <nlohmann/json.hpp>

#include "model/architecture.h"
#include "model/gguf.h"
#include "placement/cost_model.h"
#include "platform/mapped_file.h"

namespace {

using exomesh::Result;
using nlohmann::json;
namespace placement = exomesh::placement;

struct Question {
    placement::Split split;
    placement::Cluster cluster;
    placement::Workload workload;
};

Question read_question(const placement::ModelCost& model, const json& value) {
    const json& device = value.at("device");
    const json& link = value.at("link");
    Question question;
    question.split = placement::equal_split(model, value.at("stages").get<std::uint32_t>(),
                                            value.at("ranks_per_stage").get<std::uint32_t>());
    question.split.output_bytes = value.at("output_bytes").get<double>();
    question.cluster =
        placement::Cluster::uniform(question.split.ranks.size(),
                                    {.read_bytes_per_s = device.at("read_bytes_per_s"),
                                     .flops_per_s = device.at("flops_per_s"),
                                     .step_us = device.at("step_us"),
                                     .part_us = device.at("part_us"),
                                     .value_us = device.at("value_us"),
                                     .wake_us = device.at("wake_us")},
                                    {.latency_us = link.at("latency_us"),
                                     .bytes_per_s = link.at("bytes_per_s"),
                                     .message_us = link.at("message_us")});
    question.cluster.devices[0].step_us += value.at("head_us").get<double>();
    question.workload = {.context_length = value.at("context").get<std::uint32_t>(),
                         .prompt_length = value.at("prompt").get<std::uint32_t>()};
    return question;
}

json answer(const placement::ModelCost& model, const json& value) {
    const Question asked = read_question(model, value);
    if (!value.contains("against")) {
        const auto found = placement::predict(model, asked.split, asked.cluster, asked.workload);
        return {{"decode_us", found.decode_us}, {"prefill_us", found.prefill_us}};
    }
    const Question other = read_question(model, value.at("against"));
    const auto found = placement::break_even_latency_us(model, asked.split, asked.cluster,
                                                        other.split, other.cluster, asked.workload);
    return {{"latency_us", found ? json(*found) : json(nullptr)}};
}

Result<placement::ModelCost> read_model(const std::string& path) {
    EXO_TRY_ASSIGN(const auto file, exomesh::platform::MappedFile::open(path));
    EXO_TRY_ASSIGN(const auto gguf, exomesh::model::Gguf::parse(file.bytes()));
    EXO_TRY_ASSIGN(const auto architecture, exomesh::model::read_architecture(gguf));
    return placement::model_cost(gguf, architecture);
}

}  // namespace

int main(int count, char** arguments) {
    if (count != 2) {
        std::println(stderr, "usage: predict_links MODEL < QUESTIONS");
        return 2;
    }
    const auto model = read_model(arguments[1]);
    if (!model) {
        std::println(stderr, "error: {}", model.error().text());
        return 1;
    }
    try {
        json answers = json::array();
        for (const json& question : json::parse(std::cin))
            answers.push_back(answer(*model, question));
        std::println("{}", answers.dump());
    } catch (const json::exception& error) {
        std::println(stderr, "error: the questions: {}", error.what());
        return 1;
    }
}
