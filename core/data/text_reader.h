// Documents out of text files, one at a time, in bounded memory:
//   .txt, .text, .md  documents are separated by blank lines (or a file is one document: `whole_files`)
//   .jsonl            one object a line, its string field "text" is the document
// and .gz, .xz, .zst of these, read as streams. Invalid UTF-8, empty and too long documents are passed over and
// counted, or errors with `strict`. A broken or cut off file is always an Error(data) naming file and line.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "caddie/export.h"
#include "core/base/json.h"

namespace caddie::data {

// A file's bytes, decompressed by its name's ending.
class CADDIE_API ByteSource {
 public:
  virtual ~ByteSource();
  // Up to `size` bytes into `out`; 0: the end.
  virtual std::size_t read(char* out, std::size_t size) = 0;
  virtual std::int64_t position() const = 0;  // bytes of the file itself that were read
};
CADDIE_API std::unique_ptr<ByteSource> open_source(const std::filesystem::path& path);

struct ReaderSettings {
  std::int64_t max_document_bytes = 16 << 20;
  bool strict = false;
  bool whole_files = false;  // a .txt file is one document
};

struct CADDIE_API ReaderCounts {
  std::int64_t documents = 0, bytes = 0;  // delivered
  std::int64_t empty = 0, invalid_utf8 = 0, too_long = 0;
  std::string first_problem;  // "FILE:LINE: what", of the first document that was passed over
  Json json() const;
  CADDIE_API std::string summary() const;  // "2 empty, 1 with invalid UTF-8 (first: ...)", or nothing
};

class CADDIE_API TextReader {
 public:
  // Files are read in the given order. Throws Error(data) for an unknown ending or a missing file at once.
  TextReader(std::vector<std::filesystem::path> files, ReaderSettings settings = {});
  ~TextReader();
  bool next(std::string& document);
  const ReaderCounts& counts() const { return counts_; }
  // Share of the input's bytes (as they lie on the disk) that is read, for progress.
  double fraction() const;

 private:
  struct Input;
  enum class Found { document, empty, invalid_utf8, too_long, end };
  Found next_object(std::string& document, std::int64_t& line);
  Found next_paragraph(std::string& document, std::int64_t& line);
  void pass_over(std::int64_t& counter, std::int64_t line, const std::string& what);
  std::vector<std::filesystem::path> files_;
  std::int64_t total_bytes_ = 0, done_bytes_ = 0;
  ReaderSettings settings_;
  ReaderCounts counts_;
  std::size_t file_ = 0;
  std::unique_ptr<Input> input_;
};

// Whether the text is UTF-8 throughout.
CADDIE_API bool valid_utf8(std::string_view text);

}  // namespace caddie::data
