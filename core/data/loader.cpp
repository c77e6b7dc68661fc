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

struct Loader::Impl {
  LoaderSettings settings;
  TokenStream stream;
  std::int64_t slice_tokens;   // inputs of a slice
  std::unique_ptr<Order> order;
  std::int64_t delivered = 0;  // this rank's slices that next() returned
  std::vector<std::int64_t> state;  // of the order behind them

  struct Prepared {
    Batch batch;                      // on the host
    std::vector<std::int64_t> state;  // of the order after this slice's round over the ranks
  };
  // The background thread and what it shares, under `mutex`. While the thread runs, the order is its own.
  std::thread thread;
  std::mutex mutex;
  std::condition_variable filled, emptied;
  std::deque<Prepared> queue;
  std::exception_ptr failure;
  bool stopping = false;

  explicit Impl(LoaderSettings given)
      : settings(std::move(given)), stream(settings.shards),
        slice_tokens(settings.tokens_per_step / settings.micro_batches) {
    CADDIE_CHECK(stream.size() >= 2, ErrorKind::data, "the training shards hold ", stream.size(),
                 " tokens, expected at least 2");
    order = make_order({settings.order, settings.seed, settings.sequence, slice_tokens, settings.bos}, stream);
    state = order->state();
  }

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

  void check(const std::int64_t* values, const std::vector<TokenRange>& pieces) const {
    if (settings.vocabulary == 0) return;
    for (const TokenRange& piece : pieces)
      for (std::int64_t i = 0; i < piece.count; ++i, ++values)
        if (*values >= settings.vocabulary)
          throw Error(ErrorKind::data,
                      concat("id ", *values, " at ", stream.locate(piece.first + i), " is outside the vocabulary of ",
                             settings.vocabulary, " pieces"),
                      "The shard was made with another tokenizer, or is damaged (caddie data verify).");
  }

  Batch read(const std::vector<TokenRange>& pieces) const {
    const std::int64_t rows = slice_tokens / settings.sequence;
    const at::TensorOptions options = at::TensorOptions(at::kLong).pinned_memory(settings.device.is_cuda());
    const bool overlapping = order->overlapping();
    at::Tensor tokens = at::empty({slice_tokens + (overlapping ? 1 : rows)}, overlapping ? options : at::kLong);
    std::int64_t* values = tokens.mutable_data_ptr<std::int64_t>();
    std::int64_t filled_tokens = 0;
    for (const TokenRange& piece : pieces) {
      stream.copy(piece.first, piece.count, values + filled_tokens, true);
      filled_tokens += piece.count;
    }
    CADDIE_ASSERT(filled_tokens == tokens.size(0));
    check(values, pieces);
    if (overlapping)
      return {tokens.slice(0, 0, slice_tokens).view({rows, settings.sequence}),
              tokens.slice(0, 1, slice_tokens + 1).view({rows, settings.sequence})};
    Batch batch{at::empty({rows, settings.sequence}, options), at::empty({rows, settings.sequence}, options)};
    const at::Tensor by_row = tokens.view({rows, settings.sequence + 1});
    batch.inputs.copy_(by_row.slice(1, 0, settings.sequence));
    batch.targets.copy_(by_row.slice(1, 1, settings.sequence + 1));
    return batch;
  }

  // This rank's slice number `index`. The order sees the slices of all ranks.
  Prepared make(std::int64_t index) {
    const trace::Span span("data", "make a slice", index);
    Prepared made;
    for (int rank = 0; rank < settings.world; ++rank) {
      const std::vector<TokenRange> pieces = order->slice(index * settings.world + rank);
      if (rank == settings.rank) made.batch = read(pieces);
    }
    made.state = order->state();
    return made;
  }

  void produce(std::int64_t index) {
    trace::name_thread("loader");
    try {
      while (true) {
        Prepared made = make(index++);
        std::unique_lock lock(mutex);
        emptied.wait(lock, [&] { return stopping || queue.size() < static_cast<std::size_t>(settings.ahead); });
        if (stopping) return;
        queue.push_back(std::move(made));
        filled.notify_one();
      }
    } catch (...) {
      const std::lock_guard lock(mutex);
      failure = std::current_exception();
      filled.notify_one();
    }
  }

  Prepared take() {
    if (settings.ahead == 0) return make(delivered);
    if (!thread.joinable()) thread = std::thread([this, from = delivered] { produce(from); });
    std::unique_lock lock(mutex);
    filled.wait(lock, [&] { return !queue.empty() || failure; });
    if (queue.empty()) std::rethrow_exception(failure);  // stays set: every later call fails alike
    Prepared made = std::move(queue.front());
    queue.pop_front();
    emptied.notify_one();
    return made;
  }
};

Loader::Loader(LoaderSettings settings) {
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
}

Loader::~Loader() = default;

Batch Loader::next() {
  Impl::Prepared made = impl_->take();
  ++impl_->delivered;
  impl_->state = std::move(made.state);
  Batch batch = std::move(made.batch);
  if (!impl_->settings.device.is_cpu()) {
    batch.inputs = batch.inputs.to(impl_->settings.device, /*non_blocking=*/true);
    batch.targets = batch.targets.to(impl_->settings.device, /*non_blocking=*/true);
  }
  return batch;
}

void Loader::save(StateWriter& writer) const {
  writer.number("slices", static_cast<double>(impl_->delivered * impl_->settings.world));
  writer.number("slice_tokens", static_cast<double>(impl_->slice_tokens + 1));
  writer.number("ring_tokens", static_cast<double>(impl_->stream.size()));
  writer.number("order", static_cast<double>(impl_->settings.order));
  if (impl_->state.empty()) return;
  at::Tensor state = at::empty({static_cast<std::int64_t>(impl_->state.size())}, at::kLong);
  std::copy(impl_->state.begin(), impl_->state.end(), state.mutable_data_ptr<std::int64_t>());
  writer.tensor("order_state", state);
}

void Loader::load(const StateReader& reader) {
  const auto number = [&](const char* name) { return static_cast<std::int64_t>(reader.number(name)); };
  const std::int64_t slices = number("slices");
  CADDIE_CHECK(number("slice_tokens") == impl_->slice_tokens + 1 && number("ring_tokens") == impl_->stream.size(),
               ErrorKind::data, "the saved position belongs to other data: slices of ", number("slice_tokens"),
               " tokens from ", number("ring_tokens"), ", here slices of ", impl_->slice_tokens + 1, " from ",
               impl_->stream.size());
  CADDIE_CHECK(number("order") == static_cast<std::int64_t>(impl_->settings.order), ErrorKind::data,
               "the saved position belongs to another data.order");
  CADDIE_CHECK(slices >= 0 && slices % impl_->settings.world == 0, ErrorKind::data, "a saved position of ", slices,
               " slices does not fit ", impl_->settings.world, " ranks");
  impl_->stop();
  impl_->delivered = slices / impl_->settings.world;
  std::vector<std::int64_t> state;
  if (!impl_->state.empty()) {
    const at::Tensor saved = reader.tensor("order_state").to(at::kCPU, at::kLong).contiguous();
    state.assign(saved.const_data_ptr<std::int64_t>(), saved.const_data_ptr<std::int64_t>() + saved.numel());
  }
  impl_->order->restore(state);
  impl_->state = impl_->order->state();
}

std::int64_t Loader::tokens() const { return impl_->stream.size(); }

}  // namespace caddie::data
