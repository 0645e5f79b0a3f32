#include "runner/model_search.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "runner/testing/load_request.h"
#include "runner/testing/logits_play.h"

namespace exomesh::runner {
namespace {

using engine::testing::tiny_architecture;
using ::testing::HasSubstr;
using testing::TemporaryModel;

class ModelSearch : public ::testing::Test {
  protected:
    ModelSearch()
        : model_(tiny_architecture("llama"), {}),
          other_(tiny_architecture("qwen3"), {}),
          folder_(model_.path() + ".folder") {
        std::filesystem::create_directories(folder_);
        request_ = testing::make_load_request(model_, "tensor", 2);
        request_.model_path = "/nonexistent/head.gguf";
    }
    ~ModelSearch() override { std::filesystem::remove_all(folder_); }

    TemporaryModel model_, other_;
    std::string folder_;
    LoadRequest request_;
};

TEST_F(ModelSearch, finds_it_at_the_heads_path) {
    request_.model_path = model_.path();
    EXPECT_TRUE(find_model(request_, {}).has_value());
    EXPECT_TRUE(find_model(request_, {other_.path(), folder_}).has_value());
}

TEST_F(ModelSearch, finds_it_under_another_name) {
    EXPECT_TRUE(find_model(request_, {other_.path(), model_.path()}).has_value());
}

TEST_F(ModelSearch, finds_it_in_a_folder) {
    std::filesystem::copy_file(model_.path(), folder_ + "/head.gguf");
    EXPECT_TRUE(find_model(request_, {folder_}).has_value());
}

TEST_F(ModelSearch, says_where_it_looked) {
    const auto found = find_model(request_, {folder_, "/elsewhere.gguf"});
    ASSERT_FALSE(found.has_value());
    EXPECT_EQ(found.error().code, ErrorCode::not_found);
    EXPECT_THAT(found.error().message, HasSubstr(folder_ + "/head.gguf, /elsewhere.gguf, /nonex"));
    EXPECT_THAT(found.error().hint, HasSubstr("--model PATH"));
}

TEST_F(ModelSearch, tells_of_another_model) {
    const auto found = find_model(request_, {other_.path()});
    ASSERT_FALSE(found.has_value());
    EXPECT_EQ(found.error().code, ErrorCode::invalid_argument);
    EXPECT_THAT(found.error().message, HasSubstr(other_.path() + "' is another model here"));
}

TEST_F(ModelSearch, tells_of_a_file_that_is_damaged) {
    std::ofstream(folder_ + "/head.gguf") << "GGUF";
    const auto found = find_model(request_, {folder_});
    ASSERT_FALSE(found.has_value());
    EXPECT_EQ(found.error().code, ErrorCode::corrupt_data);
}

}  // namespace
}  // namespace exomesh::runner
