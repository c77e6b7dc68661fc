// Layers of a manifest: `extends` chains and overrides, merged into one located tree. Internal to config.
#pragma once

#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/config/document.h"

namespace caddie::config {

// One assignment to a path, from the command line or from a sweep.
struct Override {
  std::string path;       // "quantize.tensors[match=matrix].bits"
  Location path_where;    // its first character
  Node value;
};

// A file and everything that it extends, merged.
struct Chain {
  Node tree;                                   // an empty map after a problem
  std::string text;                            // of the file itself
  std::vector<std::filesystem::path> sources;  // the file first
  std::vector<std::string> names;              // of the sources as the person would write them
  bool extends = false;
  bool readable = true;                        // false: one of the files could not be read or parsed
};

// Merges `top` into `base`: maps merge, everything else replaces.
void merge(Node& base, Node&& top);
void set_layer(Node& node, int layer);

// `mentioned` is where the file is named, if it is not the one that the person gave.
Chain load_chain(const std::filesystem::path& file, Problems& problems, const Location& mentioned = {});

// Splits "key.path=value" at the first '=' outside brackets and parses the value. Nothing after a problem.
std::optional<Override> parse_override(const std::string& text, Problems& problems);

void apply(Node& tree, const Override& change, int layer, Problems& problems);

// What stands at an override's path in a resolved manifest; several values where a selector chooses several entries, none
// where the path leads nowhere.
std::vector<Json> values_at(const Json& resolved, const Override& where, Problems& problems);

// Reads a file as a located tree. `name` is how the person would write it. Nothing after a problem.
struct Document {
  Node tree;
  std::string text;
};
std::optional<Document> read_document(const std::filesystem::path& file, const std::string& name, Problems& problems,
                                      const Location& mentioned = {});

}  // namespace caddie::config
