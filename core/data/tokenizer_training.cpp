// Trains a SentencePiece tokenizer with the reference's settings (reference section 1), to a serialized model: nothing
// in it depends on file names or threads, so that equal text gives an equal hash.
#include <sentencepiece_trainer.h>

#include <algorithm>
#include <queue>
#include <unordered_map>

#include "caddie/error.h"
#include "core/base/hash.h"
#include "core/data/tokenizer.h"

namespace caddie::data {
namespace {

// The library passes over longer sentences in silence (its default limit), so lines are cut before, at white space.
constexpr std::size_t kSentenceBytes = 4096;

// Documents with the smallest hashes, at most `limit` bytes of them, back in their order of arrival: the sample does
// not depend on how much text follows, and never holds more than the limit and one document.
class Sample {
 public:
  explicit Sample(std::int64_t limit) : limit_(limit) {}
  void add(std::string document) {
    bytes_ += static_cast<std::int64_t>(document.size());
    std::string hash = sha256(document);
    heap_.push({std::move(hash), order_++, std::move(document)});
    while (bytes_ > limit_ && heap_.size() > 1) {
      bytes_ -= static_cast<std::int64_t>(heap_.top().text.size());
      heap_.pop();
    }
  }
  std::vector<std::string> take() {
    std::vector<Entry> entries;
    for (; !heap_.empty(); heap_.pop()) entries.push_back(heap_.top());
    std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) { return a.order < b.order; });
    std::vector<std::string> documents;
    for (Entry& entry : entries) documents.push_back(std::move(entry.text));
    return documents;
  }

 private:
  struct Entry {
    std::string hash;
    std::int64_t order;
    std::string text;
    bool operator<(const Entry& other) const { return hash != other.hash ? hash < other.hash : order < other.order; }
  };
  std::priority_queue<Entry> heap_;
  std::int64_t limit_, bytes_ = 0, order_ = 0;
};

class Lines : public sentencepiece::SentenceIterator {
 public:
  explicit Lines(const std::vector<std::string>& documents) : documents_(documents) { advance(); }
  bool done() const override { return done_; }
  void Next() override { advance(); }
  const std::string& value() const override { return line_; }
  sentencepiece::util::Status status() const override { return {}; }

 private:
  void advance() {
    while (document_ < documents_.size()) {
      const std::string& text = documents_[document_];
      if (position_ >= text.size()) {
        ++document_;
        position_ = 0;
        continue;
      }
      std::size_t end = std::min(text.find('\n', position_), text.size());
      if (end - position_ > kSentenceBytes) {
        end = position_ + kSentenceBytes;
        const std::size_t space = text.rfind(' ', end);
        if (space != std::string::npos && space > position_)
          end = space;
        else
          while (end > position_ + 1 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
      }
      line_ = text.substr(position_, end - position_);
      position_ = end + (end < text.size() && (text[end] == '\n' || text[end] == ' ') ? 1 : 0);
      if (!line_.empty()) return;
    }
    done_ = true;
  }
  const std::vector<std::string>& documents_;
  std::size_t document_ = 0, position_ = 0;
  std::string line_;
  bool done_ = false;
};

std::unordered_map<std::string, std::string> arguments(const TokenizerTraining& settings) {
  return {
      {"model_type", "bpe"},
      {"vocab_size", std::to_string(settings.vocabulary)},
      {"character_coverage", concat(settings.character_coverage)},
      {"byte_fallback", settings.byte_fallback ? "true" : "false"},
      {"split_digits", "true"},
      {"normalization_rule_name", settings.normalization},
      {"add_dummy_prefix", "false"},
      {"pad_id", "0"},
      {"bos_id", "1"},
      {"eos_id", "2"},
      {"unk_id", "3"},
      {"hard_vocab_limit", "false"},
      {"max_sentence_length", "4192"},
      // Stored in the model, so it must not follow the machine; BPE's result does not depend on it.
      {"num_threads", "1"},
      {"minloglevel", "3"},
  };
}

}  // namespace

std::string train_tokenizer(const DocumentSource& documents, const TokenizerTraining& settings) {
  CADDIE_CHECK(settings.vocabulary >= 8 && settings.vocabulary <= 65536, ErrorKind::usage, "a vocabulary of ",
               settings.vocabulary, " pieces is not possible: 8 to 65536 are");
  CADDIE_CHECK(
      settings.normalization == "nmt_nfkc" || settings.normalization == "identity" || settings.normalization == "nfkc",
      ErrorKind::usage, "unknown normalization '", settings.normalization, "': nmt_nfkc, nfkc or identity");
  Sample sample(settings.sample_bytes);
  std::string document;
  while (documents(document)) sample.add(std::move(document));
  const std::vector<std::string> texts = sample.take();
  CADDIE_CHECK(std::any_of(texts.begin(), texts.end(), [](const std::string& t) { return !t.empty(); }),
               ErrorKind::data, "there is no text to train a tokenizer on");
  Lines lines(texts);
  std::string serialized;
  const auto status = sentencepiece::SentencePieceTrainer::Train(arguments(settings), &lines, &serialized);
  if (!status.ok())
    throw Error(
        ErrorKind::data,
        concat("no tokenizer of ", settings.vocabulary, " pieces can be trained on this text: ", status.message()),
        "The vocabulary must hold 256 byte pieces, 4 special ones and every frequent character; the text must have "
        "enough different words for the rest.");
  const auto pieces =
      static_cast<std::int64_t>(parse_tokenizer_model(serialized, "the trained tokenizer").pieces.size());
  if (settings.exact && pieces != settings.vocabulary)
    throw Error(
        ErrorKind::data,
        concat("the text carries a vocabulary of ", pieces, " pieces only, ", settings.vocabulary, " were asked for"),
        concat("Ask for at most ", pieces, " (data.vocabulary, or --vocabulary), or give more text."));
  return serialized;
}

}  // namespace caddie::data
