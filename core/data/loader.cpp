#include "core/data/loader.h"

#include <ATen/ops/empty.h>

#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>
#include <thread>

#include "caddie/error.h"
#include "core/base/trace.h"

namespace caddie::data {

struct SequentialLoader::Impl {
  LoaderSettings settings;
  TokenStream stream;
  std::int64_t slice_tokens;   // L + 1
  std::int64_t delivered = 0;  // this rank's slices that next() returned

  // The background thread and what it shares, under `mutex`.
  std::thread thread;
  std::mutex mutex;
  std::condition_variable filled, emptied;
  std::deque<Batch> queue;
  std::exception_ptr failure;
  bool stopping = false;

  explicit Impl(LoaderSettings given)
      : settings(std::move(given)),
        stream(settings.shards),
        slice_tokens(settings.tokens_per_step / std::max<std::int64_t>(settings.micro_batches, 1) + 1) {}

  ~Impl() { stop(); }

  void stop() {
    {
      const std::lock_guard lock(mutex);
      stopping = true;
    }
    emptied.notify_all();
    if (thread.joinable()) thread.join();
    stopping = false;
    queue.clear();
    failure = nullptr;
  }

  // This rank's slice number `index`, on the host.
  Batch make(std::int64_t index) const {
    const trace::Span span("data", "make a slice", index);
    const std::int64_t slice = index * settings.world + settings.rank;
    // slice * slice_tokens would overflow after 2^63 tokens only.
    const std::int64_t first = slice * slice_tokens % stream.size();
    const bool cuda = settings.device.is_cuda();
    at::Tensor tokens = at::empty({slice_tokens}, at::TensorOptions(at::kLong).pinned_memory(cuda));
    std::int64_t* values = tokens.mutable_data_ptr<std::int64_t>();
    stream.copy(first, slice_tokens, values, true);
    if (settings.vocabulary > 0)
      for (std::int64_t i = 0; i < slice_tokens; ++i)
        if (values[i] >= settings.vocabulary)
          throw Error(ErrorKind::data,
                      concat("id ", values[i], " at ", stream.locate(first + i), " is outside the vocabulary of ",
                             settings.vocabulary, " pieces"),
                      "The shard was made with another tokenizer, or is damaged (caddie data verify).");
    const std::int64_t rows = (slice_tokens - 1) / settings.sequence;
    return {tokens.slice(0, 0, slice_tokens - 1).view({rows, settings.sequence}),
            tokens.slice(0, 1, slice_tokens).view({rows, settings.sequence})};
  }

  void produce(std::int64_t index) {
    trace::name_thread("loader");
    try {
      while (true) {
        Batch batch = make(index++);
        std::unique_lock lock(mutex);
        emptied.wait(lock, [&] { return stopping || queue.size() < static_cast<std::size_t>(settings.ahead); });
        if (stopping) return;
        queue.push_back(std::move(batch));
        filled.notify_one();
      }
    } catch (...) {
      const std::lock_guard lock(mutex);
      failure = std::current_exception();
      filled.notify_one();
    }
  }

  Batch take() {
    if (settings.ahead == 0) return make(delivered);
    if (!thread.joinable()) thread = std::thread([this, from = delivered] { produce(from); });
    std::unique_lock lock(mutex);
    filled.wait(lock, [&] { return !queue.empty() || failure; });
    if (queue.empty()) std::rethrow_exception(failure);  // stays set: every later call fails alike
    Batch batch = std::move(queue.front());
    queue.pop_front();
    emptied.notify_one();
    return batch;
  }
};

SequentialLoader::SequentialLoader(LoaderSettings settings) {
  const auto& s = settings;
  CADDIE_CHECK(s.sequence > 0 && s.tokens_per_step > 0 && s.micro_batches > 0, ErrorKind::usage,
               "train.sequence, train.tokens_per_step and train.micro_batches must be positive: ", s.sequence, ", ",
               s.tokens_per_step, ", ", s.micro_batches);
  CADDIE_CHECK(s.world > 0 && s.rank >= 0 && s.rank < s.world && s.micro_batches % s.world == 0, ErrorKind::usage,
               "train.micro_batches=", s.micro_batches, " cannot be dealt to ", s.world,
               " ranks: it must be a multiple");
  CADDIE_CHECK(s.tokens_per_step % (s.micro_batches * s.sequence) == 0, ErrorKind::usage,
               "train.tokens_per_step=", s.tokens_per_step,
               " must be a multiple of train.micro_batches x train.sequence = ", s.micro_batches, " x ", s.sequence);
  impl_ = std::make_unique<Impl>(std::move(settings));
  CADDIE_CHECK(impl_->stream.size() >= 2, ErrorKind::data, "the training shards hold ", impl_->stream.size(),
               " tokens, expected at least 2");
}

SequentialLoader::~SequentialLoader() = default;

Batch SequentialLoader::next() {
  Batch batch = impl_->take();
  ++impl_->delivered;
  if (!impl_->settings.device.is_cpu()) {
    batch.inputs = batch.inputs.to(impl_->settings.device, /*non_blocking=*/true);
    batch.targets = batch.targets.to(impl_->settings.device, /*non_blocking=*/true);
  }
  return batch;
}

void SequentialLoader::save(StateWriter& writer) const {
  writer.number("slices", static_cast<double>(impl_->delivered * impl_->settings.world));
  writer.number("slice_tokens", static_cast<double>(impl_->slice_tokens));
  writer.number("ring_tokens", static_cast<double>(impl_->stream.size()));
}

void SequentialLoader::load(const StateReader& reader) {
  const auto number = [&](const char* name) { return static_cast<std::int64_t>(reader.number(name)); };
  const std::int64_t slices = number("slices");
  CADDIE_CHECK(number("slice_tokens") == impl_->slice_tokens && number("ring_tokens") == impl_->stream.size(),
               ErrorKind::data, "the saved position belongs to other data: slices of ", number("slice_tokens"),
               " tokens from ", number("ring_tokens"), ", here slices of ", impl_->slice_tokens, " from ",
               impl_->stream.size());
  CADDIE_CHECK(slices >= 0 && slices % impl_->settings.world == 0, ErrorKind::data, "a saved position of ", slices,
               " slices does not fit ", impl_->settings.world, " ranks");
  impl_->stop();
  impl_->delivered = slices / impl_->settings.world;
}

std::int64_t SequentialLoader::tokens() const { return impl_->stream.size(); }

}  // namespace caddie::data
