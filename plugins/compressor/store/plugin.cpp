// Stores the blobs one after the other, as they are: the baseline that every compressor is compared with.
#include "caddie/compressor.h"

#include <algorithm>
#include <cstring>

#include "caddie/error.h"

namespace {

class Store final : public caddie::Compressor {
 public:
  Store(const caddie::Options&, const caddie::CompressorContext&) {}

  std::vector<std::byte> compress(std::span<const caddie::Blob> blobs) override {
    std::vector<std::byte> payload;
    for (const auto& blob : blobs) payload.insert(payload.end(), blob.data.begin(), blob.data.end());
    return payload;
  }

  void decompress(std::span<const std::byte> payload, std::span<const caddie::BlobShape>,
                  std::span<const std::span<std::byte>> outputs) override {
    std::size_t expected = 0;
    for (const auto& output : outputs) expected += output.size();
    CADDIE_CHECK(payload.size() == expected, caddie::ErrorKind::data, "the stored payload has ", payload.size(),
                 " bytes, its blobs need ", expected);
    for (const auto& output : outputs) {
      std::copy_n(payload.begin(), output.size(), output.begin());
      payload = payload.subspan(output.size());
    }
  }

  double expected_bytes(double raw_bytes, double) const override { return raw_bytes; }
};

}  // namespace

CADDIE_PLUGIN("1.0", caddie::compressor_component<Store>("store", "No compression", 1, {}))
