// Shards, a text and a dataset name the same thing in three ways. A layer that names data (an override, a manifest that
// extends another) takes the place of another way in the layers below, as a change of `use` drops inherited options.
#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "caddie/error.h"
#include "core/config/resolve.h"

namespace caddie::config {
namespace {

struct Way {
  std::vector<std::string_view> keys, options;  // options mean nothing without the keys
};
const Way kWays[] = {{{"train", "validation", "tokenizer"}, {}}, {{"text"}, {}}, {{"dataset"}, {"variant", "shards"}}};

bool holds(const std::vector<std::string_view>& keys, const std::string& key) {
  return std::find(keys.begin(), keys.end(), key) != keys.end();
}

// The newest layer that says something of a way; -1: nothing does.
int newest(const Node& data, const Way& way) {
  int layer = -1;
  for (const std::string_view key : way.keys)
    if (const Entry* entry = data.find(key); entry && !entry->value.is_null()) layer = std::max(layer, entry->value.layer);
  return layer;
}

}  // namespace

void choose_data(Node& tree, std::vector<std::string>& notes) {
  Entry* data = tree.find("data");
  if (!data || !data->value.is_map()) return;
  int winner = -1;
  for (const Way& way : kWays) winner = std::max(winner, newest(data->value, way));
  for (const Way& way : kWays) {
    const int layer = newest(data->value, way);
    if (layer < 0 || layer == winner) continue;
    std::erase_if(data->value.entries, [&](const Entry& entry) {
      if (!holds(way.keys, entry.key) && !holds(way.options, entry.key)) return false;
      if (!entry.value.is_null())
        notes.push_back(concat("data: '", entry.key, "' (", origin_of(entry.where), ") is dropped, other data is named"));
      return true;
    });
  }
}

}  // namespace caddie::config
