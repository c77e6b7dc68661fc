// One check while it runs: its settings and inputs for the code that computes, and the comparison of every output that
// comes out. A check passes if each expected output was given and none is off.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <set>
#include <string>
#include <vector>

#include "caddie/error.h"
#include "caddie/services.h"
#include "core/host/catalogue.h"
#include "core/parity/bundle.h"
#include "core/parity/compare.h"

namespace caddie::parity {

// Thrown for a variant of a kind that cannot be driven: the check is not covered, and not failed.
struct NotCovered {
  std::string why;
};

class CADDIE_API CheckRun {
 public:
  CheckRun(const Bundle& bundle, const CheckSpec& spec, const Catalogue& catalogue, Services& services);

  const Bundle& bundle() const { return bundle_; }
  const Json& config() const { return bundle_.config(); }
  const Json& settings() const { return spec_.settings; }
  const CheckSpec& spec() const { return spec_; }
  const Catalogue& catalogue() const { return catalogue_; }
  Services& services() const { return services_; }

  // Throw Error(data) naming the check if the bundle lacks the setting or the input.
  template <class T>
  T setting(const char* key) const {
    return get<T>(spec_.settings, key);
  }
  template <class T>
  T get(const Json& section, const char* key) const {
    if (!section.contains(key)) missing("setting", key);
    return section.at(key).get<T>();
  }
  bool has_input(const std::string& name) const { return spec_.inputs.contains(name); }
  at::Tensor input(const std::string& name) const;         // as it is stored
  at::Tensor tokens(const std::string& name) const;        // int64
  std::vector<at::Tensor> inputs(const std::string& stem) const;  // stem + "0", "1", ... as many as there are
  NamedTensors parameters(const std::string& name = "parameters") const;

  // Outputs. What the bundle does not expect is passed over, so that code may give everything that it has.
  bool expects(const std::string& name) const { return spec_.expect.contains(name); }
  void give(const std::string& name, const at::Tensor& value);
  void give(const std::string& name, const Json& value);
  void give(const std::string& prefix, const NamedTensors& values);  // prefix + name

  struct Output {
    std::string name;
    Comparison comparison;
  };
  // The output with the largest error / tolerance. Expected outputs that never came are failures.
  Output worst() const;
  // Every output, for a report in detail.
  std::vector<Output> outputs() const;

 private:
  [[noreturn]] void missing(const char* what, const std::string& name) const;
  bool belongs_to_empty_parameter(const std::string& output) const;
  void note(const std::string& name, Comparison comparison);
  const Bundle& bundle_;
  const CheckSpec& spec_;
  const Catalogue& catalogue_;
  Services& services_;
  std::map<std::string, Comparison> outputs_;
};

using CheckFunction = void (*)(CheckRun& run);
// Null for a kind that is unknown here.
CADDIE_API CheckFunction check_function(const std::string& kind);
CADDIE_API std::vector<std::string> check_kinds();

}  // namespace caddie::parity
