// Codes on disk. The JSON file lists the tensors in the model's order; the safetensors file holds their numbers as
// codes/NAME, steps/NAME and those of a low-rank part, or values/NAME.
#include "core/artifact/codes_file.h"

#include "caddie/error.h"
#include "core/base/files.h"
#include "core/base/parameter_match.h"
#include "core/base/safetensors.h"

namespace caddie::artifact {
namespace {

constexpr const char* kTensors = "codes.safetensors";
constexpr const char* kDescription = "codes.json";

Role role_from(const std::string& name) {
  for (const auto role : {Role::matrix, Role::embedding, Role::vector})
    if (name == role_name(role)) return role;
  throw Error(ErrorKind::data, "the role '" + name + "' is unknown");
}

StoredTensor read_tensor(const Json& entry, const SafetensorsReader& file) {
  StoredTensor tensor;
  tensor.name = entry.at("name").get<std::string>();
  tensor.role = role_from(entry.at("role").get<std::string>());
  tensor.quantizer = entry.at("quantizer").get<std::string>();
  tensor.relative_error = entry.at("relative_error").get<double>();
  auto& data = tensor.data;
  data.bits = entry.at("bits").get<int>();
  data.round_bfloat16 = entry.at("round_bfloat16").get<bool>();
  data.note = entry.at("note").get<std::string>();
  if (entry.at("encoding") == "row_codes") {
    data.encoding = Encoding::row_codes;
    data.codes = file.tensor("codes/" + tensor.name);
    data.steps = file.tensor("steps/" + tensor.name);
    CADDIE_CHECK(data.codes.dim() == 2 && data.steps.dim() >= 1 && data.codes.size(0) == data.steps.size(0) &&
                     data.codes.scalar_type() == at::kChar,
                 ErrorKind::data, "the codes and steps of '", tensor.name, "' do not belong together");
    for (const Part part : kParts)
      if (const auto name = concat(part_name(part), "/", tensor.name); file.has(name))
        part_of(data, part) = file.tensor(name);
  } else {
    data.encoding = Encoding::plain;
    data.codes = file.tensor("values/" + tensor.name);
  }
  tensor.shape = data.codes.sizes().vec();
  return tensor;
}

}  // namespace

void write_codes(const std::filesystem::path& folder, const QuantizedModel& model) {
  make_directories(folder);
  NamedTensors tensors;
  Json list = Json::array();
  for (const auto& tensor : model.tensors) {
    const auto& data = tensor.data;
    const bool coded = data.encoding == Encoding::row_codes;
    for (const Part part : kParts)
      if (part_of(data, part).defined())
        tensors.emplace_back(concat(coded ? part_name(part) : "values", "/", tensor.name), part_of(data, part));
    list.push_back({{"name", tensor.name},
                    {"role", std::string(role_name(tensor.role))},
                    {"encoding", coded ? "row_codes" : "plain"},
                    {"bits", data.bits},
                    {"round_bfloat16", data.round_bfloat16},
                    {"note", data.note},
                    {"quantizer", tensor.quantizer},
                    {"relative_error", tensor.relative_error}});
  }
  write_safetensors(folder / kTensors, tensors);
  write_json(folder / kDescription, {{"version", 1}, {"tensors", list}, {"notes", model.notes}});
}

QuantizedModel read_codes(const std::filesystem::path& folder) {
  try {
    const auto description = read_json(folder / kDescription);
    const SafetensorsReader file(folder / kTensors);
    CADDIE_CHECK(description.at("version") == 1, ErrorKind::data, "codes.json has version ",
                 description.at("version").dump(), ", this program reads version 1");
    QuantizedModel model;
    for (const auto& entry : description.at("tensors")) model.tensors.push_back(read_tensor(entry, file));
    model.notes = description.at("notes").get<std::vector<std::string>>();
    return model;
  } catch (Error& error) {
    throw error.add_context("codes " + folder.string());
  } catch (const Json::exception& error) {
    throw Error(ErrorKind::data, concat("codes ", folder.string(), ": codes.json is not as expected: ", error.what()));
  }
}

}  // namespace caddie::artifact
