// What all suites share: the catalogue of everything that was built, services, and small settings for big components.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdio>
#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "caddie/error.h"
#include "core/host/catalogue.h"

namespace caddie::conformance {

// All plugins of the build tree and of $CADDIE_PLUGIN_PATH.
inline const Catalogue& catalogue() {
  static const Catalogue all(Catalogue::search_folders({CADDIE_PLUGIN_DIR}));
  return all;
}

// CADDIE_CONFORMANCE=NAME[,NAME...] narrows every suite to these components; what is passed over is said.
inline std::vector<std::string> components(PluginKind kind) {
  std::vector<std::string> names = catalogue().names(kind);
  const char* chosen = std::getenv("CADDIE_CONFORMANCE");
  if (!chosen) return names;
  const std::string list = "," + std::string(chosen) + ",";
  static std::set<std::string> said;
  std::erase_if(names, [&](const std::string& name) {
    const bool passed = list.find("," + name + ",") == std::string::npos;
    if (passed && said.insert(name).second) std::fprintf(stderr, "not chosen by CADDIE_CONFORMANCE: %s\n", name.c_str());
    return passed;
  });
  return names;
}

class QuietServices final : public Services {
 public:
  explicit QuietServices(int threads = 1) : threads_(threads) {}
  void log(LogLevel, std::string_view) override {}
  bool cancelled() const override { return false; }
  int threads() const override { return threads_; }

 private:
  int threads_;
};

// The defaults of a component, with its sizes (where it has options of these names) small enough for a test.
Json small_section(PluginKind kind, const std::string& name);

// Equal shape, type and bits, NaN included.
bool same_bits(const at::Tensor& a, const at::Tensor& b);

// [rows, columns] normal numbers from a stream of its own, float32.
at::Tensor normal(std::vector<std::int64_t> shape, const std::string& label, double deviation = 1);
// int64 numbers in [0, bound).
at::Tensor tokens(std::int64_t batch, std::int64_t length, std::int64_t bound, const std::string& label);

// The largest |a - b|, as a number.
double largest_difference(const at::Tensor& a, const at::Tensor& b);

}  // namespace caddie::conformance
