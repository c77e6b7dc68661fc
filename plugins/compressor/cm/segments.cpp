#include "segments.h"

#include <algorithm>
#include <memory>

#include "bytes_model.h"
#include "caddie/error.h"
#include "codes_model.h"

namespace cm {
namespace {

using caddie::BlobShape;
using caddie::ElementType;
using caddie::ErrorKind;

// Models are made when the first blob needs them.
template <class Coder>
class Models {
 public:
  void blob(Coder& coder, std::byte* data, const BlobShape& shape) {
    if (shape.type == ElementType::int8) {
      if (!codes_) codes_ = std::make_unique<CodesModel>();
      codes_->matrix(coder, reinterpret_cast<std::int8_t*>(data), shape.rows, shape.columns);
    } else {
      if (!bytes_) bytes_ = std::make_unique<BytesModel>();
      bytes_->numbers(coder, data, shape.rows * shape.columns, static_cast<int>(caddie::element_bytes(shape.type)));
    }
  }

 private:
  std::unique_ptr<CodesModel> codes_;
  std::unique_ptr<BytesModel> bytes_;
};

}  // namespace

std::vector<Segment> make_segments(std::span<const BlobShape> shapes, std::size_t bytes) {
  std::vector<Segment> segments;
  Segment others{false, {}};
  std::size_t held = 0;
  for (std::size_t i = 0; i < shapes.size(); ++i) {
    if (shapes[i].type != ElementType::int8) {
      others.blobs.push_back(i);
      continue;
    }
    if (segments.empty() || held >= bytes) {
      segments.push_back({true, {}});
      held = 0;
    }
    segments.back().blobs.push_back(i);
    held += shapes[i].bytes();
  }
  if (!others.blobs.empty()) segments.push_back(std::move(others));
  return segments;
}

std::vector<std::byte> encode(const Segment& segment, std::span<const caddie::Blob> blobs) {
  Encoder encoder;
  Models<Encoder> models;
  for (const auto i : segment.blobs) {
    std::vector<std::byte> copy(blobs[i].data.begin(), blobs[i].data.end());  // models write back what they code
    models.blob(encoder, copy.data(), blobs[i].shape);
  }
  return encoder.finish();
}

void decode(const Segment& segment, std::span<const std::byte> bytes, std::span<const BlobShape> shapes,
            std::span<const std::span<std::byte>> outputs) {
  Decoder decoder(bytes);
  Models<Decoder> models;
  for (const auto i : segment.blobs) {
    models.blob(decoder, outputs[i].data(), shapes[i]);
    CADDIE_CHECK(!decoder.beyond(), ErrorKind::data, "the coded stream ends early, in the blob ", i + 1, " of ",
                 shapes.size());
  }
  CADDIE_CHECK(decoder.whole(), ErrorKind::data, "the coded stream holds more than the header declares");
}

}  // namespace cm
