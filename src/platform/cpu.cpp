#include "platform/cpu.h"

#if defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

namespace exomesh::platform {

AesSupport aes_support() {
#if defined(__x86_64__) || defined(__i386__)
    const bool has = __builtin_cpu_supports("aes") != 0 && __builtin_cpu_supports("pclmul") != 0;
#elif defined(__aarch64__) && defined(__linux__)
    constexpr unsigned long hwcap_aes = 1UL << 3;
    const bool has = (::getauxval(AT_HWCAP) & hwcap_aes) != 0;
#elif defined(__aarch64__) && defined(__APPLE__)
    const bool has = true;  // every Apple processor of 64 bits has them
#else
    const bool has = false;
#endif
    return has ? AesSupport::instructions : AesSupport::none;
}

}  // namespace exomesh::platform
