# Warnings, sanitizers, linker and compiler cache: the same for every target.

if(NOT CMAKE_BUILD_TYPE)
    set(CMAKE_BUILD_TYPE Release)
endif()

find_program(CCACHE ccache)
if(CCACHE)
    set(CMAKE_CXX_COMPILER_LAUNCHER ${CCACHE})
endif()

add_compile_options(-Wall -Wextra -Wpedantic -Werror -Wshadow -Wconversion -Wno-sign-conversion
                    -Wnon-virtual-dtor -Woverloaded-virtual -Wimplicit-fallthrough)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    # False positives of GCC 14 in libstdc++ and under sanitizers; clang-tidy covers the real ones.
    add_compile_options(-Wno-maybe-uninitialized -Wno-stringop-overflow -Wno-array-bounds
                        -Wno-dangling-reference -Wno-tsan -Wno-restrict -Wno-free-nonheap-object)
endif()

if(EXOMESH_SANITIZE)
    add_compile_options(-fsanitize=${EXOMESH_SANITIZE} -fno-omit-frame-pointer)
    add_link_options(-fsanitize=${EXOMESH_SANITIZE})
    if(EXOMESH_SANITIZE MATCHES "undefined")
        add_compile_options(-fno-sanitize-recover=undefined)
    endif()
endif()

if(EXOMESH_FUZZ)
    add_compile_options(-fsanitize=fuzzer-no-link)
endif()

find_program(MOLD mold)
if(MOLD AND NOT EXOMESH_FUZZ)
    add_link_options(-fuse-ld=mold)
endif()
