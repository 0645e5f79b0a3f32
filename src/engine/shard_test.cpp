// What a shard does when the device has no room: on the CPU, made so by a limit of the process.
#include "engine/shard.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "engine/testing/synthetic_model.h"

namespace exomesh::engine {
namespace {

// A few megabytes are left to allocate while one of these lives.
class AddressSpaceLimit {
  public:
    AddressSpaceLimit() {
        ::getrlimit(RLIMIT_AS, &before_);
        std::size_t pages = 0;
        std::ifstream("/proc/self/statm") >> pages;
        rlimit limit = before_;
        limit.rlim_cur = pages * 4096 + (64UL << 20);
        EXPECT_EQ(::setrlimit(RLIMIT_AS, &limit), 0);
    }
    AddressSpaceLimit(const AddressSpaceLimit&) = delete;
    AddressSpaceLimit& operator=(const AddressSpaceLimit&) = delete;
    ~AddressSpaceLimit() { ::setrlimit(RLIMIT_AS, &before_); }

  private:
    rlimit before_{};
};

class ShardTest : public ::testing::Test {
  protected:
    void SetUp() override {
        const std::string path =
            ::testing::TempDir() + std::to_string(::getpid()) + "_exomesh_shard_test.gguf";
        model::Architecture architecture = testing::tiny_architecture("llama");
        architecture.context_length = UINT32_MAX;
        ASSERT_TRUE(testing::write_synthetic_model(architecture,
                                                   {.weight_type = model::TensorType::f32}, path));
        auto file = ModelFile::open(path);
        std::filesystem::remove(path);  // the mapping keeps the bytes
        ASSERT_TRUE(file) << file.error().text();
        file_ = *std::move(file);
        auto device = device::DeviceRegistry::instance().cpu();
        ASSERT_TRUE(device) << device.error().text();
        options_.device = *device;
        options_.thread_count = 1;
        options_.slot_count = 2;
        options_.context_length = 1U << 15;
        options_.chunk_length = 16;
    }

    [[nodiscard]] Result<std::unique_ptr<Shard>> create() const {
        return Shard::create(*file_, ShardSlice::whole(file_->architecture), options_);
    }

    static std::vector<float> logits_of(Shard& shard, std::span<const model::TokenId> tokens) {
        const SlotTokens batch{.slot = 0, .first_position = 0, .tokens = tokens};
        const auto logits = shard.compute({&batch, 1});
        EXPECT_TRUE(logits) << logits.error().text();
        return logits ? std::vector<float>(logits->begin(), logits->end()) : std::vector<float>();
    }

    std::unique_ptr<const ModelFile> file_;
    ShardOptions options_;
};

TEST_F(ShardTest, ComputesOnAfterAStepThatFoundNoRoom) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    GTEST_SKIP() << "sanitizers need their address space";
#endif
    const auto shard = create();
    ASSERT_TRUE(shard) << shard.error().text();
    const std::vector<model::TokenId> prompt = {1, 2, 3, 4, 5};
    const auto before = logits_of(**shard, prompt);
    {
        // Its mask alone takes 1 GiB.
        const std::vector<model::TokenId> many(1U << 14, 7);
        const SlotTokens batch{.slot = 1, .first_position = 1U << 14, .tokens = many};
        const AddressSpaceLimit limit;
        const auto refused = (*shard)->compute({&batch, 1});
        ASSERT_FALSE(refused);
        EXPECT_EQ(refused.error().code, ErrorCode::resource_exhausted) << refused.error().text();
    }
    // The graph of the first step was kept, and lay in a buffer that is gone.
    EXPECT_EQ(logits_of(**shard, prompt), before);
}

TEST_F(ShardTest, ReservesForPromptsBesideDecodes) {
    options_.context_length = 512;
    options_.slot_count = 4;
    const auto shard = create();
    ASSERT_TRUE(shard) << shard.error().text();
    const std::uint64_t reserved_bytes = (*shard)->compute_bytes();
    const std::vector<model::TokenId> prompt(13, 7);
    std::vector<SlotTokens> batch;
    for (std::uint32_t slot = 0; slot < 4; ++slot) {
        const auto count = slot == 3 ? prompt.size() : 1;
        batch.push_back(
            {.slot = slot, .first_position = 300, .tokens = std::span(prompt).first(count)});
    }
    ASSERT_TRUE((*shard)->compute(batch));
    EXPECT_EQ((*shard)->compute_bytes(), reserved_bytes);
}

TEST_F(ShardTest, RefusesAContextThatCannotBeCounted) {
    options_.context_length = UINT32_MAX - 1;
    const auto shard = create();
    ASSERT_FALSE(shard);
    EXPECT_EQ(shard.error().code, ErrorCode::invalid_argument) << shard.error().text();
}

}  // namespace
}  // namespace exomesh::engine
