#include "caddie/options.h"

#include "caddie/error.h"

namespace caddie {

Options::Options() = default;
Options::Options(std::map<std::string, Value> values) {
  for (auto& [key, value] : values) values_.emplace(key, std::move(value));
}
Options::~Options() = default;
Options::Options(const Options&) = default;
Options& Options::operator=(const Options&) = default;

const Options::Value& Options::at(std::string_view key) const {
  auto it = values_.find(key);
  if (it == values_.end())
    throw Error(ErrorKind::environment, concat("a plugin asked for the option '", key, "', which its schema lacks"),
                "Add it to the plugin's option schema.");
  return it->second;
}

bool Options::has(std::string_view key) const { return values_.find(key) != values_.end(); }
bool Options::is_null(std::string_view key) const { return std::holds_alternative<std::monostate>(at(key)); }

namespace {
template <class T>
const T& get(const Options::Value& value, std::string_view key, const char* type) {
  if (const T* found = std::get_if<T>(&value)) return *found;
  throw Error(ErrorKind::environment, concat("a plugin reads the option '", key, "' as ", type, ", which it is not"),
              "Correct the plugin's option schema, or look at is_null() first.");
}
}  // namespace

bool Options::boolean(std::string_view key) const { return get<bool>(at(key), key, "a boolean"); }
std::int64_t Options::integer(std::string_view key) const { return get<std::int64_t>(at(key), key, "an integer"); }
double Options::number(std::string_view key) const {
  const Value& value = at(key);
  if (const auto* whole = std::get_if<std::int64_t>(&value)) return static_cast<double>(*whole);
  return get<double>(value, key, "a number");
}
const std::string& Options::text(std::string_view key) const { return get<std::string>(at(key), key, "a text"); }
const std::vector<double>& Options::numbers(std::string_view key) const {
  return get<std::vector<double>>(at(key), key, "a list of numbers");
}

}  // namespace caddie
