// Conditions on runs: `val_bpb<1.2 and (optimizer=muon or not tags~draft)`.
//
//   condition  := and-terms with `or` between them; `not`, parentheses
//   comparison := KEY (= | != | < | <= | > | >= | ~ | !~) VALUE      ~: contains, without regard to case
//               | KEY                                                  has a value that is not "false"
//
// A value is a number, a word, or a text in quotes; after < <= > >= it may be another key (ttt_bpb<sliding_bpb). A key
// of several entries (optimizer) holds if one of them does. Without a value every comparison is false; != and !~ are
// the opposites of = and ~.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "caddie/export.h"
#include "registry/query/value.h"

namespace caddie::registry {

// The value that a run has for keys()[i] of the expression, or null.
using Lookup = std::function<const Value*(std::size_t i)>;

class CADDIE_API Expression {
 public:
  // `keys`: what can be asked for. An empty text holds for every run. Throws Error(usage) with the place marked by a
  // caret and a suggestion.
  Expression(const std::string& text, const std::vector<std::string>& keys);
  ~Expression();
  Expression(Expression&&) noexcept;

  bool holds(const Lookup& value) const;
  // Whole keys that it reads, each once, in the order of the text.
  const std::vector<std::string>& keys() const { return keys_; }

  struct Node;

 private:
  std::unique_ptr<Node> root_;
  std::vector<std::string> keys_;
};

}  // namespace caddie::registry
