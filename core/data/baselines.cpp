#include "core/data/baselines.h"

#include <brotli/encode.h>
#include <lzma.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <utility>

#include "caddie/error.h"

namespace caddie::data {
namespace {

using Bytes = std::vector<std::uint8_t>;

constexpr std::size_t kLookBackBytes = 8 << 20;

std::size_t zlib_bytes(std::string_view text) {
  uLongf size = compressBound(text.size());
  Bytes out(size);
  const int code = compress2(out.data(), &size, reinterpret_cast<const Bytef*>(text.data()), text.size(), 9);
  CADDIE_CHECK(code == Z_OK, ErrorKind::failed, "zlib failed with code ", code);
  return size;
}

std::size_t brotli_bytes(std::string_view text) {
  std::size_t size = BrotliEncoderMaxCompressedSize(text.size());
  Bytes out(std::max<std::size_t>(size, 1024));
  size = out.size();
  const auto* input = reinterpret_cast<const std::uint8_t*>(text.data());
  const bool good = BrotliEncoderCompress(BROTLI_MAX_QUALITY, BROTLI_MAX_WINDOW_BITS, BROTLI_MODE_TEXT, text.size(),
                                          input, &size, out.data()) == BROTLI_TRUE;
  CADDIE_CHECK(good, ErrorKind::failed, "brotli failed");
  return size;
}

// With `prefix`, the encoder's window starts filled with it (a preset dictionary).
std::size_t xz_bytes(std::string_view text, std::string_view prefix) {
  lzma_options_lzma options;
  CADDIE_CHECK(!lzma_lzma_preset(&options, 9 | LZMA_PRESET_EXTREME), ErrorKind::failed,
               "this liblzma has no preset 9e");
  Bytes out(lzma_stream_buffer_bound(text.size()));
  std::size_t size = 0;
  if (!prefix.empty()) {
    options.preset_dict = reinterpret_cast<const std::uint8_t*>(prefix.data());
    options.preset_dict_size = static_cast<std::uint32_t>(prefix.size());
  }
  // A preset dictionary needs the raw format; it is used for both, so that the figures compare (a header is 60 bytes).
  const lzma_filter filters[] = {{LZMA_FILTER_LZMA2, &options}, {LZMA_VLI_UNKNOWN, nullptr}};
  const lzma_ret code = lzma_raw_buffer_encode(filters, nullptr, reinterpret_cast<const std::uint8_t*>(text.data()),
                                               text.size(), out.data(), &size, out.size());
  CADDIE_CHECK(code == LZMA_OK, ErrorKind::failed, "xz failed with code ", static_cast<int>(code));
  return size;
}

std::size_t zstd_bytes(std::string_view text, std::string_view prefix) {
  struct Context {
    ZSTD_CCtx* value = ZSTD_createCCtx();
    ~Context() { ZSTD_freeCCtx(value); }
  } context;
  const auto check = [](std::size_t code) {
    CADDIE_CHECK(ZSTD_isError(code) == 0, ErrorKind::failed, "zstd failed: ", ZSTD_getErrorName(code));
    return code;
  };
  int window = 10;
  while (window < 27 && (std::size_t{1} << window) < text.size() + prefix.size()) ++window;
  check(ZSTD_CCtx_setParameter(context.value, ZSTD_c_compressionLevel, ZSTD_maxCLevel()));
  check(ZSTD_CCtx_setParameter(context.value, ZSTD_c_windowLog, window));
  if (!prefix.empty()) check(ZSTD_CCtx_refPrefix(context.value, prefix.data(), prefix.size()));
  Bytes out(ZSTD_compressBound(text.size()));
  return check(ZSTD_compress2(context.value, out.data(), out.size(), text.data(), text.size()));
}

}  // namespace

std::vector<Baseline> validation_baselines(std::string_view text, std::string_view training, int threads) {
  if (text.empty()) return {};
  // Of a large training text its end: windows are bounded, and so is the time that a person waits.
  const std::string_view tail = training.substr(training.size() - std::min(training.size(), kLookBackBytes));
  using Measure = std::function<std::size_t()>;
  std::vector<std::pair<std::string, Measure>> measures = {{"zlib -9", [&] { return zlib_bytes(text); }},
                                                           {"brotli -q 11", [&] { return brotli_bytes(text); }},
                                                           {"zstd -22", [&] { return zstd_bytes(text, {}); }},
                                                           {"xz -9e", [&] { return xz_bytes(text, {}); }}};
  if (!tail.empty()) {
    measures.emplace_back("zstd -22 after the training text", [&] { return zstd_bytes(text, tail); });
    measures.emplace_back("xz -9e after the training text", [&] { return xz_bytes(text, tail); });
  }
  std::vector<Baseline> rows(measures.size());
  std::atomic<std::size_t> next{0};
  std::mutex mutex;
  std::exception_ptr failure;
  const auto work = [&] {
    try {
      // The slow ones, which stand last, are begun first.
      for (std::size_t i = next++; i < rows.size(); i = next++) {
        const std::size_t row = rows.size() - 1 - i;
        const double bytes = static_cast<double>(measures[row].second());
        rows[row] = {measures[row].first, 8.0 * bytes / static_cast<double>(text.size())};
      }
    } catch (...) {
      const std::lock_guard lock(mutex);
      failure = std::current_exception();
    }
  };
  std::vector<std::thread> pool;
  for (int t = 1; t < std::min(threads, static_cast<int>(rows.size())); ++t) pool.emplace_back(work);
  work();
  for (std::thread& thread : pool) thread.join();
  if (failure) std::rethrow_exception(failure);
  return rows;
}

}  // namespace caddie::data
