// What a head would order, for tests that play the head or a rank themselves.
#pragma once

#include <cstdint>
#include <string>

#include "runner/messages.h"
#include "runner/testing/logits_play.h"

namespace exomesh::runner::testing {

// For rank 1 of `rank_count`, equal shares; nobody has an address or an identity yet.
[[nodiscard]] LoadRequest make_load_request(const TemporaryModel& model, const std::string& split,
                                            std::uint32_t rank_count);

}  // namespace exomesh::runner::testing
