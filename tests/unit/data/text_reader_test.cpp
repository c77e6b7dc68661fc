#include "core/data/text_reader.h"

#include <lzma.h>
#include <zlib.h>
#include <zstd.h>

#include "core/base/environment.h"
#include "tests/support/catch.h"
#include "tests/unit/data/support.h"

using namespace caddie;
using namespace caddie::data;
using Catch::Matchers::Contains;
namespace fs = std::filesystem;

namespace {

std::vector<std::string> documents(TextReader& reader) {
  std::vector<std::string> out;
  for (std::string text; reader.next(text);) out.push_back(text);
  return out;
}
std::vector<std::string> read(const fs::path& file, ReaderSettings settings = {}) {
  TextReader reader({file}, settings);
  return documents(reader);
}

std::string gzip(const std::string& text) {
  z_stream stream{};
  deflateInit2(&stream, 9, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY);
  std::string out(compressBound(text.size()) + 64, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  deflate(&stream, Z_FINISH);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}
std::string xz(const std::string& text) {
  std::string out(lzma_stream_buffer_bound(text.size()), '\0');
  std::size_t size = 0;
  lzma_easy_buffer_encode(6, LZMA_CHECK_CRC64, nullptr, reinterpret_cast<const std::uint8_t*>(text.data()), text.size(),
                          reinterpret_cast<std::uint8_t*>(out.data()), &size, out.size());
  out.resize(size);
  return out;
}
std::string zstd(const std::string& text) {
  std::string out(ZSTD_compressBound(text.size()), '\0');
  out.resize(ZSTD_compress(out.data(), out.size(), text.data(), text.size(), 3));
  return out;
}

// Larger than every buffer on the way.
std::string many_lines() {
  std::string text;
  for (int i = 0; i < 12'000; ++i) text += concat("{\"id\": ", i, ", \"text\": \"document ", i, " of many\"}\n");
  return text;
}

}  // namespace

TEST_CASE("blank lines separate the documents of a text file") {
  const Folder folder;
  write_atomic(folder / "a.txt", "\n\none\ntwo\r\n \t\nthree\n\n\n\nfour");
  CHECK(read(folder / "a.txt") == std::vector<std::string>{"one\ntwo", "three", "four"});
  CHECK(read(folder / "a.txt", {.whole_files = true}) == std::vector<std::string>{"one\ntwo\n \t\nthree\n\n\n\nfour"});
  write_atomic(folder / "empty.txt", "");
  CHECK(read(folder / "empty.txt").empty());
}

TEST_CASE("JSON lines, plain and compressed, in one and in several members") {
  const Folder folder;
  const std::string text = many_lines(), half = text.substr(0, text.find("{\"id\": 6000")),
                    rest = text.substr(half.size());
  write_atomic(folder / "a.jsonl", text);
  write_atomic(folder / "a.jsonl.gz", gzip(half) + gzip(rest));
  write_atomic(folder / "a.jsonl.xz", xz(half) + xz(rest));
  write_atomic(folder / "a.jsonl.zst", zstd(half) + zstd(rest));
  const std::vector<std::string> expected = read(folder / "a.jsonl");
  REQUIRE(expected.size() == 12'000);
  CHECK(expected[17] == "document 17 of many");
  for (const char* name : {"a.jsonl.gz", "a.jsonl.xz", "a.jsonl.zst"}) {
    INFO(name);
    CHECK(read(folder / name) == expected);
  }
}

TEST_CASE("a compressed file that is cut off, damaged or something else is an error with its path") {
  const Folder folder;
  const std::string text = many_lines();
  const std::vector<std::pair<const char*, std::string>> files = {
      {"a.jsonl.gz", gzip(text)}, {"a.jsonl.xz", xz(text)}, {"a.jsonl.zst", zstd(text)}};
  for (const auto& [name, whole] : files) {
    INFO(name);
    std::string flipped = whole;
    flipped[flipped.size() / 2] = static_cast<char>(flipped[flipped.size() / 2] ^ 0x55);
    for (const std::string& content : {whole.substr(0, whole.size() / 2), whole.substr(0, whole.size() - 1), flipped,
                                       std::string("not compressed at all")}) {
      write_atomic(folder / name, content);
      const Error error = error_of([&, file = folder / name] { read(file); });
      CHECK(error.kind() == ErrorKind::data);
      CHECK_THAT(error.message(), Contains(name));
    }
  }
}

TEST_CASE("odd documents are passed over, counted and said; strict makes them errors") {
  const Folder folder;
  write_atomic(folder / "a.jsonl",
               std::string("{\"text\": \"good\"}\n\n{\"text\": \"  \"}\n{\"text\": \"bad \xFF\"}\n{\"text\": \"") +
                   std::string(5000, 'x') + "\"}\n{\"text\": \"last\"}");
  TextReader reader({folder / "a.jsonl"}, {.max_document_bytes = 1000});
  CHECK(documents(reader) == std::vector<std::string>{"good", "last"});
  CHECK(reader.counts().documents == 2);
  CHECK(reader.counts().bytes == 8);
  CHECK(reader.counts().empty == 1);
  CHECK(reader.counts().invalid_utf8 == 1);
  CHECK(reader.counts().too_long == 1);
  CHECK_THAT(reader.counts().summary(), Contains("1 empty") && Contains("a.jsonl:3"));
  CHECK(reader.fraction() == 1.0);
  CHECK_THAT(error_of([&] { read(folder / "a.jsonl", {.strict = true}); }).message(),
             Contains("a.jsonl:3: an empty document"));
}

TEST_CASE("a line of 1 GB takes no memory and costs one document") {
  const Folder folder;
  // A thousand times the same compressed megabyte.
  const std::string megabyte = zstd(std::string(1'000'000, 'x'));
  std::string packed = zstd("{\"text\": \"first\"}\n{\"text\": \"");
  for (int i = 0; i < 1000; ++i) packed += megabyte;
  write_atomic(folder / "a.jsonl.zst", packed + zstd("\"}\n{\"text\": \"last\"}\n"));
  const std::int64_t before = peak_memory_bytes();
  TextReader reader({folder / "a.jsonl.zst"}, {.max_document_bytes = 1'000'000});
  CHECK(documents(reader) == std::vector<std::string>{"first", "last"});
  CHECK(reader.counts().too_long == 1);
  CHECK(peak_memory_bytes() - before < 20'000'000);
  write_atomic(folder / "a.txt", "first\n\n" + std::string(3'000'000, 'x') + "\n\nlast\n");
  CHECK(read(folder / "a.txt", {.max_document_bytes = 100'000}) == std::vector<std::string>{"first", "last"});
}

TEST_CASE("broken JSON, a missing field, an unknown ending and a missing file are errors that name the place") {
  const Folder folder;
  const auto message = [&](const std::string& line) {
    write_atomic(folder / "a.jsonl", "{\"text\": \"good\"}\n" + line);
    return error_of([&] { read(folder / "a.jsonl"); }).message();
  };
  CHECK_THAT(message("{\"text\": \"cut o"), Contains("a.jsonl:2"));
  CHECK_THAT(message("{\"content\": \"x\"}"), Contains("a.jsonl:2"));
  CHECK_THAT(message("[1]"), Contains("a.jsonl:2"));
  write_atomic(folder / "a.parquet", "x");
  CHECK_THAT(error_of([&] { read(folder / "a.parquet"); }).message(), Contains("a.parquet"));
  CHECK_THAT(error_of([&] { read(folder / "none.txt"); }).message(), Contains("none.txt"));
}

TEST_CASE("valid UTF-8") {
  CHECK(valid_utf8("plain text that is longer than eight bytes, é 日本 😀 and more"));
  CHECK_FALSE(valid_utf8("plain text that is longer than eight bytes \xE2\x96"));
  CHECK_FALSE(valid_utf8("\xC0\x80"));
}
