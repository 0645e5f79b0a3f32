// Finds ggml's backend libraries (libggml-cpu-*.so, libggml-vulkan.so, ...) and loads those that
// are wanted. Not thread-safe: DeviceRegistry holds its lock around every call.
#pragma once

#include <ggml-backend.h>

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "device/device.h"

namespace exomesh::device {

// The failure of a library that loads but finds no driver to work with.
inline constexpr std::string_view no_backend_offered = "it finds no driver that works";

struct LoadedBackend {
    ggml_backend_reg_t handle = nullptr;
    std::string file;  // empty for a backend linked into the program
};

// Folders in the order they are searched: EXOMESH_BACKENDS alone where it is set; else lib/ggml
// beside the program (bundle/bin/exomesh finds bundle/lib/ggml), then where libggml.so itself lies.
[[nodiscard]] std::vector<std::string> backend_folders();

// The CPU backend built for the newest instruction set this processor has: each variant is asked
// for its score. `steps` gets one entry per library touched.
[[nodiscard]] Result<LoadedBackend> load_cpu_backend(std::vector<LoadStep>& steps);

// Every GPU backend library that is there. One that fails to load (usually because the driver's
// library is missing) leaves a step with its failure.
[[nodiscard]] std::vector<LoadedBackend> load_gpu_backends(std::vector<LoadStep>& steps);

// True where the system shows any GPU device node: without one, loading GPU backends can find
// nothing but software devices.
[[nodiscard]] bool gpu_hardware_present();

}  // namespace exomesh::device
