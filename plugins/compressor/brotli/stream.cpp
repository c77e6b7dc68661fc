#include "stream.h"

#include <brotli/decode.h>
#include <brotli/encode.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>
#include <memory>
#include <thread>
#include <utility>

#include "caddie/error.h"

namespace brotli_plugin {
namespace {

using caddie::Error;
using caddie::ErrorKind;

constexpr std::size_t kPiece = std::size_t{1} << 18;  // input between two looks at `cancelled`

const std::uint8_t* bytes(const std::byte* data) { return reinterpret_cast<const std::uint8_t*>(data); }

void drain(BrotliEncoderState* encoder, std::vector<std::byte>& out) {
  while (BrotliEncoderHasMoreOutput(encoder)) {
    std::size_t size = 0;
    const std::uint8_t* data = BrotliEncoderTakeOutput(encoder, &size);
    const auto* first = reinterpret_cast<const std::byte*>(data);
    out.insert(out.end(), first, first + size);
  }
}

// A part of a stream. A part that is not the first has no header and refers to nothing before it; one that is not the last
// ends at a whole byte. Parts side by side are one stream (BROTLI_PARAM_STREAM_OFFSET).
std::vector<std::byte> compress_part(std::span<const std::byte> data, const Settings& settings, bool is_first,
                                     bool is_last, const std::function<bool()>& cancelled) {
  const std::unique_ptr<BrotliEncoderState, void (*)(BrotliEncoderState*)> encoder(
      BrotliEncoderCreateInstance(nullptr, nullptr, nullptr), BrotliEncoderDestroyInstance);
  CADDIE_CHECK(encoder != nullptr, ErrorKind::failed, "brotli's encoder could not be made (out of memory?)");
  BrotliEncoderSetParameter(encoder.get(), BROTLI_PARAM_QUALITY, static_cast<std::uint32_t>(settings.quality));
  BrotliEncoderSetParameter(encoder.get(), BROTLI_PARAM_LGWIN, static_cast<std::uint32_t>(settings.window));
  // The hint lets the encoder choose its block size at the start, as the one-shot function does.
  BrotliEncoderSetParameter(encoder.get(), BROTLI_PARAM_SIZE_HINT,
                            static_cast<std::uint32_t>(std::min<std::size_t>(data.size(), std::size_t{1} << 30)));
  if (!is_first) BrotliEncoderSetParameter(encoder.get(), BROTLI_PARAM_STREAM_OFFSET, 1u << 28);
  std::vector<std::byte> out;
  std::size_t position = 0;
  for (bool finished = false; !finished;) {
    if (cancelled()) throw Error(ErrorKind::interrupted, "compression was stopped");
    const std::size_t piece = std::min(kPiece, data.size() - position);
    const bool last = position + piece == data.size();
    const std::uint8_t* next = bytes(data.data() + position);
    std::size_t left = piece, room = 0;
    // With a room of 0 the encoder keeps its output inside until it is taken.
    while (true) {
      const auto operation = !last     ? BROTLI_OPERATION_PROCESS
                             : is_last ? BROTLI_OPERATION_FINISH
                                       : BROTLI_OPERATION_FLUSH;
      const bool all_in = left == 0;
      CADDIE_CHECK(BrotliEncoderCompressStream(encoder.get(), operation, &left, &next, &room, nullptr, nullptr),
                   ErrorKind::failed, "brotli's encoder failed at byte ", position);
      drain(encoder.get(), out);
      // A part that is not the first begins with a flush of its own: the call that takes its last bytes may be busy with
      // that one, so that a flush counts only when it began with all bytes in.
      const bool done = !last || (is_last ? BrotliEncoderIsFinished(encoder.get()) != 0 : all_in);
      if (left == 0 && !BrotliEncoderHasMoreOutput(encoder.get()) && done) break;
    }
    position += piece;
    finished = last;
  }
  return out;
}

}  // namespace

std::vector<std::byte> compress_stream(std::span<const std::byte> data, const Settings& settings, int threads,
                                       const std::function<bool()>& cancelled) {
  const std::size_t part = settings.part > 0 ? settings.part : std::max<std::size_t>(data.size(), 1);
  const std::size_t count = std::max<std::size_t>((data.size() + part - 1) / part, 1);
  std::vector<std::vector<std::byte>> parts(count);
  std::vector<std::exception_ptr> errors(count);
  std::atomic<std::size_t> next{0};
  const auto work = [&] {
    for (std::size_t i = next++; i < count; i = next++) {
      try {
        const auto own = data.subspan(i * part, std::min(part, data.size() - i * part));
        parts[i] = compress_part(own, settings, i == 0, i + 1 == count, cancelled);
      } catch (...) {
        errors[i] = std::current_exception();
      }
    }
  };
  {
    std::vector<std::jthread> others;
    for (std::size_t i = 1; i < std::min(count, static_cast<std::size_t>(std::max(threads, 1))); ++i)
      others.emplace_back(work);
    work();
  }
  for (const auto& error : errors)
    if (error) std::rethrow_exception(error);
  std::vector<std::byte> stream = std::move(parts[0]);
  for (std::size_t i = 1; i < count; ++i) stream.insert(stream.end(), parts[i].begin(), parts[i].end());
  return stream;
}

void decompress_stream(std::span<const std::byte> stream, std::span<std::byte> output) {
  const std::unique_ptr<BrotliDecoderState, void (*)(BrotliDecoderState*)> decoder(
      BrotliDecoderCreateInstance(nullptr, nullptr, nullptr), BrotliDecoderDestroyInstance);
  CADDIE_CHECK(decoder != nullptr, ErrorKind::failed, "brotli's decoder could not be made (out of memory?)");
  const std::uint8_t* next = bytes(stream.data());
  std::size_t left = stream.size(), room = output.size();
  auto* to = reinterpret_cast<std::uint8_t*>(output.data());
  const auto result = BrotliDecoderDecompressStream(decoder.get(), &left, &next, &room, &to, nullptr);
  const std::size_t made = output.size() - room;
  switch (result) {
    case BROTLI_DECODER_RESULT_SUCCESS:
      break;
    case BROTLI_DECODER_RESULT_NEEDS_MORE_OUTPUT:
      throw Error(ErrorKind::data, caddie::concat("the brotli stream holds more than the ", output.size(),
                                                  " bytes that the header declares"));
    case BROTLI_DECODER_RESULT_NEEDS_MORE_INPUT:
      throw Error(ErrorKind::data, caddie::concat("the brotli stream ends early, after ", made, " decoded bytes"));
    default:
      throw Error(ErrorKind::data, caddie::concat("the brotli stream is damaged: ",
                                                  BrotliDecoderErrorString(BrotliDecoderGetErrorCode(decoder.get())),
                                                  " after ", made, " decoded bytes"));
  }
  CADDIE_CHECK(room == 0, ErrorKind::data, "the brotli stream holds ", made, " bytes, the header declares ",
               output.size());
  CADDIE_CHECK(left == 0, ErrorKind::data, left, " bytes follow the end of the brotli stream");
}

}  // namespace brotli_plugin
