// The data links of one rank.
#pragma once

#include <cstdint>
#include <mutex>
#include <optional>
#include <vector>

#include "base/result.h"
#include "net/data_link.h"
#include "net/tls_context.h"
#include "runner/messages.h"
#include "runner/reception.h"

namespace exomesh::runner {

// Whether two ranks talk: the head with everyone, ranks of one stage with each other, a stage's
// first rank with the next stage's.
[[nodiscard]] bool needs_link(const std::vector<RankPlan>& ranks, std::size_t a, std::size_t b);

// The first rank of a stage: the one that passes the states on.
[[nodiscard]] std::size_t leader_of(const std::vector<RankPlan>& ranks, std::uint16_t stage);

// Whether a rank dials others: the lower one of a pair does.
[[nodiscard]] bool dials_others(const LoadRequest& request);

// How a rank greets the lower ones, for Reception::expect_ranks(). corrupt_data: who they are is
// unreadable.
[[nodiscard]] Result<net::LinkSetup> setup_for_lower(const LoadRequest& request,
                                                     const net::TlsContext& tls);

// Links by rank; none to itself and to ranks it has nothing to say to. One thread uses the links;
// interrupt() may be called by another.
class Links {
  public:
    // The lower rank of a pair dials, the higher one takes it from its `reception`, which expects
    // ranks of setup_for_lower() (the head has none and accepts nobody). Every rank must be doing
    // this at the same time, and receptions must expect ranks before the first one dials.
    [[nodiscard]] Result<void> open(const LoadRequest& request, const net::TlsContext& tls,
                                    Reception* reception, net::Deadline deadline);

    [[nodiscard]] net::DataLink& at(std::size_t rank) { return *links_[rank]; }
    [[nodiscard]] bool has(std::size_t rank) const { return links_[rank].has_value(); }
    [[nodiscard]] std::size_t rank_count() const { return links_.size(); }
    // Over all links, encrypted.
    struct Traffic {
        std::uint64_t sent_bytes = 0, received_bytes = 0;
    };
    [[nodiscard]] Traffic traffic() const;

    // Cuts all links, also those that open() makes later: whoever waits on one gets an error, and
    // open() within two seconds.
    void interrupt();
    // Says goodbye on all links.
    void close();

  private:
    [[nodiscard]] Result<net::DataLink> dial(const RankPlan& peer, const net::LinkSetup& setup,
                                             net::Deadline deadline);
    [[nodiscard]] Result<void> take_lower(const LoadRequest& request, Reception& reception,
                                          net::Deadline deadline);
    void add(std::size_t rank, net::DataLink link);
    [[nodiscard]] bool is_interrupted();

    std::vector<std::optional<net::DataLink>> links_;
    std::mutex mutex_;  // guards what follows
    std::vector<int> descriptors_;
    bool interrupted_ = false;
};

}  // namespace exomesh::runner
