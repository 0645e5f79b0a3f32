#include "net/frame.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "net/testing/hexadecimal.h"

namespace exomesh::net {
namespace {

Hello make_hello() {
    Hello hello;
    hello.rank = 1;
    hello.rank_count = 3;
    hello.session_id.fill(std::byte{7});
    hello.plan_checksum.fill(std::byte{9});
    hello.plan_text = "tiny, 0.5/0.5, q8";
    return hello;
}

TEST(FrameHeader, has_these_bytes) {
    const auto bytes = encode_frame_header({FrameType{17}, 0x01020304, 2176});
    const auto expected = testing::from_hexadecimal("01e711000403020180080000");
    EXPECT_TRUE(std::ranges::equal(bytes, expected));
}

TEST(FrameHeader, survives_every_value) {
    std::mt19937_64 random(1);
    for (int i = 0; i < 10'000; ++i) {
        const FrameHeader header{
            FrameType(16 + random() % 65'000), static_cast<std::uint32_t>(random()),
            static_cast<std::uint32_t>(random() % (frame_payload_bytes_max + 1))};
        const auto bytes = encode_frame_header(header);
        const auto decoded = decode_frame_header(bytes, header.sequence);
        ASSERT_TRUE(decoded) << decoded.error().text();
        EXPECT_EQ(*decoded, header);
        EXPECT_FALSE(decode_frame_header(bytes, header.sequence - 1));
    }
}

TEST(FrameHeader, refuses_what_is_beyond_its_limits) {
    const auto message = [](FrameHeader header) {
        const auto decoded = decode_frame_header(encode_frame_header(header), 5);
        return decoded ? std::string("accepted") : decoded.error().message;
    };
    EXPECT_EQ(message({FrameType{16}, 5, frame_payload_bytes_max}), "accepted");
    EXPECT_EQ(message({FrameType{16}, 5, frame_payload_bytes_max + 1}),
              "the frame announces 67108865 bytes, 67108864 are allowed.");
    EXPECT_EQ(message({FrameType{16}, 4, 0}), "the frame has number 4 where 5 was to come.");
    EXPECT_EQ(message({FrameType{15}, 5, 0}), "the frame has the unknown type 15.");
    auto bytes = encode_frame_header({FrameType{16}, 5, 0});
    bytes[0] ^= std::byte{2};
    EXPECT_EQ(decode_frame_header(bytes, 5).error().message, "the frame is of another version.");
    bytes[1] ^= std::byte{2};
    EXPECT_EQ(decode_frame_header(bytes, 5).error().message, "this is no frame.");
}

TEST(Hello, survives_encoding) {
    const Hello hello = make_hello();
    const auto bytes = encode_hello(hello);
    ASSERT_TRUE(bytes) << bytes.error().text();
    const auto decoded = decode_hello(*bytes);
    ASSERT_TRUE(decoded) << decoded.error().text();
    EXPECT_EQ(*decoded, hello);
    for (std::size_t size = 0; size < bytes->size(); ++size)
        EXPECT_FALSE(decode_hello(std::span(*bytes).first(size))) << size;
    auto longer = *bytes;
    longer.push_back(std::byte{});
    EXPECT_FALSE(decode_hello(longer));
}

TEST(Hello, refuses_impossible_ranks_and_long_texts) {
    Hello hello = make_hello();
    hello.rank = 3;
    EXPECT_FALSE(encode_hello(hello));
    hello = make_hello();
    hello.rank_count = rank_count_max + 1;
    EXPECT_FALSE(encode_hello(hello));
    hello = make_hello();
    hello.plan_text.assign(plan_text_bytes_max + 1, 'x');
    EXPECT_FALSE(encode_hello(hello));
}

TEST(Hello, names_what_differs) {
    const Hello ours = make_hello();
    const auto message = [&ours](auto change) {
        Hello theirs = make_hello();
        theirs.rank = 2;
        change(theirs);
        const auto checked = check_hello(ours, theirs);
        return checked ? std::string("accepted") : checked.error().text();
    };
    EXPECT_EQ(message([](Hello&) {}), "accepted");
    EXPECT_EQ(message([](Hello& h) { h.protocol_version = 1; }),
              "the protocol version differs: 2 here, 1 there. Run the same version of exomesh "
              "everywhere.");
    EXPECT_EQ(message([](Hello& h) { h.session_id[0] = std::byte{1}; }),
              "the session differs: 070707070707 here, 010707070707 there. A rank of an earlier "
              "start may still run: stop it.");
    EXPECT_EQ(message([](Hello& h) { h.rank_count = 4; }),
              "the number of ranks differs: 3 here, 4 there. Start all ranks with the same split.");
    EXPECT_EQ(message([](Hello& h) { h.rank = 1; }),
              "both ends are rank 1. Give each rank a number of its own.");
    EXPECT_EQ(message([](Hello& h) {
                  h.plan_checksum[1] = std::byte{0xab};
                  h.plan_text = "other\n\x1b[31m";
              }),
              "the plan (model, shares or wire type) differs: 'tiny, 0.5/0.5, q8 090909090909' "
              "here, 'other??[31m 09ab09090909' there. Start all ranks with the same model file, "
              "shares and wire type.");
}

}  // namespace
}  // namespace exomesh::net
