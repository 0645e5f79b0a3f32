# What makes a build of everything fast: precompiled headers, as the standard library and JSON are most of
# what a file costs to compile, and eight files of a library at a time ("unity build"), so that each
# template is instantiated once for them. Names of a module's files must therefore differ, those in
# unnamed namespaces too.
#
# Only where nobody looks at a file alone: the presets debug (clang-tidy) and fuzz do without, so that a
# missing #include is still found, and a change compiles one file.

option(EXOMESH_FAST_BUILD "Precompile common headers and compile files together" ON)

# exomesh_join(TARGET): compiles its files together.
function(exomesh_join target)
    if(EXOMESH_FAST_BUILD)
        set_target_properties(${target} PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 8)
        # It takes a joined file for a header, whose types should not have members of an unnamed namespace.
        target_compile_options(${target} PRIVATE -Wno-subobject-linkage)
    endif()
endfunction()

set(precompiled_headers
    <algorithm> <array> <atomic> <charconv> <chrono> <cmath> <condition_variable> <cstdint> <cstring>
    <deque> <filesystem> <format> <fstream> <functional> <limits> <map> <memory> <mutex> <optional>
    <random> <set> <span> <string> <string_view> <thread> <utility> <vector> <nlohmann/json.hpp>)

# exomesh_precompile(TARGET FROM HEADERS...): the headers of FROM, or, where HEADERS are given, these
# and the common ones.
function(exomesh_precompile target from)
    if(NOT EXOMESH_FAST_BUILD)
        return()
    endif()
    if(ARGN)
        target_precompile_headers(${target} PRIVATE ${precompiled_headers} ${ARGN})
    else()
        target_precompile_headers(${target} REUSE_FROM ${from})
    endif()
endfunction()

if(EXOMESH_FAST_BUILD)
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
