#include "main/catalogue.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

namespace exomesh::main {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;

class Catalogue : public testing::Test {
  protected:
    void SetUp() override {
        std::string name = (fs::temp_directory_path() / "exomesh_catalogue_XXXXXX").string();
        ASSERT_NE(::mkdtemp(name.data()), nullptr);
        folder_ = name;
    }
    void TearDown() override { fs::remove_all(folder_); }

    std::string write(const std::string& name) {
        const fs::path path = fs::path(folder_) / name;
        std::ofstream(path) << "content";
        return path.string();
    }

    std::string folder_;
};

TEST_F(Catalogue, APathIsTakenAsItIs) {
    const std::string path = write("a file");
    EXPECT_EQ(find_model(path, {}).value(), path);
}

TEST_F(Catalogue, ANameIsFoundInTheFirstFolderThatHasIt) {
    const std::string path = write("SmolLM2-135M-Instruct.Q4_1.gguf");
    EXPECT_EQ(find_model("smollm2", {folder_ + "/none", folder_}).value(), path);
}

TEST_F(Catalogue, OtherFilesAreFoundByTheirName) {
    const std::string path = write("tiny.gguf");
    write("notes.txt");
    EXPECT_EQ(find_model("tiny", {folder_}).value(), path);
    const auto entries = catalogue({folder_});
    EXPECT_EQ(std::ranges::count(entries, "tiny", &CatalogueEntry::name), 1);
    EXPECT_EQ(std::ranges::count(entries, "notes", &CatalogueEntry::name), 0);
}

TEST_F(Catalogue, AMissingModelSaysHowToGetIt) {
    const auto found = find_model("smollm2", {folder_});
    ASSERT_FALSE(found);
    EXPECT_EQ(found.error().code, ErrorCode::not_found);
    EXPECT_THAT(found.error().hint, HasSubstr("./dev model smollm2"));
    EXPECT_THAT(found.error().hint, HasSubstr(folder_));
}

TEST_F(Catalogue, AnUnknownNameGivesTheNearest) {
    const auto found = find_model("smolm2", {folder_});
    ASSERT_FALSE(found);
    EXPECT_THAT(found.error().hint, HasSubstr("Did you mean 'smollm2'?"));
}

TEST_F(Catalogue, WhatCannotBeAModelIsRefused) {
    EXPECT_EQ(find_model(folder_, {}).error().code, ErrorCode::invalid_argument);
    EXPECT_EQ(find_model(folder_ + "/none.gguf", {}).error().code, ErrorCode::not_found);
    EXPECT_EQ(find_model("", {}).error().code, ErrorCode::not_found);
}

TEST_F(Catalogue, WhatCannotBeLookedAtIsNotCalledMissing) {
    const fs::path loop = fs::path(folder_) / "loop.gguf";
    fs::create_symlink(loop, loop);
    const auto found = find_model(loop.string(), {});
    ASSERT_FALSE(found);
    EXPECT_EQ(found.error().code, ErrorCode::io);
    EXPECT_THAT(found.error().message, HasSubstr("symbolic links"));
    // A name too long for any file is still no model.
    EXPECT_EQ(find_model(std::string(5000, 'x'), {}).error().code, ErrorCode::not_found);
}

TEST_F(Catalogue, FoldersComeFromTheEnvironment) {
    ::setenv("EXOMESH_MODELS", "/own", 1);
    ::setenv("XDG_DATA_HOME", "/data", 1);
    ::setenv("EXOMESH_CACHE", "/cache", 1);
    EXPECT_THAT(model_folders(), ElementsAre("/own", "/data/exomesh/models", "/cache/models"));
    ::unsetenv("EXOMESH_MODELS");
    ::unsetenv("XDG_DATA_HOME");
    ::unsetenv("EXOMESH_CACHE");
    ::unsetenv("XDG_CACHE_HOME");
    ::setenv("HOME", "/h", 1);
    EXPECT_THAT(model_folders(),
                ElementsAre("/h/.local/share/exomesh/models", "/h/.cache/exomesh/models"));
}

}  // namespace
}  // namespace exomesh::main
