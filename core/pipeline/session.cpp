#include "core/pipeline/session.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>

#include "caddie/error.h"
#include "core/base/environment.h"
#include "core/base/interrupt.h"
#include "core/base/log.h"
#include "core/pipeline/precision.h"

namespace caddie::pipeline {
namespace {

class HostServices final : public Services {
 public:
  void log(LogLevel level, std::string_view text) override { log::write(level, text); }
  bool cancelled() const override { return interrupted(); }
  int threads() const override { return at::get_num_threads(); }
};

}  // namespace

at::Device resolve_device(const std::string& wanted) {
  if (wanted == "cpu") return at::kCPU;
  const bool available = at::hasCUDA() && at::detail::getCUDAHooks().deviceCount() > 0;
  if (wanted == "auto") return available ? at::Device(at::kCUDA, 0) : at::Device(at::kCPU);
  CADDIE_CHECK(at::hasCUDA(), ErrorKind::environment, "device is 'cuda', but this build of LibTorch has no CUDA: build with "
               "./caddie --cuda, or take device=cpu");
  CADDIE_CHECK(available, ErrorKind::environment, "device is 'cuda', but no GPU is visible: caddie doctor shows what there is");
  return at::Device(at::kCUDA, 0);
}

std::unique_ptr<Services> host_services() { return std::make_unique<HostServices>(); }

Session::Session(Manifest manifest, std::shared_ptr<const Catalogue> catalogue)
    : manifest_(std::move(manifest)), catalogue_(std::move(catalogue)), services_(host_services()),
      device_(at::kCPU), precision_(Precision::float32) {
  const auto threads = resolved().at("threads").get<std::int64_t>();
  if (threads > 0) at::set_num_threads(static_cast<int>(threads));
  device_ = resolve_device(resolved().at("device").get<std::string>());
  precision_ = resolve_precision(resolved().at("precision").get<std::string>(), device_);
  at::globalContext().setDeterministicFillUninitializedMemory(false);
}

Session::~Session() = default;

std::uint64_t Session::seed() const { return resolved().at("seed").get<std::uint64_t>(); }
std::int64_t Session::sequence() const { return section("train").at("sequence").get<std::int64_t>(); }

std::int64_t Session::stated_vocabulary() const {
  const Json& stated = section("model").at("vocabulary");
  if (!stated.is_null()) return stated.get<std::int64_t>();
  if (!section("data").at("text").is_null()) return section("data").at("vocabulary").get<std::int64_t>();
  return 0;
}

Json Session::identity(PluginKind kind, const Json& section) const {
  const Provenance facts = catalogue_->provenance(kind, section.at("use").get<std::string>());
  return {{"plugin", facts.plugin}, {"version", facts.version}, {"behaviour", facts.behaviour_version},
          {"sha256", facts.sha256}};
}

Json Session::numeric_key() const {
  return {{"core", kCoreBehaviour}, {"device", device_.is_cuda() ? "cuda" : "cpu"}, {"precision", precision_name(precision_)}};
}

std::shared_ptr<Model> Session::create_model(std::int64_t vocabulary, at::Device device) const {
  return catalogue_->create_model(section("model"), ModelContext{services_.get(), device, precision_, vocabulary, sequence()});
}

const char* precision_name(Precision precision) { return precision == Precision::bfloat16 ? "bfloat16" : "float32"; }

}  // namespace caddie::pipeline
