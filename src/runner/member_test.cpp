// Ranks of a tensor group hold the same hidden states, bit for bit: shown by giving each of them
// the whole LM head.
#include "runner/member.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/assert.h"
#include "runner/control.h"
#include "runner/reception.h"
#include "runner/testing/load_request.h"
#include "runner/testing/logits_play.h"

namespace exomesh::runner {
namespace {

using engine::testing::tiny_architecture;
using testing::TemporaryModel;

Result<std::vector<float>> compute_as(std::size_t rank, LoadRequest request,
                                      const TemporaryModel& model, const net::Identity& identity,
                                      Reception& reception) {
    request.rank = static_cast<std::uint16_t>(rank);
    EXO_TRY_ASSIGN(const net::TlsContext tls, net::TlsContext::create(identity));
    const auto deadline = net::Deadline::after_ms(60'000);
    Links links;
    EXO_TRY(links.open(request, tls, &reception, deadline));
    EXO_TRY_ASSIGN(const auto member, Member::create(model.file(), request, links, {}));
    const std::vector<model::TokenId> tokens = {5, 17, 200, 3, 99, 42, 7, 300, 11, 12, 13, 14};
    std::vector<float> logits;
    std::uint32_t position = 0;
    for (const std::size_t count : {7U, 3U, 1U, 1U}) {
        const std::vector<engine::SlotTokens> batch = {
            {.slot = 0,
             .first_position = position,
             .tokens = std::span(tokens).subspan(position, count),
             .outputs = engine::OutputRows::all}};
        EXO_TRY_ASSIGN(const auto rows, member->compute(batch, deadline));
        logits.insert(logits.end(), rows.begin(), rows.end());
        position += static_cast<std::uint32_t>(count);
    }
    return logits;
}

// At the port of one rank, who expects the others.
std::unique_ptr<Reception> expect_ranks(std::size_t rank, LoadRequest request,
                                        const net::Identity& identity,
                                        net::LinkListener& listener) {
    request.rank = static_cast<std::uint16_t>(rank);
    const auto tls = net::TlsContext::create(identity);
    EXO_ASSERT(tls.has_value());
    auto reception = std::make_unique<Reception>(
        listener, control_setup(*tls, ControlRole::worker, {}), [](const std::string&) {});
    auto setup = setup_for_lower(request, *tls);
    EXO_ASSERT(setup.has_value());
    reception->expect_ranks(*std::move(setup));
    return reception;
}

std::vector<std::vector<float>> compute_all(LoadRequest request, const TemporaryModel& model) {
    const std::uint32_t vocabulary_size = model.file().architecture.vocabulary_size;
    std::vector<net::Identity> identities;
    std::vector<net::LinkListener> listeners;
    for (RankPlan& rank : request.ranks) {
        auto identity = net::Identity::generate();
        auto listener = net::LinkListener::listen("127.0.0.1", 0);
        EXO_ASSERT(identity.has_value() && listener.has_value());
        rank.port = listener->port();
        rank.peer_id = identity->peer_id().text();
        identities.push_back(*identity);
        listeners.push_back(*std::move(listener));
        if (rank.stage != request.ranks.back().stage) continue;
        rank.slice.vocabulary = {0, vocabulary_size};
        rank.slice.heads = true;
    }
    std::vector<std::unique_ptr<Reception>> receptions;
    for (std::size_t rank = 0; rank < request.ranks.size(); ++rank)
        receptions.push_back(expect_ranks(rank, request, identities[rank], listeners[rank]));
    std::vector<std::vector<float>> logits(request.ranks.size());
    std::vector<std::thread> threads;
    for (std::size_t rank = 0; rank < logits.size(); ++rank) {
        threads.emplace_back([&, rank] {
            auto computed = compute_as(rank, request, model, identities[rank], *receptions[rank]);
            ASSERT_TRUE(computed.has_value()) << computed.error().text();
            logits[rank] = *std::move(computed);
        });
    }
    for (std::thread& thread : threads) thread.join();
    return logits;
}

void expect_identical_ranks(const model::Architecture& architecture, const std::string& split,
                            std::uint32_t rank_count) {
    const TemporaryModel model(architecture, {.weight_type = model::TensorType::q8_0});
    for (const WireType wire : {WireType::f32, WireType::f16, WireType::q8_0}) {
        LoadRequest request = testing::make_load_request(model, split, rank_count);
        request.wire = wire;
        const auto logits = compute_all(request, model);
        ASSERT_EQ(logits.back().size(), std::size_t{12} * architecture.vocabulary_size);
        for (std::size_t rank = 0; rank < rank_count; ++rank) {
            const bool is_last = request.ranks[rank].stage == request.ranks.back().stage;
            EXPECT_EQ(logits[rank], is_last ? logits.back() : std::vector<float>());
        }
    }
}

TEST(Member, holds_the_same_bits_as_its_group) {
    for (const std::uint32_t rank_count : {2U, 3U, 4U}) {
        expect_identical_ranks(tiny_architecture("llama"), "tensor", rank_count);
    }
    expect_identical_ranks(tiny_architecture("qwen3moe"), "tensor", 3);
    expect_identical_ranks(tiny_architecture("gemma3"), "2x2", 4);
}

TEST(Member, holds_the_same_bits_with_a_single_key_value_head) {
    model::Architecture gemma = tiny_architecture("gemma3");
    gemma.key_value_head_count = 1;
    expect_identical_ranks(gemma, "tensor", 3);
}

TEST(Links, refuse_ranks_with_another_plan) {
    const TemporaryModel model(tiny_architecture("llama"), {});
    LoadRequest request = testing::make_load_request(model, "tensor", 2);
    auto head = net::Identity::generate();
    auto worker = net::Identity::generate();
    auto listener = net::LinkListener::listen("127.0.0.1", 0);
    ASSERT_TRUE(head.has_value() && worker.has_value() && listener.has_value());
    request.ranks[0].peer_id = head->peer_id().text();
    request.ranks[1].peer_id = worker->peer_id().text();
    request.ranks[1].port = listener->port();
    LoadRequest other = request;
    other.rank = 0;
    other.wire = WireType::q8_0;
    const auto tls = net::TlsContext::create(*worker);
    const auto head_tls = net::TlsContext::create(*head);
    ASSERT_TRUE(tls.has_value() && head_tls.has_value());
    const auto reception = expect_ranks(1, request, *worker, *listener);
    Result<void> accepted;
    std::thread thread([&] {
        Links links;
        accepted = links.open(request, *tls, reception.get(), net::Deadline::after_ms(1000));
    });
    Links links;
    const auto dialled = links.open(other, *head_tls, nullptr, net::Deadline::after_ms(5000));
    thread.join();
    ASSERT_FALSE(dialled.has_value());
    EXPECT_EQ(dialled.error().code, ErrorCode::invalid_argument);
    EXPECT_NE(dialled.error().message.find("f32 wire"), std::string::npos)
        << dialled.error().message;
    ASSERT_FALSE(accepted.has_value());
    EXPECT_NE(accepted.error().message.find("The last one was refused"), std::string::npos)
        << accepted.error().message;
}

}  // namespace
}  // namespace exomesh::runner
