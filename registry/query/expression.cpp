#include "registry/query/expression.h"

#include <algorithm>
#include <charconv>
#include <cctype>

#include "caddie/error.h"
#include "registry/query/keys.h"

namespace caddie::registry {

struct Expression::Node {
  enum class Kind { all, any, negation, comparison, presence };
  Kind kind;
  std::vector<Node> parts;        // of all, any, negation
  std::vector<std::string> keys;  // left side
  std::string sign;               // = != < <= > >= ~ !~
  Value value;
  std::vector<std::string> other;              // right side, where it is a key
  std::vector<std::size_t> left_at, right_at;  // of the keys in Expression::keys()
};

namespace {

using Node = Expression::Node;

struct Token {
  enum class Kind { word, text, sign, end };
  Kind kind = Kind::end;
  std::string text;
  std::size_t at = 0, length = 1;
};

[[noreturn]] void fail(const std::string& text, std::size_t at, std::size_t length, const std::string& message,
                       const std::string& hint) {
  throw Error(ErrorKind::usage,
              concat(message, "\n    ", text, "\n    ", std::string(at, ' '),
                     std::string(std::max<std::size_t>(1, length), '^')),
              hint);
}

std::vector<Token> tokens_of(const std::string& text) {
  std::vector<Token> tokens;
  std::size_t i = 0;
  const auto is_sign = [](char c) { return std::string_view("=<>!~()").find(c) != std::string_view::npos; };
  while (i < text.size()) {
    const char c = text[i];
    const std::size_t start = i;
    if (std::isspace(static_cast<unsigned char>(c))) {
      ++i;
    } else if (c == '\'' || c == '"') {
      const std::size_t close = text.find(c, i + 1);
      if (close == std::string::npos) fail(text, i, text.size() - i, "the quote is not closed", "");
      tokens.push_back({Token::Kind::text, text.substr(i + 1, close - i - 1), start, close + 1 - start});
      i = close + 1;
    } else if (is_sign(c)) {
      ++i;
      if (i < text.size() && c != '(' && c != ')' && (text[i] == '=' || (c == '!' && text[i] == '~'))) ++i;
      tokens.push_back({Token::Kind::sign, text.substr(start, i - start), start, i - start});
    } else {
      int depth = 0;  // signs inside a selector belong to the word
      while (i < text.size() &&
             (depth > 0 || (!is_sign(text[i]) && !std::isspace(static_cast<unsigned char>(text[i]))))) {
        if (text[i] == '[') ++depth;
        if (text[i] == ']') --depth;
        ++i;
      }
      tokens.push_back({Token::Kind::word, text.substr(start, i - start), start, i - start});
    }
  }
  tokens.push_back({Token::Kind::end, "", text.size(), 1});
  return tokens;
}

std::optional<double> number_of(const std::string& text) {
  std::string plain;
  for (const char c : text)
    if (c != '_') plain += c;  // 16_000_000
  double value = 0;
  const auto result = std::from_chars(plain.data(), plain.data() + plain.size(), value);
  if (plain.empty() || result.ec != std::errc{} || result.ptr != plain.data() + plain.size()) return std::nullopt;
  return value;
}

class Parser {
 public:
  Parser(const std::string& text, const std::vector<std::string>& keys)
      : text_(text), known_(keys), tokens_(tokens_of(text)) {}

  Node parse() {
    Node node = any();
    if (peek().kind != Token::Kind::end)
      fail(peek(), concat("'", peek().text, "' is not expected here"), "between conditions stands `and` or `or`");
    return node;
  }

 private:
  const Token& peek() const { return tokens_[next_]; }
  bool accept(const char* word) {
    const bool found = peek().kind != Token::Kind::text && peek().text == word && peek().kind != Token::Kind::end;
    if (found) ++next_;
    return found;
  }
  [[noreturn]] void fail(const Token& token, const std::string& message, const std::string& hint) const {
    registry::fail(text_, token.at, token.length, message, hint);
  }

  Node list(Node::Kind kind, const char* word, Node (Parser::*part)()) {
    Node node;
    node.kind = kind;
    node.parts.push_back((this->*part)());
    while (accept(word)) node.parts.push_back((this->*part)());
    return node.parts.size() == 1 ? std::move(node.parts.front()) : node;
  }
  Node any() { return list(Node::Kind::any, "or", &Parser::all); }
  Node all() { return list(Node::Kind::all, "and", &Parser::negation); }

  Node negation() {
    if (++depth_ > 200) fail(peek(), "the condition is nested too deeply", "");
    Node node;
    node.kind = Node::Kind::negation;
    if (accept("not")) {
      node.parts.push_back(negation());
    } else if (accept("(")) {
      node = any();
      if (!accept(")")) fail(peek(), "a ')' is missing", "");
    } else {
      node = comparison();
    }
    --depth_;
    return node;
  }

  std::vector<std::string> key(const Token& token) const {
    const FoundKeys found = find_keys(token.text, known_);
    if (!found.keys.empty()) return found.keys;
    fail(token, found.problem,
         found.suggestion.empty() ? found.hint : concat("did you mean '", found.suggestion, "'?"));
  }

  Node comparison() {
    const Token left = peek();
    if (left.kind != Token::Kind::word || left.text == "and" || left.text == "or")
      fail(left,
           left.kind == Token::Kind::end ? "the condition ends where a key is expected" : "a key is expected here",
           "write KEY=VALUE, for example val_bpb<1.2");
    ++next_;
    Node node;
    node.kind = Node::Kind::comparison;
    node.keys = key(left);
    const Token sign = peek();
    if (sign.kind != Token::Kind::sign || sign.text == "(" || sign.text == ")") {
      node.kind = Node::Kind::presence;
      return node;
    }
    if (sign.text == "!") fail(sign, "'!' is no comparison", "accepted: = != < <= > >= ~ !~");
    ++next_;
    node.sign = sign.text == "==" ? "=" : sign.text == "~=" ? "~" : sign.text;
    const Token right = peek();
    if (right.kind != Token::Kind::word && right.kind != Token::Kind::text)
      fail(right, concat("a value is expected after ", sign.text), "quote texts that have signs or spaces in them");
    ++next_;
    const auto number = right.kind == Token::Kind::word ? number_of(right.text) : std::nullopt;
    const bool ordering = node.sign.front() == '<' || node.sign.front() == '>';
    const bool date = !right.text.empty() && std::isdigit(static_cast<unsigned char>(right.text.front()));
    if (number)
      node.value = Value::of(*number);
    else if (ordering && right.kind == Token::Kind::word && !date)
      node.other = key(right);
    else
      node.value = Value::of(right.text);
    return node;
  }

  const std::string& text_;
  const std::vector<std::string>& known_;
  std::vector<Token> tokens_;
  std::size_t next_ = 0;
  int depth_ = 0;
};

std::string text_of(const Value& value) {
  if (!value.is_number) return value.text;
  return canonical(to_json(value));
}

bool contains(const Value& value, const std::string& part) {
  const auto lower = [](std::string text) {
    std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return std::tolower(c); });
    return text;
  };
  return lower(text_of(value)).find(lower(part)) != std::string::npos;
}

bool compares(const Value& left, const std::string& sign, const Value& right) {
  if (sign == "~") return contains(left, text_of(right));
  if (left.is_number != right.is_number) return sign == "=" && text_of(left) == text_of(right);
  const auto ordered = [&](const auto& a, const auto& b) {
    if (sign == "=") return a == b;
    if (sign == "<") return a < b;
    if (sign == "<=") return a <= b;
    if (sign == ">") return a > b;
    return a >= b;
  };
  return left.is_number ? ordered(left.number, right.number) : ordered(left.text, right.text);
}

bool holds(const Node& node, const Lookup& value) {
  const auto part_holds = [&](const Node& part) { return holds(part, value); };
  switch (node.kind) {
    case Node::Kind::all: return std::all_of(node.parts.begin(), node.parts.end(), part_holds);
    case Node::Kind::any: return std::any_of(node.parts.begin(), node.parts.end(), part_holds);
    case Node::Kind::negation: return !part_holds(node.parts.front());
    case Node::Kind::presence:
      return std::any_of(node.left_at.begin(), node.left_at.end(), [&](std::size_t i) {
        const Value* found = value(i);
        return found && (found->is_number || found->text != "false");
      });
    case Node::Kind::comparison: break;
  }
  const bool opposite = node.sign.front() == '!';
  const std::string sign = opposite ? node.sign.substr(1) : node.sign;
  for (const std::size_t i : node.left_at) {
    const Value* left = value(i);
    if (!left) continue;
    if (node.right_at.empty() && compares(*left, sign, node.value)) return !opposite;
    for (const std::size_t j : node.right_at)
      if (const Value* right = value(j); right && compares(*left, sign, *right)) return !opposite;
  }
  return opposite;
}

void collect(Node& node, std::vector<std::string>& keys) {
  const auto places = [&](const std::vector<std::string>& names) {
    std::vector<std::size_t> at;
    for (const std::string& key : names) {
      const auto found = std::find(keys.begin(), keys.end(), key);
      at.push_back(static_cast<std::size_t>(found - keys.begin()));
      if (found == keys.end()) keys.push_back(key);
    }
    return at;
  };
  node.left_at = places(node.keys);
  node.right_at = places(node.other);
  for (Node& part : node.parts) collect(part, keys);
}

}  // namespace

Expression::Expression(const std::string& text, const std::vector<std::string>& keys) {
  if (text.find_first_not_of(" \t\n") == std::string::npos) return;
  root_ = std::make_unique<Node>(Parser(text, keys).parse());
  collect(*root_, keys_);
}
Expression::~Expression() = default;
Expression::Expression(Expression&&) noexcept = default;

bool Expression::holds(const Lookup& value) const { return !root_ || registry::holds(*root_, value); }

}  // namespace caddie::registry
