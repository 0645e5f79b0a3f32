#include "runner/model_content.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>

#include "base/assert.h"
#include "runner/testing/logits_play.h"

namespace exomesh::runner {
namespace {

namespace fs = std::filesystem;

class ModelContent : public ::testing::Test {
  protected:
    ModelContent() : model_(engine::testing::tiny_architecture("llama"), {}) {
        std::string pattern = (fs::temp_directory_path() / "content_XXXXXX").string();
        EXO_ASSERT(::mkdtemp(pattern.data()) != nullptr);
        folder_ = pattern;
        cache_ = (folder_ / "cache").string();
    }
    ~ModelContent() override { fs::remove_all(folder_); }

    [[nodiscard]] std::string copy(const char* name) const {
        fs::copy_file(model_.path(), folder_ / name);
        return (folder_ / name).string();
    }
    [[nodiscard]] std::string checksum(const std::string& path) const {
        const auto opened = engine::ModelFile::open(path);
        EXO_ASSERT(opened.has_value());
        return content_checksum(**opened, cache_);
    }
    [[nodiscard]] static std::string stamp(const std::string& path) {
        const auto opened = engine::ModelFile::open(path);
        EXO_ASSERT(opened.has_value());
        return model_stamp(**opened);
    }
    // The last byte, which is a weight's; the file's times stay what they were as far as possible.
    static void flip_last_bit(const std::string& path) {
        const auto before = fs::last_write_time(path);
        std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
        file.seekg(-1, std::ios::end);
        const int byte = file.get();
        file.seekp(-1, std::ios::end);
        file.put(static_cast<char>(byte ^ 1));
        file.close();
        fs::last_write_time(path, before);
    }

    testing::TemporaryModel model_;
    fs::path folder_;
    std::string cache_;
};

TEST_F(ModelContent, is_that_of_a_copy_and_no_other_file) {
    const std::string one = copy("one");
    const std::string other = copy("other");
    const std::string expected = checksum(model_.path());
    EXPECT_EQ(expected.size(), 64U);
    EXPECT_EQ(checksum(one), expected);
    EXPECT_EQ(checksum(one), expected);  // remembered now
    flip_last_bit(one);
    EXPECT_NE(checksum(one), expected);
    EXPECT_EQ(checksum(other), expected);
    flip_last_bit(one);
    EXPECT_EQ(checksum(one), expected);
}

TEST_F(ModelContent, is_not_read_again_while_the_file_stays) {
    const std::string path = copy("one");
    const std::string expected = checksum(path);
    for (const auto& entry : fs::directory_iterator(cache_)) {
        std::string text;
        std::getline(std::ifstream(entry.path()), text);
        text.back() = text.back() == '0' ? '1' : '0';
        std::ofstream(entry.path()) << text;
    }
    EXPECT_NE(checksum(path), expected) << "it was computed, not remembered";
    for (const auto& entry : fs::directory_iterator(cache_)) std::ofstream(entry.path()) << "junk";
    EXPECT_EQ(checksum(path), expected);
}

TEST_F(ModelContent, stamps_tell_files_and_their_states_apart) {
    const std::string one = copy("one");
    const std::string other = copy("other");
    EXPECT_FALSE(stamp(one).empty());
    EXPECT_EQ(stamp(one), stamp(one));
    EXPECT_NE(stamp(one), stamp(other));
    const std::string before = stamp(one);
    flip_last_bit(one);
    EXPECT_NE(stamp(one), before);
}

}  // namespace
}  // namespace exomesh::runner
