// Which variant runs: the best the CPU has, or the one SYNCTALK_CPU_KERNEL names.
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>

#include "rasterizer.h"

namespace synctalk {
namespace {

bool cpu_has_avx2() {
#if defined(SYNCTALK_HAS_AVX2)
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#else
  return false;
#endif
}

const Variant& choose() {
  const char* wanted = std::getenv("SYNCTALK_CPU_KERNEL");
  const bool any = !wanted || !*wanted;
  if (!any && std::strcmp(wanted, "baseline") == 0) return baseline_variant();
#if defined(SYNCTALK_HAS_AVX2)
  if (cpu_has_avx2() && (any || std::strcmp(wanted, "avx2") == 0)) return avx2_variant();
#endif
  if (any) return baseline_variant();
  throw std::runtime_error("SYNCTALK_CPU_KERNEL=" + std::string(wanted) +
                           " cannot run here; use baseline, or avx2 on a CPU that has it");
}

}  // namespace

const Variant& variant() {
  static const Variant& chosen = choose();
  return chosen;
}

}  // namespace synctalk
