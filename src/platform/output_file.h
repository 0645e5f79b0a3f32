// A file that is written once, from its begin to its end.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "platform/descriptor.h"

namespace exomesh::platform {

// Under its name whole or not at all: a draft beside it is renamed in the end, and gone where it
// does not come to that. What is there and no regular file (a device, a pipe) is written straight
// away. Errors are io, with the system's reason.
class OutputFile {
  public:
    // Fails where it could not be written later: before the work whose result it is to hold.
    [[nodiscard]] static Result<OutputFile> create(const std::string& path);
    OutputFile(OutputFile&& other) noexcept;
    OutputFile& operator=(OutputFile&& other) = delete;
    ~OutputFile();

    [[nodiscard]] Result<void> write(std::string_view text);
    // Nothing can be written after it.
    [[nodiscard]] Result<void> finish();

  private:
    OutputFile(Descriptor file, std::string path, std::string draft);

    Descriptor file_;
    std::string path_;
    std::string draft_;  // empty: none, or none any more
};

}  // namespace exomesh::platform
