#include "core/train/checkpoint.h"

#include <ATen/ops/zeros.h>

#include <functional>
#include <utility>

#include "caddie/error.h"
#include "core/base/files.h"

namespace caddie::train {
namespace fs = std::filesystem;
namespace {

constexpr const char* kLatest = "latest.json";
constexpr int kFormat = 2;

std::string problem_of(const std::function<void()>& action) {
  try {
    action();
    return {};
  } catch (const Error& error) {
    return error.message();
  }
}

}  // namespace

Checkpoints::Checkpoints(fs::path folder, std::string identity, Communicator& communicator)
    : folder_(std::move(folder)), identity_(std::move(identity)), communicator_(communicator) {}

// Every rank learns how many failed, so that none waits for one that did.
std::int64_t Checkpoints::count_failed(bool good) const {
  if (communicator_.size() == 1) return good ? 0 : 1;
  at::Tensor failures = at::zeros({1}, at::kDouble);
  if (!good) failures.fill_(1);
  communicator_.all_reduce_sum(failures);
  return static_cast<std::int64_t>(failures.item<double>());
}

fs::path Checkpoints::file_of(const std::string& name) const { return folder_ / name / "state.safetensors"; }

void Checkpoints::write_file(const StateDictionary& state, const std::string& name) const {
  make_directories(folder_ / name);
  state.write(file_of(name), {{"identity", identity_}});
}

void Checkpoints::write(const StateDictionary& state, std::int64_t step) {
  const std::string name = concat("step_", step);
  const std::string problem = problem_of([&] {
    if (communicator_.rank() != 0) return;
    write_file(state, name);
    write_json(folder_ / kLatest, {{"caddie_checkpoint", kFormat}, {"step", step}, {"folder", name}, {"identity", identity_}});
    remove_others(name);
  });
  if (count_failed(problem.empty()) > 0)
    throw Error(ErrorKind::failed,
                concat("the checkpoint of step ", step, " was not written: ", problem.empty() ? "rank 0 failed" : problem),
                "The checkpoint before is kept.");
}

void Checkpoints::remove_others(const std::string& name) const {
  std::error_code ignored;  // a folder that stays costs space, nothing else
  for (const auto& entry : fs::directory_iterator(folder_, ignored)) {
    const std::string other = entry.path().filename().string();
    if (other.starts_with("step_") && other != name) fs::remove_all(entry.path(), ignored);
  }
}

std::optional<StateDictionary> Checkpoints::read() const {
  const fs::path latest = folder_ / kLatest;
  const std::int64_t without = count_failed(fs::exists(latest));
  if (without == communicator_.size()) return std::nullopt;
  CADDIE_CHECK(without == 0, ErrorKind::environment, without, " of ", communicator_.size(), " ranks do not see the checkpoint in ",
               folder_.string(), ": the runs must lie on a file system that all ranks share");
  const Json content = read_json(latest);
  const bool known = content.is_object() && content.value("caddie_checkpoint", 0) == kFormat && content.contains("folder") &&
                     content["folder"].is_string();
  CADDIE_CHECK(known, ErrorKind::data, latest.string(), " is not the index of a checkpoint of this version");
  if (content.value("identity", "") != identity_)
    throw Error(ErrorKind::failed, concat("the checkpoint in ", folder_.string(), " belongs to another training"),
                "Remove the folder to start anew.");
  try {
    return StateDictionary::read(file_of(content["folder"].get<std::string>()));
  } catch (Error& error) {
    throw error.add_context("checkpoint");
  }
}

void Checkpoints::remove() {
  communicator_.barrier();
  if (communicator_.rank() == 0) {
    std::error_code ignored;
    fs::remove(folder_ / kLatest, ignored);  // first: what is left is no checkpoint any more
    fs::remove_all(folder_, ignored);
  }
  communicator_.barrier();
}

}  // namespace caddie::train
