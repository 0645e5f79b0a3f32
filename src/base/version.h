// The version of exomesh; CMakeLists.txt reads it from here.
#pragma once

namespace exomesh {

inline constexpr const char* version = "0.1.0";

}  // namespace exomesh
