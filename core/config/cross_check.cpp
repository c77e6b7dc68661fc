// Rules between keys. Each looks at values that passed their own checks, and complains at the value to change.
#include <algorithm>
#include <cctype>

#include "core/config/checker.h"

namespace caddie::config {
namespace {

struct Rules {
  const Node& tree;
  const Location& whole;
  const Json& resolved;
  Problems& problems;

  // The resolved value of "a.b.c"; null if it is absent or was refused.
  const Json& get(std::string_view path) const {
    static const Json null;
    const Json* json = &resolved;
    while (!path.empty()) {
      const std::size_t end = path.find('.');
      if (!json->is_object()) return null;
      const auto found = json->find(std::string(path.substr(0, end)));
      if (found == json->end()) return null;
      json = &*found;
      path.remove_prefix(end == std::string_view::npos ? path.size() : end + 1);
    }
    return *json;
  }

  // Where "a.b.c" is written, or the nearest section around it.
  Location at(std::string_view path) const {
    const Node* node = &tree;
    Location where = whole;
    while (!path.empty() && node->is_map()) {
      const std::size_t end = path.find('.');
      const Entry* entry = node->find(path.substr(0, end));
      if (!entry) break;
      path.remove_prefix(end == std::string_view::npos ? path.size() : end + 1);
      where = path.empty() ? entry->value.where : entry->where;
      node = &entry->value;
    }
    return where;
  }

  bool given(std::string_view path) const { return !get(path).is_null(); }

  void step_divides() const {
    const Json &tokens = get("train.tokens_per_step"), &parts = get("train.micro_batches"),
               &sequence = get("train.sequence");
    if (!tokens.is_number() || !parts.is_number() || !sequence.is_number()) return;
    const auto total = tokens.get<std::int64_t>();
    const auto unit = parts.get<std::int64_t>() * sequence.get<std::int64_t>();
    if (total % unit == 0) return;
    const std::int64_t near = std::max<std::int64_t>(1, (total + unit / 2) / unit) * unit;
    problems.add(at("train.tokens_per_step"),
                 concat("'train.tokens_per_step' is ", total, ", accepted: a multiple of micro_batches x sequence = ",
                        parts.get<std::int64_t>(), " x ", sequence.get<std::int64_t>(), " = ", unit),
                 std::to_string(near));
  }

  void stops() const {
    if (!get("train.stop").is_object()) return;
    const bool seconds = given("train.stop.seconds"), steps = given("train.stop.steps");
    if (!seconds && !steps)
      problems.add(at("train.stop"), "training never ends: 'train.stop' has neither seconds nor steps", {},
                   "set one of them, or both");
    const Json& by = get("train.schedule.by");
    if (by == "seconds" && !seconds && steps)
      problems.add(at("train.schedule.by"), "'train.schedule.by' is seconds, but 'train.stop.seconds' is not set",
                   "steps");
    if (by == "steps" && !steps && seconds)
      problems.add(at("train.schedule.by"), "'train.schedule.by' is steps, but 'train.stop.steps' is not set",
                   "seconds");
  }

  void one_kind_of_data() const {
    if (!get("data").is_object()) return;
    const bool text = given("data.text"), dataset = given("data.dataset");
    if (!text && !dataset && !given("data.train")) {
      problems.add(at("data"), "'data' names nothing to train on", {},
                   "give shards (train), a text (text) or a dataset (dataset)");
      return;
    }
    if (text && dataset)
      problems.add(at("data.dataset"), "'data.dataset' and 'data.text' exclude each other", {},
                   "null takes a value away");
    for (const char* key : {"data.train", "data.validation", "data.tokenizer"}) {
      if (text && given(key))
        problems.add(at(key), concat("'", key, "' and 'data.text' exclude each other"), {},
                     "a text is split, and trains a tokenizer, by itself; null takes a value away");
      if (dataset && given(key))
        problems.add(at(key), concat("'", key, "' and 'data.dataset' exclude each other"), {},
                     "a dataset brings its shards and its tokenizer; null takes a value away");
      if (!text && !dataset && !given(key))
        problems.add(at(key), concat("'", key, "' is missing"), {}, "shards need train, validation and tokenizer");
    }
    if (dataset) dataset_name();
  }

  // OWNER/NAME or OWNER/NAME@REVISION, as the Hub allows them.
  void dataset_name() const {
    const std::string text = get("data.dataset").get<std::string>();
    const std::size_t slash = text.find('/'), mark = std::min(text.find('@'), text.size());
    const auto plain = [](std::string_view part, std::string_view more) {
      return !part.empty() && std::all_of(part.begin(), part.end(), [&](char c) {
        return std::isalnum(static_cast<unsigned char>(c)) != 0 || more.find(c) != std::string_view::npos;
      });
    };
    const std::string_view view = text;
    if (slash < mark && plain(view.substr(0, slash), "-_.") && plain(view.substr(slash + 1, mark - slash - 1), "-_.") &&
        (mark == text.size() || plain(view.substr(mark + 1), "-_./")))
      return;
    problems.add(at("data.dataset"), concat("'data.dataset' is '", text, "', accepted: OWNER/NAME or OWNER/NAME@REVISION"),
                 {}, "for example idan3011/parameter-golf-sp4096");
  }

  void strides() const {
    const Json &stride = get("evaluate.sliding.stride"), &sequence = get("train.sequence");
    if (stride.is_number() && sequence.is_number() && stride > sequence)
      problems.add(at("evaluate.sliding.stride"),
                   concat("'evaluate.sliding.stride' is ", stride.dump(), ", accepted: at most train.sequence = ",
                          sequence.dump(), " (tokens between windows would go unscored)"));
  }

  void sequence_schedule() const {
    const Json &stages = get("train.sequence_schedule"), &sequence = get("train.sequence");
    if (!stages.is_array() || !sequence.is_number_integer()) return;
    Json before = 0;
    const auto complain = [&](const std::string& what) {
      problems.add(at("train.sequence_schedule"), concat("'train.sequence_schedule': ", what));
    };
    for (const Json& stage : stages) {
      const Json until = stage.value("until", Json()), tokens = stage.value("sequence", Json());
      if (!until.is_number() || !tokens.is_number_integer()) return;
      if (until <= before)
        complain(concat("'until' is ", until.dump(), " after ", before.dump(), ", accepted: shares of the budget that rise"));
      if (sequence.get<std::int64_t>() % tokens.get<std::int64_t>() != 0)
        complain(concat("a sequence of ", tokens.dump(), ", accepted: one that divides train.sequence = ", sequence.dump()));
      before = until;
    }
  }

  void averages() const {
    if (given("train.average.swa") && given("train.average.latest"))
      problems.add(at("train.average.latest"), "'train.average.latest' and 'train.average.swa' exclude each other", {},
                   "null takes a value away");
  }

  void lists() const {
    const Json& optimizers = get("optimizers");
    if (optimizers.is_array() && optimizers.empty())
      problems.add(at("optimizers"), "'optimizers' is empty: no parameter would be trained", {},
                   "- {match: matrix, use: ...}");
    const Json& tensors = get("quantize.tensors");
    if (tensors.is_array() && tensors.empty())
      problems.add(at("quantize.tensors"), "'quantize.tensors' is empty", {},
                   "null in place of 'quantize' makes no artifact");
  }
};

}  // namespace

void cross_check(const Node& tree, const Location& whole, const Json& resolved, Problems& problems) {
  const Rules rules{tree, whole, resolved, problems};
  rules.step_divides();
  rules.stops();
  rules.one_kind_of_data();
  rules.strides();
  rules.sequence_schedule();
  rules.averages();
  rules.lists();
}

}  // namespace caddie::config
