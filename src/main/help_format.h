// How `--help` shows options.
#pragma once

#include <string>

#include <CLI/CLI.hpp>

namespace exomesh::main {

// Names a value by what people write ("N", "f16|q8_0") instead of by its C++ type and its
// validators.
class HelpFormat : public CLI::Formatter {
  public:
    std::string make_help(const CLI::App* app, std::string name,
                          CLI::AppFormatMode mode) const override;
    std::string make_option_opts(const CLI::Option* option) const override;
};

// "UINT:UINT in [0 - 512]" becomes "N", "TEXT:{f16,q8_0}" "f16|q8_0"; as CLI11 writes types: the
// name, then a colon and the description of each validator.
[[nodiscard]] std::string value_name(const std::string& type);

}  // namespace exomesh::main
