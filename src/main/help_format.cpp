#include "main/help_format.h"

#include <algorithm>
#include <utility>

namespace exomesh::main {

std::string value_name(const std::string& type) {
    const auto open = type.rfind('{');
    if (open != std::string::npos && type.ends_with('}')) {
        std::string words = type.substr(open + 1, type.size() - open - 2);
        std::ranges::replace(words, ',', '|');
        return words;
    }
    const std::string name = type.substr(0, type.find(':'));
    return name == "INT" || name == "UINT" || name == "FLOAT" ? "N" : name;
}

std::string HelpFormat::make_help(const CLI::App* app, std::string name,
                                  CLI::AppFormatMode mode) const {
    return CLI::detail::find_and_replace(CLI::Formatter::make_help(app, std::move(name), mode),
                                         "\n\n\n", "\n\n");
}

std::string HelpFormat::make_option_opts(const CLI::Option* option) const {
    std::string text;
    if (option->get_type_size() != 0 && !option->get_positional()) {
        text += " " + value_name(option->get_type_name());
        if (!option->get_default_str().empty()) text += " [" + option->get_default_str() + "]";
    }
    if (!option->get_envname().empty()) text += " (or " + option->get_envname() + ")";
    return text;
}

}  // namespace exomesh::main
