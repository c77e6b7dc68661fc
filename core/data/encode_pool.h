// Encodes batches of documents on several threads and hands them back in their order. Private to the room.
#pragma once

#include <condition_variable>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "core/data/bpe_encoder.h"
#include "core/data/byte_table.h"
#include "core/data/tokenizer.h"

namespace caddie::data {

struct EncodedDocument {
  // In.
  std::string text;
  bool validation = false;
  bool encode = true;     // false: shards already hold it
  bool normalize = true;  // false: its normalized text is not needed either
  // Out.
  std::vector<std::uint16_t> tokens;  // bos and pieces
  std::string normalized;
  std::int64_t table_bytes = 0, unknown_tokens = 0;
};

struct EncodeBatch {
  std::vector<EncodedDocument> documents;
  std::size_t text_bytes = 0;
  bool done = false;
  std::exception_ptr failure;
};

class EncodePool {
 public:
  EncodePool(const Tokenizer& tokenizer, int threads);
  ~EncodePool();  // finishes what is being encoded, drops the rest
  void put(std::unique_ptr<EncodeBatch> batch);
  bool full() const { return batches_.size() >= 2 * threads_.size() + 1; }
  bool empty() const { return batches_.empty(); }
  // The oldest batch, encoded. Throws what its encoding threw.
  std::unique_ptr<EncodeBatch> take();

 private:
  void work();
  void encode(EncodedDocument& document, BpeEncoder* encoder) const;
  const Tokenizer& tokenizer_;
  const Normalizer normalizer_;
  const ByteTable table_;
  const std::int32_t bos_;
  std::mutex mutex_;
  std::condition_variable added_, finished_;
  std::deque<std::unique_ptr<EncodeBatch>> batches_;  // oldest first; only the owner's thread changes it
  std::deque<EncodeBatch*> waiting_;                  // under mutex_
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace caddie::data
