#include "core/comm/nccl.h"

#include <ATen/core/grad_mode.h>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>

#include <chrono>
#include <cstdlib>
#include <thread>
#include <utility>
#include <vector>

#include "caddie/error.h"

namespace caddie {
namespace {

class NcclOperation final : public PendingOperation {
 public:
  NcclOperation(c10::intrusive_ptr<c10d::Work> work, at::Tensor tensor) : work_(std::move(work)), tensor_(std::move(tensor)) {}
  void wait() override { work_->wait(); }  // orders the current stream behind it, the host goes on

 private:
  c10::intrusive_ptr<c10d::Work> work_;
  at::Tensor tensor_;  // alive until then
};

class NcclCommunicator final : public Communicator {
 public:
  NcclCommunicator(Group& group, at::Device device) : group_(group), device_(device) {
    ::setenv("NCCL_NVLS_ENABLE", "0", 0);
    auto options = c10d::ProcessGroupNCCL::Options::create(/*is_high_priority_stream=*/true);
    options->timeout = std::chrono::milliseconds(static_cast<std::int64_t>(group.settings().operation_seconds * 1000));
    const auto& store = *static_cast<const c10::intrusive_ptr<c10d::Store>*>(group.store().native());
    // A connection of its own: its threads poll while this one waits.
    auto own = c10::make_intrusive<c10d::PrefixStore>("caddie_" + group.launch().attempt + group.unique("/nccl"), store->clone());
    backend_ = c10::make_intrusive<c10d::ProcessGroupNCCL>(own, group.rank(), group.size(), options);
  }

  ~NcclCommunicator() override {
    try {
      if (group_.failure())
        backend_->abort();  // an orderly end would wait for the rank that is gone
      else
        backend_->shutdown();
    } catch (const std::exception&) {  // the process ends
    }
  }

  int rank() const override { return group_.rank(); }
  int size() const override { return group_.size(); }

  void all_reduce_sum(at::Tensor& tensor) override {
    on_device(tensor, [&](at::Tensor& own) {
      std::vector<at::Tensor> list = {own};
      call([&] { return backend_->allreduce(list); });
    });
  }

  std::unique_ptr<PendingOperation> start_all_reduce_sum(at::Tensor tensor) override {
    if (!tensor.is_cuda() || !tensor.is_contiguous()) {
      all_reduce_sum(tensor);
      return nullptr;
    }
    const at::NoGradGuard guard;
    std::vector<at::Tensor> list = {tensor};
    return std::make_unique<NcclOperation>(guarded([&] { return backend_->allreduce(list); }), tensor);
  }

  void all_gather(at::Tensor& rows) override {
    CADDIE_CHECK(rows.dim() >= 1 && rows.size(0) == size(), ErrorKind::failed, "rows of ", size(), " ranks are to be gathered into ", rows.sizes());
    on_device(rows, [&](at::Tensor& all) {
      at::Tensor own = all.select(0, rank());
      call([&] { return backend_->_allgather_base(all, own); });
    });
  }

  void broadcast(at::Tensor& tensor, int root) override {
    CADDIE_CHECK(root >= 0 && root < size(), ErrorKind::failed, "rank ", root, " is to broadcast, the run has ", size());
    on_device(tensor, [&](at::Tensor& own) {
      std::vector<at::Tensor> list = {own};
      c10d::BroadcastOptions options;
      options.rootRank = root;
      call([&] { return backend_->broadcast(list, options); });
    });
  }

  void barrier() override {
    call([&] {
      c10d::BarrierOptions options;
      options.device = device_;
      return backend_->barrier(options);
    });
  }

 private:
  // A rank that is gone shows as an error of the network first: what ended the group is the better message.
  template <class Body>
  auto guarded(Body body) -> decltype(body()) {
    group_.check();
    try {
      return body();
    } catch (const std::exception& error) {
      for (int i = 0; i < 20; ++i) {
        std::this_thread::sleep_for(std::chrono::milliseconds(100));
        group_.check();
      }
      const std::string text(error.what());
      throw Error(ErrorKind::failed, "NCCL: " + text.substr(0, text.find('\n')), "NCCL_DEBUG=INFO tells more.");
    }
  }

  template <class Body>
  void call(Body body) {
    const at::NoGradGuard guard;
    guarded([&] {
      body()->wait();
      return 0;
    });
  }

  template <class Body>
  void on_device(at::Tensor& tensor, Body body) {
    const at::NoGradGuard guard;
    if (tensor.numel() == 0) return;
    if (tensor.is_cuda() && tensor.is_contiguous()) return body(tensor);
    at::Tensor own = tensor.to(device_).contiguous();
    body(own);
    tensor.copy_(own);
  }

  Group& group_;
  at::Device device_;
  c10::intrusive_ptr<c10d::ProcessGroupNCCL> backend_;
};

}  // namespace

std::unique_ptr<Communicator> make_nccl_communicator(Group& group, at::Device device) {
  return std::make_unique<NcclCommunicator>(group, device);
}

bool nccl_available() { return true; }

}  // namespace caddie
