#include "device/self_tester.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <vector>

namespace exomesh::device {
namespace {

using testing::Each;
using testing::Field;
using testing::HasSubstr;

void print_failures(const SelfTestReport& report) {
    for (const auto& operation : report.operations) {
        if (operation.verdict == Verdict::passed) continue;
        GTEST_LOG_(INFO) << operation.name << ": "
                         << (operation.verdict == Verdict::failed ? "FAILED" : "unsupported")
                         << ", error " << operation.error;
    }
    GTEST_LOG_(INFO) << report.summary() << ", " << report.duration_us / 1000 << " ms";
}

TEST(Deviation, IsRelativeToTheExpectedValues) {
    using Values = std::vector<float>;
    const Values expected = {3, 4};
    EXPECT_EQ(deviation(expected, Values{3, 4}).mean, 0.0);
    EXPECT_DOUBLE_EQ(deviation(expected, Values{3, 5}).mean, 1.0 / 25.0);
    EXPECT_DOUBLE_EQ(deviation(expected, Values{3, 5}).worst, 1.0 / std::sqrt(12.5));
    EXPECT_EQ(deviation(expected, Values{3}).mean, -1.0);
    EXPECT_EQ(deviation(expected, Values{3, std::nanf("")}).mean, -1.0);
    EXPECT_FALSE(acceptable(deviation(expected, Values{3, std::nanf("")}), 1.0));
    const float infinity = std::numeric_limits<float>::infinity();
    EXPECT_EQ(deviation(Values{infinity, 1}, Values{infinity, 1}).mean, 0.0);
    EXPECT_EQ(deviation(Values{infinity, 1}, Values{-infinity, 1}).mean, -1.0);
}

TEST(Deviation, OneWrongValueInAMillionIsNotAcceptable) {
    std::vector<float> expected(1'000'000, 1.0F);
    auto actual = expected;
    EXPECT_TRUE(acceptable(deviation(expected, actual), 5e-4));
    actual[123'456] = 0.0F;
    EXPECT_LT(deviation(expected, actual).mean, 5e-4);
    EXPECT_FALSE(acceptable(deviation(expected, actual), 5e-4));
}

TEST(SelfTest, TheCpusOptimizedCodeAgreesWithItsReference) {
    const auto cpu = DeviceRegistry::instance().cpu();
    ASSERT_TRUE(cpu);
    const auto report = run_self_test(*cpu, *cpu);
    ASSERT_TRUE(report) << report.error().text();
    print_failures(*report);
    EXPECT_TRUE(report->passed()) << report->summary();
    EXPECT_EQ(report->count(Verdict::unsupported), 0U);
    EXPECT_GT(report->operations.size(), 100U);
}

TEST(SelfTest, EveryCaseBelongsToOneGroupAndGroupsRunAlone) {
    const auto cpu = DeviceRegistry::instance().cpu();
    ASSERT_TRUE(cpu);
    const auto groups = self_test_groups();
    std::size_t case_count = 0;
    for (const auto& group : groups) {
        std::size_t told = 0;
        const auto on_case = [&](std::size_t done, std::size_t total, std::string_view) {
            EXPECT_EQ(done, told++);
            EXPECT_LT(done, total);
        };
        const auto report = run_self_test(*cpu, *cpu, {.groups = {group}, .on_case = on_case});
        ASSERT_TRUE(report);
        EXPECT_TRUE(report->passed()) << group << ": " << report->summary();
        EXPECT_THAT(report->operations, Each(Field(&OperationResult::group, group)));
        EXPECT_EQ(report->operations.size(), told);
        case_count += told;
    }
    std::size_t total_of_all = 0;
    SelfTestOptions options;
    options.wanted = [&](std::string_view) { return ++total_of_all == 0; };
    ASSERT_TRUE(run_self_test(*cpu, *cpu, options));
    EXPECT_EQ(case_count, total_of_all);
}

// Mesa's software device takes minutes to compile the products, so there only quicker cases run.
bool quick_on_software(std::string_view name) {
    return std::ranges::any_of(
        std::array{"add", "rope", "get_rows", "swiglu", "geglu", "argsort", "expert routing"},
        [&](std::string_view prefix) { return name.starts_with(prefix); });
}

TEST(SelfTest, EveryGpuAgreesWithTheCpu) {
    const auto devices = DeviceRegistry::instance().devices();
    ASSERT_TRUE(devices);
    if (devices->size() == 1) GTEST_SKIP() << DeviceRegistry::instance().gpu_absence_reason();
    for (const auto& device : *devices) {
        if (device.facts.kind == DeviceKind::cpu) continue;
        SelfTestOptions options;
        if (device.facts.kind == DeviceKind::software_gpu) options.wanted = quick_on_software;
        const auto report = run_self_test(device, devices->front(), options);
        ASSERT_TRUE(report) << report.error().text();
        print_failures(*report);
        EXPECT_TRUE(report->passed()) << device.facts.name << ": " << report->summary();
        EXPECT_GT(report->operations.size(), 25U);
    }
}

TEST(SelfTest, NoticesOneWrongValueAmongMany) {
    const auto cpu = DeviceRegistry::instance().cpu();
    ASSERT_TRUE(cpu);
    SelfTestOptions options;
    options.wanted = [](std::string_view name) { return name.starts_with("rope"); };
    options.tamper = [](std::string_view name, std::vector<float>& values) {
        if (name == "rope halves 96") values[values.size() / 2] += 1.0F;
    };
    const auto report = run_self_test(*cpu, *cpu, options);
    ASSERT_TRUE(report);
    EXPECT_FALSE(report->passed());
    EXPECT_EQ(report->count(Verdict::failed), 1U);
    EXPECT_THAT(report->summary(), HasSubstr("rope halves 96"));
}

TEST(SelfTest, NoticesMisplacedValuesAndANan) {
    const auto cpu = DeviceRegistry::instance().cpu();
    ASSERT_TRUE(cpu);
    SelfTestOptions options;
    options.wanted = [](std::string_view name) { return name.starts_with("mul_mat q4_0"); };
    options.tamper = [](std::string_view, std::vector<float>& values) {
        std::rotate(values.begin(), values.begin() + 1, values.begin() + 16);
    };
    auto report = run_self_test(*cpu, *cpu, options);
    ASSERT_TRUE(report);
    EXPECT_EQ(report->count(Verdict::passed), 0U);
    options.tamper = [](std::string_view, std::vector<float>& values) {
        values.back() = std::nanf("");
    };
    report = run_self_test(*cpu, *cpu, options);
    ASSERT_TRUE(report);
    EXPECT_THAT(report->operations, Each(Field(&OperationResult::verdict, Verdict::failed)));
}

TEST(DeviceIdentity, ChangesWithTheSettingsOfVulkan) {
    DeviceFacts facts;
    facts.backend = "Vulkan";
    const std::string before = device_identity(facts);
    DeviceFacts cpu_facts;
    cpu_facts.backend = "CPU";
    const std::string cpu_before = device_identity(cpu_facts);
    ASSERT_EQ(::setenv("GGML_VK_DISABLE_TESTING", "1", 1), 0);
    const std::string with = device_identity(facts);
    ::setenv("GGML_VK_DISABLE_TESTING", "0", 1);
    const std::string otherwise = device_identity(facts);
    EXPECT_EQ(device_identity(cpu_facts), cpu_before);
    ::unsetenv("GGML_VK_DISABLE_TESTING");
    EXPECT_NE(with, before);
    EXPECT_NE(with, otherwise);
    EXPECT_EQ(device_identity(facts), before);
}

TEST(SelfTestReport, SurvivesJson) {
    SelfTestReport report;
    report.identity = "Vulkan | GPU \"x\" \xff | driver 1";
    report.operations = {{"add", Verdict::passed, 1e-9, 1e-5, 1e-4, "operations"},
                         {"mul", Verdict::failed, -1.0, 0.0, -1.0}};
    report.duration_us = 12;
    const auto copy = report_from_json(report_to_json(report));
    ASSERT_TRUE(copy) << copy.error().text();
    EXPECT_EQ(copy->operations.size(), 2U);
    EXPECT_EQ(copy->operations[1].verdict, Verdict::failed);
    EXPECT_EQ(copy->operations[0].error, 1e-9);
    EXPECT_EQ(copy->operations[0].group, "operations");
    EXPECT_FALSE(copy->passed());
    EXPECT_FALSE(report_from_json("{\"identity\": 3}"));
    EXPECT_FALSE(report_from_json("not json"));
}

}  // namespace
}  // namespace exomesh::device
