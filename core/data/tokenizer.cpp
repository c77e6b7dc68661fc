#include "core/data/tokenizer.h"

#include <sentencepiece_processor.h>

#include <mutex>
#include <optional>

#include "caddie/error.h"
#include "core/base/files.h"
#include "core/data/bpe_encoder.h"

namespace caddie::data {
namespace {

void check(const sentencepiece::util::Status& status, const std::string& what) {
  if (!status.ok()) throw Error(ErrorKind::data, concat(what, ": ", status.message()));
}

}  // namespace

struct Tokenizer::Impl {
  sentencepiece::SentencePieceProcessor processor;
  std::shared_ptr<const BpeTables> tables;
  std::mutex mutex;
  std::optional<BpeEncoder> encoder;  // under mutex; none without tables
};

Tokenizer Tokenizer::from_file(const std::filesystem::path& path) { return Tokenizer(read_text(path), path.string()); }

Tokenizer::Tokenizer(std::string_view serialized, const std::string& where)
    : impl_(std::make_unique<Impl>()),
      // The hand parser comes first: its errors are clear, and the library prints its own to stderr.
      model_(std::make_unique<TokenizerModel>(parse_tokenizer_model(serialized, where))) {
  check(impl_->processor.LoadFromSerializedProto(serialized), concat(where, " is not a usable tokenizer"));
  CADDIE_CHECK(impl_->processor.GetPieceSize() == static_cast<int>(model_->pieces.size()), ErrorKind::data, where,
               " is not a usable tokenizer: SentencePiece sees ", impl_->processor.GetPieceSize(),
               " pieces, the file has ", model_->pieces.size());
  impl_->tables = BpeTables::of(*model_);
  if (impl_->tables) impl_->encoder.emplace(impl_->tables);
}

const std::shared_ptr<const BpeTables>& Tokenizer::tables() const { return impl_->tables; }

Tokenizer::~Tokenizer() = default;
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;

std::vector<std::int32_t> Tokenizer::encode(std::string_view text) const {
  if (!impl_->tables) return encode_by_library(text);
  std::vector<std::int32_t> ids;
  const std::lock_guard lock(impl_->mutex);
  impl_->encoder->encode(text, ids);
  return ids;
}

std::vector<std::int32_t> Tokenizer::encode_by_library(std::string_view text) const {
  std::vector<int> ids;
  check(impl_->processor.Encode(text, &ids), "cannot tokenize the text");
  return ids;
}

std::vector<std::int32_t> Tokenizer::encode_document(std::string_view text) const {
  std::vector<std::int32_t> ids = encode(text);
  ids.insert(ids.begin(), bos());
  return ids;
}

std::string Tokenizer::decode(const std::vector<std::int32_t>& ids) const {
  for (const std::int32_t id : ids)
    CADDIE_CHECK(id >= 0 && id < vocabulary(), ErrorKind::data, "cannot decode id ", id, ": the tokenizer has ",
                 vocabulary(), " pieces");
  std::string text;
  check(impl_->processor.Decode(ids, &text), "cannot decode the tokens");
  return text;
}

const std::string& Tokenizer::piece(std::int64_t id) const {
  CADDIE_ASSERT(id >= 0 && id < vocabulary());
  return model_->pieces[static_cast<std::size_t>(id)].text;
}

std::int64_t Tokenizer::vocabulary() const { return static_cast<std::int64_t>(model_->pieces.size()); }

std::int32_t Tokenizer::bos() const {
  const int id = impl_->processor.bos_id();
  CADDIE_CHECK(id >= 0, ErrorKind::data, "the tokenizer has no piece for the beginning of a document (bos)");
  return id;
}

}  // namespace caddie::data
