#include "core/eval/score.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <cmath>
#include <iomanip>
#include <numbers>
#include <sstream>

#include "caddie/error.h"
#include "core/eval/windows.h"

namespace caddie::eval {
namespace {

bool is_integral(const at::Tensor& tensor) {
  return tensor.defined() && at::isIntegralType(tensor.scalar_type(), /*includeBool=*/false);
}

std::string grouped(std::int64_t value) {  // "98,304"
  const std::string digits = std::to_string(value);
  std::string text;
  for (std::size_t i = 0; i < digits.size(); ++i) {
    if (i > 0 && (digits.size() - i) % 3 == 0 && digits[i - 1] != '-') text += ',';
    text += digits[i];
  }
  return text;
}

}  // namespace

double Score::loss() const {
  CADDIE_CHECK(tokens > 0, ErrorKind::data, "there is no loss: no token was scored");
  return nats / static_cast<double>(tokens);
}

double Score::bits_per_byte() const {
  CADDIE_CHECK(bytes > 0, ErrorKind::data, "there are no bits per byte: the ", tokens,
               " scored tokens stand for no byte of text");
  return nats / (std::numbers::ln2 * static_cast<double>(bytes));
}

Score& Score::operator+=(const Score& other) {
  nats += other.nats;
  tokens += other.tokens;
  bytes += other.bytes;
  limited_to = std::max(limited_to, other.limited_to);
  return *this;
}

Json Score::to_json() const {
  Json json = {{"nats", nats}, {"tokens", tokens}, {"bytes", bytes}};
  if (tokens > 0) json["loss"] = loss();
  if (bytes > 0) json["bits_per_byte"] = bits_per_byte();
  if (limited_to > 0) json["limited_to"] = limited_to;
  return json;
}

std::string Score::text() const {
  std::ostringstream out;
  out << std::fixed << std::setprecision(4);
  if (bytes > 0) out << bits_per_byte() << " bits/byte  ";
  if (tokens > 0) out << "loss " << loss() << "  ";
  out << "(" << grouped(tokens) << " tokens";
  if (limited_to > 0) out << " of the first " << grouped(limited_to);
  out << ")";
  return out.str();
}

Settings Settings::from_json(const Json& section, std::int64_t sequence) {
  Settings settings;
  settings.sequence = sequence;
  settings.flat = section.contains("flat") && !section.at("flat").is_null();
  settings.sliding = section.contains("sliding") && !section.at("sliding").is_null();
  if (settings.sliding)
    settings.stride = section.at("sliding").value("stride", settings.stride);
  else
    settings.stride = std::min(settings.stride, sequence);  // of test-time training alone
  if (section.contains("tokens") && section.at("tokens").is_number()) {
    settings.limit = section.at("tokens").get<std::int64_t>();
  }
  settings.batch_tokens = section.value("batch_tokens", settings.batch_tokens);
  return settings;
}

Prepared prepare_text(Model& model, const Text& text, const Settings& settings) {
  CADDIE_CHECK(is_integral(text.tokens) && text.tokens.dim() == 1, ErrorKind::data,
               "the text to score is not one row of token numbers");
  const std::int64_t available = std::max<std::int64_t>(text.tokens.size(0) - 1, 0);
  CADDIE_CHECK(is_integral(text.bytes) && text.bytes.dim() == 1 && text.bytes.size(0) == available, ErrorKind::data,
               "the byte counts do not belong to the text: ", text.bytes.defined() ? text.bytes.numel() : 0,
               " counts for ", available, " targets");
  CADDIE_CHECK(settings.limit >= 0, ErrorKind::usage, "evaluate.tokens is ", settings.limit,
               ", accepted: \"all\" or a number of tokens above 0");
  const bool limited = settings.limit > 0 && settings.limit < available;
  const std::int64_t considered = limited ? settings.limit : available;
  const std::int64_t targets = usable_targets(considered, settings.sequence);
  if (targets == 0) {
    throw Error(ErrorKind::data,
                concat("the validation text has ", considered, " targets", limited ? " (evaluate.tokens)" : "",
                       ", one sequence needs ", settings.sequence),
                limited ? "Raise evaluate.tokens." : "Use a longer text or a shorter train.sequence.");
  }
  const at::Device device = device_of(model);
  return {text.tokens.narrow(0, 0, targets + 1).to(device), text.bytes.narrow(0, 0, targets).to(device), targets,
          limited ? settings.limit : 0};
}

void reduce(Score& score, Communicator* communicator) {
  if (communicator == nullptr || communicator->size() == 1) return;
  at::Tensor sums = at::empty({3}, at::kDouble);
  double* values = sums.mutable_data_ptr<double>();
  values[0] = score.nats;
  values[1] = static_cast<double>(score.tokens);
  values[2] = static_cast<double>(score.bytes);
  communicator->all_reduce_sum(sums);
  const double* reduced = sums.const_data_ptr<double>();
  score.nats = reduced[0];
  score.tokens = std::llround(reduced[1]);
  score.bytes = std::llround(reduced[2]);
}

at::Device device_of(Model& model) {
  const auto& parameters = model.parameters();
  return parameters.empty() ? at::Device(at::kCPU) : parameters.front().tensor.device();
}

std::int64_t batch_rows(const Settings& settings, at::Device device) {
  // A CPU wants the activations of a pass to stay near its caches, a GPU wants to be filled.
  const std::int64_t chosen = device.is_cuda() ? 131072 : 8192;
  const std::int64_t tokens = settings.batch_tokens > 0 ? settings.batch_tokens : chosen;
  return std::max<std::int64_t>(tokens / settings.sequence, 1);
}

}  // namespace caddie::eval
