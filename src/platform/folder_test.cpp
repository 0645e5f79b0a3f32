#include "platform/folder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <fstream>

namespace exomesh::platform {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::IsEmpty;

TEST(Folder, ListsItsEntriesInOrder) {
    std::string name = (fs::temp_directory_path() / "exomesh_folder_XXXXXX").string();
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    const fs::path folder = name;
    std::ofstream(folder / "b") << "x";
    std::ofstream(folder / "a") << "x";
    fs::create_directory(folder / "c");
    EXPECT_THAT(paths_in(name), ElementsAre(folder / "a", folder / "b", folder / "c"));
    fs::remove_all(folder);
}

TEST(Folder, WhatCannotBeReadIsEmpty) {
    EXPECT_THAT(paths_in("/no/such/folder"), IsEmpty());
    EXPECT_THAT(paths_in("/dev/null"), IsEmpty());
    EXPECT_THAT(paths_in(std::string(5000, 'x')), IsEmpty());
}

}  // namespace
}  // namespace exomesh::platform
