// What this processor can do.
#pragma once

namespace exomesh::platform {

enum class AesSupport { instructions, none };
[[nodiscard]] AesSupport aes_support();

}  // namespace exomesh::platform
