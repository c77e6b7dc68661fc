// LZMA over the blobs one after the other. The payload is one .xz stream.
#include <lzma.h>

#include <algorithm>
#include <memory>

#include "caddie/blob_stream.h"
#include "caddie/error.h"

namespace {

using namespace caddie;

constexpr OptionSpec kOptions[] = {
    {"level", OptionType::integer, "9", "0", "9", nullptr, "preset; 9 is smallest and slowest"},
    {"extreme", OptionType::boolean, "true", nullptr, nullptr, nullptr, "the slower variant of the preset"},
    {"literal_bits", OptionType::integer, "null", "0", "4", nullptr,
     "bits of the byte before that choose a literal's model (lc); null: the preset's, 3"},
    {"position_bits", OptionType::integer, "null", "0", "4", nullptr,
     "bits of the position that do (lp; with lc at most 4); null: the preset's, 0"},
    shuffle_option("0"),
};

constexpr std::size_t kPiece = std::size_t{1} << 18;                // input between two looks at `cancelled`
constexpr std::uint64_t kDecoderMemory = std::uint64_t{256} << 20;  // the largest preset needs 65 MiB

const std::uint8_t* bytes(const std::byte* data) { return reinterpret_cast<const std::uint8_t*>(data); }

struct Coder {
  lzma_stream stream = LZMA_STREAM_INIT;
  ~Coder() { lzma_end(&stream); }
};

class Lzma final : public Compressor {
 public:
  Lzma(const Options& options, const CompressorContext& context)
      : services_(context.services), stride_(static_cast<std::size_t>(options.integer("shuffle"))) {
    const auto preset = static_cast<std::uint32_t>(options.integer("level"));
    CADDIE_CHECK(!lzma_lzma_preset(&settings_, preset | (options.boolean("extreme") ? LZMA_PRESET_EXTREME : 0)),
                 ErrorKind::failed, "LZMA has no preset ", preset);
    if (!options.is_null("literal_bits")) settings_.lc = static_cast<std::uint32_t>(options.integer("literal_bits"));
    if (!options.is_null("position_bits")) settings_.lp = static_cast<std::uint32_t>(options.integer("position_bits"));
    if (settings_.lc + settings_.lp > 4 && options.is_null("literal_bits")) settings_.lc = 4 - settings_.lp;
    CADDIE_CHECK(settings_.lc + settings_.lp <= 4, ErrorKind::usage, "literal_bits ", settings_.lc,
                 " and position_bits ", settings_.lp, " add up to more than 4");
  }

  std::vector<std::byte> compress(std::span<const Blob> blobs) override {
    const auto raw = join_blobs(blobs, stride_);
    lzma_options_lzma settings = settings_;
    // A dictionary that is larger than the data costs memory on both sides and nothing else.
    const auto size = static_cast<std::uint32_t>(std::min<std::size_t>(raw.size(), std::size_t{1} << 30));
    settings.dict_size = std::clamp<std::uint32_t>(size, LZMA_DICT_SIZE_MIN, settings.dict_size);
    const lzma_filter filters[] = {{LZMA_FILTER_LZMA2, &settings}, {LZMA_VLI_UNKNOWN, nullptr}};
    Coder coder;
    CADDIE_CHECK(lzma_stream_encoder(&coder.stream, filters, LZMA_CHECK_CRC32) == LZMA_OK, ErrorKind::failed,
                 "LZMA's encoder could not be made (out of memory?)");
    std::vector<std::byte> out, room(kPiece);
    std::size_t position = 0;
    for (auto state = LZMA_OK; state != LZMA_STREAM_END;) {
      if (services_ && services_->cancelled()) throw Error(ErrorKind::interrupted, "compression was stopped");
      const std::size_t piece = std::min(kPiece, raw.size() - position);
      const bool last = position + piece == raw.size();
      coder.stream.next_in = bytes(raw.data() + position);
      coder.stream.avail_in = piece;
      do {
        coder.stream.next_out = reinterpret_cast<std::uint8_t*>(room.data());
        coder.stream.avail_out = room.size();
        state = lzma_code(&coder.stream, last ? LZMA_FINISH : LZMA_RUN);
        CADDIE_CHECK(state == LZMA_OK || state == LZMA_STREAM_END || state == LZMA_BUF_ERROR, ErrorKind::failed,
                     "LZMA's encoder failed at byte ", position);
        out.insert(out.end(), room.begin(), room.end() - static_cast<std::ptrdiff_t>(coder.stream.avail_out));
      } while (coder.stream.avail_out == 0);
      position += piece;
    }
    return out;
  }

  void decompress(std::span<const std::byte> payload, std::span<const BlobShape> shapes,
                  std::span<const std::span<std::byte>> outputs) override {
    split_blobs(shapes, stride_, outputs, [&](std::span<std::byte> output) { decode(payload, output); });
  }

  double expected_bytes(double raw_bytes, double entropy_bytes) const override {
    // Measured on int5 and int6 codes: 5.6 % over their order-0 entropy.
    return std::min(raw_bytes * 1.001 + 128, entropy_bytes * 1.056 + 128);
  }

 private:
  static void decode(std::span<const std::byte> payload, std::span<std::byte> output) {
    Coder coder;
    CADDIE_CHECK(lzma_stream_decoder(&coder.stream, kDecoderMemory, 0) == LZMA_OK, ErrorKind::failed,
                 "LZMA's decoder could not be made (out of memory?)");
    std::byte beyond[1];  // where a stream that holds too much shows
    coder.stream.next_in = bytes(payload.data());
    coder.stream.avail_in = payload.size();
    coder.stream.next_out = reinterpret_cast<std::uint8_t*>(output.empty() ? beyond : output.data());
    coder.stream.avail_out = output.empty() ? 1 : output.size();
    auto state = lzma_code(&coder.stream, LZMA_FINISH);
    std::size_t made = output.size() - std::min(coder.stream.avail_out, output.size());
    if (state == LZMA_OK && coder.stream.avail_out == 0 && !output.empty()) {  // full: only the end may follow
      coder.stream.next_out = reinterpret_cast<std::uint8_t*>(beyond);
      coder.stream.avail_out = 1;
      state = lzma_code(&coder.stream, LZMA_FINISH);
      made += 1 - coder.stream.avail_out;
    } else if (output.empty()) {
      made = 1 - coder.stream.avail_out;
    }
    CADDIE_CHECK(made <= output.size(), ErrorKind::data, "the xz stream holds more than the ", output.size(),
                 " bytes that the header declares");
    CADDIE_CHECK(state != LZMA_BUF_ERROR && state != LZMA_OK, ErrorKind::data, "the xz stream ends early, after ", made,
                 " decoded bytes");
    CADDIE_CHECK(state == LZMA_STREAM_END, ErrorKind::data, "the xz stream is damaged after ", made,
                 " decoded bytes (liblzma says ", static_cast<int>(state), ")");
    CADDIE_CHECK(made == output.size(), ErrorKind::data, "the xz stream holds ", made, " bytes, the header declares ",
                 output.size());
    CADDIE_CHECK(coder.stream.avail_in == 0, ErrorKind::data, coder.stream.avail_in,
                 " bytes follow the end of the xz stream");
  }

  Services* services_;
  lzma_options_lzma settings_{};
  std::size_t stride_;
};

}  // namespace

CADDIE_PLUGIN("1.0", compressor_component<Lzma>("lzma", "LZMA, one .xz stream", 1, kOptions))
