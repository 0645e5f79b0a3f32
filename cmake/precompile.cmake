# Precompiled headers: the standard library and JSON are most of what a file costs to compile.
#
# Only where nobody looks at a file alone: the presets debug (clang-tidy) and fuzz do without, so that a
# missing #include is still found.

option(EXOMESH_PRECOMPILE "Precompile common headers" ON)

set(precompiled_headers
    <algorithm> <array> <atomic> <charconv> <chrono> <cmath> <condition_variable> <cstdint> <cstring>
    <deque> <filesystem> <format> <fstream> <functional> <limits> <map> <memory> <mutex> <optional>
    <random> <set> <span> <string> <string_view> <thread> <utility> <vector> <nlohmann/json.hpp>)

# exomesh_precompile(TARGET FROM HEADERS...): the headers of FROM, or, where HEADERS are given, these
# and the common ones.
function(exomesh_precompile target from)
    if(NOT EXOMESH_PRECOMPILE)
        return()
    endif()
    if(ARGN)
        target_precompile_headers(${target} PRIVATE ${precompiled_headers} ${ARGN})
    else()
        target_precompile_headers(${target} REUSE_FROM ${from})
    endif()
endfunction()

if(EXOMESH_PRECOMPILE)
    file(WRITE ${CMAKE_BINARY_DIR}/precompiled.cpp "")
    foreach(set exomesh_precompiled exomesh_precompiled_tests)
        add_library(${set} OBJECT ${CMAKE_BINARY_DIR}/precompiled.cpp)
        target_link_libraries(${set} PRIVATE nlohmann_json::nlohmann_json Threads::Threads)
    endforeach()
    target_precompile_headers(exomesh_precompiled PRIVATE ${precompiled_headers})
    target_link_libraries(exomesh_precompiled_tests PRIVATE GTest::gmock)
    target_precompile_headers(exomesh_precompiled_tests PRIVATE ${precompiled_headers} <gmock/gmock.h>
                              <gtest/gtest.h>)
endif()
