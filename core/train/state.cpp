#include "core/train/state.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/scalar_tensor.h>

#include <utility>

#include "caddie/error.h"
#include "core/base/safetensors.h"

namespace caddie::train {
namespace {
constexpr std::string_view kNumber = "number:";
}

StateDictionary::StateDictionary(Keep keep) : keep_(keep) {}
StateDictionary::~StateDictionary() = default;

void StateDictionary::add(std::string_view name, at::Tensor value) {
  const bool fresh = tensors_.emplace(name, std::move(value)).second;
  CADDIE_CHECK(fresh, ErrorKind::failed, "two tensors of a state are named '", name, "'");
}

void StateDictionary::tensor(std::string_view name, const at::Tensor& value) {
  CADDIE_CHECK(value.defined(), ErrorKind::failed, "tensor '", name, "' of a state is not defined");
  add(name, keep_ == Keep::copies ? value.detach().clone() : value.detach());
}

void StateDictionary::number(std::string_view name, double value) {
  const bool fresh = numbers_.emplace(name, value).second;
  CADDIE_CHECK(fresh, ErrorKind::failed, "two numbers of a state are named '", name, "'");
}

at::Tensor StateDictionary::tensor(std::string_view name) const {
  const auto found = tensors_.find(name);
  CADDIE_CHECK(found != tensors_.end(), ErrorKind::data, "the saved state has no tensor '", name, "'");
  return found->second;
}

double StateDictionary::number(std::string_view name) const {
  const auto found = numbers_.find(name);
  CADDIE_CHECK(found != numbers_.end(), ErrorKind::data, "the saved state has no number '", name, "'");
  return found->second;
}

void StateDictionary::write(const std::filesystem::path& path, const std::map<std::string, std::string>& metadata) const {
  NamedTensors all;
  for (const auto& [name, value] : tensors_) all.emplace_back(name, value);
  for (const auto& [name, value] : numbers_)
    all.emplace_back(concat(kNumber, name), at::scalar_tensor(value, at::TensorOptions().dtype(at::kDouble)));
  write_safetensors(path, all, metadata);
}

StateDictionary StateDictionary::read(const std::filesystem::path& path) {
  StateDictionary state(Keep::references);
  for (auto& [name, value] : read_safetensors(path)) {
    if (name.starts_with(kNumber)) {
      CADDIE_CHECK(value.scalar_type() == at::kDouble && value.numel() == 1, ErrorKind::data, path.string(), ": '", name,
                   "' is not a number");
      state.number(name.substr(kNumber.size()), value.item<double>());
    } else {
      state.add(name, std::move(value));
    }
  }
  return state;
}

ScopedWriter::ScopedWriter(StateWriter& inner, std::string prefix) : inner_(inner), prefix_(std::move(prefix) + "/") {}
ScopedWriter::~ScopedWriter() = default;
void ScopedWriter::tensor(std::string_view name, const at::Tensor& value) { inner_.tensor(concat(prefix_, name), value); }
void ScopedWriter::number(std::string_view name, double value) { inner_.number(concat(prefix_, name), value); }

ScopedReader::ScopedReader(const StateReader& inner, std::string prefix) : inner_(inner), prefix_(std::move(prefix) + "/") {}
ScopedReader::~ScopedReader() = default;
at::Tensor ScopedReader::tensor(std::string_view name) const { return inner_.tensor(concat(prefix_, name)); }
double ScopedReader::number(std::string_view name) const { return inner_.number(concat(prefix_, name)); }

void restore_tensor(const StateReader& reader, const std::string& name, at::Tensor& target) {
  const at::NoGradGuard guard;
  const at::Tensor saved = reader.tensor(name);
  CADDIE_CHECK(saved.scalar_type() == target.scalar_type() && saved.sizes() == target.sizes(), ErrorKind::data,
               "the saved tensor '", name, "' is ", c10::toString(saved.scalar_type()), " ", saved.sizes(), ", this run needs ",
               c10::toString(target.scalar_type()), " ", target.sizes());
  target.copy_(saved);
}

}  // namespace caddie::train
