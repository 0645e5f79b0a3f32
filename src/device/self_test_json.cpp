// Reports as JSON: what the child process of the self-test prints and what the cache keeps.
#include <cmath>
#include <utility>

#include <nlohmann/json.hpp>

#include "device/self_tester.h"

namespace exomesh::device {
namespace {

constexpr std::size_t operation_count_max = 10'000;

using Json = nlohmann::ordered_json;

std::string_view verdict_name(Verdict verdict) {
    switch (verdict) {
        case Verdict::passed:
            return "passed";
        case Verdict::failed:
            return "failed";
        case Verdict::unsupported:
            return "unsupported";
    }
    return "failed";
}

Result<OperationResult> operation_from(const Json& json) {
    for (const auto verdict : {Verdict::passed, Verdict::failed, Verdict::unsupported}) {
        if (json.at("verdict").get<std::string>() != verdict_name(verdict)) continue;
        return OperationResult{
            json.at("name").get<std::string>(), verdict,
            json.at("error").get<double>(),     json.at("error_max").get<double>(),
            json.at("worst").get<double>(),     json.at("group").get<std::string>()};
    }
    return fail(ErrorCode::corrupt_data, "a self-test report has an unknown verdict.");
}

}  // namespace

std::string report_to_json(const SelfTestReport& report) {
    Json operations = Json::array();
    for (const auto& operation : report.operations) {
        operations.push_back({{"name", operation.name},
                              {"verdict", verdict_name(operation.verdict)},
                              {"error", operation.error},
                              {"error_max", operation.error_max},
                              {"worst", operation.worst},
                              {"group", operation.group}});
    }
    const Json json = {{"identity", report.identity},
                       {"fault", report.fault},
                       {"duration_us", report.duration_us},
                       {"operations", std::move(operations)}};
    // Names may hold a driver's odd bytes; they must not make the dump throw.
    return json.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
}

Result<SelfTestReport> report_from_json(std::string_view text) {
    try {
        const auto json = Json::parse(text);
        SelfTestReport report;
        report.identity = json.at("identity").get<std::string>();
        report.fault = json.at("fault").get<std::string>();
        report.duration_us = json.at("duration_us").get<std::uint64_t>();
        const auto& operations = json.at("operations");
        if (!operations.is_array() || operations.size() > operation_count_max) {
            return fail(ErrorCode::corrupt_data, "a self-test report has no list of operations.");
        }
        for (const auto& entry : operations) {
            EXO_TRY_ASSIGN(auto operation, operation_from(entry));
            report.operations.push_back(std::move(operation));
        }
        return report;
    } catch (const Json::exception& error) {
        return fail(ErrorCode::corrupt_data,
                    std::string("a self-test report does not parse: ") + error.what());
    }
}

}  // namespace exomesh::device
