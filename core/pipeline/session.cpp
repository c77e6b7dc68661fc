#include "core/pipeline/session.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <cstdlib>

#include "caddie/error.h"
#include "core/base/environment.h"
#include "core/base/interrupt.h"
#include "core/base/log.h"
#include "core/comm/nccl.h"
#include "core/comm/solo.h"
#include "core/comm/store.h"
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

int visible_gpus() { return at::hasCUDA() ? at::detail::getCUDAHooks().deviceCount() : 0; }

at::Device resolve_device(const std::string& wanted, int local_rank) {
  if (wanted == "cpu") return at::kCPU;
  const int count = visible_gpus();
  const bool available = count > 0;
  if (wanted == "auto" && !available) return at::kCPU;
  CADDIE_CHECK(at::hasCUDA(), ErrorKind::environment, "device is 'cuda', but this build of LibTorch has no CUDA: build with "
               "./caddie --cuda, or take device=cpu");
  CADDIE_CHECK(available, ErrorKind::environment, "device is 'cuda', but no GPU is visible: caddie doctor shows what there is");
  // A launcher that shows each rank one GPU has chosen already.
  CADDIE_CHECK(count == 1 || local_rank < count, ErrorKind::environment, "rank ", local_rank, " of this host has no GPU: ", count,
               " are visible");
  return at::Device(at::kCUDA, static_cast<c10::DeviceIndex>(count == 1 ? 0 : local_rank));
}

std::unique_ptr<Services> host_services() { return std::make_unique<HostServices>(); }

namespace {

// Each rank's share of the host's cores, unless the manifest or the launcher gives a number.
int wanted_threads(std::int64_t given, const Group* group) {
  if (given > 0) return static_cast<int>(given);
  const bool launcher_decided = std::getenv("OMP_NUM_THREADS") != nullptr;
  return group != nullptr && !launcher_decided ? threads_per_rank(group->launch().local_size) : 0;
}

std::unique_ptr<Communicator> make_communicator(Group* group, at::Device device) {
  if (group == nullptr) return std::make_unique<SoloCommunicator>();
  if (device.is_cuda()) {
    if (auto nccl = make_nccl_communicator(*group, device)) return nccl;
    log::warning("this build has no NCCL (CMake's CADDIE_NCCL): all that the ranks share goes through the host's memory, which is slow");
  }
  return std::make_unique<StoreCommunicator>(*group);
}

}  // namespace

Session::Session(Manifest manifest, std::shared_ptr<const Catalogue> catalogue, SessionRanks ranks)
    : manifest_(std::move(manifest)), catalogue_(std::move(catalogue)), services_(host_services()), ranks_(ranks),
      device_(at::kCPU), precision_(Precision::float32) {
  const int threads = wanted_threads(resolved().at("threads").get<std::int64_t>(), ranks_.group);
  if (threads > 0) at::set_num_threads(threads);
  if (ranks_.group != nullptr) ranks_.group->agree({{"manifest", resolved()}, {"program", abi_id()}});
  const auto micro_batches = section("train").at("micro_batches").get<std::int64_t>();
  if (micro_batches % world() != 0)
    throw Error(ErrorKind::usage, concat("train.micro_batches is ", micro_batches, ", it cannot be dealt to ", world(), " ranks"),
                "The number of ranks must divide train.micro_batches: the data of a step does not depend on it.");
  device_ = resolve_device(resolved().at("device").get<std::string>(), ranks_.group != nullptr ? ranks_.group->launch().local_rank : 0);
  // Not for a plan or a launcher's check: it takes memory of the GPU.
  if (ranks_.group != nullptr && device_.is_cuda()) c10::impl::VirtualGuardImpl(at::kCUDA).setDevice(device_);
  precision_ = resolve_precision(resolved().at("precision").get<std::string>(), device_);
  at::globalContext().setDeterministicFillUninitializedMemory(false);
  communicator_ = make_communicator(ranks_.group, device_);
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
