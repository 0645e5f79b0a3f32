#include "runner/device_survey.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <vector>

namespace exomesh::runner {
namespace {

std::vector<std::byte> bytes_of(const std::string& text) {
    const auto bytes = std::as_bytes(std::span(text));
    return {bytes.begin(), bytes.end()};
}

TEST(DeviceSurvey, is_read_as_it_was_written) {
    const SurveyQuestion question{.device = "auto", .weight_type = "q4_0"};
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
                                            with("\"\\u001b[2J\"", "1", "1e9"),
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

}  // namespace
}  // namespace exomesh::runner
