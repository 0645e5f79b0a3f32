#include "runner/device_survey.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <format>
#include <limits>
#include <string>
#include <vector>

#include "device/cache_file.h"
#include "device/cpu_topology.h"
#include "device/self_tester.h"
#include "device/speed.h"
#include "net/testing/link_pair.h"
#include "runner/testing/without_threads.h"

namespace exomesh::runner {
namespace {

std::vector<std::byte> bytes_of(const std::string& text) {
    const auto bytes = std::as_bytes(std::span(text));
    return {bytes.begin(), bytes.end()};
}

TEST(DeviceSurvey, is_read_as_it_was_written) {
    const SurveyQuestion question{.device = "auto",
                                  .weight_type = "q4_0",
                                  .self_test_groups = {"operations", "products of q4_K"},
                                  .thread_count = 3};
    EXPECT_EQ(decode_survey_question(encode_survey_question(question)), question);
    const DeviceSurvey survey{.processor = "boot cpu",
                              .device = "cpu",
                              .memory_bytes = 8'000'000'000,
                              .read_bytes_per_s = 2.5e10};
    EXPECT_EQ(decode_survey(encode_survey(survey)), survey);
}

TEST(DeviceSurvey, is_refused_where_it_is_malformed) {
    const auto with = [](const std::string& device, const std::string& memory,
                         const std::string& rate) {
        return R"({"version":1,"processor":"p","device":)" + device + R"(,"memory_bytes":)" +
               memory + R"(,"read_bytes_per_s":)" + rate + "}";
    };
    ASSERT_TRUE(decode_survey(bytes_of(with("\"cpu\"", "1", "1e9"))).has_value());
    const std::vector<std::string> texts = {"",
                                            "[]",
                                            "{}",
                                            with("1", "1", "1e9"),
                                            with(R"("\u001b[2J")", "1", "1e9"),
                                            with("\"" + std::string(33, 'a') + "\"", "1", "1e9"),
                                            with("\"cpu\"", "\"1\"", "1e9"),
                                            with("\"cpu\"", "-1", "1e9"),
                                            with("\"cpu\"", "1e300", "1e9"),
                                            with("\"cpu\"", "1", "0"),
                                            with("\"cpu\"", "1", "-1"),
                                            with("\"cpu\"", "1", "1e-300"),
                                            with("\"cpu\"", "1", "1e300"),
                                            with("\"cpu\"", "1", "1e999"),
                                            with("\"cpu\"", "1", "null"),
                                            with("\"cpu\"", "1", "1e9") + "x",
                                            std::string(1000, '['),
                                            std::string(survey_bytes_max + 1, ' ')};
    for (const std::string& text : texts) {
        SCOPED_TRACE(text.substr(0, 100));
        const auto read = decode_survey(bytes_of(text));
        ASSERT_FALSE(read.has_value());
        EXPECT_EQ(read.error().code, ErrorCode::corrupt_data);
    }
}

TEST(DeviceSurvey, refuses_questions_that_are_malformed) {
    const auto with = [](const std::string& groups, const std::string& threads) {
        return R"({"version":1,"device":"cpu","weight_type":"q4_0","self_test_groups":)" + groups +
               R"(,"thread_count":)" + threads + "}";
    };
    ASSERT_TRUE(decode_survey_question(bytes_of(with(R"(["cache of f16"])", "512"))).has_value());
    ASSERT_TRUE(decode_survey_question(bytes_of(with("[]", "0"))).has_value());
    std::string many = "[\"a\"";
    for (std::size_t i = 0; i < survey_group_count_max; ++i) many += ",\"a\"";
    const std::vector<std::string> texts = {"{}",
                                            with("[]", "513"),
                                            with("[]", "-1"),
                                            with("\"operations\"", "0"),
                                            with("[1]", "0"),
                                            with("[[]]", "0"),
                                            with("[\"\"]", "0"),
                                            with("[\"--device\"]", "0"),
                                            with(R"(["a\n"])", "0"),
                                            with("[\"" + std::string(65, 'a') + "\"]", "0"),
                                            with(many + "]", "0"),
                                            R"({"version":1,"device":"cpu","weight_type":"q4_0"})"};
    for (const std::string& text : texts) {
        SCOPED_TRACE(text.substr(0, 120));
        const auto read = decode_survey_question(bytes_of(text));
        ASSERT_FALSE(read.has_value());
        EXPECT_EQ(read.error().code, ErrorCode::corrupt_data);
    }
}

// Containers of one machine number their GPUs each for itself.
TEST(DeviceSurvey, tells_the_processors_of_one_machine_apart) {
    const auto facts = [](const std::string& id, const std::string& pci_address) {
        device::DeviceFacts out;
        out.id = id;
        out.pci_address = pci_address;
        return out;
    };
    const auto first = facts("vulkan0", "0000:c1:00.0"), second = facts("vulkan0", "0000:c2:00.0");
    const auto first_elsewhere = facts("cuda1", "0000:c1:00.0");
    EXPECT_NE(processor_name("boot", first), processor_name("boot", second));
    EXPECT_EQ(processor_name("boot", first), processor_name("boot", first_elsewhere));
    EXPECT_NE(processor_name("boot", first), processor_name("other", first));
    EXPECT_EQ(processor_name("boot", facts("cpu", "")), "boot cpu");
    EXPECT_EQ(processor_name("", first), "");
}

// What `doctor --bench` keeps was measured with one thread for each core.
TEST(DeviceSurvey, takes_what_was_kept_for_the_usual_threads_alone) {
    const std::string folder =
        ::testing::TempDir() + "exomesh_survey_" + std::to_string(::getpid());
    const char* const set = std::getenv("XDG_CACHE_HOME");
    const std::string before = set == nullptr ? "" : set;
    ::setenv("XDG_CACHE_HOME", folder.c_str(), 1);
    const auto cpu = device::DeviceRegistry::instance().cpu();
    ASSERT_TRUE(cpu.has_value());
    const std::uint32_t cores = device::physical_core_count();
    constexpr double kept_rate = 3e16;  // no device reads as fast
    const device::BenchmarkReport report{
        .identity = std::format("{} | benchmark {} | {} cores", device::device_identity(cpu->facts),
                                device::benchmark_version, cores),
        .weights = {{.type = "q8_0", .decode_bytes_per_s = kept_rate}}};
    device::write_cache(device::cache_path(device::cache_folder("benchmark"), report.identity),
                        device::benchmark_to_json(report));
    const auto rate = [](std::uint32_t thread_count) {
        const auto survey =
            survey_device({.device = "cpu", .weight_type = "q8_0", .thread_count = thread_count});
        EXPECT_TRUE(survey.has_value()) << survey.error().text();
        return survey ? survey->read_bytes_per_s : 0;
    };
    EXPECT_EQ(rate(0), kept_rate);
    EXPECT_EQ(rate(cores), kept_rate);
    const double other = rate(cores == 1 ? 2 : 1);
    EXPECT_GT(other, 1e7);
    EXPECT_LT(other, kept_rate / 10);
    std::filesystem::remove_all(folder);
    if (set == nullptr) {
        ::unsetenv("XDG_CACHE_HOME");
    } else {
        ::setenv("XDG_CACHE_HOME", before.c_str(), 1);
    }
}

TEST(DeviceSurvey, measures_the_cpu_with_any_type_of_weights) {
    for (const char* const type : {"q4_0", "iq2_xxs", "no type"}) {
        const auto survey = survey_device({.device = "cpu", .weight_type = type});
        ASSERT_TRUE(survey.has_value()) << survey.error().text();
        EXPECT_EQ(survey->device, "cpu");
        EXPECT_GT(survey->memory_bytes, 0U);
        EXPECT_GT(survey->read_bytes_per_s, 1e8) << type;
        EXPECT_EQ(decode_survey(encode_survey(*survey)), *survey);
    }
}

TEST(DeviceSurvey, fails_where_the_system_gives_no_thread) {
    auto [head, worker] = net::testing::make_pair();
    const std::atomic<bool> is_stopping = false;
    const testing::WithoutThreads none;
    const auto answered =
        answer_survey(worker, encode_survey_question({.device = "cpu"}), is_stopping);
    ASSERT_FALSE(answered.has_value());
    EXPECT_EQ(answered.error().code, ErrorCode::resource_exhausted);
}

TEST(DeviceSurvey, is_given_up_where_the_worker_is_stopped) {
    auto [head, worker] = net::testing::make_pair();
    const std::atomic<bool> is_stopping = true;
    const auto answered =
        answer_survey(worker, encode_survey_question({.device = "cpu"}), is_stopping);
    ASSERT_FALSE(answered.has_value());
    EXPECT_EQ(answered.error().code, ErrorCode::cancelled);
    const auto told = head.receive(net::testing::patient());
    ASSERT_TRUE(told.has_value()) << told.error().text();
    EXPECT_EQ(told->type, frame_type(MessageType::failure));
    EXPECT_EQ(decode_failure(told->payload).message, "the worker was stopped.");
}

}  // namespace
}  // namespace exomesh::runner
