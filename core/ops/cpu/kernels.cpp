// The choice of the instruction set.
#include "core/ops/cpu/kernels.h"

#include <atomic>
#include <string_view>

#include "core/ops/cpu/features.h"

namespace caddie::ops::cpu {

namespace generic {
extern const Kernels table;
}
#if defined(__x86_64__)
namespace avx2 {
extern const Kernels table;
}
namespace avx512 {
extern const Kernels table;
}
namespace avx512_bf16 {
extern const Kernels table;
}
namespace amx {
extern const Kernels table;
}
#endif

namespace {

const Kernels* named(std::string_view name) {
  if (name == "generic") return &generic::table;
#if defined(__x86_64__)
  if (name == "avx2" && has_avx2()) return &avx2::table;
  if (name == "avx512" && has_avx512()) return &avx512::table;
  if (name == "avx512_bf16" && has_bfloat16_products()) return &avx512_bf16::table;
  if (name == "amx" && has_amx()) return &amx::table;
#endif
  return nullptr;
}

const Kernels* best() {
  for (const char* name : {"amx", "avx512_bf16", "avx512", "avx2"}) {
    if (const auto* found = named(name)) return found;
  }
  return named("generic");
}

std::atomic<const Kernels*> chosen{nullptr};

}  // namespace

const Kernels& kernels() {
  if (const auto* table = chosen.load()) return *table;
  static const Kernels* const first = best();
  return *first;
}

bool choose_kernels(const char* name) {
  const auto* table = name == nullptr ? nullptr : named(name);
  if (name != nullptr && table == nullptr) return false;
  chosen = table;
  return true;
}

}  // namespace caddie::ops::cpu
