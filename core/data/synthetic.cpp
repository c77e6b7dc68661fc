#include "core/data/synthetic.h"

#include <algorithm>

#include "caddie/services.h"

namespace caddie::data {
namespace {

constexpr const char* kOnsets[] = {"b", "br", "c",  "ch", "cl",  "d", "dr", "f",  "fl", "g",  "gr",
                                   "h", "j",  "k",  "l",  "m",   "n", "p",  "pl", "pr", "qu", "r",
                                   "s", "sh", "sl", "st", "str", "t", "th", "tr", "v",  "w",  "wh"};
constexpr const char* kVowels[] = {"a", "e", "i", "o", "u", "ai", "ea", "ee", "oa", "ou", "ie", "oo"};
constexpr const char* kCodas[] = {"",   "",   "b",  "ck", "d", "g",  "l", "ll", "m", "n",
                                  "nd", "ng", "nt", "p",  "r", "rd", "s", "st", "t", "w"};
constexpr const char* kPrepositions[] = {"in",   "on",     "under",  "over",    "near",    "with",
                                         "from", "beside", "behind", "through", "towards", "without"};
constexpr const char* kConnectives[] = {"and", "but",      "because", "while",  "until",
                                        "so",  "although", "when",    "before", "after"};
constexpr const char* kAdverbs[] = {"often",   "never", "soon",  "always", "slowly",
                                    "quietly", "once",  "again", "there",  "still"};
constexpr const char* kOpeners[] = {"Then",       "Later",          "In the morning", "At night",
                                    "After that", "For many years", "One day",        "By then"};

class Prose {
 public:
  explicit Prose(std::uint64_t seed) : random_(seed, "synthetic text") {
    nouns_ = words(900, 1, 3);
    verbs_ = words(350, 1, 2);
    adjectives_ = words(300, 1, 3);
    names_ = words(160, 2, 3);
    for (std::string& name : names_) name[0] = static_cast<char>(name[0] - 'a' + 'A');
  }

  // A document has a few people, places and things of its own that come back: long-range structure to be learned.
  std::string document() {
    topic_nouns_ = choose(nouns_, 14);
    topic_verbs_ = choose(verbs_, 9);
    topic_names_ = choose(names_, 4);
    std::string text;
    const std::uint64_t paragraphs = 3 + random_.below(6);
    for (std::uint64_t p = 0; p < paragraphs; ++p) {
      if (p > 0) text += '\n';
      const std::uint64_t sentences = 3 + random_.below(6);
      for (std::uint64_t s = 0; s < sentences; ++s) {
        if (s > 0) text += ' ';
        text += sentence();
      }
    }
    return text;
  }

 private:
  template <class List>
  const auto& pick(const List& list) {
    return list[random_.below(std::size(list))];
  }
  // Frequent words are much more frequent than rare ones, as in language.
  const std::string& frequent(const std::vector<std::string>& list) {
    // Plain multiplications: a power function may differ in its last digit from machine to machine.
    const double u = random_.uniform();
    return list[std::min(static_cast<std::size_t>(u * u * u * static_cast<double>(list.size())), list.size() - 1)];
  }
  bool chance(double p) { return random_.uniform() < p; }

  std::vector<std::string> words(std::size_t count, std::uint64_t least, std::uint64_t most) {
    std::vector<std::string> list;
    while (list.size() < count) {
      std::string word;
      const std::uint64_t syllables = least + random_.below(most - least + 1);
      for (std::uint64_t i = 0; i < syllables; ++i) word += syllable();
      if (word.size() >= 3 && std::find(list.begin(), list.end(), word) == list.end()) list.push_back(std::move(word));
    }
    return list;
  }
  std::string syllable() {
    std::string part = pick(kOnsets);
    part += pick(kVowels);
    part += pick(kCodas);
    return part;
  }
  std::vector<std::string> choose(const std::vector<std::string>& list, std::size_t count) {
    std::vector<std::string> out;
    for (std::size_t i = 0; i < count; ++i) out.push_back(frequent(list));
    return out;
  }

  const std::string& noun() { return chance(0.75) ? frequent(topic_nouns_) : frequent(nouns_); }
  const std::string& verb() { return chance(0.7) ? frequent(topic_verbs_) : frequent(verbs_); }
  static std::string past(const std::string& verb) { return verb + (verb.back() == 'e' ? "d" : "ed"); }

  // Below, parts are appended one by one: the order in which `a() + b()` draws its numbers is the compiler's choice.
  std::string noun_phrase() {
    if (chance(0.3)) return frequent(topic_names_);
    const bool plural = chance(0.25);
    std::string phrase = plural ? (chance(0.5) ? "the " : "many ") : (chance(0.7) ? "the " : "a ");
    if (chance(0.35)) phrase += frequent(adjectives_) + ' ';
    phrase += noun();
    if (plural) phrase += 's';
    if (chance(0.12)) phrase += " of " + noun_phrase();
    return phrase;
  }
  std::string clause() {
    std::string text = noun_phrase();
    if (chance(0.2)) text.append(" ").append(pick(kAdverbs));
    text.append(" ").append(past(verb()));
    if (chance(0.75)) text.append(" ").append(noun_phrase());
    if (chance(0.4)) {
      text.append(" ").append(pick(kPrepositions));
      text.append(" ").append(noun_phrase());
    }
    return text;
  }
  std::string sentence() {
    std::string text;
    if (chance(0.2)) text.append(pick(kOpeners)).append(", ");
    if (chance(0.08)) {
      text.append(frequent(topic_names_)).append(" said, \"");
      text.append(capital(clause())).append(".\"");
      return capital(text);
    }
    text += clause();
    if (chance(0.35)) {
      text.append(chance(0.5) ? ", " : " ");
      text.append(pick(kConnectives)).append(" ");
      text.append(clause());
    }
    if (chance(0.05)) text.append(" in ").append(std::to_string(1500 + random_.below(500)));
    text += chance(0.06) ? "?" : ".";
    return capital(text);
  }
  static std::string capital(std::string text) {
    if (text[0] >= 'a' && text[0] <= 'z') text[0] = static_cast<char>(text[0] - 'a' + 'A');
    return text;
  }

  Random random_;
  std::vector<std::string> nouns_, verbs_, adjectives_, names_, topic_nouns_, topic_verbs_, topic_names_;
};

}  // namespace

std::vector<std::string> synthetic_text(std::int64_t bytes, std::uint64_t seed) {
  Prose prose(seed);
  std::vector<std::string> documents;
  for (std::int64_t made = 0; made < bytes;) {
    documents.push_back(prose.document());
    made += static_cast<std::int64_t>(documents.back().size());
  }
  return documents;
}

}  // namespace caddie::data
