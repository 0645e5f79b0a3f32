#include "platform/boot_id.h"

#include <gtest/gtest.h>

namespace exomesh::platform {
namespace {

TEST(BootId, is_one_word_that_stays) {
    EXPECT_EQ(boot_id(), boot_id());
    EXPECT_EQ(boot_id().find_first_of(" \t\n"), std::string::npos);
#ifdef __linux__
    EXPECT_FALSE(boot_id().empty());
#endif
}

}  // namespace
}  // namespace exomesh::platform
