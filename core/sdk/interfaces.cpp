// Key functions of every interface: one strong definition of each vtable and typeinfo lives in libcaddie_core.so, so that
// dynamic_cast and catch work across library boundaries.
#include "caddie/communicator.h"
#include "caddie/compressor.h"
#include "caddie/error.h"
#include "caddie/model.h"
#include "caddie/optimizer.h"
#include "caddie/quantizer.h"
#include "caddie/services.h"
#include "caddie/state.h"
#include "caddie/ttt.h"

namespace caddie {

Services::~Services() = default;
Communicator::~Communicator() = default;
PendingOperation::~PendingOperation() = default;
StateWriter::~StateWriter() = default;
StateReader::~StateReader() = default;
LinearObserver::~LinearObserver() = default;
Generator::~Generator() = default;
bool Generator::feeds_at() const { return false; }
at::Tensor Generator::feed_at(const at::Tensor&, const at::Tensor&) {
  throw Error(ErrorKind::failed, "this model's generator cannot be fed at a position on the device");
}
Model::~Model() = default;
void Model::set_progress(double) {}
std::int64_t Model::form() const { return -1; }
Optimizer::~Optimizer() = default;
Calibration::~Calibration() = default;
Quantizer::~Quantizer() = default;
std::vector<std::vector<QuantizedTensor>> Quantizer::quantize_groups(std::span<const WeightGroup> groups) {
  std::vector<std::vector<QuantizedTensor>> results;
  for (const WeightGroup& group : groups) results.push_back(quantize(group.weights, group.calibration));
  return results;
}
Compressor::~Compressor() = default;
Learner::~Learner() = default;
TttStrategy::~TttStrategy() = default;
void TttStrategy::end_document(Learner&) {}

std::size_t element_bytes(ElementType type) {
  switch (type) {
    case ElementType::int8:
    case ElementType::uint8: return 1;
    case ElementType::int16:
    case ElementType::float16:
    case ElementType::bfloat16: return 2;
    case ElementType::float32: return 4;
  }
  return 1;
}

}  // namespace caddie
