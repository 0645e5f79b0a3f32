#include "main/help_format.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>

namespace exomesh::main {
namespace {

using testing::HasSubstr;
using testing::Not;

TEST(ValueName, IsWhatPeopleWrite) {
    EXPECT_EQ(value_name("TEXT"), "TEXT");
    EXPECT_EQ(value_name("UINT"), "N");
    EXPECT_EQ(value_name("UINT:UINT in [0 - 512]"), "N");
    EXPECT_EQ(value_name("FLOAT:0 to 100"), "N");
    EXPECT_EQ(value_name("TEXT:{f16,q8_0}"), "f16|q8_0");
    EXPECT_EQ(value_name("TEXT:{on->1,off->0}:{0,1,on,off}"), "0|1|on|off");
}

TEST(HelpFormat, ShowsDefaultsAndNoInnards) {
    CLI::App program("Does things.");
    program.formatter(std::make_shared<HelpFormat>());
    CLI::App& command = *program.add_subcommand("do", "a thing");
    unsigned count = 3;
    std::string model;
    std::string kind;
    command.add_option("MODEL", model, "which one")->required();
    command.add_option("-n,--count", count, "how many")
        ->check(CLI::Range(0U, 9U))
        ->capture_default_str();
    command.add_option("--kind", kind, "of what kind")
        ->check(CLI::IsMember({"a", "b"}))
        ->group("More");
    const std::string help = command.help();
    EXPECT_THAT(help, HasSubstr("MODEL  "));
    EXPECT_THAT(help, HasSubstr("-n,--count N [3]  "));
    EXPECT_THAT(help, HasSubstr("--kind a|b  "));
    EXPECT_THAT(help, Not(HasSubstr("\n\n\n")));
}

}  // namespace
}  // namespace exomesh::main
