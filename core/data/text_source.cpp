#include "core/data/text_source.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

#include "caddie/error.h"
#include "core/base/files.h"
#include "core/base/hash.h"
#include "core/base/log.h"
#include "core/data/bible.h"
#include "core/data/shards.h"
#include "core/data/synthetic.h"
#include "core/data/text_reader.h"
#include "core/data/tokenize.h"

namespace caddie::data {
namespace fs = std::filesystem;
namespace {

// Raised when the documents, the held-out part, their order or the tokenizer's training change for the same text.
constexpr int kTextRule = 1;
constexpr std::size_t kFewestDocuments = 4;

std::vector<std::string> hashes(const std::vector<TextDocument>& documents) {
  std::vector<std::string> out;
  for (const TextDocument& document : documents) out.push_back(sha256(document.text));
  return out;
}

std::vector<TextDocument> synthetic_documents() {
  std::vector<TextDocument> documents;
  for (std::string& text : synthetic_text()) documents.push_back({std::move(text), {}});
  return documents;
}

Json identity(const std::string& source, const std::vector<TextDocument>& documents, const DataSettings& settings) {
  Sha256 all;
  for (const std::string& hash : hashes(documents)) all.update(hash);
  return {{"text", source},
          {"sha256", all.hex()},
          {"documents", documents.size()},
          {"holdout", settings.holdout},
          {"vocabulary", settings.vocabulary},
          {"rule", kTextRule}};
}

}  // namespace

std::vector<TextDocument> load_documents(const DataSettings& settings, std::string& source) {
  source = settings.text;
  if (settings.text == "synthetic") return synthetic_documents();
  std::vector<TextDocument> documents;
  if (settings.text == "bible-kjv") {
    std::optional<std::vector<Chapter>> chapters = find_bible();
    if (!chapters) {
      log::warning(
          "the text bible-kjv is not on this machine (apt-get install bible-kjv): generated text is used in its place");
      source = "synthetic";
      return synthetic_documents();
    }
    for (Chapter& chapter : *chapters) documents.push_back({std::move(chapter.text), std::move(chapter.book)});
    return documents;
  }
  TextReader reader(resolve_files({settings.text}, "text", "data.text is bible-kjv, synthetic, or a file."));
  source = "file";
  std::string text;
  while (reader.next(text)) documents.push_back({std::move(text), {}});
  if (const std::string passed_over = reader.counts().summary(); !passed_over.empty())
    log::warning("documents passed over: " + passed_over);
  return documents;
}

std::vector<bool> choose_held_out(const std::vector<TextDocument>& documents, double share) {
  const std::vector<std::string> hash = hashes(documents);
  std::vector<std::size_t> order(documents.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(),
            [&](std::size_t a, std::size_t b) { return hash[a] != hash[b] ? hash[a] < hash[b] : a < b; });
  std::map<std::string, std::int64_t> left;
  for (const TextDocument& document : documents) ++left[document.group];
  auto wanted = std::max<std::int64_t>(1, std::llround(share * static_cast<double>(documents.size())));
  std::vector<bool> chosen(documents.size(), false);
  for (const std::size_t i : order) {
    if (wanted == 0) break;
    const std::string& group = documents[i].group;
    if (!group.empty() && left[group] <= 1) continue;
    --left[group];
    chosen[i] = true;
    --wanted;
  }
  // Copies of a text must not stand on both sides.
  for (std::size_t k = 1; k < order.size(); ++k)
    if (chosen[order[k - 1]] && hash[order[k - 1]] == hash[order[k]]) chosen[order[k]] = true;
  return chosen;
}

Json text_key(const DataSettings& settings) {
  std::string source;
  const std::vector<TextDocument> documents = load_documents(settings, source);
  return identity(source, documents, settings);
}

void write_text_data(const DataSettings& settings, const fs::path& folder, int threads) {
  std::string source;
  const std::vector<TextDocument> documents = load_documents(settings, source);
  CADDIE_CHECK(documents.size() >= kFewestDocuments, ErrorKind::data, "the text '", settings.text, "' has ",
               documents.size(), " documents, expected at least ", kFewestDocuments,
               " (documents of a .txt file are separated by blank lines)");
  const std::vector<bool> held = choose_held_out(documents, settings.holdout);
  // Training documents in the order of their hashes: the loader reads in order, and a short run should see all kinds of
  // text. Validation keeps the text's own order.
  const std::vector<std::string> hash = hashes(documents);
  std::vector<std::size_t> order, validation;
  for (std::size_t i = 0; i < documents.size(); ++i) (held[i] ? validation : order).push_back(i);
  std::sort(order.begin(), order.end(),
            [&](std::size_t a, std::size_t b) { return hash[a] != hash[b] ? hash[a] < hash[b] : a < b; });
  CADDIE_CHECK(!order.empty(), ErrorKind::usage, "data.holdout=", settings.holdout, " leaves no document to train on");

  TokenizerTraining training;
  training.vocabulary = settings.vocabulary;
  std::size_t at = 0;
  const std::string model = train_tokenizer(
      [&](std::string& text) {
        if (at == order.size()) return false;
        text = documents[order[at++]].text;
        return true;
      },
      training);
  make_directories(folder);
  // An attempt with another text may have left its sidecar.
  for (const char* leftover : {kSidecar, "data.json"}) {
    std::error_code ignored;
    fs::remove(folder / leftover, ignored);
  }
  write_atomic(folder / "tokenizer.model", model);

  TokenizeSettings out;
  out.output = folder;
  out.threads = threads;
  out.keep_text = true;
  order.insert(order.end(), validation.begin(), validation.end());
  at = 0;
  const DocumentFeed feed{[&](std::string& text, bool& is_validation) {
                            if (at == order.size()) return false;
                            text = documents[order[at]].text;
                            is_validation = held[order[at++]];
                            return true;
                          },
                          {},
                          {}};
  tokenize_feed(feed, Tokenizer(model, "the trained tokenizer"), out, identity(source, documents, settings));
}

}  // namespace caddie::data
