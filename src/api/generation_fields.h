// The fields that chat completions and completions share.
#pragma once

#include <string>

#include "api/backend.h"
#include "api/json_fields.h"
#include "engine/generation.h"

namespace exomesh::api {

struct GenerationFields {
    engine::GenerateRequest request;  // without prompt
    int choice_count = 1;
    bool stream = false;
    bool include_usage = false;
};

// Errors stay in the reader.
void read_generation_fields(FieldReader& reader, const ModelInformation& model,
                            GenerationFields& fields);

// One request per choice. With a seed, choice i takes seed + i: repeatable, and not i times the
// same.
[[nodiscard]] std::vector<engine::GenerateRequest> requests_of(const GenerationFields& fields);

// Before a text is encoded, which takes seconds where it is long: 400 with code
// context_length_exceeded where it cannot fit, were every token the longest.
[[nodiscard]] ApiResult<> check_prompt_size(std::size_t size_bytes, const ModelInformation& model,
                                            const std::string& parameter);

// 400 with code context_length_exceeded where the prompt leaves no room for an answer.
[[nodiscard]] ApiResult<> check_prompt_length(std::size_t token_count,
                                              const ModelInformation& model,
                                              const std::string& parameter);

}  // namespace exomesh::api
