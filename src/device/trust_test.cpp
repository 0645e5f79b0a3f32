#include "device/trust.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "device/backend_loader.h"
#include "device/cache_file.h"
#include "platform/child_process.h"

namespace exomesh::device {
namespace {

namespace fs = std::filesystem;
using testing::Each;
using testing::Field;
using testing::HasSubstr;

class Trust : public testing::Test {
  protected:
    void SetUp() override {
        folder_ = fs::temp_directory_path() / ("exomesh_trust_" + std::to_string(::getpid()));
        fs::create_directories(folder_);
        auto cpu = DeviceRegistry::instance().cpu();
        ASSERT_TRUE(cpu);
        cpu_ = *std::move(cpu);
    }
    void TearDown() override { fs::remove_all(folder_); }

    // A program that does what `script` says.
    [[nodiscard]] std::string program(const std::string& script) const {
        const auto path = folder_ / "program";
        std::ofstream(path) << "#!/bin/sh\n" << script << "\n";
        fs::permissions(path, fs::perms::owner_all);
        return path;
    }

    [[nodiscard]] Result<SelfTestReport> report_by(const std::string& script,
                                                   std::vector<std::string> groups = {
                                                       std::string(operations_group)}) const {
        return trusted_report(cpu_, cpu_,
                              {.program = program(script),
                               .groups = std::move(groups),
                               .cache_folder = (folder_ / "cache").string(),
                               .timeout_ms = 2'000});
    }

    [[nodiscard]] std::string cache_file() const {
        return cache_path((folder_ / "cache").string(),
                          device_identity(cpu_.facts) + " | " + std::string(operations_group));
    }

    fs::path folder_;
    Device cpu_;
};

TEST_F(Trust, AChildTestsTheDeviceAndTheCacheRemembers) {
    const TrustOptions options{.program = "/proc/self/exe",
                               .groups = {std::string(operations_group)},
                               .cache_folder = (folder_ / "cache").string()};
    const auto first = trusted_report(cpu_, cpu_, options);
    ASSERT_TRUE(first) << first.error().text();
    EXPECT_TRUE(first->passed()) << first->summary();
    // Only the cache can answer now: the program would fail.
    const auto second = report_by("exit 1");
    ASSERT_TRUE(second);
    EXPECT_TRUE(second->passed());
    EXPECT_EQ(second->operations.size(), first->operations.size());
}

TEST_F(Trust, OnlyGroupsNobodyVouchesForAreTested) {
    const auto q4 = products_group(GGML_TYPE_Q4_0);
    const auto q8 = products_group(GGML_TYPE_Q8_0);
    TrustOptions options{
        .program = "/proc/self/exe", .groups = {q4}, .cache_folder = (folder_ / "cache").string()};
    const auto first = trusted_report(cpu_, cpu_, options);
    ASSERT_TRUE(first);
    EXPECT_TRUE(first->passed()) << first->summary();
    EXPECT_THAT(first->operations, Each(Field(&OperationResult::group, q4)));

    // The crash is that of the second type alone: a model with the first one still runs.
    const auto both = report_by(
        "echo \"$2 $3 $4\" >" + (folder_ / "asked").string() + "; kill -SEGV $$", {q4, q8});
    ASSERT_TRUE(both);
    EXPECT_FALSE(both->passed());
    std::string asked;
    std::getline(std::ifstream(folder_ / "asked"), asked);
    EXPECT_EQ(asked, "cpu " + q8 + " ");
    const auto again = report_by("exit 1", {q4});
    ASSERT_TRUE(again);
    EXPECT_TRUE(again->passed()) << again->summary();
}

TEST_F(Trust, ProgressComesFromATestThatRunsAndNoneFromTheCache) {
    using Phase = SelfTestProgress::Phase;
    std::vector<Phase> phases;
    std::string operation;
    const TrustOptions options{
        .program = program("printf 'noise\\ncase 1/7 an operation\\ncase 2/' >&2; sleep 1;"
                           "kill -SEGV $$"),
        .cache_folder = (folder_ / "cache").string(),
        .on_progress = [&](const SelfTestProgress& progress) {
            EXPECT_EQ(progress.device.id, cpu_.facts.id);
            EXPECT_FALSE(fs::exists(cache_file()));
            phases.push_back(progress.phase);
            if (progress.operation.empty()) return;
            operation = progress.operation;
            EXPECT_EQ(progress.done, 1U);
            EXPECT_EQ(progress.total, 7U);
        }};
    const auto report = trusted_report(cpu_, cpu_, options);
    ASSERT_TRUE(report);
    EXPECT_THAT(report->summary(),
                HasSubstr("crashed in the self-test (Segmentation fault) at an op"));
    ASSERT_GE(phases.size(), 4U);
    EXPECT_EQ(phases.front(), Phase::begins);
    EXPECT_EQ(phases[1], Phase::runs);
    EXPECT_EQ(phases.back(), Phase::ended);
    EXPECT_EQ(operation, "an operation");
    phases.clear();
    ASSERT_TRUE(trusted_report(cpu_, cpu_, options));
    EXPECT_TRUE(phases.empty());
}

TEST_F(Trust, ACrashIsAFaultAndIsRemembered) {
    const auto report = report_by("kill -SEGV $$");
    ASSERT_TRUE(report);
    EXPECT_FALSE(report->passed());
    EXPECT_THAT(report->summary(), HasSubstr("crashed"));
    const auto again = report_by("exit 0");
    ASSERT_TRUE(again);
    EXPECT_THAT(again->summary(), HasSubstr("crashed"));
}

TEST_F(Trust, AFaultIsForgottenAfterADay) {
    ASSERT_TRUE(report_by("kill -SEGV $$"));
    const auto old = fs::last_write_time(cache_file()) - std::chrono::hours(25);
    fs::last_write_time(cache_file(), old);
    const auto report = report_by("echo tested again >&2; exit 1");
    ASSERT_TRUE(report);
    EXPECT_THAT(report->summary(), HasSubstr("tested again"));
}

TEST_F(Trust, AHangIsAFault) {
    const auto report = report_by("exec sleep 30");
    ASSERT_TRUE(report);
    EXPECT_THAT(report->summary(), HasSubstr("did not end within 2 s"));
}

TEST_F(Trust, NonsenseOnOutputIsAFault) {
    const auto report = report_by("echo '{}'");
    ASSERT_TRUE(report);
    EXPECT_FALSE(report->passed());
}

TEST_F(Trust, AReportWithoutAGroupIsAFault) {
    SelfTestReport empty;
    empty.identity = device_identity(cpu_.facts);
    std::ofstream(folder_ / "report") << report_to_json(empty);
    const auto report = report_by("cat " + (folder_ / "report").string());
    ASSERT_TRUE(report);
    EXPECT_THAT(report->summary(), HasSubstr("left out the operations"));
}

TEST_F(Trust, ADamagedCacheFileMeansTestingAgain) {
    ASSERT_TRUE(write_cache(cache_file(), "{\"identity\": "));
    const auto report = report_by("kill -ABRT $$");
    ASSERT_TRUE(report);
    EXPECT_THAT(report->summary(), HasSubstr("crashed"));
}

TEST_F(Trust, AMissingProgramIsAnError) {
    const auto report =
        trusted_report(cpu_, cpu_, {.program = "/no/such/program", .cache_folder = folder_});
    EXPECT_FALSE(report);
}

// What `auto` and the reason for no GPU are in a fresh process with this environment.
std::string probe(const std::vector<std::pair<std::string, std::string>>& environment) {
    const auto child =
        platform::run_child({.arguments = {"/proc/self/exe", "probe"}, .environment = environment});
    if (!child) return child.error().text();
    return child->output + child->errors;
}

TEST(Fallback, WithoutADriverTheCpuComputes) {
    const auto text = probe({{"VK_DRIVER_FILES", "/no/such/driver.json"}});
    EXPECT_THAT(text, HasSubstr("auto: cpu"));
    EXPECT_THAT(text, testing::AnyOf(HasSubstr("no Vulkan driver"), HasSubstr("no GPU")));
}

TEST(Fallback, WithoutALoaderTheReasonNamesIt) {
    const auto folder =
        fs::temp_directory_path() / ("exomesh_loader_" + std::to_string(::getpid()));
    fs::create_directories(folder);
    std::ofstream(folder / "libvulkan.so.1") << "no library";
    const auto text = probe({{"LD_LIBRARY_PATH", folder.string()}});
    fs::remove_all(folder);
    EXPECT_THAT(text, HasSubstr("auto: cpu"));
    EXPECT_THAT(text, HasSubstr("the loader libvulkan.so.1 cannot be loaded; install libvulkan1"));
}

TEST(Fallback, WithoutAnyBackendTheErrorNamesTheFolder) {
    const auto text = probe({{"EXOMESH_BACKENDS", "/no/such/folder"}});
    EXPECT_THAT(text, HasSubstr("searched /no/such/folder"));
    EXPECT_THAT(text, HasSubstr("Set EXOMESH_BACKENDS"));
}

TEST(Fallback, AutoNeverTakesASoftwareDevice) {
    const auto text = probe({{"GGML_VK_VISIBLE_DEVICES", "0"},
                             {"VK_DRIVER_FILES", "/usr/share/vulkan/icd.d/lvp_icd.json"}});
    EXPECT_THAT(text, HasSubstr("auto: cpu"));
}

int run_probe() {
    auto& registry = DeviceRegistry::instance();
    const auto choice = registry.choose("auto");
    if (!choice) {
        std::printf("%s\n", choice.error().text().c_str());
        return 1;
    }
    std::printf("auto: %s, %s\n", choice->device.facts.id.c_str(), choice->reason.c_str());
    std::printf("no GPU because: %s\n", registry.gpu_absence_reason().c_str());
    return 0;
}

}  // namespace
}  // namespace exomesh::device

// The tests' own main: it is also the program that runs in their child processes.
int main(int argument_count, char** arguments) {
    const std::string command = argument_count > 1 ? arguments[1] : "";
    if (command == exomesh::device::self_test_command && argument_count >= 3) {
        return exomesh::device::run_self_test_command(arguments[2],
                                                      {arguments + 3, arguments + argument_count});
    }
    if (command == "probe") return exomesh::device::run_probe();
    // ggml hides Mesa's software device unless a device is named; where there is no GPU it stands
    // in.
    if (!exomesh::device::gpu_hardware_present()) ::setenv("GGML_VK_VISIBLE_DEVICES", "0", 0);
    testing::InitGoogleMock(&argument_count, arguments);
    return RUN_ALL_TESTS();
}
