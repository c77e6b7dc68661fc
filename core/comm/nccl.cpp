#include "core/comm/nccl.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/full.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "caddie/error.h"
#include "core/comm/nccl_environment.h"
#include "core/comm/store.h"

namespace caddie {
namespace {

using Clock = std::chrono::steady_clock;
using BackendPointer = c10::intrusive_ptr<c10d::ProcessGroupNCCL>;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

std::string first_line(const std::exception& error) {
  const std::string text(error.what());
  return text.substr(0, text.find('\n'));
}

// A rank that is gone shows as an error of NCCL or CUDA first: what ended the group is the better message.
template <class Body>
auto guarded(const Group& group, Body body) -> decltype(body()) {
  group.check();
  try {
    return body();
  } catch (const Error&) {
    throw;
  } catch (const std::exception& error) {
    for (int i = 0; i < 20; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
      group.check();
    }
    throw Error(ErrorKind::failed, "NCCL: " + first_line(error), "NCCL_DEBUG=INFO tells more.");
  }
}

void synchronize(at::Device device) { c10::impl::VirtualGuardImpl(at::kCUDA).synchronizeDevice(device.index()); }

// The backend, and a thread that ends its kernels once the group has failed: the host threads that wait for them go on, and
// find the failure at the group's next check.
class Connection {
 public:
  Connection(Group& group, at::Device device) : group_(group), device_(device) {
    set_nccl_environment();
    auto options = c10d::ProcessGroupNCCL::Options::create(/*is_high_priority_stream=*/true);
    options->timeout = std::chrono::milliseconds(static_cast<std::int64_t>(group.settings().operation_seconds * 1000));
    const auto& store = *static_cast<const c10::intrusive_ptr<c10d::Store>*>(group.store().native());
    // A connection of its own: its threads poll while this one waits.
    auto own = c10::make_intrusive<c10d::PrefixStore>("caddie_" + group.launch().attempt + group.unique("/nccl"), store->clone());
    backend_ = c10::make_intrusive<c10d::ProcessGroupNCCL>(own, group.rank(), group.size(), options);
    monitor_ = std::thread([this] { watch(); });
    try {
      connect();
    } catch (...) {
      close(false);
      throw;
    }
  }

  ~Connection() { close(std::uncaught_exceptions() == 0); }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  c10d::ProcessGroupNCCL& backend() { return *backend_; }

 private:
  // What a connection attempt found out; it may outlive the connection if NCCL hangs.
  struct Attempt {
    std::atomic<bool> done{false};
    std::string problem;
  };

  // Now, and not in the first step: communicator, and sums of both a small and a large kind, whose buffers NCCL makes on
  // first use. On a thread of its own, since NCCL's way to tell that GPUs do not reach each other is to hang.
  void connect() {
    auto attempt = std::make_shared<Attempt>();
    std::thread([attempt, backend = backend_, device = device_, rank = group_.rank(), size = group_.size()]() mutable {
      try {
        c10::impl::VirtualGuardImpl(at::kCUDA).setDevice(device);
        backend->eagerConnectSingleDevice(device);
        for (const std::int64_t count : {std::int64_t{16}, std::int64_t{4} << 20}) {
          std::vector<at::Tensor> sum = {at::full({count}, rank + 1.0, at::TensorOptions(at::kFloat).device(device))};
          backend->allreduce(sum)->wait();
          const double found = sum[0].max().item<double>(), least = sum[0].min().item<double>(), expected = size * (size + 1) / 2.0;
          if (found != expected || least != expected)
            attempt->problem = concat("the first sum over the GPUs is ", least, " to ", found, " in place of ", expected);
        }
      } catch (const std::exception& error) {
        attempt->problem = first_line(error);
      }
      backend.reset();
      attempt->done = true;
    }).detach();
    connecting_ = attempt;
    const Clock::time_point start = Clock::now();
    const double patience = group_.settings().join_seconds;
    const char* hint = "NCCL_DEBUG=INFO tells more; NCCL_P2P_DISABLE=1 goes through the host's memory.";
    group_.wait_until(
        [&] {
          if (!attempt->done && seconds_since(start) > patience)
            throw Error(ErrorKind::environment, concat("NCCL did not connect GPU ", static_cast<int>(device_.index()), " of rank ", group_.rank(),
                                                       " with the others within ", patience, " s"), hint);
          return attempt->done.load();
        },
        0, "NCCL to connect the GPUs");
    if (!attempt->problem.empty()) {
      guarded(group_, [&] { throw std::runtime_error(attempt->problem); });
    }
  }

  void watch() {
    std::unique_lock lock(mutex_);
    std::optional<Clock::time_point> error_at;
    while (!stop_.wait_for(lock, std::chrono::milliseconds(100), [this] { return stopping_; })) {
      lock.unlock();
      try {
        group_.check();
      } catch (const Error&) {
        end_kernels();
        return;
      }
      const c10d::ErrorType error = backend_->getError();
      if (error != c10d::ErrorType::SUCCESS && !error_at) error_at = Clock::now();
      // Whoever failed first has a few seconds to say so.
      if (error_at && seconds_since(*error_at) > 3) {
        group_.fail(Error(ErrorKind::failed, error == c10d::ErrorType::TIMEOUT
                                                 ? concat("an operation over NCCL did not end within ", group_.settings().operation_seconds, " s")
                                                 : std::string("NCCL reports an error of its connections"),
                          "NCCL_DEBUG=INFO tells more."));
        error_at = Clock::now();
      }
      lock.lock();
    }
  }

  // Local: waits for no other rank. Kernels that run are ended.
  void end_kernels() {
    if (aborted_.exchange(true)) return;
    try {
      backend_->abort();
    } catch (const std::exception&) {  // the process ends
    }
  }

  // An orderly shutdown would wait for the others, of which one may be gone or about to fail; what was started is done if
  // nothing went wrong, so that nothing is lost.
  void close(bool in_order) {
    const bool hangs = connecting_ && !connecting_->done;
    try {
      if (in_order && !aborted_ && !group_.failure()) synchronize(device_);
    } catch (const std::exception&) {
    }
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    stop_.notify_all();
    if (monitor_.joinable()) monitor_.join();
    if (hangs) {  // in NCCL: left alone, the process ends
      static_cast<void>(backend_.release());
      return;
    }
    end_kernels();
    backend_.reset();
  }

  Group& group_;
  at::Device device_;
  BackendPointer backend_;
  std::shared_ptr<Attempt> connecting_;
  std::atomic<bool> aborted_{false};
  std::mutex mutex_;
  std::condition_variable stop_;
  bool stopping_ = false;
  std::thread monitor_;
};

class NcclOperation final : public PendingOperation {
 public:
  NcclOperation(const Group& group, c10::intrusive_ptr<c10d::Work> work, at::Tensor tensor)
      : group_(group), work_(std::move(work)), tensor_(std::move(tensor)) {}
  // Orders the current stream behind it, the host goes on.
  void wait() override {
    guarded(group_, [&] { work_->wait(); });
  }

 private:
  const Group& group_;
  c10::intrusive_ptr<c10d::Work> work_;
  at::Tensor tensor_;  // alive until then
};

class NcclCommunicator final : public Communicator {
 public:
  NcclCommunicator(Group& group, at::Device device) : group_(group), host_(group), connection_(group, device) {}

  int rank() const override { return group_.rank(); }
  int size() const override { return group_.size(); }

  void all_reduce_sum(at::Tensor& tensor) override {
    if (!tensor.is_cuda()) return host_.all_reduce_sum(tensor);
    on_device(tensor, [&](at::Tensor& own) {
      std::vector<at::Tensor> list = {own};
      return connection_.backend().allreduce(list);
    });
  }

  std::unique_ptr<PendingOperation> start_all_reduce_sum(at::Tensor tensor) override {
    if (!tensor.is_cuda() || !tensor.is_contiguous()) {
      all_reduce_sum(tensor);
      return nullptr;
    }
    const at::NoGradGuard guard;
    std::vector<at::Tensor> list = {tensor};
    return std::make_unique<NcclOperation>(group_, guarded(group_, [&] { return connection_.backend().allreduce(list); }), tensor);
  }

  void all_gather(at::Tensor& rows) override {
    CADDIE_CHECK(rows.dim() >= 1 && rows.size(0) == size(), ErrorKind::failed, "rows of ", size(), " ranks are to be gathered into ", rows.sizes());
    if (!rows.is_cuda()) return host_.all_gather(rows);
    on_device(rows, [&](at::Tensor& all) {
      at::Tensor own = all.select(0, rank());
      return connection_.backend()._allgather_base(all, own);
    });
  }

  void broadcast(at::Tensor& tensor, int root) override {
    CADDIE_CHECK(root >= 0 && root < size(), ErrorKind::failed, "rank ", root, " is to broadcast, the run has ", size());
    if (!tensor.is_cuda()) return host_.broadcast(tensor, root);
    on_device(tensor, [&](at::Tensor& own) {
      std::vector<at::Tensor> list = {own};
      c10d::BroadcastOptions options;
      options.rootRank = root;
      return connection_.backend().broadcast(list, options);
    });
  }

  void barrier() override { host_.barrier(); }

 private:
  // `start` begins an operation on contiguous memory; the current stream waits for it, the host does not.
  template <class Start>
  void on_device(at::Tensor& tensor, Start start) {
    const at::NoGradGuard guard;
    if (tensor.numel() == 0) return;
    const bool contiguous = tensor.is_contiguous();
    at::Tensor own = contiguous ? tensor : tensor.contiguous();
    guarded(group_, [&] { start(own)->wait(); });
    if (!contiguous) tensor.copy_(own);
  }

  Group& group_;
  StoreCommunicator host_;  // for what is in the host's memory: it waits for no GPU, and for no rank that is gone
  Connection connection_;
};

}  // namespace

std::unique_ptr<Communicator> make_nccl_communicator(Group& group, at::Device device) {
  return std::make_unique<NcclCommunicator>(group, device);
}

bool nccl_available() { return true; }

}  // namespace caddie
