#include "net/peer_id.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "net/testing/hexadecimal.h"

namespace exomesh::net {
namespace {

using testing::from_hexadecimal;

// Of the peer-ids and tls specifications.
constexpr const char* spec_key =
    "080112201ed1e8fae2c4a144b8be8fd4b47bf3d3b34b871c3cacf6010f0e42d474fce27e";
constexpr const char* spec_id = "12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq";
constexpr const char* tls_spec_id = "12D3KooWM6CgA9iBFZmcYAHA6A2qvbAxqfkmrYiRQuz3XEsk4Ksv";
constexpr const char* tls_spec_id_as_cid =
    "bafzaajaiaejcbj37dwjp5w2z3xnouwq4jk6rvqx33z6xxb462nsfagajsi6xyenz";

TEST(PublicKey, is_read_and_written_as_the_spec_does) {
    for (const char* text :
         {spec_key, "08021221037777e994e452c21604f91de093ce415f5432f701dd8cd1a7a6fea0e630bfca99"}) {
        const auto encoded = from_hexadecimal(text);
        const auto key = decode_public_key(encoded);
        ASSERT_TRUE(key) << key.error().text();
        EXPECT_EQ(encode_public_key(*key), encoded);
    }
}

TEST(PublicKey, refuses_all_but_the_one_encoding) {
    const auto good = from_hexadecimal(spec_key);
    for (std::size_t size = 0; size < good.size(); ++size)
        EXPECT_FALSE(decode_public_key(std::span(good).first(size))) << size;
    auto longer = good;
    longer.push_back(std::byte{0});
    EXPECT_FALSE(decode_public_key(longer));
    auto unknown_type = good;
    unknown_type[1] = std::byte{4};
    EXPECT_FALSE(decode_public_key(unknown_type));
    // The length 32 as a varint of two bytes.
    auto overlong = good;
    overlong[3] = std::byte{0xa0};
    overlong.insert(overlong.begin() + 4, std::byte{0});
    EXPECT_FALSE(decode_public_key(overlong));
}

TEST(PeerId, matches_the_vectors_of_the_spec) {
    const auto key = decode_public_key(from_hexadecimal(spec_key));
    ASSERT_TRUE(key);
    const PeerId id = PeerId::of(*key);
    EXPECT_EQ(id.text(), spec_id);
    EXPECT_EQ(id.short_text(), "Umo7R3pq");
    const auto parsed = PeerId::parse(spec_id);
    ASSERT_TRUE(parsed) << parsed.error().text();
    EXPECT_EQ(*parsed, id);
}

TEST(PeerId, reads_the_form_of_a_cid) {
    const auto id = PeerId::parse(tls_spec_id_as_cid);
    ASSERT_TRUE(id) << id.error().text();
    EXPECT_EQ(id->text(), tls_spec_id);
}

TEST(PeerId, hashes_long_keys) {
    const auto id = PeerId::parse("QmfXbAwNjJLXfesgztEHe8HwgVDCMMpZ9Eax1HYq6hn9uE");
    ASSERT_TRUE(id) << id.error().text();
    EXPECT_EQ(id->bytes().size(), 34U);
    EXPECT_EQ(id->text(), "QmfXbAwNjJLXfesgztEHe8HwgVDCMMpZ9Eax1HYq6hn9uE");
}

TEST(PeerId, survives_text_whatever_the_key) {
    std::mt19937_64 random(1);
    for (int i = 0; i < 1000; ++i) {
        PublicKey key{KeyType::ed25519, std::vector<std::byte>(ed25519_key_size_bytes)};
        for (std::byte& byte : key.data) byte = static_cast<std::byte>(random());
        const PeerId id = PeerId::of(key);
        const auto parsed = PeerId::parse(id.text());
        ASSERT_TRUE(parsed);
        EXPECT_EQ(*parsed, id);
        const auto from_bytes = PeerId::from_bytes(id.bytes());
        ASSERT_TRUE(from_bytes);
        EXPECT_EQ(*from_bytes, id);
    }
}

TEST(PeerId, refuses_what_is_none) {
    const std::string good = spec_id;
    for (const std::string& text :
         {std::string(), std::string("hello"), good.substr(0, good.size() - 1), good + "1",
          "1" + good, good.substr(0, 10) + "0" + good.substr(11), std::string("b"),
          std::string("bafz"), std::string("bafzaajaiaejcbj37dwjp5w2z3xnouwq4jk6rvqx33z6xxb4"),
          std::string(tls_spec_id_as_cid) + "a", std::string(5000, '1'),
          "1" + std::string(60, '2')}) {
        const auto id = PeerId::parse(text);
        ASSERT_FALSE(id) << text;
        EXPECT_EQ(id.error().code, ErrorCode::invalid_argument);
        EXPECT_LT(id.error().message.size(), 200U);
    }
}

}  // namespace
}  // namespace exomesh::net
