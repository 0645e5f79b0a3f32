#include "net/identity.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <future>
#include <string>
#include <vector>

#include "net/public_key.h"
#include "net/testing/hexadecimal.h"

namespace exomesh::net {
namespace {

struct Folder : ::testing::Test {
    void SetUp() override {
        std::string name = ::testing::TempDir() + "identity.XXXXXX";
        ASSERT_NE(::mkdtemp(name.data()), nullptr);
        path = name;
    }
    void TearDown() override { std::filesystem::remove_all(path); }
    [[nodiscard]] std::string key_file() const { return (path / device_key_file_name).string(); }

    std::filesystem::path path;
};

using IdentityFile = Folder;

TEST(Identity, matches_the_vectors_of_the_spec) {
    const auto encoded = testing::from_hexadecimal(
        "080112407e0830617c4a7de83925dfb2694556b12936c477a0e1feb2e148ec9da60fee7d"
        "1ed1e8fae2c4a144b8be8fd4b47bf3d3b34b871c3cacf6010f0e42d474fce27e");
    const auto identity = Identity::decode(encoded);
    ASSERT_TRUE(identity) << identity.error().text();
    EXPECT_EQ(identity->peer_id().text(), "12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq");
    EXPECT_TRUE(std::ranges::equal(identity->encode(), encoded));
}

TEST(Identity, signs_so_that_others_can_verify) {
    const auto one = Identity::generate();
    const auto other = Identity::generate();
    ASSERT_TRUE(one && other);
    EXPECT_NE(one->peer_id(), other->peer_id());
    const std::vector<std::byte> message(100, std::byte{1});
    auto signature = one->sign(message);
    ASSERT_TRUE(signature);
    EXPECT_TRUE(verify_signature(one->public_key(), message, *signature).value());
    EXPECT_FALSE(verify_signature(other->public_key(), message, *signature).value());
    EXPECT_FALSE(
        verify_signature(one->public_key(), std::span(message).first(99), *signature).value());
    (*signature)[5] ^= std::byte{1};
    EXPECT_FALSE(verify_signature(one->public_key(), message, *signature).value());
    EXPECT_FALSE(verify_signature(one->public_key(), message, {}).value());
}

TEST(Identity, refuses_bytes_that_are_no_key) {
    const auto good = Identity::generate().value().encode();
    for (std::size_t size = 0; size < good.size(); ++size)
        EXPECT_FALSE(Identity::decode(std::span(good).first(size)));
    for (std::size_t i = 0; i < good.size(); ++i) {
        auto bad = good;
        bad[i] ^= std::byte{1};
        EXPECT_FALSE(Identity::decode(bad)) << i;  // a changed seed has another public half
    }
}

TEST_F(IdentityFile, is_made_once_for_its_owner_alone) {
    const std::string folder = (path / "state" / "deeper").string();
    const auto made = Identity::load_or_generate(folder);
    ASSERT_TRUE(made) << made.error().text();
    const auto loaded = Identity::load_or_generate(folder);
    ASSERT_TRUE(loaded) << loaded.error().text();
    EXPECT_EQ(made->peer_id(), loaded->peer_id());
    struct stat information{};
    ASSERT_EQ(::stat((folder + "/" + device_key_file_name).c_str(), &information), 0);
    EXPECT_EQ(information.st_mode & 0777U, 0600U);
    ASSERT_EQ(::stat(folder.c_str(), &information), 0);
    EXPECT_EQ(information.st_mode & 0777U, 0700U);
    const auto count = std::distance(std::filesystem::directory_iterator(folder),
                                     std::filesystem::directory_iterator());
    EXPECT_EQ(count, 1);  // no draft is left
}

TEST_F(IdentityFile, is_the_same_for_all_who_start_at_once) {
    std::vector<std::future<Result<Identity>>> starts;
    starts.reserve(8);
    for (int i = 0; i < 8; ++i)
        starts.push_back(std::async(std::launch::async,
                                    [this] { return Identity::load_or_generate(path.string()); }));
    const auto first = starts[0].get();
    ASSERT_TRUE(first) << first.error().text();
    for (std::size_t i = 1; i < starts.size(); ++i) {
        const auto other = starts[i].get();
        ASSERT_TRUE(other) << other.error().text();
        EXPECT_EQ(other->peer_id(), first->peer_id());
    }
}

TEST_F(IdentityFile, that_is_damaged_or_open_to_others_is_refused_and_kept) {
    ASSERT_TRUE(Identity::load_or_generate(path.string()));
    ASSERT_EQ(::chmod(key_file().c_str(), 0644), 0);
    const auto open = Identity::load_or_generate(path.string());
    ASSERT_FALSE(open);
    EXPECT_NE(open.error().hint.find("chmod 600"), std::string::npos);
    ASSERT_EQ(::chmod(key_file().c_str(), 0600), 0);
    std::ofstream(key_file()) << "rubbish";
    const auto damaged = Identity::load_or_generate(path.string());
    ASSERT_FALSE(damaged);
    EXPECT_EQ(damaged.error().code, ErrorCode::corrupt_data);
    EXPECT_EQ(std::filesystem::file_size(key_file()), 7U);
}

}  // namespace
}  // namespace exomesh::net
