// Which of the tables this processor runs.
#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include <cstdlib>
#include <cstring>

#include "kernels.h"

namespace pellucid {

#if !defined(__x86_64__)
const Kernels* kernels_avx2() { return nullptr; }
const Kernels* kernels_avx512() { return nullptr; }
#endif

namespace {

struct Sets {
  bool avx2 = false, avx512 = false;
};

// Asked of the processor itself, for what compilers' own libraries say of it is not the same: `__builtin_cpu_supports` of
// Zig's, which makes the wheels, knows of nothing.
Sets runs() {
  Sets found;
#if defined(__x86_64__)
  unsigned a = 0, b = 0, c = 0, d = 0, saved = 0, above = 0;
  constexpr unsigned kFirst = bit_OSXSAVE | bit_AVX | bit_FMA;
  constexpr unsigned kBroad = bit_AVX512F | bit_AVX512VL | bit_AVX512DQ | bit_AVX512BW;
  if (__get_cpuid(1, &a, &b, &c, &d) == 0 || (c & kFirst) != kFirst) return found;
  __asm__("xgetbv" : "=a"(saved), "=d"(above) : "c"(0));  // which registers the system keeps for a thread
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) return found;
  found.avx2 = (saved & 0x06) == 0x06 && (b & bit_AVX2) != 0;
  found.avx512 = found.avx2 && (saved & 0xe6) == 0xe6 && (b & kBroad) == kBroad;
#endif
  return found;
}

}  // namespace

const Kernels* kernels_here(const char* named) {
  const bool any = named == nullptr || *named == '\0';
  const bool most = any || std::strcmp(named, "avx512") == 0;
  const Sets here = runs();
  if (most && here.avx512) return kernels_avx512();
  if ((most || std::strcmp(named, "avx2") == 0) && here.avx2) return kernels_avx2();
  return kernels_base();
}

const Kernels& kernels() {
  static const Kernels* const table = kernels_here(std::getenv("PELLUCID_NATIVE_ISA"));
  return *table;
}

}  // namespace pellucid
