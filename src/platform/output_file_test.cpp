#include "platform/output_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

namespace exomesh::platform {
namespace {

using ::testing::HasSubstr;

class OutputFileTest : public ::testing::Test {
  protected:
    OutputFileTest() {
        std::string name = ::testing::TempDir() + "outputXXXXXX";
        folder_ = ::mkdtemp(name.data());
    }
    ~OutputFileTest() override { std::filesystem::remove_all(folder_); }

    [[nodiscard]] std::string path() const { return folder_ / "trace.json"; }
    [[nodiscard]] std::string content() const {
        std::ifstream file(path());
        return {std::istreambuf_iterator<char>(file), {}};
    }
    [[nodiscard]] long file_count() const {
        return std::distance(std::filesystem::directory_iterator(folder_), {});
    }

    std::filesystem::path folder_;
};

TEST_F(OutputFileTest, is_there_when_it_is_finished) {
    std::ofstream(path()) << "old";
    auto file = OutputFile::create(path());
    ASSERT_TRUE(file.has_value()) << file.error().text();
    ASSERT_TRUE(file->write("one, ").has_value());
    OutputFile moved = *std::move(file);
    ASSERT_TRUE(moved.write("two").has_value());
    EXPECT_EQ(content(), "old");
    ASSERT_TRUE(moved.finish().has_value());
    EXPECT_EQ(content(), "one, two");
    EXPECT_EQ(file_count(), 1);
}

TEST_F(OutputFileTest, leaves_nothing_where_it_was_not_finished) {
    {
        auto file = OutputFile::create(path());
        ASSERT_TRUE(file.has_value());
        ASSERT_TRUE(file->write("half").has_value());
    }
    EXPECT_EQ(file_count(), 0);
}

TEST_F(OutputFileTest, says_why_it_cannot_be_written) {
    const auto nowhere = OutputFile::create((folder_ / "missing" / "trace.json").string());
    ASSERT_FALSE(nowhere.has_value());
    EXPECT_EQ(nowhere.error().code, ErrorCode::io);
    EXPECT_THAT(nowhere.error().message, HasSubstr("No such file or directory"));
    const auto folder = OutputFile::create(folder_.string());
    ASSERT_FALSE(folder.has_value());
    EXPECT_THAT(folder.error().message, HasSubstr("Is a directory"));
}

TEST_F(OutputFileTest, says_that_the_disk_is_full) {
    auto file = OutputFile::create("/dev/full");
    ASSERT_TRUE(file.has_value()) << file.error().text();
    const auto written = file->write("x");
    ASSERT_FALSE(written.has_value());
    EXPECT_THAT(written.error().message, HasSubstr("'/dev/full': No space left on device"));
    EXPECT_THAT(written.error().hint, HasSubstr("Make room"));
    EXPECT_TRUE(std::filesystem::exists("/dev/full"));
}

}  // namespace
}  // namespace exomesh::platform
