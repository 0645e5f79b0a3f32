// What Vulkan itself says about its devices: driver, kind and the features that decide speed, none
// of which ggml passes on. The loader is opened at run time, so that a machine without it loses
// nothing.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"

namespace exomesh::device {

enum class VulkanKind { discrete, integrated, virtual_gpu, processor, other };

struct VulkanFacts {
    std::string name;  // as ggml describes the device
    VulkanKind kind = VulkanKind::other;
    std::string driver_name;     // "radv", "NVIDIA", "llvmpipe"
    std::string driver_version;  // the driver's own text, e.g. "Mesa 25.0.7"
    std::string api_version;     // "1.4.305"
    std::string pci_address;     // "0000:c1:00.0"; empty where the driver does not tell
    bool float16 = false;        // arithmetic in F16
    bool integer_dot = false;    // four 8-bit products and their sum in one instruction
    bool matrix_cores = false;   // VK_KHR_cooperative_matrix
    bool memory_budget = false;  // VK_EXT_memory_budget: free memory is a fact and no guess
};

// All physical devices, software ones too, in the driver's order. Takes tens of milliseconds: every
// installed driver is loaded. unavailable without a loader or a usable driver; the message says
// which.
[[nodiscard]] Result<std::vector<VulkanFacts>> query_vulkan();

}  // namespace exomesh::device
