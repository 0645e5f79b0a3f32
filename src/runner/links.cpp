#include "runner/links.h"

#include <sys/socket.h>

#include <algorithm>
#include <string>
#include <utility>

namespace exomesh::runner {

namespace {

// How long an interruption may go unnoticed. A peer that is busy answers a later attempt.
constexpr std::uint64_t dial_ms = 2000;
constexpr std::uint64_t link_look_ms = 50;

net::LinkSetup session_setup(const LoadRequest& request, const net::TlsContext& tls) {
    return {.tls = tls,
            .hello = {.rank = request.rank,
                      .rank_count = static_cast<std::uint16_t>(request.ranks.size()),
                      .session_id = request.session_id,
                      .plan_checksum = plan_checksum(request),
                      .plan_text = plan_text(request)},
            .allowed_peers = {},
            .options = {.spin_us = request.spin_us}};
}

// A head that computes nothing waits for whole steps, longer than spinning pays; a rank that
// computes on the CPU and waits for its next order leaves its processor to the head, which may be
// on the same machine.
bool spins(const LoadRequest& request, std::size_t peer) {
    if (!is_head_idle(request.ranks)) return true;
    if (request.rank == 0) return false;
    return peer != 0 || (request.device != "cpu" && request.device != "auto");
}

}  // namespace

bool needs_link(const std::vector<RankPlan>& ranks, std::size_t a, std::size_t b) {
    if (a == b) return false;
    if (a > b) std::swap(a, b);
    if (a == 0 || ranks[a].stage == ranks[b].stage) return true;
    return ranks[b].stage == ranks[a].stage + 1 && leader_of(ranks, ranks[a].stage) == a;
}

std::size_t leader_of(const std::vector<RankPlan>& ranks, std::uint16_t stage) {
    const auto first = std::ranges::find(ranks, stage, &RankPlan::stage);
    return static_cast<std::size_t>(first - ranks.begin());
}

bool dials_others(const LoadRequest& request) {
    for (std::size_t rank = request.rank + 1U; rank < request.ranks.size(); ++rank) {
        if (needs_link(request.ranks, request.rank, rank)) return true;
    }
    return false;
}

Result<net::LinkSetup> setup_for_lower(const LoadRequest& request, const net::TlsContext& tls) {
    net::LinkSetup setup = session_setup(request, tls);
    for (std::size_t rank = 0; rank < request.rank; ++rank) {
        if (!needs_link(request.ranks, request.rank, rank)) continue;
        EXO_TRY_ASSIGN(net::PeerId id, net::PeerId::parse(request.ranks[rank].peer_id));
        setup.allowed_peers.push_back(std::move(id));
    }
    return setup;
}

Result<void> Links::open(const LoadRequest& request, const net::TlsContext& tls,
                         Reception* reception, net::Deadline deadline) {
    const std::size_t own = request.rank;
    links_.resize(request.ranks.size());
    net::LinkSetup setup = session_setup(request, tls);
    for (std::size_t rank = own + 1; rank < request.ranks.size(); ++rank) {
        if (!needs_link(request.ranks, own, rank)) continue;
        EXO_TRY_ASSIGN(const net::PeerId id, net::PeerId::parse(request.ranks[rank].peer_id));
        setup.allowed_peers = {id};
        setup.peer_rank = static_cast<std::uint16_t>(rank);
        EXO_TRY_ASSIGN(net::DataLink link, dial(request.ranks[rank], setup, deadline));
        if (!spins(request, rank)) link.set_spin_us(0);
        add(rank, std::move(link));
    }
    if (own == 0) return {};
    return take_lower(request, *reception, deadline);
}

Result<net::DataLink> Links::dial(const RankPlan& peer, const net::LinkSetup& setup,
                                  net::Deadline deadline) {
    while (true) {
        const auto look_up = net::Deadline::after_ms(dial_ms).or_sooner(deadline);
        auto link = net::DataLink::connect(peer.host, peer.port, setup, look_up);
        const bool may_come = !link && link.error().code == ErrorCode::unavailable;
        if (!may_come || deadline.passed() || is_interrupted()) return link;
    }
}

Result<void> Links::take_lower(const LoadRequest& request, Reception& reception,
                               net::Deadline deadline) {
    const std::size_t own = request.rank;
    std::size_t expected_count = 0;
    for (std::size_t rank = 0; rank < own; ++rank) {
        expected_count += needs_link(request.ranks, own, rank) ? 1 : 0;
    }
    while (expected_count > 0) {
        if (deadline.passed() || is_interrupted()) {
            const std::string refusal = reception.last_refusal();
            return fail(ErrorCode::unavailable,
                        "not all ranks dialled rank " + std::to_string(own) + "." +
                            (refusal.empty() ? "" : " The last one was refused: " + refusal));
        }
        auto link =
            reception.wait_for_rank(net::Deadline::after_ms(link_look_ms).or_sooner(deadline));
        if (!link) continue;
        const std::size_t rank = link->peer_rank();
        const bool is_expected = rank < own && needs_link(request.ranks, own, rank) &&
                                 !links_[rank] &&
                                 link->peer_id().text() == request.ranks[rank].peer_id;
        if (!is_expected) continue;
        if (!spins(request, rank)) link->set_spin_us(0);
        add(rank, *std::move(link));
        --expected_count;
    }
    return {};
}

Links::Traffic Links::traffic() const {
    Traffic traffic;
    for (const auto& link : links_) {
        if (!link) continue;
        traffic.sent_bytes += link->stats().sent_wire_bytes;
        traffic.received_bytes += link->stats().received_wire_bytes;
    }
    return traffic;
}

bool Links::is_interrupted() {
    const std::scoped_lock lock(mutex_);
    return interrupted_;
}

void Links::add(std::size_t rank, net::DataLink link) {
    const std::scoped_lock lock(mutex_);
    if (interrupted_) ::shutdown(link.descriptor(), SHUT_RDWR);
    descriptors_.push_back(link.descriptor());
    links_[rank].emplace(std::move(link));
}

void Links::interrupt() {
    const std::scoped_lock lock(mutex_);
    interrupted_ = true;
    // A shut-down socket stays open, so the number cannot have been given to another one.
    for (const int descriptor : descriptors_) ::shutdown(descriptor, SHUT_RDWR);
}

void Links::close() {
    const std::scoped_lock lock(mutex_);
    descriptors_.clear();
    links_.clear();
}

}  // namespace exomesh::runner
