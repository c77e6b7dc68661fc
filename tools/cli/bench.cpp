// caddie bench: speed of the program's parts, and how it compares with a stored result.
#include <algorithm>
#include <memory>

#include "caddie/error.h"
#include "core/base/files.h"
#include "core/base/log.h"
#include "core/base/suggest.h"
#include "core/bench/against.h"
#include "core/bench/bench.h"
#include "core/bench/shapes.h"
#include "tools/cli/ranks.h"
#include "tools/cli/session.h"

namespace caddie::cli {
namespace {

struct Arguments {
  std::string shape = "quick", precision, device, against, save;
  std::int64_t steps = 0;
  bool kernels = false;
  double fail_above = 0;
  std::vector<std::string> words;  // parts, then overrides
  RankArguments ranks;
};

const bench::Part* find_part(const std::string& name) {
  for (const bench::Part& part : bench::parts())
    if (name == part.name) return &part;
  return nullptr;
}

std::vector<const bench::Part*> chosen_parts(const Arguments& arguments, std::vector<std::string>& overrides) {
  std::vector<const bench::Part*> chosen;
  for (const std::string& word : arguments.words) {
    if (word.find('=') != std::string::npos) {
      overrides.push_back(word);
      continue;
    }
    const bench::Part* part = find_part(word);
    if (!part) {
      std::vector<std::string> names;
      std::string accepted;
      for (const bench::Part& known : bench::parts()) {
        names.emplace_back(known.name);
        accepted += (accepted.empty() ? "" : ", ") + std::string(known.name);
      }
      const std::string near = closest(word, names);
      throw Error(ErrorKind::usage, concat("unknown part '", word, "' of caddie bench", near.empty() ? "" : "; did you mean '" + near + "'?"),
                  "accepted: " + accepted + "; overrides are key.path=value");
    }
    chosen.push_back(part);
  }
  if (chosen.empty())
    for (const bench::Part& part : bench::parts()) chosen.push_back(&part);
  return chosen;
}

std::string show(const Json& result) {
  std::vector<std::vector<std::string>> rows;
  for (const auto& [key, value] : result.items()) {
    if (value.is_object() || value.is_array() || key == "git_commit" || key == "bench") continue;
    if (value.is_number_float()) rows.push_back({key, fixed(value.get<double>(), value.get<double>() < 1000 ? 3 : 0)});
    else if (value.is_number()) rows.push_back({key, with_commas(value.get<std::int64_t>())});
    else if (value.is_string()) rows.push_back({key, value.get<std::string>()});
  }
  std::string text = result.at("bench").get<std::string>() + "\n" + table(rows);
  if (result.contains("kernels")) {
    constexpr std::size_t kMost = 40;
    rows = {{"kernel", "calls", "ms"}};
    for (const Json& kernel : result.at("kernels")) {
      if (rows.size() > kMost) break;
      rows.push_back({kernel.at("name").get<std::string>().substr(0, 90), fixed(kernel.at("calls"), 1), fixed(kernel.at("ms"), 3)});
    }
    text += table(rows);
  }
  if (result.contains("ops")) {
    rows = {{"op", "ms", "oracle, ms", "ratio"}};
    for (const Json& op : result.at("ops"))
      rows.push_back({op.at("op"), fixed(op.at("ms_median"), 3), fixed(op.at("oracle_ms_median"), 3),
                      fixed(op.at("against_oracle"), 2)});
    text += table(rows);
  }
  return text;
}

int compare(const Json& results, const Arguments& arguments, std::string& text) {
  const bench::Against against = bench::compare_with(read_json(arguments.against), results);
  std::vector<std::vector<std::string>> rows = {{"part", "shape", "figure", "stored", "now", "ratio", ""}};
  bool worse = false;
  for (const bench::Comparison& row : against.rows) {
    const bool over = arguments.fail_above > 0 && row.ratio > arguments.fail_above;
    worse = worse || over;
    const char* word = over ? "too slow" : !row.apart ? "" : row.ratio > 1 ? "slower" : "faster";
    rows.push_back({row.bench, row.shape, row.figure, fixed(row.stored, 2), fixed(row.now, 2), fixed(row.ratio, 3), word});
  }
  text += "\nagainst " + arguments.against + " (ratio: now / stored; a word where the quartiles do not touch)\n" + table(rows);
  for (const std::string& note : against.notes) text += "  note: " + note + "\n";
  return worse ? 1 : 0;
}

int bench_here(const Globals& globals, const Arguments& arguments, Group* group) {
  bench::Options options;
  options.ranks = {group != nullptr ? group->size() : 1, group};
  options.shape = arguments.shape;
  options.steps = arguments.steps;
  options.kernels = arguments.kernels;
  if (arguments.steps < 0) throw Error(ErrorKind::usage, concat("--steps is ", arguments.steps), "accepted: 1 and above; 0: the part's own number");
  if (!arguments.precision.empty()) options.overrides.push_back("precision=" + arguments.precision);
  if (!arguments.device.empty()) options.overrides.push_back("device=" + arguments.device);
  for (const std::string& more : rank_overrides(arguments.ranks)) options.overrides.push_back(more);
  const auto parts = chosen_parts(arguments, options.overrides);
  for (const bench::Part* part : parts)
    if (group != nullptr && !part->shared)
      throw Error(ErrorKind::usage, concat("several ranks do not share caddie bench ", part->name), "caddie bench train --gpus N measures what they do.");
  if (!arguments.against.empty()) read_json(arguments.against);  // a wrong name is said before the work
  const auto catalogue = make_catalogue(globals);
  Json results = Json::array();
  std::string text;
  for (const bench::Part* part : parts) {
    if (parts.size() > 1) log::info(concat("bench ", part->name));
    bench::Bench bench(options, catalogue);
    if (std::string(part->name) != "train") bench.record_kernels();  // train leaves its first steps out
    results.push_back(part->run(bench));
    bench.add_kernels(results.back(), 1);
    if (arguments.kernels && !results.back().contains("kernels"))
      log::warning(concat("bench ", part->name, ": no kernels were recorded; --kernels is for CUDA devices, and for parts that run in this process"));
    text += (text.empty() ? "" : "\n") + show(results.back());
  }
  if (group != nullptr && group->rank() != 0) return 0;
  const Json result = parts.size() == 1 ? results.front() : results;
  if (!arguments.save.empty()) write_json(arguments.save, result);
  const int code = arguments.against.empty() ? 0 : compare(results, arguments, text);
  if (globals.json && !arguments.against.empty()) log::info(text);
  print_result(globals, canonical(result), text);
  return code;
}

int bench_command(const Globals& globals, const Arguments& arguments) {
  return with_ranks(arguments.ranks, [](int) {}, [&](Group* group) { return bench_here(globals, arguments, group); });
}

}  // namespace

void add_bench_command(Command& root) {
  auto arguments = std::make_shared<Arguments>();
  std::string more = "Parts:\n";
  for (const bench::Part& part : bench::parts()) more += concat("  ", part.name, std::string(12 - std::string(part.name).size(), ' '), part.doc, "\n");
  more += "train: optimizer_ms is what of a step its optimizers and averages take.\n"
          "With --gpus N or --ranks N the ranks share a step's micro batches. Blocks of steps with communication and blocks without\n"
          "take turns in one group; step_ms is the step, own_work_ms that of rank 0 without communication, and\n"
          "communication_not_hidden_ms the step less the mean over ranks of the step without (waits for slower ranks included);\n"
          "communication_not_hidden_share is its part of the step, peak_memory_bytes that of the rank that took most.\n"
          "--kernels: calls and milliseconds of each kernel and copy, and kernels_busy_ms, kernels_idle_ms, in which one ran or none\n"
          "did; of one step for train, of the whole part, its warm-up included, for others.\n"
          "Examples:\n"
          "  caddie bench train --shape reference --kernels\n"
          "  caddie bench train --shape reference --gpus 2\n"
          "  caddie bench train --shape small --steps 5 --json\n"
          "  caddie bench train gptq --save before.json\n"
          "  caddie bench train gptq --against before.json --fail-above 1.1\n"
          "  caddie bench train --shape reference train.tokens_per_step=16384\n";
  auto command = root.add("bench", "Speed of the program's parts, on made-up tokens at fixed sizes", more);
  command.option("--shape", arguments->shape, "quick, small or reference");
  command.option("--steps", arguments->steps, "Steps, or repeats of what is measured; 0: the part's own number");
  command.flag("--kernels", arguments->kernels, "Show what a CUDA device did, by kernel; costs time, so not for comparisons");
  command.option("--precision", arguments->precision, "auto, float32 or bfloat16");
  command.option("--device", arguments->device, "auto, cpu or cuda");
  add_rank_options(command, arguments->ranks);
  command.option("--save", arguments->save, "Keep the result in this file");
  command.option("--against", arguments->against, "Compare with a result kept before on this machine");
  command.option("--fail-above", arguments->fail_above, "With --against: exit 1 if a ratio is above this");
  command.arguments("parts", arguments->words, "Parts (none: all), and changes of the shape's manifest, key.path=value");
  command.run([arguments](const Globals& globals) { return bench_command(globals, *arguments); });
}

}  // namespace caddie::cli
