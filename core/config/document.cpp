// The located tree, its limits, and yaml-cpp's events turned into it.
#include "core/config/document.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/mark.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <map>
#include <optional>
#include <sstream>

#include "core/config/text.h"

namespace caddie::config {

const Entry* Node::find(std::string_view key) const {
  for (const Entry& entry : entries)
    if (entry.key == key) return &entry;
  return nullptr;
}
Entry* Node::find(std::string_view key) { return const_cast<Entry*>(std::as_const(*this).find(key)); }

namespace {

constexpr std::size_t kMaxNodes = 100'000;
constexpr std::size_t kMaxDepth = 64;
constexpr std::size_t kMaxKeys = 1000;

struct Stop {};  // a problem was added after which nothing more can be read

std::size_t count_nodes(const Node& node) {
  std::size_t count = 1;
  for (const Node& item : node.items) count += count_nodes(item);
  for (const Entry& entry : node.entries) count += count_nodes(entry.value);
  return count;
}

class Builder final : public YAML::EventHandler {
 public:
  Builder(std::shared_ptr<const Source> source, std::size_t offset, Problems& problems)
      : source_(std::move(source)), offset_(offset), problems_(problems) {}

  void OnDocumentStart(const YAML::Mark& mark) override {
    if (documents_++ > 0) stop(locate(mark, 1), "a second document begins here; a file holds one");
  }
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    if (at_key()) return refuse_key(locate(mark, 1));
    Node node = make(Node::Kind::null, mark);
    // A value that is not there is marked where the next token stands; its key is the better place.
    if (!written_null(mark) && !frames_.empty() && frames_.back().key) node.where = frames_.back().key_where;
    place(std::move(node), anchor);
  }

  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    const Location where = locate(mark, token_length(source_->lines, line_of(mark), byte_column(mark), {}));
    if (at_key()) return refuse_key(where);
    auto found = anchors_.find(anchor);
    if (found == anchors_.end()) stop(where, "this alias stands inside its own anchor");
    Node node = found->second;
    node.where = where;
    count(count_nodes(node) - 1, where);
    place(std::move(node), YAML::NullAnchor);
  }

  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    const bool quoted = tag == "!";
    Location where = locate(mark, token_length(source_->lines, line_of(mark), byte_column(mark), value));
    if (tag != "?" && !quoted) refuse_tag(where, tag);
    if (at_key()) {
      Frame& frame = frames_.back();
      frame.key = value;
      frame.key_where = where;
      return;
    }
    Node node = make(Node::Kind::scalar, mark);
    node.text = value;
    node.quoted = quoted;
    node.where = where;
    place(std::move(node), anchor);
  }

  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    open(Node::Kind::list, mark, tag, anchor);
  }
  void OnSequenceEnd() override { close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    open(Node::Kind::map, mark, tag, anchor);
  }
  void OnMapEnd() override { close(); }

  std::optional<Node> root;

 private:
  struct Frame {
    Node node;
    YAML::anchor_t anchor;
    bool skipped = false;            // a map or list that stands as a key: read, then dropped
    std::optional<std::string> key;  // waiting for its value
    Location key_where;
  };

  bool at_key() const { return !frames_.empty() && frames_.back().node.is_map() && !frames_.back().key; }

  void open(Node::Kind kind, const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor) {
    const bool as_key = at_key();
    Node node = make(kind, mark);
    if (tag != "?" && tag != "!" && !tag.empty()) refuse_tag(node.where, tag);
    if (frames_.size() >= kMaxDepth) stop(node.where, concat("nested more than ", kMaxDepth, " levels deep"));
    frames_.push_back({std::move(node), anchor, as_key, {}, {}});
  }

  void close() {
    Frame frame = std::move(frames_.back());
    frames_.pop_back();
    if (frame.skipped) {
      // Said here, and not where it opens: an unclosed bracket looks like a key to yaml-cpp.
      problems_.add(frame.node.where, "a key must be a text, this one is a list or a map");
      frames_.back().key = std::string();  // its value is read and dropped, too
      frames_.back().key_where = {};
      return;
    }
    place(std::move(frame.node), frame.anchor);
  }

  // Puts a finished node where it belongs.
  void place(Node node, YAML::anchor_t anchor) {
    if (anchor != YAML::NullAnchor) anchors_[anchor] = node;
    if (frames_.empty()) {
      root = std::move(node);
      return;
    }
    Frame& frame = frames_.back();
    if (frame.node.is_list()) {
      frame.node.items.push_back(std::move(node));
      return;
    }
    const std::string key = std::move(*frame.key);
    frame.key.reset();
    if (!frame.key_where.source) return;
    if (key == "<<") {
      problems_.add(frame.key_where, "merge keys ('<<') are not supported", {},
                    "write the keys out, or use 'extends: FILE'");
    } else if (const Entry* first = frame.node.find(key)) {
      problems_.add(frame.key_where, concat("the key '", key, "' is given twice"), {},
                    concat("first on line ", first->where.line, ", column ", first->where.column));
    } else if (frame.node.entries.size() >= kMaxKeys) {
      stop(frame.key_where, concat("more than ", kMaxKeys, " keys in one map"));
    } else {
      frame.node.entries.push_back({key, frame.key_where, std::move(node)});
    }
  }

  void refuse_key(const Location& where) {
    problems_.add(where, "a key must be a text, this one is null or an alias");
    frames_.back().key = std::string();
    frames_.back().key_where = {};
  }
  void refuse_tag(const Location& where, const std::string& tag) {
    const std::string known = "tag:yaml.org,2002:";
    const std::string shown = tag.starts_with(known) ? "!!" + tag.substr(known.size()) : tag;
    problems_.add(where, concat("tags are not supported, found '", shown, "'"), {}, "quote a value that is a text");
  }

  Node make(Node::Kind kind, const YAML::Mark& mark) {
    Node node;
    node.kind = kind;
    node.where = locate(mark, 1);
    count(1, node.where);
    return node;
  }
  void count(std::size_t more, const Location& where) {
    nodes_ += more;
    if (nodes_ > kMaxNodes) stop(where, concat("more than ", kMaxNodes, " values, aliases counted"));
  }
  [[noreturn]] void stop(const Location& where, std::string message) {
    problems_.add(where, std::move(message));
    throw Stop{};
  }

  bool written_null(const YAML::Mark& mark) const {
    const auto line = static_cast<std::size_t>(line_of(mark));
    if (line > source_->lines.size() || byte_column(mark) >= source_->lines[line - 1].size()) return false;
    const std::string_view rest = std::string_view(source_->lines[line - 1]).substr(byte_column(mark));
    return rest[0] == '~' || rest.starts_with("null") || rest.starts_with("Null") || rest.starts_with("NULL");
  }
  static int line_of(const YAML::Mark& mark) { return std::max(mark.line, 0) + 1; }
  std::size_t byte_column(const YAML::Mark& mark) const {
    return static_cast<std::size_t>(std::max(mark.column, 0)) + (mark.line <= 0 ? offset_ : 0);
  }
  // Counts on from the last position: a long line would be counted over and over otherwise.
  Location locate(const YAML::Mark& mark, int length) const {
    const int line = line_of(mark);
    const std::size_t byte = byte_column(mark);
    const auto index = static_cast<std::size_t>(line) - 1;
    const std::size_t size = index < source_->lines.size() ? source_->lines[index].size() : 0;
    if (line == last_.line && byte >= last_byte_ && byte <= size)
      last_.column += characters(std::string_view(source_->lines[index]).substr(last_byte_, byte - last_byte_));
    else
      last_ = locate_bytes(source_, line, byte, length);
    last_.length = length;
    last_byte_ = byte;
    return last_;
  }

 public:
  Location locate(const YAML::Mark& mark) const { return locate(mark, 1); }

 private:
  std::shared_ptr<const Source> source_;
  std::size_t offset_;
  Problems& problems_;
  std::vector<Frame> frames_;
  std::map<YAML::anchor_t, Node> anchors_;
  std::size_t nodes_ = 0;
  int documents_ = 0;
  mutable Location last_;
  mutable std::size_t last_byte_ = 0;
};

// yaml-cpp's words are terse; those that people meet get an explanation.
std::string explain(const std::string& message) {
  if (message.find("anchor is not defined") != std::string::npos)
    return "'*' begins an alias, and there is no such anchor";
  if (message == "illegal map value" || message == "map values are not allowed here")
    return "a ':' is not allowed here: check the indentation, or quote the value";
  if (message.find("end of map not found") != std::string::npos)
    return "the map does not end here: check the indentation of this line";
  if (message.find("end of sequence not found") != std::string::npos)
    return "the list does not end here: check the indentation of this line";
  if (message.find("EOF in scalar") != std::string::npos) return "a quote is not closed";
  if (message.find("end of map flow") != std::string::npos) return "a '}' or ',' is missing";
  if (message.find("end of sequence flow") != std::string::npos) return "a ']' or ',' is missing";
  return "this is not YAML: " + message;
}

std::string note_for(const std::string& message) {
  return message.find("anchor is not defined") != std::string::npos ? "quote a pattern that begins with '*'" : "";
}

Node empty_map(const std::shared_ptr<const Source>& source) {
  Node node;
  node.kind = Node::Kind::map;
  node.where = {source, 0, 0, 1};
  return node;
}

std::optional<Node> run_parser(std::string_view text, const std::shared_ptr<const Source>& source, std::size_t offset,
                               Problems& problems) {
  Builder builder(source, offset, problems);
  try {
    std::istringstream stream{std::string(text)};
    YAML::Parser parser(stream);
    while (parser.HandleNextDocument(builder)) {
    }
  } catch (const Stop&) {
    return {};
  } catch (const YAML::Exception& error) {
    const bool known = error.mark.line >= 0;
    problems.add(known ? builder.locate(error.mark) : Location{source, 0, 0, 1}, explain(error.msg), {},
                 note_for(error.msg));
    return {};
  } catch (const std::exception& error) {
    problems.add(Location{source, 0, 0, 1}, concat("this is not YAML: ", error.what()));
    return {};
  }
  return builder.root ? std::move(builder.root) : empty_map(source);
}

}  // namespace

Node parse_yaml(std::string_view text, std::shared_ptr<Source> source, Problems& problems) {
  if (text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);  // a byte order mark
  source->lines = split_lines(text);
  if (!check_text(text, source, problems)) return empty_map(source);
  std::optional<Node> root = run_parser(text, source, 0, problems);
  if (!root || root->is_null()) return empty_map(source);
  if (!root->is_map()) {
    problems.add(root->where, "a manifest is a map of keys and values, this is a list or a single value");
    return empty_map(source);
  }
  return std::move(*root);
}

Node parse_value(std::string_view value, const std::shared_ptr<Source>& source, std::size_t offset,
                 Problems& problems) {
  Node none;
  none.where = locate_bytes(source, 1, offset, 1);
  if (!check_text(value, source, problems)) return none;
  std::optional<Node> root = run_parser(value, source, offset, problems);
  // Nothing after the '=' is null, as in a file.
  return root && root->where.line > 0 ? std::move(*root) : none;
}

}  // namespace caddie::config
