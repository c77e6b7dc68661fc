// caddie stage explain: why a stage was computed. caddie cache list | gc: what the stage cache holds, and making room.
#include <ctime>
#include <memory>

#include "caddie/error.h"
#include "core/base/clock.h"
#include "core/base/log.h"
#include "core/pipeline/cache.h"
#include "registry/query/cache_store.h"
#include "registry/query/explain.h"
#include "tools/cli/session.h"

namespace caddie::cli {
namespace {

std::filesystem::path cache_root(const Globals& globals) {
  return globals.cache.empty() ? pipeline::StageCache::default_root() : std::filesystem::path(globals.cache);
}

std::string shown(const Json& value, bool absent) {
  if (absent) return "-";
  const std::string text = value.is_string() ? value.get<std::string>() : canonical(value);
  return text.size() == 64 ? text.substr(0, 12) : text;
}

int explain(const Globals& globals, const std::string& run, const std::string& stage, const std::string& against) {
  const auto why = registry::explain_stage(globals.runs, cache_root(globals), run, stage, against);
  std::string text = concat(why.run, ": ", stage, why.hit ? " came from the cache" : " was computed", " (",
                            human_seconds(why.seconds), ")\n");
  const std::string where = why.other_run.empty() ? "an entry of the cache" : "run " + why.other_run;
  if (why.other_key.empty()) {
    text += concat("Nothing else of this stage is known",
                   why.hit ? ": its entry was removed since" : ": it was the first", ".\n");
  } else if (why.other_key == why.key) {
    text += concat("The same key ", why.key.substr(0, 12), " belongs to ", where, ".\n");
    if (!why.hit) text += "Computed all the same: --no-cache, --from, or the entry was gone or damaged.\n";
  } else {
    text +=
        concat("Nearest of ", why.compared, ": ", where, ", key ", why.other_key.substr(0, 12), ". What differs:\n");
    std::vector<std::vector<std::string>> rows = {{"", "there", "here"}};
    for (const registry::Differing& one : why.differing)
      rows.push_back({one.path, shown(one.a, one.absent_a), shown(one.b, one.absent_b)});
    text += table(rows);
  }
  print_result(globals, canonical(registry::to_json(why)), text);
  return 0;
}

Json item_json(const registry::CacheItem& item) {
  return {{"stage", item.stage},           {"key", item.key},
          {"bytes", item.bytes},           {"seconds", item.seconds},
          {"last_used", item.last_used},   {"in_use", item.in_use},
          {"folder", item.folder.string()}};
}

std::string age(std::int64_t last_used) {
  const double seconds = static_cast<double>(std::time(nullptr) - last_used);
  if (seconds > 2 * 86400) return fixed(seconds / 86400, 0) + " days ago";
  return seconds > 2 * 3600 ? fixed(seconds / 3600, 0) + " hours ago" : fixed(seconds / 60, 0) + " minutes ago";
}

int list(const Globals& globals) {
  const auto items = registry::cache_items(cache_root(globals));
  Json all = Json::array();
  std::int64_t bytes = 0;
  std::vector<std::vector<std::string>> rows = {{"stage", "key", "bytes", "computed in", "last used", ""}};
  for (const auto& item : items) {
    all.push_back(item_json(item));
    bytes += item.bytes;
    rows.push_back({item.stage, item.key.substr(0, 12), with_commas(item.bytes), human_seconds(item.seconds),
                    age(item.last_used), item.in_use ? "in use" : ""});
  }
  print_result(globals, canonical(Json{{"root", cache_root(globals).string()}, {"bytes", bytes}, {"entries", all}}),
               (items.empty() ? "" : table(rows)) + concat(items.size(), " entries, ", with_commas(bytes), " bytes in ",
                                                           cache_root(globals).string(), "\n"));
  return 0;
}

int collect(const Globals& globals, const std::string& size, const std::string& older, bool dry_run) {
  if (size.empty() && older.empty())
    throw Error(ErrorKind::usage, "nothing says what may go", "Add --max-size 10G, --older-than 30d, or both.");
  registry::CollectOptions options;
  if (!size.empty()) options.max_bytes = registry::parse_size(size);
  if (!older.empty()) options.older_than_seconds = registry::parse_age(older);
  options.dry_run = dry_run;
  const auto done = registry::collect_cache(cache_root(globals), options);
  Json removed = Json::array();
  std::string text;
  for (const auto& item : done.removed) {
    removed.push_back(item_json(item));
    text += concat(dry_run ? "would remove " : "removed ", item.stage, " ", item.key.substr(0, 12), ", ",
                   with_commas(item.bytes), " bytes, used ", age(item.last_used), "\n");
  }
  for (const auto& item : done.kept_in_use)
    text += concat("kept, in use: ", item.stage, " ", item.key.substr(0, 12), "\n");
  text += concat(with_commas(done.bytes_before), " bytes before, ", with_commas(done.bytes_after),
                 dry_run ? " would be left\n" : " left\n");
  print_result(globals,
               canonical(Json{{"removed", removed},
                              {"kept_in_use", done.kept_in_use.size()},
                              {"bytes_before", done.bytes_before},
                              {"bytes_after", done.bytes_after},
                              {"dry_run", dry_run}}),
               text);
  return 0;
}

}  // namespace

void add_cache_commands(Command& root) {
  struct Arguments {
    std::string run, stage, against, size, older;
    bool dry_run = false;
  };
  auto arguments = std::make_shared<Arguments>();
  auto stage = root.add("stage", "Stages of runs: explain");
  auto why = stage.add("explain", "Why a stage was computed or came from the cache",
                       "Examples:\n  caddie stage explain 20261124T0953 train\n"
                       "  caddie stage explain 20261124T0953 quantize --against 20261124T0941\n");
  why.argument("run", arguments->run, "A run");
  why.argument("stage", arguments->stage, "data, train, quantize, compress, evaluate or ttt");
  why.option("--against", arguments->against, "Compare with this run; default: with the nearest of all");
  why.run([arguments](const Globals& globals) {
    return explain(globals, arguments->run, arguments->stage, arguments->against);
  });

  auto cache = root.add("cache", "The stage cache: list, gc");
  cache.add("list", "What it holds, least recently used first", "Example:\n  caddie cache list\n")
      .run([](const Globals& globals) { return list(globals); });
  auto gc = cache.add(
      "gc", "Make room, least recently used first; never what a run uses at that moment",
      "Examples:\n  caddie cache gc --max-size 10G --dry-run\n  caddie cache gc --older-than 30d\n"
      "  caddie cache gc --max-size 50GiB --older-than 7d   # down to the size, but nothing used this week\n");
  gc.option("--max-size", arguments->size, "What may stay: 500M, 10G, 1.5TiB");
  gc.option("--older-than", arguments->older, "Only what was not used for so long: 12h, 30d");
  gc.flag("--dry-run", arguments->dry_run, "Only say what would go");
  gc.run([arguments](const Globals& globals) {
    return collect(globals, arguments->size, arguments->older, arguments->dry_run);
  });
}

}  // namespace caddie::cli
