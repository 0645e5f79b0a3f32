# The layers, bottom up: a module may include only the modules its DEPENDS reach. tools/tidy reads
# this file too and fails on an include that points up or sideways.

exomesh_module(base)
exomesh_module(platform DEPENDS base)
exomesh_module(model DEPENDS base LIBRARIES nlohmann_json::nlohmann_json PkgConfig::PCRE2)
exomesh_module(device DEPENDS platform base
               LIBRARIES ggml::ggml nlohmann_json::nlohmann_json ${CMAKE_DL_LIBS})
exomesh_module(placement DEPENDS model base)
exomesh_module(net DEPENDS platform base LIBRARIES OpenSSL::SSL OpenSSL::Crypto)
exomesh_module(engine DEPENDS device model platform base LIBRARIES ggml::ggml Threads::Threads)
exomesh_module(runner DEPENDS engine placement net device model platform base
               LIBRARIES nlohmann_json::nlohmann_json OpenSSL::Crypto Threads::Threads)
exomesh_module(api DEPENDS engine device model platform base
               LIBRARIES nlohmann_json::nlohmann_json Boost::headers Threads::Threads
               PRECOMPILE <boost/asio.hpp> <boost/beast/core.hpp> <boost/beast/http.hpp>)
exomesh_module(main DEPENDS api runner net engine device model platform base
               LIBRARIES CLI11::CLI11 nlohmann_json::nlohmann_json
               PRECOMPILE <CLI/CLI.hpp>)
# Flags and printing: nothing here is worth the time that optimizing CLI11's templates takes.
target_compile_options(exomesh_main PRIVATE $<$<CONFIG:Release>:-O1>)

if(EXISTS ${PROJECT_SOURCE_DIR}/src/main/main.cpp)
    add_executable(exomesh ${PROJECT_SOURCE_DIR}/src/main/main.cpp)
    target_link_libraries(exomesh PRIVATE exomesh_main)
endif()
