// Assertions for bugs, kept on in release builds: a broken assumption stops near its cause. Input
// from outside is never asserted; it is parsed and refused with an Error (result.h).
#pragma once

#include <cstdio>
#include <cstdlib>

namespace exomesh {

[[noreturn]] inline void assertion_failed(const char* condition, const char* file, int line) {
    std::fprintf(stderr, "exomesh: bug: assertion '%s' failed at %s:%d\n", condition, file, line);
    std::abort();
}

}  // namespace exomesh

#define EXO_ASSERT(condition)                                                          \
    do {                                                                               \
        if (!(condition)) ::exomesh::assertion_failed(#condition, __FILE__, __LINE__); \
    } while (false)
