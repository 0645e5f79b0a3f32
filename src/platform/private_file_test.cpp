#include "platform/private_file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <string>
#include <vector>

namespace exomesh::platform {
namespace {

struct PrivateFile : ::testing::Test {
    void SetUp() override {
        std::string name = ::testing::TempDir() + "private.XXXXXX";
        ASSERT_NE(::mkdtemp(name.data()), nullptr);
        folder = name;
        path = (folder / "inside" / "secret").string();
    }
    void TearDown() override { std::filesystem::remove_all(folder); }

    std::filesystem::path folder;
    std::string path;
    std::vector<std::byte> secret = std::vector<std::byte>(100, std::byte{7});
};

TEST_F(PrivateFile, is_read_as_it_was_written) {
    const auto created = create_private_file(path, secret);
    ASSERT_TRUE(created) << created.error().text();
    EXPECT_EQ(*created, Creation::created);
    const auto read = read_private_file(path);
    ASSERT_TRUE(read) << read.error().text();
    EXPECT_EQ(*read, secret);
}

TEST_F(PrivateFile, is_never_replaced) {
    ASSERT_TRUE(create_private_file(path, secret));
    const std::vector<std::byte> other(5);
    const auto again = create_private_file(path, other);
    ASSERT_TRUE(again) << again.error().text();
    EXPECT_EQ(*again, Creation::existed);
    EXPECT_EQ(read_private_file(path).value(), secret);
}

TEST_F(PrivateFile, is_for_its_owner_alone_whatever_the_umask) {
    const auto before = ::umask(0);
    ASSERT_TRUE(create_private_file(path, secret));
    ::umask(before);
    struct stat information{};
    ASSERT_EQ(::stat(path.c_str(), &information), 0);
    EXPECT_EQ(information.st_mode & 0777U, 0600U);
    ASSERT_EQ(::stat((folder / "inside").c_str(), &information), 0);
    EXPECT_EQ(information.st_mode & 0777U, 0700U);
    for (const auto mode : {0640U, 0604U}) {
        ASSERT_EQ(::chmod(path.c_str(), mode), 0);
        const auto read = read_private_file(path);
        ASSERT_FALSE(read);
        EXPECT_NE(read.error().hint.find("chmod 600"), std::string::npos);
    }
}

TEST_F(PrivateFile, tells_what_is_wrong) {
    const auto missing = read_private_file(path);
    ASSERT_FALSE(missing);
    EXPECT_EQ(missing.error().code, ErrorCode::not_found);
    EXPECT_FALSE(read_private_file(folder.string()));
    const std::vector<std::byte> large(private_file_bytes_max + 1);
    ASSERT_TRUE(create_private_file(path, large));
    const auto too_large = read_private_file(path);
    ASSERT_FALSE(too_large);
    EXPECT_EQ(too_large.error().code, ErrorCode::resource_exhausted);
    const auto below_a_file = create_private_file(path + "/deeper", secret);
    ASSERT_FALSE(below_a_file);
    EXPECT_EQ(below_a_file.error().code, ErrorCode::io);
}

}  // namespace
}  // namespace exomesh::platform
