// SentencePiece's text normalization, from its precompiled rules: a double-array trie (darts-clone layout, 32-bit
// units) that maps byte sequences to offsets of NUL-ended replacements. Written anew so that the bytes of a normalized
// text are counted independently of the pieces that spell it.
#include <cstring>

#include "caddie/error.h"
#include "core/data/tokenizer_model.h"

namespace caddie::data {
namespace {

constexpr char kMark[] = "\xE2\x96\x81";         // U+2581, the library's visible space
constexpr char kReplacement[] = "\xEF\xBF\xBD";  // U+FFFD

// A unit of the trie: the label of its edge, the offset to its children, whether a value hangs below it.
bool has_value(std::uint32_t unit) { return ((unit >> 8) & 1) != 0; }
std::uint32_t label(std::uint32_t unit) { return unit & ((1u << 31) | 0xFF); }
std::uint32_t offset(std::uint32_t unit) { return (unit >> 10) << ((unit & (1u << 9)) >> 6); }
std::uint32_t value(std::uint32_t unit) { return unit & ((1u << 31) - 1); }

}  // namespace

std::size_t utf8_length(std::string_view text) {
  if (text.empty()) return 0;
  const auto at = [&](std::size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u; };
  const auto follows = [&](std::size_t i) { return (at(i) & 0xC0) == 0x80; };
  const unsigned first = at(0);
  if (first < 0x80) return 1;
  if (first >= 0xC2 && first < 0xE0) return follows(1) ? 2 : 0;
  if (first >= 0xE0 && first < 0xF0) {
    if (!follows(1) || !follows(2)) return 0;
    if (first == 0xE0 && at(1) < 0xA0) return 0;   // longer than needed
    if (first == 0xED && at(1) >= 0xA0) return 0;  // a surrogate
    return 3;
  }
  if (first >= 0xF0 && first < 0xF5) {
    if (!follows(1) || !follows(2) || !follows(3)) return 0;
    if (first == 0xF0 && at(1) < 0x90) return 0;
    if (first == 0xF4 && at(1) >= 0x90) return 0;  // above U+10FFFF
    return 4;
  }
  return 0;
}

Normalizer::Normalizer(const TokenizerModel& model)
    : prefix_(model.add_dummy_prefix), remove_extra_(model.remove_extra_whitespaces) {
  for (const Piece& piece : model.pieces)
    if (piece.type == PieceType::user_defined) user_defined_.push_back(piece.text);
  read_rules(model);
  find_plain();
}

void Normalizer::read_rules(const TokenizerModel& model) {
  if (model.charsmap.empty()) return;
  std::uint32_t trie_bytes = 0;
  const bool sized = model.charsmap.size() >= sizeof trie_bytes;
  if (sized) std::memcpy(&trie_bytes, model.charsmap.data(), sizeof trie_bytes);
  CADDIE_CHECK(sized && trie_bytes % 4 == 0 && trie_bytes <= model.charsmap.size() - sizeof trie_bytes, ErrorKind::data,
               "the tokenizer's normalization rules are broken (", model.charsmap.size(), " bytes, trie of ",
               trie_bytes, ")");
  trie_.resize(trie_bytes / 4);
  std::memcpy(trie_.data(), model.charsmap.data() + sizeof trie_bytes, trie_bytes);
  replacements_ = model.charsmap.substr(sizeof trie_bytes + trie_bytes);
}

void Normalizer::find_plain() {
  std::array<bool, 256> candidate{};
  for (int byte = 0x21; byte < 0x7F; ++byte) {
    std::string_view ignored;
    const char text = static_cast<char>(byte);
    candidate[static_cast<std::size_t>(byte)] = match({&text, 1}, ignored) == 0;
  }
  for (const std::string& symbol : user_defined_) candidate[static_cast<unsigned char>(symbol.front())] = false;
  // A rule that begins with two such bytes hangs below both: none of its first bytes is plain.
  plain_ = candidate;
  if (trie_.empty()) return;
  for (std::size_t first = 0; first < 256; ++first)
    for (std::size_t second = 0x21; candidate[first] && second < 0x7F; ++second) {
      const std::size_t node = offset(trie_[0]) ^ first;
      if (node >= trie_.size() || label(trie_[node]) != first) break;
      const std::size_t below = node ^ offset(trie_[node]) ^ second;
      if (below < trie_.size() && label(trie_[below]) == second) plain_[first] = false;
    }
}

std::size_t Normalizer::match(std::string_view text, std::string_view& replacement) const {
  if (trie_.empty()) return 0;
  std::size_t best = 0;
  std::uint32_t node = offset(trie_[0]);
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    node ^= byte;
    if (node >= trie_.size() || label(trie_[node]) != byte) break;
    const std::uint32_t unit = trie_[node];
    node ^= offset(unit);
    if (!has_value(unit)) continue;
    if (node >= trie_.size()) break;
    const std::uint32_t start = value(trie_[node]);
    if (start >= replacements_.size()) break;
    best = i + 1;
    replacement = std::string_view(replacements_).substr(start);
    replacement = replacement.substr(0, replacement.find('\0'));
  }
  return best;
}

std::size_t Normalizer::step(std::string_view text, std::string_view& part) const {
  std::size_t used = 0;
  for (const std::string& symbol : user_defined_)
    if (symbol.size() > used && text.starts_with(symbol)) used = symbol.size();
  if (used > 0) return part = text.substr(0, used), used;
  used = match(text, part);
  if (used > 0) return used;
  used = utf8_length(text);
  part = used == 0 ? std::string_view(kReplacement) : text.substr(0, used);
  return used == 0 ? 1 : used;
}

std::string Normalizer::normalize(std::string_view text, bool keep_first_space) const {
  std::string out;
  out.reserve(text.size() + 1);
  std::string_view part;
  if (remove_extra_)
    while (!text.empty()) {
      const std::size_t used = step(text, part);
      if (part != " ") break;
      text.remove_prefix(used);
    }
  if (text.empty()) return out;
  if (prefix_) out += ' ';
  bool after_space = remove_extra_;
  while (!text.empty()) {
    std::size_t run = 0;
    while (run + 1 < text.size() && plain_[static_cast<unsigned char>(text[run])] &&
           plain_[static_cast<unsigned char>(text[run + 1])])
      ++run;
    if (run > 0) {
      out += text.substr(0, run);
      text.remove_prefix(run);
      after_space = false;
    }
    const std::size_t used = step(text, part);
    while (after_space && part.starts_with(' ')) part.remove_prefix(1);
    if (!part.empty()) {
      out += part;
      after_space = remove_extra_ && part.ends_with(' ');
    }
    text.remove_prefix(used);
  }
  if (remove_extra_)
    while (true) {
      if (out.ends_with(' '))
        out.pop_back();
      else if (out.ends_with(kMark))
        out.resize(out.size() - 3);
      else
        break;
    }
  // A mark that stands in the text itself is spelled by the same pieces as a space.
  for (std::size_t at = out.find(kMark); at != std::string::npos; at = out.find(kMark, at + 1))
    out.replace(at, 3, 1, ' ');
  // The byte table counts no space after bos.
  if (!keep_first_space && out.starts_with(' ')) out.erase(0, 1);
  return out;
}

}  // namespace caddie::data
