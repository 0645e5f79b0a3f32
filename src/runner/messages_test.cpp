#include "runner/messages.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <random>
#include <string>
#include <string_view>
#include <vector>

namespace exomesh::runner {
namespace {

using ::testing::HasSubstr;

std::uint32_t below(std::mt19937_64& random, std::uint64_t end) {
    return static_cast<std::uint32_t>(random() % end);
}

engine::Range random_range(std::mt19937_64& random) {
    return {below(random, 1U << 31), below(random, 1U << 31)};
}

LoadRequest random_request(std::mt19937_64& random) {
    LoadRequest request;
    request.model_path = "/models/\"quoted\" ä/" + std::to_string(random()) + ".gguf";
    request.model_size_bytes = random();
    request.model_checksum = "00ff" + std::to_string(below(random, 1000));
    for (std::byte& byte : request.session_id) byte = static_cast<std::byte>(random());
    const std::uint32_t rank_count = 1 + below(random, rank_count_max);
    request.rank = static_cast<std::uint16_t>(below(random, rank_count));
    for (std::uint32_t i = 0; i < rank_count; ++i) {
        RankPlan rank;
        rank.host = i == 0 ? "" : "10.0.0." + std::to_string(i);
        rank.port = static_cast<std::uint16_t>(random());
        rank.peer_id = "12D3KooW" + std::to_string(random());
        rank.stage = static_cast<std::uint16_t>(below(random, rank_count));
        if (i == 0 && random() % 4 == 0) rank.stage = stage_none;
        rank.slice = {random_range(random), random_range(random), random_range(random),
                      random_range(random), random_range(random), random() % 2 == 0,
                      random() % 2 == 0};
        request.ranks.push_back(rank);
    }
    request.wire = static_cast<WireType>(random() % 3);
    request.device = "Vulkan" + std::to_string(below(random, 4));
    request.thread_count = below(random, 256);
    request.slot_count = 1 + below(random, step_slot_count_max);
    request.context_length = 1 + below(random, engine::context_length_max - 1);
    request.chunk_length = 1 + below(random, step_token_count_max);
    request.spin_us = below(random, 1000);
    request.link = {.latency_us = below(random, 10'000),
                    .bytes_per_ms = 1 + below(random, 10'000'000)};
    request.overlap_tokens_min = below(random, 1000);
    request.cache_type = static_cast<engine::CacheType>(random() % 3);
    request.weight_layout =
        random() % 2 == 0 ? engine::WeightLayout::fast : engine::WeightLayout::exact;
    request.flash_attention = random() % 2 == 0;
    request.recording = static_cast<Recording>(random() % 3);
    return request;
}

std::vector<std::byte> bytes_of(std::string_view text) {
    const auto bytes = std::as_bytes(std::span(text));
    return {bytes.begin(), bytes.end()};
}

std::string text_of(std::span<const std::byte> bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// `from` replaced by `to` in the JSON of a request, decoded.
Result<LoadRequest> decode_changed(const LoadRequest& request, const std::string& from,
                                   const std::string& to) {
    std::string text = text_of(encode_load_request(request));
    const auto at = text.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    text.replace(at, from.size(), to);
    return decode_load_request(bytes_of(text));
}

TEST(LoadRequest, survives_every_value_and_no_truncation) {
    std::mt19937_64 random(1);
    for (int i = 0; i < 50; ++i) {
        const LoadRequest request = random_request(random);
        auto bytes = encode_load_request(request);
        const auto decoded = decode_load_request(bytes);
        ASSERT_TRUE(decoded) << decoded.error().text();
        EXPECT_EQ(*decoded, request);
        for (int cut = 0; cut < 20; ++cut) {
            const auto part = std::span(bytes).first(random() % bytes.size());
            const auto refused = decode_load_request(part);
            ASSERT_FALSE(refused);
            EXPECT_EQ(refused.error().code, ErrorCode::corrupt_data);
        }
        bytes.push_back(std::byte{'{'});
        EXPECT_FALSE(decode_load_request(bytes));
    }
}

TEST(LoadRequest, refuses_what_is_beyond_its_limits) {
    LoadRequest request;
    request.model_path = "/m.gguf";
    request.ranks.resize(2);
    request.slot_count = 3;
    request.context_length = 256;
    ASSERT_TRUE(decode_load_request(encode_load_request(request)));
    const auto message = [&](const std::string& from, const std::string& to) {
        const auto decoded = decode_changed(request, from, to);
        if (decoded) return std::string("accepted");
        EXPECT_EQ(decoded.error().code, ErrorCode::corrupt_data);
        return decoded.error().message;
    };
    EXPECT_EQ(message("\"slot_count\":3", "\"slot_count\":257"),
              "the load request cannot be used: 'slot_count' is not from 1 to 256.");
    EXPECT_THAT(message("\"slot_count\":3", "\"slot_count\":0"), HasSubstr("'slot_count'"));
    EXPECT_THAT(message("\"slot_count\":3", "\"slot_count\":-1"), HasSubstr("is no number"));
    EXPECT_THAT(message("\"slot_count\":3", "\"slot_count\":3.0"), HasSubstr("is no number"));
    EXPECT_THAT(message("\"slot_count\":3", "\"slot_count\":3,\"x\":1"),
                HasSubstr("unknown fields"));
    EXPECT_THAT(message("\"slot_count\":3,", ""), HasSubstr("'slot_count' is missing"));
    EXPECT_THAT(message("\"version\":1", "\"version\":2"), HasSubstr("'version'"));
    EXPECT_THAT(message("/m.gguf", ""), HasSubstr("'model_path' is empty"));
    EXPECT_THAT(message("/m.gguf", std::string(5000, 'a')), HasSubstr("'model_path'"));
    EXPECT_THAT(message("/m.gguf", "a\\u0000b"), HasSubstr("'model_path'"));
    EXPECT_THAT(message("\"model_checksum\":\"", "\"model_checksum\":\"x"),
                HasSubstr("'model_checksum'"));
    EXPECT_THAT(message("\"session_id\":\"0", "\"session_id\":\""), HasSubstr("'session_id'"));
    EXPECT_THAT(message("\"session_id\":\"0", "\"session_id\":\"g"), HasSubstr("'session_id'"));
    EXPECT_THAT(message("\"rank\":0", "\"rank\":2"), HasSubstr("'ranks'"));
    EXPECT_THAT(message("\"wire\":\"q8\"", "\"wire\":\"q4\""), HasSubstr("'wire'"));
    EXPECT_THAT(message("\"cache_type\":\"f16\"", "\"cache_type\":\"bf16\""),
                HasSubstr("'cache_type'"));
    EXPECT_THAT(message("\"weight_layout\":\"fast\"", "\"weight_layout\":\"slow\""),
                HasSubstr("'weight_layout'"));
    EXPECT_THAT(message("\"context_length\":256", "\"context_length\":0"),
                HasSubstr("'context_length' is not from 1"));
    EXPECT_THAT(message("\"chunk_length\":512", "\"chunk_length\":65537"),
                HasSubstr("'chunk_length'"));
    EXPECT_THAT(message("\"flash_attention\":true", "\"flash_attention\":1"),
                HasSubstr("'flash_attention'"));
    EXPECT_THAT(message("\"stage\":0", "\"stage\":2"), HasSubstr("rank 0 of the load request"));
    EXPECT_THAT(message("\"port\":0", "\"port\":65536"), HasSubstr("'port'"));
    EXPECT_THAT(message("\"layers\":[0,0]", "\"layers\":[4294967295,1]"), HasSubstr("'layers'"));
    EXPECT_THAT(message("\"layers\":[0,0]", "\"layers\":[1]"), HasSubstr("'layers'"));
    EXPECT_THAT(message("\"layers\":[0,0]", "\"layers\":[[1],0]"), HasSubstr("'layers'"));
    request.ranks.resize(rank_count_max + 1);
    EXPECT_FALSE(decode_load_request(encode_load_request(request)));
    EXPECT_FALSE(decode_load_request(std::vector(load_request_bytes_max + 1, std::byte{' '})));
    EXPECT_FALSE(decode_load_request(bytes_of(std::string(1 << 20, '['))));
    EXPECT_FALSE(decode_load_request(bytes_of("[]")));
}

TEST(ReadyReport, survives_every_value_and_no_truncation) {
    std::mt19937_64 random(2);
    for (int i = 0; i < 20; ++i) {
        const ReadyReport report{"cpu", random(), random(), random()};
        auto bytes = encode_ready_report(report);
        const auto decoded = decode_ready_report(bytes);
        ASSERT_TRUE(decoded) << decoded.error().text();
        EXPECT_EQ(*decoded, report);
        for (std::size_t size = 0; size < bytes.size(); ++size)
            EXPECT_FALSE(decode_ready_report(std::span(bytes).first(size)));
        bytes.push_back(std::byte{'1'});
        EXPECT_FALSE(decode_ready_report(bytes));
    }
}

// It is shown to people.
TEST(ReadyReport, names_a_device_and_nothing_else) {
    EXPECT_TRUE(decode_ready_report(encode_ready_report({.device = "vulkan0"})));
    for (const std::string& device :
         {std::string("\x1b[2J"), std::string("cpu\n"), std::string("CPU"), std::string(33, 'a')})
        EXPECT_FALSE(decode_ready_report(encode_ready_report({.device = device}))) << device;
}

TEST(LoadRequest, makes_no_rank_spin_for_longer_than_it_pays) {
    LoadRequest request;
    request.model_path = "/model.gguf";
    request.context_length = 1;
    request.ranks.resize(1);
    request.spin_us = 1'000'000;
    const auto decoded = decode_load_request(encode_load_request(request));
    ASSERT_TRUE(decoded) << decoded.error().text();
    EXPECT_EQ(decoded->spin_us, 1000U);
}

TEST(Failure, arrives_as_it_was) {
    for (int code = 0; code <= static_cast<int>(ErrorCode::internal); ++code) {
        const Error error{static_cast<ErrorCode>(code), "Gerät 'cpu' ist weg.", "Try again."};
        auto bytes = encode_failure(error);
        const Error decoded = decode_failure(bytes);
        EXPECT_EQ(decoded.code, error.code);
        EXPECT_EQ(decoded.message, error.message);
        EXPECT_EQ(decoded.hint, error.hint);
        for (std::size_t size = 0; size < bytes.size(); ++size) {
            const Error cut = decode_failure(std::span(bytes).first(size));
            EXPECT_EQ(cut.code, ErrorCode::corrupt_data);
            EXPECT_NE(cut.message, error.message);
        }
        bytes.push_back(std::byte{0});
        EXPECT_NE(decode_failure(bytes).message, error.message);
    }
}

TEST(Failure, cannot_speak_to_terminals_nor_at_length) {
    const auto through = [](std::string message, std::string hint) {
        return decode_failure(encode_failure({ErrorCode::io, std::move(message), std::move(hint)}));
    };
    const Error shown = through(
        "a\x1b[2Jb\n\xff"
        "c\xc3\xa4",
        "\x7f");
    EXPECT_EQ(shown.message, "a?[2Jb??c\xc3\xa4");
    EXPECT_EQ(shown.hint, "?");
    EXPECT_EQ(through("", "").message, "the peer failed and did not say why.");
    EXPECT_EQ(through(std::string(100'000, 'a'), std::string(100'000, 'b')).text(),
              std::string(4096, 'a') + " " + std::string(4096, 'b'));
    auto bytes = encode_failure({ErrorCode::internal, "x", ""});
    bytes[0] = std::byte{static_cast<unsigned char>(ErrorCode::internal) + 1};
    EXPECT_EQ(decode_failure(bytes).code, ErrorCode::corrupt_data);
}

Step random_step(std::mt19937_64& random) {
    Step step{static_cast<std::uint32_t>(random()), {}};
    for (std::uint32_t slot = below(random, 8); slot < step_slot_count_max;
         slot += 1 + below(random, 60)) {
        StepSlot tokens{
            slot, below(random, 100'000), static_cast<engine::OutputRows>(random() % 3), {}};
        tokens.tokens.resize(1 + below(random, 20));
        for (auto& token : tokens.tokens) token = static_cast<model::TokenId>(random() >> 33);
        tokens.needs = {.candidate_count = below(random, engine::candidate_count_max + 1),
                        .normalizer = random() % 2 == 0};
        const std::uint32_t adjustment_count = tokens.needs.whole() ? 0 : below(random, 5);
        for (std::uint32_t i = 0; i < adjustment_count; ++i) {
            tokens.adjustments.push_back(
                {.token = static_cast<model::TokenId>(1000 * i + below(random, 1000)),
                 .bias = i == 0 ? -std::numeric_limits<float>::infinity() : 0.5F,
                 .repetition = 1.0F + 0.125F * static_cast<float>(below(random, 3)),
                 .penalty = static_cast<float>(below(random, 100)) - 50.0F});
        }
        step.slots.push_back(std::move(tokens));
    }
    return step;
}

std::vector<std::byte> encoded(const Step& step) {
    std::vector<engine::SlotTokens> batch;
    for (const StepSlot& slot : step.slots) batch.push_back(slot.view());
    std::vector<std::byte> bytes(3, std::byte{1});  // of the step before
    encode_step(step.number, batch, bytes);
    return bytes;
}

TEST(Step, survives_every_value_and_no_truncation) {
    std::mt19937_64 random(3);
    Step decoded;  // used again, as a rank does
    for (int i = 0; i < 50; ++i) {
        const Step step = random_step(random);
        auto bytes = encoded(step);
        const auto result = decode_step(bytes, decoded);
        ASSERT_TRUE(result) << result.error().text();
        EXPECT_EQ(decoded, step);
        for (std::size_t size = 0; size < bytes.size(); ++size) {
            const auto refused = decode_step(std::span(bytes).first(size), decoded);
            ASSERT_FALSE(refused) << size;
            EXPECT_EQ(refused.error().code, ErrorCode::corrupt_data);
        }
        bytes.push_back(std::byte{0});
        EXPECT_FALSE(decode_step(bytes, decoded));
    }
}

TEST(Step, refuses_what_is_beyond_its_limits) {
    const auto message = [](const std::vector<StepSlot>& slots) {
        Step decoded;
        const auto result = decode_step(encoded({1, slots}), decoded);
        return result ? std::string("accepted") : result.error().message;
    };
    constexpr auto last = engine::OutputRows::last;
    const std::vector<model::TokenId> many(step_token_count_max, 5);
    EXPECT_EQ(message({{255, engine::context_length_max - 1, last, {1}}}), "accepted");
    EXPECT_EQ(message({{0, 0, last, many}}), "accepted");
    EXPECT_EQ(message({}), "the step has no slots.");
    EXPECT_EQ(message({{256, 0, last, {1}}}), "the step names slot 256, which is too many.");
    EXPECT_EQ(message({{0, 0, engine::OutputRows{3}, {1}}}),
              "the step asks for output rows of an unknown kind.");
    EXPECT_EQ(message({{0, 0, last, {1}, {.candidate_count = 64, .normalizer = true}}}),
              "accepted");
    EXPECT_EQ(message({{0, 0, last, {1}, {.candidate_count = 65, .normalizer = true}}}),
              "the step asks for too many candidates.");
    EXPECT_EQ(message({{0, 0, last, {}}}), "the step has a slot without tokens.");
    EXPECT_EQ(message({{0, 0, last, {-1}}}), "the step has a negative token.");
    EXPECT_EQ(message({{0, engine::context_length_max, last, {1}}}),
              "the step goes beyond any context.");
    EXPECT_EQ(message({{0, 0xffff'ffff, last, {1}}}), "the step goes beyond any context.");
    EXPECT_EQ(message({{0, 0, last, many}, {1, 0, last, {1}}}), "the step has too many tokens.");
    const std::string order = "the step does not name its slots in ascending order.";
    EXPECT_EQ(message({{1, 0, last, {1}}, {0, 0, last, {1}}}), order);
    EXPECT_EQ(message({{1, 0, last, {1}}, {1, 0, last, {1}}}), order);
    EXPECT_EQ(message(std::vector<StepSlot>(257, {0, 0, last, {1}})),
              "the step has too many slots.");
}

TEST(Step, refuses_adjustments_that_are_none) {
    const auto message = [](std::vector<engine::LogitAdjustment> adjustments,
                            std::uint32_t candidate_count = 1) {
        StepSlot slot{0, 0, engine::OutputRows::last, {1}};
        slot.needs.candidate_count = candidate_count;
        slot.adjustments = std::move(adjustments);
        Step decoded;
        const auto result = decode_step(encoded({1, {slot}}), decoded);
        return result ? std::string("accepted") : result.error().message;
    };
    constexpr float infinity = std::numeric_limits<float>::infinity();
    constexpr float nan = std::numeric_limits<float>::quiet_NaN();
    std::vector<engine::LogitAdjustment> many(engine::adjustment_count_max);
    for (std::size_t i = 0; i < many.size(); ++i) many[i].token = static_cast<model::TokenId>(i);
    EXPECT_EQ(message(many), "accepted");
    many.push_back({.token = 5000});
    EXPECT_EQ(message(many), "the step adjusts too many logits.");
    EXPECT_EQ(message({{.token = 1}}, 0), "the step adjusts logits of a whole row.");
    const std::string order = "the step does not adjust tokens in ascending order.";
    EXPECT_EQ(message({{.token = -1}}), order);
    EXPECT_EQ(message({{.token = 3}, {.token = 3}}), order);
    EXPECT_EQ(message({{.token = 3}, {.token = 2}}), order);
    const std::string number = "the step adjusts a logit by what is no number.";
    EXPECT_EQ(message({{.token = 3, .bias = -infinity}}), "accepted");
    EXPECT_EQ(message({{.token = 3, .bias = infinity}}), number);
    EXPECT_EQ(message({{.token = 3, .bias = nan}}), number);
    EXPECT_EQ(message({{.token = 3, .repetition = 0.0F}}), number);
    EXPECT_EQ(message({{.token = 3, .repetition = nan}}), number);
    EXPECT_EQ(message({{.token = 3}, {.token = 4, .penalty = infinity}}), number);
}

TEST(Step, allocates_nothing_once_its_buffer_is_large_enough) {
    std::vector<std::byte> bytes;
    bytes.reserve(100);
    const std::byte* data = bytes.data();
    const std::vector<model::TokenId> tokens = {4, 5};
    encode_step(1, std::vector<engine::SlotTokens>{{0, 7, tokens}}, bytes);
    EXPECT_EQ(bytes.size(), 8U + 20 + 8);
    EXPECT_EQ(bytes.data(), data);
}

TEST(CopySlot, survives_every_value_within_its_limits) {
    std::mt19937_64 random(4);
    for (int i = 0; i < 100; ++i) {
        const CopySlot copy{below(random, 256), below(random, 256), below(random, 1U << 30)};
        const auto bytes = encode_copy_slot(copy);
        const auto decoded = decode_copy_slot(bytes);
        ASSERT_TRUE(decoded);
        EXPECT_EQ(*decoded, copy);
        for (std::size_t size = 0; size < bytes.size(); ++size)
            EXPECT_FALSE(decode_copy_slot(std::span(bytes).first(size)));
    }
    EXPECT_FALSE(decode_copy_slot(std::vector<std::byte>(13)));
    EXPECT_FALSE(decode_copy_slot(encode_copy_slot({256, 0, 1})));
    EXPECT_FALSE(decode_copy_slot(encode_copy_slot({0, 256, 1})));
    EXPECT_FALSE(decode_copy_slot(encode_copy_slot({0, 1, engine::context_length_max + 1})));
}

TEST(PlanChecksum, covers_what_ranks_must_agree_on_and_nothing_else) {
    std::mt19937_64 random(5);
    const LoadRequest request = random_request(random);
    const auto changes = [&](auto change) {
        LoadRequest other = request;
        change(other);
        EXPECT_NE(other, request);
        return plan_checksum(other) != plan_checksum(request);
    };
    EXPECT_TRUE(changes([](LoadRequest& r) { ++r.model_size_bytes; }));
    EXPECT_TRUE(changes([](LoadRequest& r) { r.model_checksum += "0"; }));
    EXPECT_TRUE(changes([](LoadRequest& r) { r.wire = WireType((int(r.wire) + 1) % 3); }));
    EXPECT_TRUE(changes([](LoadRequest& r) {
        r.cache_type = engine::CacheType((static_cast<int>(r.cache_type) + 1) % 3);
    }));
    EXPECT_TRUE(changes([](LoadRequest& r) {
        r.weight_layout = engine::WeightLayout(1 - static_cast<int>(r.weight_layout));
    }));
    EXPECT_TRUE(changes([](LoadRequest& r) { ++r.slot_count; }));
    EXPECT_TRUE(changes([](LoadRequest& r) { ++r.context_length; }));
    EXPECT_TRUE(changes([](LoadRequest& r) { ++r.link.latency_us; }));
    EXPECT_TRUE(changes([](LoadRequest& r) { ++r.link.bytes_per_ms; }));
    EXPECT_TRUE(changes([](LoadRequest& r) { ++r.overlap_tokens_min; }));
    EXPECT_TRUE(changes([](LoadRequest& r) { r.ranks.emplace_back(); }));
    EXPECT_TRUE(changes([](LoadRequest& r) { ++r.ranks.back().stage; }));
    EXPECT_TRUE(changes([](LoadRequest& r) { ++r.ranks.back().slice.layers.first; }));
    EXPECT_TRUE(changes([](LoadRequest& r) { ++r.ranks.back().slice.query_heads.count; }));
    EXPECT_TRUE(changes([](LoadRequest& r) { ++r.ranks.back().slice.key_value_heads.count; }));
    EXPECT_TRUE(changes([](LoadRequest& r) { ++r.ranks.back().slice.feed_forward.count; }));
    EXPECT_TRUE(changes([](LoadRequest& r) { ++r.ranks.back().slice.vocabulary.first; }));
    EXPECT_TRUE(changes([](LoadRequest& r) { r.ranks[0].slice.embeds ^= true; }));
    EXPECT_TRUE(changes([](LoadRequest& r) { r.ranks[0].slice.heads ^= true; }));
    EXPECT_FALSE(changes([](LoadRequest& r) { r.model_path += "2"; }));
    EXPECT_FALSE(changes([](LoadRequest& r) { ++r.rank; }));
    EXPECT_FALSE(changes([](LoadRequest& r) { ++r.thread_count; }));
    EXPECT_FALSE(changes([](LoadRequest& r) { r.device += "2"; }));
    EXPECT_FALSE(changes([](LoadRequest& r) { r.ranks.back().host += "2"; }));
}

TEST(PlanText, says_what_runs_and_fits_a_hello) {
    LoadRequest request;
    request.model_path = "/models/tiny.gguf";
    request.slot_count = 4;
    request.context_length = 2048;
    request.ranks.resize(2);
    request.ranks[0].slice.layers = request.ranks[1].slice.layers = {0, 22};
    request.ranks[0].slice.query_heads = {0, 12};
    request.ranks[1].slice.query_heads = {12, 20};
    EXPECT_EQ(plan_text(request),
              "tiny.gguf, 22 layers, 2 ranks, 1 stages, q8 wire, f16 cache, 4 slots of 2048, "
              "heads 12+20");
    request.model_path = std::string(1000, 'm');
    request.ranks.resize(rank_count_max, request.ranks[1]);
    EXPECT_LE(plan_text(request).size(), net::plan_text_bytes_max);
    EXPECT_FALSE(plan_text({}).empty());
}

}  // namespace
}  // namespace exomesh::runner
