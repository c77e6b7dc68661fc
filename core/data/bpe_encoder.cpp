#include "core/data/bpe_encoder.h"

#include <algorithm>
#include <queue>

namespace caddie::data {
namespace {

constexpr std::string_view kMark = "\xE2\x96\x81";  // U+2581
// Words that are worth remembering, and how many; the memory starts anew when it is full.
constexpr std::size_t kLongestKnown = 64, kMostKnown = std::size_t{1} << 17;

struct Symbol {
  int previous, next;
  std::string_view text;
};
struct Pair {
  int left, right;
  float score;
  std::size_t size;
  // The best score first, of equal ones the leftmost.
  bool operator<(const Pair& other) const { return score != other.score ? score < other.score : left > other.left; }
};

}  // namespace

BpeTables::BpeTables(const TokenizerModel& model) : normalizer_(model) {
  for (const Piece& piece : model.pieces) {
    texts_.push_back(piece.text);
    scores_.push_back(piece.score);
  }
  for (std::size_t i = 0; i < texts_.size(); ++i)
    if (model.pieces[i].type == PieceType::normal) ids_.emplace(texts_[i], static_cast<std::int32_t>(i));
  unknown_ = static_cast<std::int32_t>(model.unknown_id());
  if (!model.byte_fallback) return;
  byte_ids_.assign(256, unknown_);
  constexpr char kDigits[] = "0123456789ABCDEF";
  for (std::size_t byte = 0; byte < 256; ++byte) {
    const std::string name = {'<', '0', 'x', kDigits[byte / 16], kDigits[byte % 16], '>'};
    const auto found = std::find(texts_.begin(), texts_.end(), name);
    if (found != texts_.end()) byte_ids_[byte] = static_cast<std::int32_t>(found - texts_.begin());
  }
}

std::shared_ptr<const BpeTables> BpeTables::of(const TokenizerModel& model) {
  if (model.kind != TokenizerKind::bpe || !model.escape_whitespaces) return nullptr;
  bool mark = false;
  for (const Piece& piece : model.pieces) {
    if (piece.type == PieceType::user_defined || piece.type == PieceType::unused) return nullptr;
    if (piece.type != PieceType::normal) continue;
    mark = mark || piece.text == kMark;
    if (piece.text.find(kMark, 1) != std::string::npos) return nullptr;  // a piece of several words
  }
  if (!mark) return nullptr;
  return std::shared_ptr<const BpeTables>(new BpeTables(model));
}

void BpeEncoder::encode(std::string_view text, std::vector<std::int32_t>& ids) {
  encode_normalized(tables_->normalizer_.normalize(text, true), ids);
}

void BpeEncoder::encode_normalized(std::string_view text, std::vector<std::int32_t>& ids) {
  while (!text.empty()) {
    const std::string_view word = text.substr(0, std::min(text.find(' ', 1), text.size()));
    text.remove_prefix(word.size());
    if (word.size() > kLongestKnown) {
      encode_word(word, ids);
      continue;
    }
    if (const auto found = known_.find(word); found != known_.end()) {
      const auto start = known_ids_.begin() + found->second.start;
      ids.insert(ids.end(), start, start + found->second.count);
      continue;
    }
    const std::size_t before = ids.size();
    encode_word(word, ids);
    if (known_.size() >= kMostKnown) {
      known_.clear();
      known_ids_.clear();
    }
    known_.emplace(
        word, Range{static_cast<std::uint32_t>(known_ids_.size()), static_cast<std::uint32_t>(ids.size() - before)});
    known_ids_.insert(known_ids_.end(), ids.begin() + static_cast<std::ptrdiff_t>(before), ids.end());
  }
}

void BpeEncoder::encode_word(std::string_view word, std::vector<std::int32_t>& ids) {
  marked_.clear();
  if (word.front() == ' ') {
    marked_ = kMark;
    word.remove_prefix(1);
  }
  marked_ += word;
  std::vector<Symbol> symbols;
  for (std::string_view rest = marked_; !rest.empty();) {
    const std::size_t length = std::max<std::size_t>(utf8_length(rest), 1);
    const int index = static_cast<int>(symbols.size());
    symbols.push_back({index - 1, rest.size() == length ? -1 : index + 1, rest.substr(0, length)});
    rest.remove_prefix(length);
  }
  std::priority_queue<Pair> agenda;
  const auto consider = [&](int left, int right) {
    if (left < 0 || right < 0) return;
    // Neighbours lie next to each other in marked_.
    const Symbol &a = symbols[static_cast<std::size_t>(left)], &b = symbols[static_cast<std::size_t>(right)];
    const std::string_view both(a.text.data(), a.text.size() + b.text.size());
    const auto found = tables_->ids_.find(both);
    if (found != tables_->ids_.end())
      agenda.push({left, right, tables_->scores_[static_cast<std::size_t>(found->second)], both.size()});
  };
  for (int i = 1; i < static_cast<int>(symbols.size()); ++i) consider(i - 1, i);
  while (!agenda.empty()) {
    const Pair top = agenda.top();
    agenda.pop();
    Symbol &left = symbols[static_cast<std::size_t>(top.left)], &right = symbols[static_cast<std::size_t>(top.right)];
    // One of the two was merged with another since.
    if (left.text.empty() || right.text.empty() || left.text.size() + right.text.size() != top.size) continue;
    left.text = std::string_view(left.text.data(), top.size);
    left.next = right.next;
    if (right.next >= 0) symbols[static_cast<std::size_t>(right.next)].previous = top.left;
    right.text = {};
    consider(left.previous, top.left);
    consider(top.left, left.next);
  }
  bool after_unknown = false;
  for (int i = symbols.empty() ? -1 : 0; i >= 0; i = symbols[static_cast<std::size_t>(i)].next) {
    const std::string_view text = symbols[static_cast<std::size_t>(i)].text;
    const auto found = tables_->ids_.find(text);
    if (found != tables_->ids_.end()) {
      ids.push_back(found->second);
    } else if (!tables_->byte_ids_.empty()) {
      for (const char c : text) ids.push_back(tables_->byte_ids_[static_cast<unsigned char>(c)]);
    } else if (!after_unknown) {
      ids.push_back(tables_->unknown_);  // a run of unknown characters is one piece
    }
    after_unknown = found == tables_->ids_.end();
  }
}

}  // namespace caddie::data
