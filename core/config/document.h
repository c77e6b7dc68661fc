// The located tree: YAML as plain values that know where they were written. yaml-cpp's parser is used for its events
// only; its nodes (shared, mutable, without marks after a copy, silent about duplicate keys) are not.
// Internal to config.
// What is read: one YAML 1.2 document a file, UTF-8, at most 1 MiB, 64 levels, 1,000 keys a map and 100,000 values.
// Duplicate keys, merge keys (<<), tags (!!str), keys that are not text, tabs in the indentation and control characters
// are refused. An alias is a copy of its anchor, by value; an alias inside its own anchor is refused.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/config/manifest.h"

namespace caddie::config {

// A text that values come from: a file, or one override of the command line.
struct Source {
  std::string name;               // as the person would write it; "command line"
  std::filesystem::path folder;   // what relative paths in it are relative to; absolute
  std::vector<std::string> lines;
  bool command_line = false;
};

struct Location {
  std::shared_ptr<const Source> source;
  int line = 0, column = 0;  // from 1, columns in characters; line 0: the source as a whole
  int length = 1;            // characters to mark
};

struct Entry;

struct Node {
  enum class Kind { null, scalar, list, map };
  Kind kind = Kind::null;
  std::string text;     // of a scalar
  bool quoted = false;  // a quoted scalar is a text, whatever it looks like
  Location where;
  int layer = 0;  // who wrote it: 0 the root of an extends chain, then what extends it, then override by override
  std::vector<Node> items;
  std::vector<Entry> entries;  // in the order of the file

  const Entry* find(std::string_view key) const;
  Entry* find(std::string_view key);
  bool is_map() const { return kind == Kind::map; }
  bool is_list() const { return kind == Kind::list; }
  bool is_scalar() const { return kind == Kind::scalar; }
  bool is_null() const { return kind == Kind::null; }
};

struct Entry {
  std::string key;
  Location where;  // of the key
  Node value;
};

// Collects what is wrong, so that one pass tells all.
class Problems {
 public:
  void add(const Location& where, std::string message, std::string suggestion = {}, std::string note = {});
  void add(Problem problem);  // beyond the first 1,000 they are dropped
  bool empty() const { return problems_.empty(); }
  std::size_t size() const { return problems_.size(); }
  // By file (in order of first mention in `order`), line and column; the same problem once.
  std::vector<Problem> sorted(const std::vector<std::string>& order) const;

 private:
  std::vector<Problem> problems_;
};

// A text without any value yields an empty map. A text that cannot be parsed yields an empty map and a problem.
Node parse_yaml(std::string_view text, std::shared_ptr<Source> source, Problems& problems);

// The value of an override: `value` stands in the source's first line from byte `offset` on.
Node parse_value(std::string_view value, const std::shared_ptr<Source>& source, std::size_t offset, Problems& problems);

// Splits a text into lines, for snippets.
std::vector<std::string> split_lines(std::string_view text);
// Characters (code points) in UTF-8 text.
int characters(std::string_view text);
// YAML flow text that reads back as the same node.
std::string flow_text(const Node& node);

}  // namespace caddie::config
