#include "core/data/tokenize.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <optional>

#include "caddie/error.h"
#include "core/base/hash.h"
#include "core/base/interrupt.h"
#include "core/base/log.h"
#include "core/base/progress.h"
#include "core/data/byte_table.h"
#include "core/data/encode_pool.h"
#include "core/data/shards.h"

namespace caddie::data {
namespace fs = std::filesystem;
namespace {

constexpr std::size_t kBatchDocuments = 1024;

struct Counts {
  std::int64_t documents = 0, tokens = 0, bytes = 0, text_bytes = 0, unknown_tokens = 0;
  Json json() const {
    return {{"documents", documents},
            {"tokens", tokens},
            {"bytes", bytes},
            {"text_bytes", text_bytes},
            {"unknown_tokens", unknown_tokens}};
  }
  static Counts from(const Json& j) {
    return {j.at("documents"), j.at("tokens"), j.at("bytes"), j.at("text_bytes"), j.at("unknown_tokens")};
  }
};

// One part (training or validation): its shards so far, and what of the feed they hold. After every finished shard the
// state is kept, so that a later attempt goes on behind it.
class Part {
 public:
  Part(const TokenizeSettings& settings, std::string name, const Json& saved, std::function<void()> shard_done)
      : settings_(settings), name_(std::move(name)), shard_done_(std::move(shard_done)) {
    if (saved.is_null()) return;
    shards_ = saved.at("shards");
    kept_ = Counts::from(saved.at("counts"));
    kept_offset_ = saved.at("offset");
    counts_ = kept_;
    offset_ = kept_offset_;
  }
  // Whether the document that comes `index`th in this part has to be encoded.
  bool wants(std::int64_t index) const { return index >= kept_.documents; }

  void add(const EncodedDocument& document) {
    std::span<const std::uint16_t> tokens(document.tokens);
    // Of the document that the last kept shard ends in, the first tokens are there already.
    const auto skip = static_cast<std::size_t>(offset_);
    CADDIE_ASSERT(skip <= tokens.size());
    tokens = tokens.subspan(skip);
    while (!tokens.empty()) {
      if (!writer_) writer_.emplace(settings_.output / file_name());
      const auto room = static_cast<std::size_t>(settings_.shard_tokens - writer_->tokens());
      const auto part = tokens.first(std::min(room, tokens.size()));
      writer_->append(part);
      offset_ += static_cast<std::int64_t>(part.size());
      tokens = tokens.subspan(part.size());
      if (writer_->tokens() == settings_.shard_tokens) finish_shard();
    }
    offset_ = 0;
    ++counts_.documents;
    counts_.tokens += static_cast<std::int64_t>(document.tokens.size());
    counts_.bytes += document.table_bytes;
    counts_.text_bytes += static_cast<std::int64_t>(document.normalized.size());
    counts_.unknown_tokens += document.unknown_tokens;
  }
  void finish() {
    if (writer_) finish_shard();
  }
  Json state() const { return {{"shards", shards_}, {"counts", kept_.json()}, {"offset", kept_offset_}}; }
  const Counts& counts() const { return counts_; }
  const Json& shards() const { return shards_; }

 private:
  std::string file_name() const {
    const std::string number = std::to_string(shards_.size());
    return concat(settings_.prefix, name_, "_", std::string(6 - std::min<std::size_t>(6, number.size()), '0'), number,
                  ".bin");
  }
  void finish_shard() {
    writer_->commit();
    const std::string file = file_name();
    shards_.push_back(
        {{"file", file}, {"tokens", writer_->tokens()}, {"sha256", sha256_file(settings_.output / file)}});
    writer_.reset();
    kept_ = counts_;
    kept_offset_ = offset_;
    shard_done_();
  }
  const TokenizeSettings& settings_;
  std::string name_;
  std::function<void()> shard_done_;
  Json shards_ = Json::array();
  Counts counts_, kept_;                       // whole documents; kept: at the last finished shard
  std::int64_t offset_ = 0, kept_offset_ = 0;  // tokens of the next document that are written
  std::optional<ShardWriter> writer_;
};

Json settings_json(const TokenizeSettings& s, const Tokenizer& tokenizer, const Json& identity) {
  Json rule;
  if (s.validation_documents > 0) rule["first_documents"] = s.validation_documents;
  if (s.validation_share > 0) rule["sha256_below"] = s.validation_share;
  return {{"source", identity},
          {"tokenizer", {{"sha256", tokenizer.sha256()}, {"vocabulary", tokenizer.vocabulary()}}},
          {"validation_rule", rule},
          {"prefix", s.prefix},
          {"shard_tokens", s.shard_tokens},
          {"max_document_bytes", s.reader.max_document_bytes},
          {"whole_files", s.reader.whole_files},
          {"keep_text", s.keep_text}};
}

Json part_json(const Part& part) {
  const Counts& counts = part.counts();
  Json out = counts.json();
  out["unknown_bytes"] = counts.text_bytes - counts.bytes;
  out["shards"] = part.shards();
  return out;
}

// Only one process writes into a folder. What killed ones left half-written is removed.
class FolderLock {
 public:
  explicit FolderLock(const fs::path& folder)
      : descriptor_(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)) {
    if (descriptor_ < 0)
      throw Error(ErrorKind::failed, concat("cannot open ", folder.string(), ": ", std::strerror(errno)));
    if (::flock(descriptor_, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
      ::close(descriptor_);
      throw Error(ErrorKind::usage, concat("another process is writing into ", folder.string()),
                  "Wait for it, or choose another folder.");
    }
    for (const auto& entry : fs::directory_iterator(folder)) {
      std::error_code ignored;
      if (entry.path().filename().string().find(".tmp.") != std::string::npos) fs::remove(entry.path(), ignored);
    }
  }
  ~FolderLock() { ::close(descriptor_); }
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

 private:
  int descriptor_;
};

void check_settings(const TokenizeSettings& s) {
  CADDIE_CHECK(s.shard_tokens > 0 && s.shard_tokens < (std::int64_t{1} << 31), ErrorKind::usage, "a shard of ",
               s.shard_tokens, " tokens is not possible: 1 to 2147483647 are");
  CADDIE_CHECK(s.validation_documents >= 0 && s.validation_share >= 0 && s.validation_share < 1, ErrorKind::usage,
               "the validation part must be 0 or more documents, or a share from 0 to below 1");
  CADDIE_CHECK(s.validation_documents == 0 || s.validation_share == 0, ErrorKind::usage,
               "validation is either the first N documents or a share of them, not both");
}

}  // namespace

bool held_out(std::string_view document, double share) {
  // The first 13 hexadecimal digits are 52 bits: exact in a double.
  const std::string digits = sha256(document).substr(0, 13);
  return std::ldexp(static_cast<double>(std::strtoull(digits.c_str(), nullptr, 16)), -52) < share;
}

Json tokenize_feed(const DocumentFeed& feed, const Tokenizer& tokenizer, const TokenizeSettings& settings,
                   const Json& identity) {
  check_settings(settings);
  make_directories(settings.output);
  const FolderLock lock(settings.output);
  const fs::path sidecar = settings.output / kSidecar, progress_file = settings.output / kProgressFile;
  const Json what = settings_json(settings, tokenizer, identity);
  if (fs::exists(sidecar)) {
    Json made = read_json(sidecar);
    if (made.value("made_by", Json()) == what) return made;
    throw Error(ErrorKind::usage, concat(settings.output.string(), " already holds another dataset"),
                "Choose another folder, or remove this one first.");
  }
  Json saved;
  if (fs::exists(progress_file)) {
    saved = read_json(progress_file);
    if (saved.value("made_by", Json()) != what) saved = Json();
    if (!saved.is_null()) log::info("continuing an interrupted attempt: finished shards are kept");
  }
  std::optional<Part> train, validation;
  const auto keep = [&] {
    write_json(progress_file, {{"made_by", what}, {"train", train->state()}, {"validation", validation->state()}});
  };
  train.emplace(settings, "train", saved.is_null() ? Json() : saved.at("train"), keep);
  validation.emplace(settings, "val", saved.is_null() ? Json() : saved.at("validation"), keep);

  Sha256 validation_text;
  std::optional<AtomicFile> texts[2];
  if (settings.keep_text) {
    texts[0].emplace(settings.output / "training.txt");
    texts[1].emplace(settings.output / "validation.txt");
  }
  Progress progress("tokenize");
  EncodePool pool(tokenizer, settings.threads);
  std::int64_t written_tokens = 0;
  const auto write_oldest = [&] {
    const std::unique_ptr<EncodeBatch> batch = pool.take();
    for (const EncodedDocument& document : batch->documents) {
      if (document.normalize && document.validation) {
        validation_text.update(document.normalized);
        validation_text.update("\n");
      }
      if (settings.keep_text) {
        texts[document.validation ? 1 : 0]->write(document.normalized);
        texts[document.validation ? 1 : 0]->write("\n");
      }
      if (!document.encode) continue;
      (document.validation ? *validation : *train).add(document);
      written_tokens += static_cast<std::int64_t>(document.tokens.size());
    }
    if (feed.fraction) progress.update(feed.fraction(), concat(written_tokens / 1000, "k tokens"));
    throw_if_interrupted();
  };
  std::int64_t index[2] = {0, 0};
  for (bool more = true; more;) {
    auto batch = std::make_unique<EncodeBatch>();
    while (batch->text_bytes < static_cast<std::size_t>(settings.batch_bytes) &&
           batch->documents.size() < kBatchDocuments) {
      EncodedDocument document;
      more = feed.next(document.text, document.validation);
      if (!more) break;
      const Part& part = document.validation ? *validation : *train;
      document.encode = part.wants(index[document.validation ? 1 : 0]++);
      // Of documents that are in shards already, only validation's text is looked at again, for its hash.
      document.normalize = document.encode || document.validation || settings.keep_text;
      batch->text_bytes += document.normalize ? document.text.size() : 0;
      if (!document.normalize) document.text.clear();
      batch->documents.push_back(std::move(document));
    }
    if (!batch->documents.empty()) pool.put(std::move(batch));
    while (!pool.empty() && (pool.full() || !more)) write_oldest();
  }
  train->finish();
  validation->finish();
  CADDIE_CHECK(train->counts().documents + validation->counts().documents > 0, ErrorKind::data,
               "there is no document in the input");
  for (auto& text : texts)
    if (text) text->commit();
  Json made = {{"caddie_dataset", 1},
               {"made_by", what},
               {"tokenizer", what["tokenizer"]},
               {"train", part_json(*train)},
               {"validation", part_json(*validation)}};
  made["validation"]["text_sha256"] = validation_text.hex();
  if (feed.counts) made["reader"] = feed.counts();
  write_json(sidecar, made);
  std::error_code ignored;
  fs::remove(progress_file, ignored);
  return made;
}

Json tokenize_files(const std::vector<fs::path>& inputs, const fs::path& tokenizer_path,
                    const TokenizeSettings& settings) {
  const std::string serialized = read_text(tokenizer_path);
  const Tokenizer tokenizer(serialized, tokenizer_path.string());
  TextReader reader(inputs, settings.reader);
  std::int64_t number = 0;
  const DocumentFeed feed{[&](std::string& text, bool& validation) {
                            if (!reader.next(text)) return false;
                            validation =
                                settings.validation_documents > 0
                                    ? number < settings.validation_documents
                                    : settings.validation_share > 0 && held_out(text, settings.validation_share);
                            ++number;
                            return true;
                          },
                          [&] { return reader.fraction(); }, [&] { return reader.counts().json(); }};
  Json files = Json::array();
  for (const fs::path& input : inputs)
    files.push_back({{"file", input.filename().string()}, {"bytes", static_cast<std::int64_t>(fs::file_size(input))}});
  make_directories(settings.output);
  const fs::path copy = settings.output / "tokenizer.model";
  if (!fs::exists(copy) || sha256_file(copy) != tokenizer.sha256()) {
    CADDIE_CHECK(!fs::exists(settings.output / kSidecar), ErrorKind::usage, settings.output.string(),
                 " already holds a dataset of another tokenizer");
    write_atomic(copy, serialized);
  }
  const Json made = tokenize_feed(feed, tokenizer, settings, files);
  const std::string passed_over = reader.counts().summary();
  if (!passed_over.empty()) log::warning("documents passed over: " + passed_over);
  return made;
}

}  // namespace caddie::data
