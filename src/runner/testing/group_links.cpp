#include "runner/testing/group_links.h"

#include <utility>

namespace exomesh::runner::testing {

GroupLinks::GroupLinks(std::size_t rank_count, net::testing::Transport transport,
                       const net::LinkOptions& options)
    : members_(rank_count, std::vector<net::DataLink*>(rank_count, nullptr)) {
    for (std::size_t high = 1; high < rank_count; ++high) {
        for (std::size_t low = 0; low < high; ++low) {
            auto [one, other] = net::testing::make_pair(transport, options);
            members_[low][high] = &links_.emplace_back(std::move(one));
            members_[high][low] = &links_.emplace_back(std::move(other));
        }
    }
}

}  // namespace exomesh::runner::testing
