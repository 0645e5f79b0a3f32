// The links of a tensor group whose ranks are threads of a test or a bench.
#pragma once

#include <cstddef>
#include <deque>
#include <vector>

#include "net/data_link.h"
#include "net/testing/link_pair.h"

namespace exomesh::runner::testing {

// A link between every two ranks.
class GroupLinks {
  public:
    GroupLinks(std::size_t rank_count, net::testing::Transport transport,
               const net::LinkOptions& options);

    // For a TensorGroup of this rank.
    [[nodiscard]] const std::vector<net::DataLink*>& of(std::size_t rank) const {
        return members_[rank];
    }

  private:
    std::deque<net::DataLink> links_;  // stay where they are
    std::vector<std::vector<net::DataLink*>> members_;
};

}  // namespace exomesh::runner::testing
