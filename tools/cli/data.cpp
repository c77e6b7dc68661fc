// caddie data ..., caddie tokenizer ...: token shards and tokenizers.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <thread>

#include "caddie/error.h"
#include "core/base/files.h"
#include "core/base/hash.h"
#include "core/base/clock.h"
#include "core/base/log.h"
#include "core/data/bible.h"
#include "core/data/byte_table.h"
#include "core/data/claim.h"
#include "core/data/shards.h"
#include "core/data/tokenize.h"
#include "core/data/tokenizer.h"
#include "tools/cli/data_pull.h"

namespace caddie::cli {
namespace {
namespace fs = std::filesystem;

std::vector<fs::path> texts(const std::vector<std::string>& patterns) {
  return data::resolve_files(patterns, "text",
                             "Give .txt, .md or .jsonl files, alone or with .gz, .xz or .zst behind.");
}

int thread_count(std::int64_t asked) {
  CADDIE_CHECK(asked >= 0, ErrorKind::usage, "--threads ", asked, " is not possible: 0 (all) or more");
  const auto all = static_cast<std::int64_t>(std::max(1u, std::thread::hardware_concurrency()));
  return static_cast<int>(asked == 0 ? all : asked);
}

std::string grouped(std::int64_t number) {
  std::string digits = std::to_string(number);
  for (auto at = static_cast<std::ptrdiff_t>(digits.size()) - 3; at > (number < 0 ? 1 : 0); at -= 3)
    digits.insert(static_cast<std::size_t>(at), ",");
  return digits;
}

std::string row(const char* name, std::int64_t shards, std::int64_t tokens, std::int64_t bytes) {
  char line[128];
  std::snprintf(line, sizeof line, "%-12s%8s%20s%20s%12.3f\n", name, grouped(shards).c_str(), grouped(tokens).c_str(),
                grouped(bytes).c_str(), tokens == 0 ? 0.0 : static_cast<double>(bytes) / static_cast<double>(tokens));
  return line;
}
constexpr char kRowHead[] = "part          shards              tokens               bytes bytes/token\n";

std::string dataset_text(const fs::path& folder, const Json& made) {
  const auto hash = made.at("tokenizer").at("sha256").get<std::string>();
  std::string text = concat(folder.string(), "\ntokenizer   ", made.at("tokenizer").at("vocabulary").dump(),
                            " pieces, SHA-256 ", hash.substr(0, 16), "...\n\n", kRowHead);
  for (const char* name : {"train", "validation"}) {
    const Json& part = made.at(name);
    text += row(name, static_cast<std::int64_t>(part.at("shards").size()), part.at("tokens"), part.at("bytes"));
  }
  const Json& validation = made.at("validation");
  text += concat("\nvalidation text: ", grouped(validation.at("text_bytes")), " bytes certified, ",
                 grouped(validation.at("unknown_tokens")), " unknown pieces hide ",
                 grouped(validation.at("unknown_bytes")), " of them\n");
  return text;
}

int info(const std::vector<std::string>& places, const Globals& globals) {
  Json rows = Json::array();
  std::string text;
  std::vector<std::string> files;
  for (const std::string& place : places) {
    if (!fs::is_directory(place)) {
      files.push_back(place);
    } else if (fs::exists(fs::path(place) / data::kSidecar)) {
      const Json made = read_json(fs::path(place) / data::kSidecar);
      try {
        text += dataset_text(place, made);
      } catch (const Json::exception& error) {
        throw Error(ErrorKind::data, concat(place, "/", data::kSidecar, " is not a dataset's sidecar: ", error.what()));
      }
      rows.push_back({{"folder", place}, {"dataset", made}});
    } else {
      files.push_back((fs::path(place) / "*.bin").string());
    }
  }
  for (const fs::path& path : files.empty() ? std::vector<fs::path>{} : data::resolve_shards(files)) {
    const std::int64_t tokens = data::check_shard(path);
    text += concat(path.string(), "  ", grouped(tokens), " tokens\n");
    rows.push_back({{"file", path.string()}, {"tokens", tokens}});
  }
  print_result(globals, canonical(rows), text);
  return 0;
}

void add_info(Command& group) {
  struct Values {
    std::vector<std::string> places;
  };
  const auto values = std::make_shared<Values>();
  Command info_command =
      group.add("info", "What is in a dataset's folder, or in single shards",
                "Examples:\n  caddie data info data/kjv\n  caddie data info 'data/fineweb_val_*.bin'");
  info_command.arguments("PLACE", values->places, "folders or shards (patterns are allowed)", true);
  info_command.run([values](const Globals& globals) { return info(values->places, globals); });
}

struct VerifyValues {
  std::string place, claim, variant;
  std::int64_t shards = 0;
};

int verify(const VerifyValues& v, const Globals& globals) {
  // A folder, or a dataset of the Hub.
  std::vector<fs::path> validation;
  fs::path tokenizer;
  Json checked;
  if (fs::is_directory(v.place)) {
    checked = data::verify_dataset(v.place);
    const Json made = read_json(fs::path(v.place) / data::kSidecar);
    for (const Json& shard : made.at("validation").at("shards"))
      validation.push_back(fs::path(v.place) / shard.at("file").get<std::string>());
    tokenizer = fs::path(v.place) / "tokenizer.model";
  } else {
    CADDIE_CHECK(v.place.find('/') != std::string::npos && !v.place.starts_with('/') && !v.place.starts_with('.'),
                 ErrorKind::data, "there is no folder ", v.place);
    data::DatasetRequest request = data::DatasetRequest::parse(v.place);
    request.variant = v.variant;
    if (v.shards > 0) request.shards = v.shards;
    checked = data::verify_pulled(request, thread_count(0));
    const data::LocalDataset local = data::local_dataset(request);
    validation = local.validation;
    tokenizer = local.tokenizer;
  }
  std::string text = kRowHead;
  for (const char* name : {"train", "validation"}) {
    const Json& part = checked.at(name);
    text += row(name, part.at("shards"), part.at("tokens"), part.at("bytes"));
  }
  text += "all as promised\n";
  if (!v.claim.empty()) {
    checked["claim"] = data::check_claim(data::Claim::parse(v.claim), validation, data::ByteTable::from_file(tokenizer));
    text += concat("the claim ", v.claim, " implies ", grouped(std::llround(checked["claim"]["implied_bytes"].get<double>())),
                   " bytes; its targets have ", grouped(std::llround(checked["claim"]["bytes"].get<double>())), "\n");
  }
  print_result(globals, canonical(checked), text);
  return 0;
}

void add_verify(Command& group) {
  const auto v = std::make_shared<VerifyValues>();
  Command command = group.add(
      "verify", "Checks hashes, counts, ids and certified bytes of a dataset, and a score's claim against them",
      "A claim is a flat score's mean loss in nats, its number of targets, and its bits per byte: together they say how\n"
      "many bytes the score was divided by. Other bytes than those of the targets are exit 6.\n\nExamples:\n"
      "  caddie data verify data/kjv\n"
      "  caddie data verify idan3011/parameter-golf-sp4096 --claim 2.6318,45516800,1.1439");
  command.argument("PLACE", v->place, "a folder that caddie data tokenize made, or a dataset that was pulled");
  command.option("--claim", v->claim, "LOSS,TOKENS,BPB of a flat score of the validation text");
  command.option("--variant", v->variant, "of a dataset with several sets of shards");
  command.option("--shards", v->shards, "of a dataset of which only the first N training shards were pulled");
  command.run([v](const Globals& globals) { return verify(*v, globals); });
}

void add_tokenize(Command& group) {
  struct Values {
    std::vector<std::string> inputs;
    std::string output, tokenizer, prefix;
    std::int64_t validation_documents = 0, shard_tokens = data::kFullShardTokens, threads = 0,
                 max_document_bytes = 16 << 20;
    double validation_share = 0;
    bool strict = false, whole_files = false;
  };
  const auto v = std::make_shared<Values>();
  Command command = group.add(
      "tokenize", "Makes token shards from .txt and .jsonl files, also .gz, .xz and .zst of them",
      "A .txt file holds documents separated by blank lines; a .jsonl file one {\"text\": ...} a line.\n"
      "An interrupted call continues when it is repeated.\n\nExample:\n"
      "  caddie data tokenize corpus.jsonl.xz -o data/corpus --tokenizer corpus.model --validation-share 0.01");
  command.arguments("INPUT", v->inputs, "text files (patterns are allowed), in their order", true);
  command.option("-o,--output", v->output, "the folder for shards, tokenizer.model and dataset.json");
  command.option("--tokenizer", v->tokenizer, "the SentencePiece model");
  command.option("--validation-documents", v->validation_documents, "the first N documents are validation");
  command.option("--validation-share", v->validation_share, "or this share of them, by their hashes");
  command.option("--shard-tokens", v->shard_tokens, "tokens of a full shard");
  command.option("--prefix", v->prefix, "of the shards' names, for example fineweb_");
  command.option("--threads", v->threads, "0: all; the result does not depend on it");
  command.option("--max-document-bytes", v->max_document_bytes, "longer documents are passed over and counted");
  command.flag("--whole-files", v->whole_files, "a .txt file is one document");
  command.flag("--strict", v->strict, "documents that would be passed over are errors");
  command.run([v](const Globals& globals) {
    CADDIE_CHECK(!v->output.empty(), ErrorKind::usage, "where to? Give -o DIR");
    CADDIE_CHECK(!v->tokenizer.empty(), ErrorKind::usage,
                 "with which tokenizer? Give --tokenizer FILE (caddie tokenizer train makes one)");
    data::TokenizeSettings settings;
    settings.output = v->output;
    settings.prefix = v->prefix;
    settings.shard_tokens = v->shard_tokens;
    settings.threads = thread_count(v->threads);
    settings.validation_documents = v->validation_documents;
    settings.validation_share = v->validation_share;
    settings.reader = {v->max_document_bytes, v->strict, v->whole_files};
    const Stopwatch watch;
    const Json made = data::tokenize_files(texts(v->inputs), v->tokenizer, settings);
    log::info(concat("done in ", human_seconds(watch.seconds())));
    print_result(globals, canonical(made), dataset_text(v->output, made));
    return 0;
  });
}

void add_export_bible(Command& group) {
  const auto output = std::make_shared<std::string>();
  Command command =
      group.add("export-bible", "Writes the King James Bible of Debian's package bible-kjv as text",
                "Chapters are separated by blank lines, their names stand on their first lines.\n\nExample:\n"
                "  caddie data export-bible                # to the place where runs look for it");
  command.option("-o,--output", *output, "the file; without it ~/.local/share/caddie/bible-kjv.txt");
  command.run([output](const Globals& globals) {
    const fs::path file = output->empty() ? data::bible_file() : fs::path(*output);
    const std::string text = data::export_bible();
    if (file.has_parent_path()) make_directories(file.parent_path());
    write_atomic(file, text);
    print_result(
        globals, canonical({{"file", file.string()}, {"bytes", text.size()}, {"sha256", sha256(text)}}),
        concat(file.string(), "  ", grouped(static_cast<std::int64_t>(text.size())), " bytes, 1,189 chapters"));
    return 0;
  });
}

std::string tokenizer_text(const std::string& file, const data::TokenizerModel& model) {
  using data::PieceType;
  return concat(file, "\npieces          ", model.pieces.size(), "\nkind            ",
                model.kind == data::TokenizerKind::bpe ? "BPE" : "not BPE", "\nbyte pieces     ",
                model.count(PieceType::byte),
                model.byte_fallback ? " (byte fallback)" : " (no byte fallback: rare text is unknown)",
                "\ncontrol         ", model.count(PieceType::control), "\nnormalization   ", model.normalization,
                "\ndummy prefix    ", model.add_dummy_prefix ? "yes" : "no", "\ndigits split    ",
                model.split_digits ? "yes" : "no", "\nSHA-256         ", model.sha256, "\n");
}

Json tokenizer_json(const std::string& file, const data::TokenizerModel& model) {
  using data::PieceType;
  const data::ByteTable table(model);
  std::int64_t bytes = 0, longest = 0;
  for (const std::int16_t n : table.bytes()) bytes += n, longest = std::max<std::int64_t>(longest, n);
  return {{"file", file},
          {"vocabulary", model.pieces.size()},
          {"bpe", model.kind == data::TokenizerKind::bpe},
          {"byte_pieces", model.count(PieceType::byte)},
          {"byte_fallback", model.byte_fallback},
          {"normalization", model.normalization},
          {"add_dummy_prefix", model.add_dummy_prefix},
          {"split_digits", model.split_digits},
          {"table_bytes", bytes},
          {"longest_piece_bytes", longest},
          {"sha256", model.sha256}};
}

void add_tokenizer_commands(Command& root) {
  Command group = root.add("tokenizer", "Trains and describes SentencePiece tokenizers");
  struct Values {
    std::vector<std::string> inputs;
    std::string output;
    data::TokenizerTraining training;
    bool soft = false, no_bytes = false;
  };
  const auto v = std::make_shared<Values>();
  Command train = group.add("train", "Trains a BPE tokenizer with byte fallback, as the reference's",
                            "The same text gives the same file, whatever its name.\n\nExample:\n"
                            "  caddie tokenizer train corpus.jsonl.xz -o corpus.model --vocabulary 4096");
  train.arguments("INPUT", v->inputs, "text files, as for caddie data tokenize", true);
  train.option("-o,--output", v->output, "the .model file");
  train.option("--vocabulary", v->training.vocabulary, "pieces");
  train.option("--character-coverage", v->training.character_coverage,
               "share of the characters that get pieces of their own");
  train.option("--normalization", v->training.normalization, "nmt_nfkc, nfkc or identity");
  train.option("--sample-bytes", v->training.sample_bytes, "at most this much text is looked at");
  train.flag("--soft-limit", v->soft, "fewer pieces than asked for are no error");
  train.flag("--no-byte-fallback", v->no_bytes, "rare characters become unknown pieces");
  train.run([v](const Globals& globals) {
    CADDIE_CHECK(!v->output.empty(), ErrorKind::usage, "where to? Give -o FILE");
    v->training.exact = !v->soft;
    v->training.byte_fallback = !v->no_bytes;
    data::TextReader reader(texts(v->inputs));
    const std::string model = data::train_tokenizer([&](std::string& text) { return reader.next(text); }, v->training);
    if (const std::string odd = reader.counts().summary(); !odd.empty()) log::warning("documents passed over: " + odd);
    write_atomic(v->output, model);
    const data::TokenizerModel parsed = data::parse_tokenizer_model(model, v->output);
    print_result(globals, canonical(tokenizer_json(v->output, parsed)), tokenizer_text(v->output, parsed));
    return 0;
  });
  const auto file = std::make_shared<std::string>();
  Command info_command = group.add("info", "Pieces, normalization and hash of a tokenizer",
                                   "Example:\n  caddie tokenizer info corpus.model");
  info_command.argument("FILE", *file, "a SentencePiece model");
  info_command.run([file](const Globals& globals) {
    const data::TokenizerModel model = data::read_tokenizer_model(*file);
    print_result(globals, canonical(tokenizer_json(*file, model)), tokenizer_text(*file, model));
    return 0;
  });
}

}  // namespace

void add_data_commands(Command& root) {
  Command group = root.add("data", "Token shards: get, make, describe, check");
  add_info(group);
  add_tokenize(group);
  add_pull(group);
  add_verify(group);
  add_export_bible(group);
  add_tokenizer_commands(root);
}

}  // namespace caddie::cli
