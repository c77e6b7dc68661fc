#include "stream.h"

#include <brotli/decode.h>
#include <brotli/encode.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
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
// the greedy block splitter happens to find: once in a while a part is 1 or 2 % larger than it need be. Windows of 2^18 and
// 2^17 bytes, with which the encoder makes shorter blocks, are two draws in less time than one at 11 takes; the smaller is
// kept. Where repetitions show, the second is quality 11 in the window that was asked for. The sum above decides on the
// writing machine only: no decoder knows of it.
std::vector<std::byte> compress_best(std::span<const std::byte> data, const Settings& settings, bool is_first,
                                     bool is_last, const std::function<bool()>& cancelled) {
  if (settings.quality < 11) return compress_part(data, settings, is_first, is_last, cancelled);
  auto best = compress_part(data, {10, std::min(settings.window, 18)}, is_first, is_last, cancelled);
  const bool repeats = static_cast<double>(best.size()) < kRepeats * bytewise_cost(data);
  const Settings second = repeats ? settings : Settings{10, std::min(settings.window, 17)};
  auto other = compress_part(data, second, is_first, is_last, cancelled);
  return other.size() < best.size() ? other : best;
}

// A stream that is made of `count` parts of nearly equal size.
struct Plan {
  std::size_t count;
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
  if (wanted > 1) plans.emplace_back(wanted);
  struct Task {
    Plan* plan;
    std::size_t part;
    std::exception_ptr error;
  };
  std::vector<Task> tasks;
  for (Plan& plan : plans)
    for (std::size_t i = 0; i < plan.count; ++i) tasks.push_back({&plan, i, nullptr});
  std::atomic<std::size_t> next{0};
  const auto work = [&] {
    for (std::size_t t = next++; t < tasks.size(); t = next++) {
      const auto& [plan, i, error] = tasks[t];
      try {
        const std::size_t begin = data.size() * i / plan->count, end = data.size() * (i + 1) / plan->count;
        const auto own = data.subspan(begin, end - begin);
        const bool is_first = i == 0, is_last = i + 1 == plan->count;
        plan->parts[i] = plan->count == 1 ? compress_part(own, settings, is_first, is_last, cancelled)
                                          : compress_best(own, settings, is_first, is_last, cancelled);
      } catch (...) {
        tasks[t].error = std::current_exception();
      }
    }
  };
  {
    std::vector<std::jthread> others;
    for (std::size_t i = 1; i < std::min(tasks.size(), static_cast<std::size_t>(std::max(threads, 1))); ++i)
      others.emplace_back(work);
    work();
  }
  for (const Task& task : tasks)
    if (task.error) std::rethrow_exception(task.error);
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
