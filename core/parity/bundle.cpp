#include "core/parity/bundle.h"

#include <set>
#include <utility>

#include "caddie/error.h"
#include "core/base/files.h"
#include "core/base/hash.h"

namespace caddie::parity {
namespace fs = std::filesystem;
namespace {

const char* const kHint =
    "A bundle is a folder with bundle.json and tensors.safetensors of format \"golden\", version 1.";

const fs::path& existing_folder(const fs::path& folder) {
  if (!fs::is_directory(folder))
    throw Error(ErrorKind::data, concat("there is no folder '", folder.string(), "'"), kHint);
  return folder;
}

bool is_text(const Json& object, const char* key) { return object.contains(key) && object[key].is_string(); }

}  // namespace

bool CheckSpec::optional() const {
  const auto found = settings.find("optional");
  return found != settings.end() && found->is_boolean() && found->get<bool>();
}

Bundle::Bundle(fs::path folder, fs::path tokenizers)
    : folder_(std::move(folder)), tokenizers_folder_(std::move(tokenizers)),
      tensors_(existing_folder(folder_) / "tensors.safetensors") {
  const Json whole = read_json(folder_ / "bundle.json");
  if (!whole.is_object() || !is_text(whole, "format") || whole["format"] != "golden")
    refuse("its format is not \"golden\"");
  if (!whole.contains("version") || whole["version"] != 1) refuse("its version is not 1");
  if (!whole.contains("checks") || !whole["checks"].is_array()) refuse("it has no list of checks");
  name_ = is_text(whole, "name") ? whole["name"].get<std::string>() : folder_.filename().string();
  config_ = whole.value("config", Json::object());
  tokenizers_ = whole.value("tokenizers", Json::object());
  if (!config_.is_object() || !tokenizers_.is_object()) refuse("config and tokenizers must be objects");
  read_parameters(whole.value("parameters", Json::array()));
  for (std::size_t i = 0; i < whole["checks"].size(); ++i) read_check(whole["checks"][i], i);
  std::set<std::string_view> ids;
  for (const CheckSpec& check : checks_)
    if (!ids.insert(check.id).second) refuse(concat("two checks have the id '", check.id, "'"));
}

void Bundle::read_parameters(const Json& list) {
  if (!list.is_array()) refuse("parameters must be a list");
  for (const Json& entry : list) {
    if (!entry.is_object() || !is_text(entry, "name") || !is_text(entry, "role") || !entry.contains("shape") ||
        !entry["shape"].is_array())
      refuse("a parameter needs name, shape and role");
    ParameterSpec parameter{entry["name"], entry["role"], {}};
    for (const Json& size : entry["shape"]) {
      if (!size.is_number_integer()) refuse(concat("the shape of '", parameter.name, "' is not a list of integers"));
      parameter.shape.push_back(size.get<std::int64_t>());
    }
    parameters_.push_back(std::move(parameter));
  }
}

void Bundle::read_check(const Json& entry, std::size_t number) {
  if (!entry.is_object() || !is_text(entry, "id") || !is_text(entry, "kind"))
    refuse(concat("check ", number, " lacks an id or a kind"));
  CheckSpec check{entry["id"], entry["kind"], entry.value("settings", Json::object()), {}, {}};
  const Json inputs = entry.value("inputs", Json::object()), expect = entry.value("expect", Json::object());
  if (!check.settings.is_object() || !inputs.is_object() || !expect.is_object())
    refuse(concat("settings, inputs and expect of '", check.id, "' must be objects"));
  if (expect.empty()) refuse(concat("'", check.id, "' expects nothing"));
  for (const auto& [name, key] : inputs.items()) {
    if (!key.is_string()) refuse(concat("the input '", name, "' of '", check.id, "' names no tensor"));
    check_input(check, name, key);
    check.inputs.emplace(name, key);
  }
  for (const auto& [name, expected] : expect.items()) {
    check_expected(check, name, expected);
    check.expect.emplace(name, expected);
  }
  checks_.push_back(std::move(check));
}

void Bundle::check_input(const CheckSpec& check, const std::string& name, const std::string& key) const {
  if (!key.ends_with('/')) {
    if (!tensors_.has(key))
      refuse(concat("the input '", name, "' of '", check.id, "' is '", key, "', which is no tensor of it"));
    return;
  }
  for (const ParameterSpec& parameter : parameters_) {
    if (!tensors_.has(key + parameter.name))
      refuse(concat("there is no tensor '", key, parameter.name, "' for '", check.id, "'"));
    if (tensors_.shape(key + parameter.name) != parameter.shape)
      refuse(concat("the tensor '", key, parameter.name, "' has not the parameter's shape"));
  }
}

void Bundle::check_expected(const CheckSpec& check, const std::string& name, const Json& expected) const {
  const auto wrong = [&](const char* what) { refuse(concat("the output '", name, "' of '", check.id, "' ", what)); };
  if (!expected.is_object() || !expected.contains("tolerance") || !expected["tolerance"].is_object())
    wrong("has no tolerance");
  if (expected.contains("value")) return;
  const char* form = expected.contains("sample") ? "sample" : "tensor";
  if (!is_text(expected, form)) wrong("has neither value, tensor nor sample");
  if (!tensors_.has(expected[form].get<std::string>())) wrong("names a tensor that the bundle lacks");
  if (form == std::string_view("tensor")) return;
  for (const char* key : {"step", "count"})
    if (!expected.contains(key) || !expected[key].is_number_integer() || expected[key].get<std::int64_t>() < 1)
      wrong("is a sample without a positive step and count");
  for (const char* key : {"sum", "sum_squares"})
    if (!expected.contains(key) || !expected[key].is_number()) wrong("is a sample without its sums");
  if (!expected.contains("shape") || !expected["shape"].is_array()) wrong("is a sample without a shape");
  std::int64_t elements = 1;
  for (const Json& size : expected["shape"]) {
    if (!size.is_number_integer() || size.get<std::int64_t>() < 0) wrong("is a sample without a proper shape");
    elements *= size.get<std::int64_t>();
  }
  const auto step = expected["step"].get<std::int64_t>(), count = expected["count"].get<std::int64_t>();
  if (count != (elements + step - 1) / step ||
      tensors_.shape(expected["sample"].get<std::string>()) != std::vector{count})
    wrong("is a sample whose shape, step, count and tensor do not fit");
}

NamedTensors Bundle::parameters_of(const std::string& prefix) const {
  NamedTensors values;
  for (const ParameterSpec& parameter : parameters_)
    if (!parameter.empty()) values.emplace_back(parameter.name, tensor(prefix + parameter.name).to(at::kFloat));
  return values;
}

fs::path Bundle::tokenizer(const std::string& label) const {
  const auto entry = tokenizers_.find(label);
  if (entry == tokenizers_.end() || !entry->is_object()) refuse(concat("it does not list the tokenizer '", label, "'"));
  const bool inside = entry->value("in_bundle", false);
  const fs::path file = (inside ? folder_ : tokenizers_folder_) / (label + ".model");
  if (!fs::is_regular_file(file))
    throw Error(
        ErrorKind::data,
        concat("the tokenizer '", label, "' of the bundle ", folder_.string(), " is missing: ", file.string(),
               " does not exist"),
        inside ? "The bundle is incomplete, get it again." : "Say where the shared tokenizers are: --tokenizers DIR");
  const std::string wanted = entry->value("sha256", std::string());
  if (!wanted.empty() && sha256_file(file) != wanted)
    throw Error(ErrorKind::data,
                concat(file.string(), " is not the tokenizer that the bundle was made with: its SHA-256 is ",
                       sha256_file(file), ", expected ", wanted));
  return file;
}

void Bundle::refuse(const std::string& why) const {
  throw Error(ErrorKind::data, concat((folder_ / "bundle.json").string(), " is not a bundle: ", why), kHint);
}

}  // namespace caddie::parity
