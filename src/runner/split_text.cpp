// The text of a split: see split.h.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <ranges>
#include <string>
#include <utility>

#include "model/architecture.h"
#include "runner/split.h"

namespace exomesh::runner {

namespace {

std::unexpected<Error> malformed(std::string_view text, const std::string& why = "") {
    return fail(ErrorCode::invalid_argument,
                "'" + std::string(text) + "' is no way to split" + why + ".",
                "Use auto, tensor, pipeline, 2x2 for two stages of two ranks each, or layers and "
                "devices like \"0-11:cpu 12-29:vulkan0\".");
}

// A whole number and nothing else.
std::optional<std::uint32_t> parse_number(std::string_view text) {
    std::uint32_t number = 0;
    const char* const end = text.data() + text.size();
    const auto [after, error] = std::from_chars(text.data(), end, number);
    if (error != std::errc() || after != end) return std::nullopt;
    return number;
}

bool is_device(std::string_view text) {
    return !text.empty() && std::ranges::all_of(text, [](char letter) {
        return (letter >= 'a' && letter <= 'z') || (letter >= '0' && letter <= '9');
    });
}

std::optional<double> parse_share(std::string_view text) {
    double share = 0;
    const char* const end = text.data() + text.size();
    const auto [after, error] = std::from_chars(text.data(), end, share);
    if (error != std::errc() || after != end || !std::isfinite(share) || share < 0) {
        return std::nullopt;
    }
    return share;
}

// "cpu*0.7+vulkan0*0.3"
Result<void> parse_ranks(std::string_view text, SplitStage& stage) {
    if (text.empty()) return malformed(text, ": behind ':' stands a device");
    std::size_t share_count = 0;
    for (const auto part : std::views::split(text, '+')) {
        const std::string_view rank(part);
        const std::size_t star = rank.find('*');
        const std::string_view device = rank.substr(0, star);
        if (!is_device(device)) {
            return malformed(text, ": '" + std::string(device) + "' is no device");
        }
        double share = 1;
        if (star != std::string_view::npos) {
            const auto given = parse_share(rank.substr(star + 1));
            if (!given) {
                return malformed(text, ": behind '*' stands a share like 0.7");
            }
            share = *given;
            ++share_count;
        }
        stage.devices.emplace_back(device);
        stage.shares.push_back(share);
    }
    if (share_count != 0 && share_count != stage.shares.size()) {
        return malformed(text, ": give each rank of a part a share, or none");
    }
    return {};
}

// "0-11:cpu+vulkan0", or "5:cpu" for one layer.
Result<SplitStage> parse_stage(std::string_view text) {
    SplitStage stage;
    const std::size_t colon = text.find(':');
    const std::string_view layers = text.substr(0, colon);
    const std::size_t dash = layers.find('-');
    const auto first = parse_number(layers.substr(0, dash));
    const auto last =
        dash == std::string_view::npos ? first : parse_number(layers.substr(dash + 1));
    if (!first || !last) return malformed(text);
    if (*last < *first || *last >= model::layer_count_max) {
        return malformed(text, ": layers are counted from 0 upwards");
    }
    stage.layers = {.first = *first, .count = *last - *first + 1};
    if (colon == std::string_view::npos) {
        stage.devices = {""};
        stage.shares = {1};
        return stage;
    }
    EXO_TRY(parse_ranks(text.substr(colon + 1), stage));
    return stage;
}

}  // namespace

Result<Split> parse_split(std::string_view text) {
    if (text == "tensor") return Split{.kind = SplitKind::tensor};
    if (text == "auto") return Split{.kind = SplitKind::automatic};
    if (text == "pipeline") return Split{.kind = SplitKind::pipeline};
    if (text.empty() || text.size() > split_text_bytes_max) {
        return malformed(text.substr(0, 40));
    }
    const std::size_t cross = text.find('x');
    if (cross != std::string_view::npos) {
        const auto stages = parse_number(text.substr(0, cross));
        const auto ranks = parse_number(text.substr(cross + 1));
        if (stages && ranks && *stages > 0 && *ranks > 0) {
            return Split{
                .kind = SplitKind::hybrid, .stage_count = *stages, .ranks_per_stage = *ranks};
        }
    }
    Split split{.kind = SplitKind::layers};
    for (const auto part : std::views::split(text, ' ')) {
        if (part.empty()) continue;  // people may write two blanks
        EXO_TRY_ASSIGN(SplitStage stage, parse_stage(std::string_view(part)));
        split.stages.push_back(std::move(stage));
    }
    if (split.stages.empty()) return malformed(text);
    return split;
}

std::optional<std::uint32_t> rank_count_of(const Split& split) {
    switch (split.kind) {
        case SplitKind::tensor:
        case SplitKind::pipeline:
        case SplitKind::automatic:
            return std::nullopt;
        case SplitKind::hybrid: {
            const std::uint64_t count = std::uint64_t{split.stage_count} * split.ranks_per_stage;
            return static_cast<std::uint32_t>(std::min<std::uint64_t>(count, UINT32_MAX));
        }
        case SplitKind::layers:
            break;
    }
    return static_cast<std::uint32_t>(devices_of(split).size());
}

std::vector<std::string> devices_of(const Split& split) {
    std::vector<std::string> devices;
    for (const SplitStage& stage : split.stages) {
        devices.insert(devices.end(), stage.devices.begin(), stage.devices.end());
    }
    return devices;
}

}  // namespace exomesh::runner
