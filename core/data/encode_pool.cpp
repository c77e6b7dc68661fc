#include "core/data/encode_pool.h"

#include <algorithm>
#include <optional>

#include "caddie/error.h"

namespace caddie::data {

EncodePool::EncodePool(const Tokenizer& tokenizer, int threads)
    : tokenizer_(tokenizer), normalizer_(tokenizer.model()), table_(tokenizer.model()), bos_(tokenizer.bos()) {
  for (int i = 0; i < std::max(threads, 1); ++i) threads_.emplace_back([this] { work(); });
}

EncodePool::~EncodePool() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    waiting_.clear();
  }
  added_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void EncodePool::put(std::unique_ptr<EncodeBatch> batch) {
  batches_.push_back(std::move(batch));
  {
    const std::lock_guard lock(mutex_);
    waiting_.push_back(batches_.back().get());
  }
  added_.notify_one();
}

std::unique_ptr<EncodeBatch> EncodePool::take() {
  CADDIE_ASSERT(!batches_.empty());
  {
    std::unique_lock lock(mutex_);
    finished_.wait(lock, [&] { return batches_.front()->done; });
  }
  std::unique_ptr<EncodeBatch> batch = std::move(batches_.front());
  batches_.pop_front();
  if (batch->failure) std::rethrow_exception(batch->failure);
  return batch;
}

void EncodePool::work() {
  std::optional<BpeEncoder> encoder;
  if (tokenizer_.tables()) encoder.emplace(tokenizer_.tables());
  while (true) {
    EncodeBatch* batch = nullptr;
    {
      std::unique_lock lock(mutex_);
      added_.wait(lock, [&] { return stopping_ || !waiting_.empty(); });
      if (stopping_) return;
      batch = waiting_.front();
      waiting_.pop_front();
    }
    std::exception_ptr failure;
    try {
      for (EncodedDocument& document : batch->documents) encode(document, encoder ? &*encoder : nullptr);
    } catch (...) {
      failure = std::current_exception();
    }
    {
      const std::lock_guard lock(mutex_);
      batch->failure = failure;
      batch->done = true;
    }
    finished_.notify_all();
  }
}

void EncodePool::encode(EncodedDocument& document, BpeEncoder* encoder) const {
  if (!document.normalize) return;
  document.normalized = normalizer_.normalize(document.text, true);
  std::vector<std::int32_t> ids;
  if (document.encode) {
    if (encoder != nullptr)
      encoder->encode_normalized(document.normalized, ids);
    else
      ids = tokenizer_.encode_by_library(document.text);
  }
  if (document.normalized.starts_with(' ')) document.normalized.erase(0, 1);  // not counted, see Normalizer
  if (!document.encode) return;
  document.tokens.reserve(ids.size() + 1);
  document.tokens.push_back(static_cast<std::uint16_t>(bos_));
  for (const std::int32_t id : ids) {
    document.tokens.push_back(static_cast<std::uint16_t>(id));
    document.unknown_tokens += id == table_.unknown() ? 1 : 0;
  }
  document.table_bytes = table_.sum(document.tokens);
  // Unknown pieces hide text, and a space behind them; nothing else may lose or add a byte.
  const auto bytes = static_cast<std::int64_t>(document.normalized.size());
  if (document.table_bytes > bytes || (document.unknown_tokens == 0 && document.table_bytes != bytes))
    throw Error(ErrorKind::data,
                concat("this tokenizer's pieces stand for ", document.table_bytes,
                       " bytes of a document whose normalized text has ", bytes, ": '",
                       document.normalized.substr(0, 60), "...'"),
                "Bits per byte would be wrong with it. Pieces of several spaces are a known cause; train one without "
                "(caddie tokenizer train).");
}

}  // namespace caddie::data
