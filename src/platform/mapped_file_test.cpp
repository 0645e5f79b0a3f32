#include "platform/mapped_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <limits>
#include <utility>

namespace exomesh::platform {
namespace {

using ::testing::HasSubstr;

class MappedFileTest : public ::testing::Test {
  protected:
    MappedFileTest() {
        std::string pattern = (std::filesystem::temp_directory_path() / "mapped_XXXXXX").string();
        if (::mkdtemp(pattern.data()) != nullptr) folder_ = pattern;
    }
    ~MappedFileTest() override { std::filesystem::remove_all(folder_); }

    [[nodiscard]] std::string path(const char* name) const { return (folder_ / name).string(); }

    std::string written(const char* name, const std::string& content) const {
        std::ofstream(path(name), std::ios::binary) << content;
        return path(name);
    }

    std::filesystem::path folder_;
};

std::string text_of(const MappedFile& file) {
    return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

TEST_F(MappedFileTest, ShowsTheFilesBytes) {
    const std::string content(100'000, 'x');
    const auto file = MappedFile::open(written("file", content + "end"));
    ASSERT_TRUE(file) << file.error().text();
    EXPECT_EQ(text_of(*file), content + "end");
}

TEST_F(MappedFileTest, AnEmptyFileIsAnEmptySpan) {
    const auto file = MappedFile::open(written("empty", ""));
    ASSERT_TRUE(file) << file.error().text();
    EXPECT_TRUE(file->bytes().empty());
    file->drop(0, 1);
}

TEST_F(MappedFileTest, NamesWhatItCannotOpen) {
    const auto missing = MappedFile::open(path("missing"));
    ASSERT_FALSE(missing);
    EXPECT_EQ(missing.error().code, ErrorCode::not_found);
    EXPECT_THAT(missing.error().message, HasSubstr(path("missing")));
    const auto folder = MappedFile::open(folder_.string());
    ASSERT_FALSE(folder);
    EXPECT_EQ(folder.error().code, ErrorCode::invalid_argument);
    EXPECT_THAT(folder.error().message, HasSubstr("not a regular file"));
}

// Opening a pipe waits for its writer unless asked not to.
TEST_F(MappedFileTest, RefusesAPipeAtOnce) {
    ASSERT_EQ(::mkfifo(path("pipe").c_str(), 0600), 0);
    const auto pipe = MappedFile::open(path("pipe"));
    ASSERT_FALSE(pipe);
    EXPECT_EQ(pipe.error().code, ErrorCode::invalid_argument);
}

TEST_F(MappedFileTest, MovesKeepTheMapping) {
    auto first = MappedFile::open(written("first", "one"));
    auto second = MappedFile::open(written("second", "two"));
    ASSERT_TRUE(first && second);
    const std::byte* data = first->bytes().data();
    MappedFile moved(std::move(*first));
    EXPECT_EQ(moved.bytes().data(), data);
    EXPECT_EQ(text_of(moved), "one");
    moved = std::move(*second);
    EXPECT_EQ(text_of(moved), "two");
}

TEST_F(MappedFileTest, OutlivesItsName) {
    const auto file = MappedFile::open(written("file", "still here"));
    ASSERT_TRUE(file);
    std::filesystem::remove(path("file"));
    EXPECT_EQ(text_of(*file), "still here");
}

TEST_F(MappedFileTest, HintsChangeNothingForAnyRange) {
    std::string content(50'000, '\0');
    for (std::size_t i = 0; i < content.size(); ++i) content[i] = static_cast<char>(i / 7);
    const auto file = MappedFile::open(written("file", content));
    ASSERT_TRUE(file);
    constexpr std::size_t huge = std::numeric_limits<std::size_t>::max();
    constexpr std::size_t sizes[] = {0, 1, 4095, 4096, 4097, 49'999, 50'000, 50'001, huge};
    for (const std::size_t offset_bytes : sizes) {
        for (const std::size_t size_bytes : sizes) {
            file->drop(offset_bytes, size_bytes);
            ASSERT_EQ(text_of(*file), content) << offset_bytes << " " << size_bytes;
        }
    }
}

}  // namespace
}  // namespace exomesh::platform
