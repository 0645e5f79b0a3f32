#include "device/vulkan_facts.h"

#include <dlfcn.h>

#include <array>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string_view>

#define VK_NO_PROTOTYPES  // NOLINT(readability-identifier-naming): Vulkan wants it
#include <vulkan/vulkan_core.h>

namespace exomesh::device {
namespace {

// The loader stays open: drivers do not survive being unloaded.
Result<PFN_vkGetInstanceProcAddr> open_loader() {
    void* library = dlopen("libvulkan.so.1", RTLD_NOW | RTLD_LOCAL);
    if (library != nullptr) {
        const auto entry =
            reinterpret_cast<PFN_vkGetInstanceProcAddr>(dlsym(library, "vkGetInstanceProcAddr"));
        if (entry != nullptr) return entry;
    }
    return fail(ErrorCode::unavailable, "the Vulkan loader libvulkan.so.1 is missing.",
                "Install libvulkan1 (Fedora, Arch: vulkan-loader).");
}

class Instance {
  public:
    static Result<std::unique_ptr<Instance>> create(PFN_vkGetInstanceProcAddr entry) {
        auto instance = std::unique_ptr<Instance>(new Instance(entry));
        VkApplicationInfo application{};
        application.sType = VK_STRUCTURE_TYPE_APPLICATION_INFO;
        application.pApplicationName = "exomesh";
        application.apiVersion = VK_API_VERSION_1_3;
        VkInstanceCreateInfo information{};
        information.sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO;
        information.pApplicationInfo = &application;
        const auto create_instance = instance->function<PFN_vkCreateInstance>("vkCreateInstance");
        if (create_instance == nullptr ||
            create_instance(&information, nullptr, &instance->handle_) != VK_SUCCESS) {
            instance->handle_ = VK_NULL_HANDLE;
            return fail(ErrorCode::unavailable, "no Vulkan driver works on this system.",
                        "Install mesa-vulkan-drivers (AMD, Intel) or NVIDIA's driver.");
        }
        return instance;
    }
    Instance(const Instance&) = delete;
    Instance& operator=(const Instance&) = delete;
    ~Instance() {
        if (handle_ == VK_NULL_HANDLE) return;
        function<PFN_vkDestroyInstance>("vkDestroyInstance")(handle_, nullptr);
    }

    template <typename Function>
    [[nodiscard]] Function function(const char* name) const {
        return reinterpret_cast<Function>(entry_(handle_, name));
    }

    [[nodiscard]] std::vector<VkPhysicalDevice> devices() const {
        const auto enumerate =
            function<PFN_vkEnumeratePhysicalDevices>("vkEnumeratePhysicalDevices");
        std::uint32_t count = 0;
        if (enumerate(handle_, &count, nullptr) != VK_SUCCESS) return {};
        std::vector<VkPhysicalDevice> found(count);
        if (enumerate(handle_, &count, found.data()) < 0) return {};
        found.resize(count);
        return found;
    }

  private:
    explicit Instance(PFN_vkGetInstanceProcAddr entry) : entry_(entry) {}
    PFN_vkGetInstanceProcAddr entry_;
    VkInstance handle_ = VK_NULL_HANDLE;
};

std::vector<VkExtensionProperties> extensions_of(const Instance& instance,
                                                 VkPhysicalDevice device) {
    const auto enumerate = instance.function<PFN_vkEnumerateDeviceExtensionProperties>(
        "vkEnumerateDeviceExtensionProperties");
    std::uint32_t count = 0;
    if (enumerate(device, nullptr, &count, nullptr) != VK_SUCCESS) return {};
    std::vector<VkExtensionProperties> found(count);
    if (enumerate(device, nullptr, &count, found.data()) < 0) return {};
    found.resize(count);
    return found;
}

bool contains(const std::vector<VkExtensionProperties>& extensions, std::string_view name) {
    for (const auto& extension : extensions) {
        if (name == extension.extensionName) return true;
    }
    return false;
}

VulkanKind kind_of(VkPhysicalDeviceType type) {
    if (type == VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU) return VulkanKind::discrete;
    if (type == VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU) return VulkanKind::integrated;
    if (type == VK_PHYSICAL_DEVICE_TYPE_VIRTUAL_GPU) return VulkanKind::virtual_gpu;
    if (type == VK_PHYSICAL_DEVICE_TYPE_CPU) return VulkanKind::processor;
    return VulkanKind::other;
}

std::string version_text(std::uint32_t version) {
    return std::to_string(VK_API_VERSION_MAJOR(version)) + "." +
           std::to_string(VK_API_VERSION_MINOR(version)) + "." +
           std::to_string(VK_API_VERSION_PATCH(version));
}

std::string pci_text(const VkPhysicalDevicePCIBusInfoPropertiesEXT& bus) {
    std::array<char, 32> text{};
    std::snprintf(text.data(), text.size(), "%04x:%02x:%02x.%x", bus.pciDomain, bus.pciBus,
                  bus.pciDevice, bus.pciFunction);
    return text.data();
}

// Links `next` behind `chain` in Vulkan's way and gives it its type.
template <typename Chain, typename Next>
void link(Chain& chain, Next& next, VkStructureType type) {
    next.sType = type;
    next.pNext = chain.pNext;
    chain.pNext = &next;
}

VulkanFacts facts_of(const Instance& instance, VkPhysicalDevice device) {
    const auto extensions = extensions_of(instance, device);
    const bool tells_bus = contains(extensions, VK_EXT_PCI_BUS_INFO_EXTENSION_NAME);
    VkPhysicalDeviceProperties2 properties{};
    properties.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2;
    VkPhysicalDeviceDriverProperties driver{};
    link(properties, driver, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_DRIVER_PROPERTIES);
    VkPhysicalDeviceShaderIntegerDotProductProperties dot{};
    link(properties, dot, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_INTEGER_DOT_PRODUCT_PROPERTIES);
    VkPhysicalDevicePCIBusInfoPropertiesEXT bus{};
    if (tells_bus) {
        link(properties, bus, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PCI_BUS_INFO_PROPERTIES_EXT);
    }
    instance.function<PFN_vkGetPhysicalDeviceProperties2>("vkGetPhysicalDeviceProperties2")(
        device, &properties);
    VkPhysicalDeviceFeatures2 features{};
    features.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2;
    VkPhysicalDeviceShaderFloat16Int8Features small_types{};
    link(features, small_types, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_FLOAT16_INT8_FEATURES);
    instance.function<PFN_vkGetPhysicalDeviceFeatures2>("vkGetPhysicalDeviceFeatures2")(device,
                                                                                        &features);
    VulkanFacts facts;
    facts.name = properties.properties.deviceName;
    facts.kind = kind_of(properties.properties.deviceType);
    facts.driver_name = driver.driverName;
    facts.driver_version = driver.driverInfo;
    // Some drivers leave the text empty; the number is there always.
    if (facts.driver_version.empty()) {
        facts.driver_version = std::to_string(properties.properties.driverVersion);
    }
    facts.api_version = version_text(properties.properties.apiVersion);
    if (tells_bus) facts.pci_address = pci_text(bus);
    facts.float16 = small_types.shaderFloat16 == VK_TRUE;
    facts.integer_dot = dot.integerDotProduct4x8BitPackedSignedAccelerated == VK_TRUE;
    facts.matrix_cores = contains(extensions, VK_KHR_COOPERATIVE_MATRIX_EXTENSION_NAME);
    facts.memory_budget = contains(extensions, VK_EXT_MEMORY_BUDGET_EXTENSION_NAME);
    return facts;
}

}  // namespace

Result<std::vector<VulkanFacts>> query_vulkan() {
    EXO_TRY_ASSIGN(const auto entry, open_loader());
    EXO_TRY_ASSIGN(const auto instance, Instance::create(entry));
    std::vector<VulkanFacts> all;
    for (auto* device : instance->devices()) all.push_back(facts_of(*instance, device));
    return all;
}

}  // namespace exomesh::device
