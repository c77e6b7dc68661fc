#include "stream.h"

#include <brotli/decode.h>
#include <brotli/encode.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <memory>
#include <utility>

#include "caddie/error.h"
#include "caddie/parallel.h"

namespace brotli_plugin {
namespace {

using caddie::Error;
using caddie::ErrorKind;

constexpr std::size_t kPiece = std::size_t{1} << 18;  // input between two looks at `cancelled`
// From so many parts on, parts alone are tried: their luck evens out.
constexpr std::size_t kSurelyGood = 4;
// A part that takes less than this share of its bytewise cost has repetitions.
constexpr double kRepeats = 0.97;

const std::uint8_t* bytes(const std::byte* data) { return reinterpret_cast<const std::uint8_t*>(data); }

void drain(BrotliEncoderState* encoder, std::vector<std::byte>& out) {
  while (BrotliEncoderHasMoreOutput(encoder)) {
    std::size_t size = 0;
    const std::uint8_t* data = BrotliEncoderTakeOutput(encoder, &size);
    const auto* first = reinterpret_cast<const std::byte*>(data);
    out.insert(out.end(), first, first + size);
  }
}

// Where a part lies in the stream.
struct Place {
  std::size_t offset;  // bytes of the stream before it
  bool is_last;
};

// How one part is compressed. `block`: the stream ends a block of its own at multiples of it (of kPiece); 0: where the
// encoder likes.
struct Attempt {
  int quality;
  std::size_t block = 0;
};

// A part of a stream. A part that is not the first has no header and refers to nothing before it; one that is not the last
// ends at a whole byte. Parts side by side are one stream if all have one window, which the first declares, and each knows
// its offset: the decoder takes a distance beyond the window, or beyond the bytes so far, for a word of its dictionary.
std::vector<std::byte> compress_part(std::span<const std::byte> data, Attempt attempt, int window, Place place,
                                     const std::function<bool()>& cancelled) {
  const std::unique_ptr<BrotliEncoderState, void (*)(BrotliEncoderState*)> encoder(
      BrotliEncoderCreateInstance(nullptr, nullptr, nullptr), BrotliEncoderDestroyInstance);
  CADDIE_CHECK(encoder != nullptr, ErrorKind::failed, "brotli's encoder could not be made (out of memory?)");
  BrotliEncoderSetParameter(encoder.get(), BROTLI_PARAM_QUALITY, static_cast<std::uint32_t>(attempt.quality));
  BrotliEncoderSetParameter(encoder.get(), BROTLI_PARAM_LGWIN, static_cast<std::uint32_t>(window));
  // The hint lets the encoder choose its block size at the start, as the one-shot function does.
  BrotliEncoderSetParameter(encoder.get(), BROTLI_PARAM_SIZE_HINT,
                            static_cast<std::uint32_t>(std::min<std::size_t>(data.size(), std::size_t{1} << 30)));
  if (place.offset > 0)  // from the largest window on, all offsets are alike
    BrotliEncoderSetParameter(encoder.get(), BROTLI_PARAM_STREAM_OFFSET,
                              static_cast<std::uint32_t>(std::min<std::size_t>(place.offset, std::size_t{1} << 28)));
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
      const bool ends = last || (attempt.block > 0 && (position + piece) % attempt.block == 0);
      const auto operation = !ends                    ? BROTLI_OPERATION_PROCESS
                             : last && place.is_last ? BROTLI_OPERATION_FINISH
                                                     : BROTLI_OPERATION_FLUSH;
      const bool all_in = left == 0;
      CADDIE_CHECK(BrotliEncoderCompressStream(encoder.get(), operation, &left, &next, &room, nullptr, nullptr),
                   ErrorKind::failed, "brotli's encoder failed at byte ", position);
      drain(encoder.get(), out);
      // A part that is not the first begins with a flush of its own: the call that takes its last bytes may be busy with
      // that one, so that a flush counts only when it began with all bytes in.
      const bool done = operation == BROTLI_OPERATION_PROCESS ||
                        (operation == BROTLI_OPERATION_FINISH ? BrotliEncoderIsFinished(encoder.get()) != 0 : all_in);
      if (left == 0 && !BrotliEncoderHasMoreOutput(encoder.get()) && done) break;
    }
    position += piece;
    finished = last;
  }
  return out;
}

// What the bytes cost one by one with the best code of each 16 KiB: less than this takes repetitions, or contexts.
double bytewise_cost(std::span<const std::byte> data) {
  constexpr std::size_t kBlock = std::size_t{1} << 14;
  double bits = 0;
  for (std::size_t begin = 0; begin < data.size(); begin += kBlock) {
    const auto block = data.subspan(begin, std::min(kBlock, data.size() - begin));
    std::array<int, 256> counts{};
    for (const std::byte byte : block) ++counts[std::to_integer<std::size_t>(byte)];
    for (const int count : counts)
      if (count > 0) bits += count * std::log2(static_cast<double>(block.size()) / count);
  }
  return bits / 8;
}

// Codes of weights hardly repeat. There quality 11 finds nothing that 10 does not, and how good a stream is depends on what
// the greedy block splitter happens to find: once in a while a part is 1 or 2 % larger than it need be. One block and blocks
// of 256 KiB are two draws in less time than one at 11 takes; the smaller is kept. Where repetitions show, the second is
// quality 11. The sum above decides on the writing machine only: no decoder knows of it.
std::vector<std::byte> compress_best(std::span<const std::byte> data, int quality, int window, Place place,
                                     const std::function<bool()>& cancelled) {
  if (quality < 11) return compress_part(data, {quality}, window, place, cancelled);
  auto best = compress_part(data, {10}, window, place, cancelled);
  const bool repeats = static_cast<double>(best.size()) < kRepeats * bytewise_cost(data);
  auto other = compress_part(data, repeats ? Attempt{11} : Attempt{10, kPiece}, window, place, cancelled);
  return other.size() < best.size() ? other : best;
}

// A stream that is made of `count` parts of nearly equal size.
struct Plan {
  std::size_t count;
  int window = 0;  // log2, of every part
  std::vector<std::vector<std::byte>> parts;
  explicit Plan(std::size_t count) : count(count), parts(count) {}
  std::size_t bytes() const {
    std::size_t sum = 0;
    for (const auto& part : parts) sum += part.size();
    return sum;
  }
};

}  // namespace

std::vector<std::byte> compress_stream(std::span<const std::byte> data, const Settings& settings, int threads,
                                       const std::function<bool()>& cancelled) {
  const std::size_t wanted = settings.part > 0 ? (data.size() + settings.part - 1) / settings.part : 1;
  std::vector<Plan> plans;
  // How well an encoder that decides greedily does is partly luck: of a small payload, the better of both is kept. The
  // whole is the longest task and comes first.
  if (wanted < kSurelyGood) plans.emplace_back(1);
  if (wanted > 1) {
    plans.emplace_back(wanted);
    // No distance is longer than a part.
    const auto longest = std::bit_width(data.size() / wanted);
    plans.back().window = std::clamp(static_cast<int>(longest), 10, settings.window);
  }
  struct Task {
    Plan* plan;
    std::size_t part;
  };
  std::vector<Task> tasks;
  for (Plan& plan : plans)
    for (std::size_t i = 0; i < plan.count; ++i) tasks.push_back({&plan, i});
  caddie::in_parallel(tasks.size(), threads, [&](std::size_t t) {
    const auto& [plan, i] = tasks[t];
    const std::size_t begin = data.size() * i / plan->count, end = data.size() * (i + 1) / plan->count;
    const auto own = data.subspan(begin, end - begin);
    const Place place{begin, i + 1 == plan->count};
    plan->parts[i] = plan->count == 1 ? compress_part(own, {settings.quality}, settings.window, place, cancelled)
                                      : compress_best(own, settings.quality, plan->window, place, cancelled);
  });
  const Plan& best = *std::min_element(plans.begin(), plans.end(),
                                       [](const Plan& a, const Plan& b) { return a.bytes() < b.bytes(); });
  std::vector<std::byte> stream;
  stream.reserve(best.bytes());
  for (const auto& part : best.parts) stream.insert(stream.end(), part.begin(), part.end());
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
