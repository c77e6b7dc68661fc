#include "core/data/text_reader.h"

#include <algorithm>
#include <cstring>

#include "caddie/error.h"
#include "core/data/tokenizer_model.h"

namespace caddie::data {
namespace fs = std::filesystem;
namespace {

enum class Format { text, jsonl };

Format format_of(const fs::path& path) {
  fs::path name = path.filename();
  const std::string outer = name.extension().string();
  if (outer == ".gz" || outer == ".xz" || outer == ".zst") name = name.stem();
  const std::string ending = name.extension().string();
  if (ending == ".jsonl" || ending == ".ndjson") return Format::jsonl;
  if (ending == ".txt" || ending == ".text" || ending == ".md") return Format::text;
  throw Error(ErrorKind::data, concat("cannot tell what is in ", path.string(), " from its name"),
              "Texts end in .txt, .md or .jsonl, alone or with .gz, .xz or .zst behind.");
}

bool blank(std::string_view line) {
  return std::all_of(line.begin(), line.end(), [](char c) { return c == ' ' || c == '\t' || c == '\r'; });
}

}  // namespace

bool valid_utf8(std::string_view text) {
  while (!text.empty()) {
    // Eight ASCII bytes at once: texts are mostly that.
    std::uint64_t word = 0;
    if (text.size() >= sizeof word) {
      std::memcpy(&word, text.data(), sizeof word);
      if ((word & 0x8080808080808080u) == 0) {
        text.remove_prefix(sizeof word);
        continue;
      }
    }
    const std::size_t length = utf8_length(text);
    if (length == 0) return false;
    text.remove_prefix(length);
  }
  return true;
}

Json ReaderCounts::json() const {
  return {{"documents", documents},
          {"bytes", bytes},
          {"empty", empty},
          {"invalid_utf8", invalid_utf8},
          {"too_long", too_long}};
}

std::string ReaderCounts::summary() const {
  std::string out;
  const auto add = [&](std::int64_t n, const char* what) {
    if (n > 0) out += concat(out.empty() ? "" : ", ", n, " ", what);
  };
  add(empty, "empty");
  add(invalid_utf8, "with invalid UTF-8");
  add(too_long, "too long");
  return out.empty() ? out : concat(out, " (first: ", first_problem, ")");
}

// One open file: lines of bounded length.
struct TextReader::Input {
  Input(const fs::path& path, std::int64_t line_limit)
      : source(open_source(path)),
        format(format_of(path)),
        limit(static_cast<std::size_t>(line_limit)),
        buffer(std::size_t{1} << 18) {}

  // The next line without its end, into `line`. Of a line longer than the limit only a part is kept, `long_line` is
  // set, and the rest is passed over.
  bool next_line(std::string& line, bool& long_line) {
    line.clear();
    long_line = false;
    bool any = false;
    while (true) {
      if (begin == end) {
        begin = 0;
        end = source->read(buffer.data(), buffer.size());
        if (end == 0) break;
      }
      any = true;
      const char* from = buffer.data() + begin;
      const auto* newline = static_cast<const char*>(std::memchr(from, '\n', end - begin));
      const std::size_t size = newline != nullptr ? static_cast<std::size_t>(newline - from) : end - begin;
      if (line.size() + size <= limit)
        line.append(from, size);
      else
        long_line = true;
      begin += size + (newline != nullptr ? 1 : 0);
      if (newline != nullptr) break;
    }
    if (any) ++number;
    return any;
  }

  std::unique_ptr<ByteSource> source;
  Format format;
  std::size_t limit;
  std::vector<char> buffer;
  std::size_t begin = 0, end = 0;
  std::int64_t number = 0;  // of the last line, from 1
};

TextReader::TextReader(std::vector<fs::path> files, ReaderSettings settings)
    : files_(std::move(files)), settings_(settings) {
  for (const fs::path& file : files_) {
    format_of(file);
    std::error_code code;
    const auto size = fs::file_size(file, code);
    if (code) throw Error(ErrorKind::data, concat("cannot read ", file.string(), ": ", code.message()));
    total_bytes_ += static_cast<std::int64_t>(size);
  }
}

TextReader::~TextReader() = default;

double TextReader::fraction() const {
  const std::int64_t here = input_ ? input_->source->position() : 0;
  return total_bytes_ == 0 ? 1.0 : static_cast<double>(done_bytes_ + here) / static_cast<double>(total_bytes_);
}

void TextReader::pass_over(std::int64_t& counter, std::int64_t line, const std::string& what) {
  const std::string place = concat(files_[file_].string(), ":", line, ": ", what);
  if (settings_.strict)
    throw Error(ErrorKind::data, place, "Without --strict such documents are passed over and counted.");
  if (counts_.first_problem.empty()) counts_.first_problem = place;
  ++counter;
}

// The next document of a .jsonl file. Broken JSON is an error: such a file is damaged, not just odd.
TextReader::Found TextReader::next_object(std::string& document, std::int64_t& line) {
  std::string text;
  bool too_long = false;
  do {
    if (!input_->next_line(text, too_long)) return Found::end;
  } while (!too_long && blank(text));
  line = input_->number;
  if (too_long) return Found::too_long;
  // Told apart here: the parser takes bad UTF-8 for bad JSON.
  if (!valid_utf8(text)) return Found::invalid_utf8;
  const Json object = Json::parse(text, nullptr, false);
  if (object.is_discarded() || !object.is_object() || !object.contains("text") || !object["text"].is_string())
    throw Error(ErrorKind::data,
                concat(files_[file_].string(), ":", line, ": not a JSON object with a string field \"text\": ",
                       text.substr(0, 60), text.size() > 60 ? "..." : ""),
                "A .jsonl file has one document a line: {\"text\": \"...\"}. The file may be damaged or cut off.");
  document = object["text"].get<std::string>();
  return Found::document;
}

// The next document of a text file: up to a blank line, or the whole file.
TextReader::Found TextReader::next_paragraph(std::string& document, std::int64_t& line) {
  std::string text;
  bool too_long = false, long_line = false;
  line = 0;
  while (input_->next_line(text, long_line)) {
    if (!long_line && blank(text) && (line == 0 || !settings_.whole_files)) {
      if (line == 0) continue;  // before the document
      break;
    }
    if (line == 0) line = input_->number;
    too_long = too_long || long_line || document.size() + text.size() + 1 > input_->limit;
    if (too_long) continue;
    if (text.ends_with('\r')) text.pop_back();
    if (!document.empty()) document += '\n';
    document += text;
  }
  if (line == 0) return Found::end;
  if (too_long) return Found::too_long;
  return valid_utf8(document) ? Found::document : Found::invalid_utf8;
}

bool TextReader::next(std::string& document) {
  while (true) {
    if (!input_) {
      if (file_ == files_.size()) return false;
      // A JSON line has quotes, escapes and other fields around the text.
      const std::int64_t limit = settings_.max_document_bytes;
      input_ =
          std::make_unique<Input>(files_[file_], format_of(files_[file_]) == Format::jsonl ? 2 * limit + 65536 : limit);
    }
    document.clear();
    std::int64_t line = 0;
    Found found = input_->format == Format::jsonl ? next_object(document, line) : next_paragraph(document, line);
    if (found == Found::document && static_cast<std::int64_t>(document.size()) > settings_.max_document_bytes)
      found = Found::too_long;
    if (found == Found::document &&
        std::all_of(document.begin(), document.end(), [](unsigned char c) { return c <= ' '; }))
      found = Found::empty;
    switch (found) {
      case Found::document:
        ++counts_.documents;
        counts_.bytes += static_cast<std::int64_t>(document.size());
        return true;
      case Found::empty: pass_over(counts_.empty, line, "an empty document"); break;
      case Found::invalid_utf8: pass_over(counts_.invalid_utf8, line, "invalid UTF-8"); break;
      case Found::too_long:
        pass_over(counts_.too_long, line, concat("a document longer than ", settings_.max_document_bytes, " bytes"));
        break;
      case Found::end:
        done_bytes_ += input_->source->position();
        input_.reset();
        ++file_;
    }
  }
}

}  // namespace caddie::data
