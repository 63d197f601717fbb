// Which of the tables this processor runs.
#include <cstdlib>
#include <cstring>

#include "kernels.h"

namespace pellucid {

#if !defined(__x86_64__)
const Kernels* kernels_avx2() { return nullptr; }
const Kernels* kernels_avx512() { return nullptr; }
#endif

namespace {

bool runs_avx2() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#else
  return false;
#endif
}

bool runs_avx512() {
#if defined(__x86_64__)
  return runs_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw");
#else
  return false;
#endif
}

}  // namespace

const Kernels* kernels_here(const char* named) {
  const bool any = named == nullptr || *named == '\0';
  if ((any || std::strcmp(named, "avx512") == 0) && runs_avx512()) return kernels_avx512();
  if ((any || std::strcmp(named, "avx512") == 0 || std::strcmp(named, "avx2") == 0) && runs_avx2())
    return kernels_avx2();
  return kernels_base();
}

const Kernels& kernels() {
  static const Kernels* const table = kernels_here(std::getenv("PELLUCID_NATIVE_ISA"));
  return *table;
}

}  // namespace pellucid
