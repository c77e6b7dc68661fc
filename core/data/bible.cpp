#include "core/data/bible.h"

#include <sys/wait.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <set>

#include "caddie/error.h"
#include "core/base/files.h"

namespace caddie::data {
namespace fs = std::filesystem;
namespace {

constexpr int kVerses = 31102, kChapters = 1189;
constexpr std::array<const char*, 66> kBooks = {
    "Genesis", "Exodus", "Leviticus", "Numbers", "Deuteronomy", "Joshua", "Judges", "Ruth", "1 Samuel", "2 Samuel",
    "1 Kings", "2 Kings", "1 Chronicles", "2 Chronicles", "Ezra", "Nehemiah", "Esther", "Job", "Psalms", "Proverbs",
    "Ecclesiastes", "Song of Solomon", "Isaiah", "Jeremiah", "Lamentations", "Ezekiel", "Daniel", "Hosea", "Joel",
    "Amos", "Obadiah", "Jonah", "Micah", "Nahum", "Habakkuk", "Zephaniah", "Haggai", "Zechariah", "Malachi",
    "Matthew", "Mark", "Luke", "John", "Acts", "Romans", "1 Corinthians", "2 Corinthians", "Galatians", "Ephesians",
    "Philippians", "Colossians", "1 Thessalonians", "2 Thessalonians", "1 Timothy", "2 Timothy", "Titus",
    "Philemon", "Hebrews", "James", "1 Peter", "2 Peter", "1 John", "2 John", "3 John", "Jude", "Revelation"};

constexpr char kHint[] = "Install it: apt-get install bible-kjv. Or use data.text=synthetic.";

// A program's standard output; nothing if it cannot be run.
std::optional<std::string> output_of(const char* command) {
  const std::unique_ptr<FILE, int (*)(FILE*)> pipe(::popen(command, "re"), ::pclose);
  if (!pipe) return std::nullopt;
  std::string text;
  std::array<char, 65536> part;
  while (const std::size_t n = std::fread(part.data(), 1, part.size(), pipe.get())) text.append(part.data(), n);
  if (std::ferror(pipe.get()) != 0) return std::nullopt;
  return text;
}

bool digits(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

template <class Action>
void each_line(std::string_view text, const Action& action) {
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    action(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
}

// "Ge1:1 In the beginning ..." -> "Ge", "1", "In the beginning ..."; false: not a verse.
bool split_verse(std::string_view line, std::string_view& book, std::string_view& chapter, std::string_view& text) {
  const std::size_t colon = line.find(':'), space = line.find(' ');
  if (colon == std::string_view::npos || space == std::string_view::npos || colon > space) return false;
  std::size_t start = colon;
  while (start > 0 && line[start - 1] >= '0' && line[start - 1] <= '9') --start;
  book = line.substr(0, start);
  chapter = line.substr(start, colon - start);
  text = line.substr(space + 1);
  return !book.empty() && digits(chapter) && digits(line.substr(colon + 1, space - colon - 1)) && !text.empty();
}

}  // namespace

std::string export_bible() {
  const std::optional<std::string> printed = output_of("bible -f 'gen1:1-rev22:21' 2>/dev/null </dev/null");
  CADDIE_CHECK(printed.has_value(), ErrorKind::failed, "cannot start a shell to run the program 'bible'");
  if (printed->empty())
    throw Error(ErrorKind::data, "the program 'bible' (Debian package bible-kjv) is not installed", kHint);
  std::string out, last_book, last_chapter;
  int verses = 0, chapters = 0;
  std::size_t books = 0;
  each_line(*printed, [&](std::string_view line) {
    std::string_view book, chapter, text;
    if (!split_verse(line, book, chapter, text))
      throw Error(ErrorKind::data,
                  concat("the program 'bible' printed something else than verses: ", std::string(line.substr(0, 60))),
                  kHint);
    if (book != last_book) ++books;
    if (book != last_book || chapter != last_chapter) {
      if (books > kBooks.size()) return;
      out += concat(chapters++ == 0 ? "" : "\n", kBooks[books - 1], " ", chapter, "\n");
    }
    last_book = book;
    last_chapter = chapter;
    // Two sentences in a row have two spaces between them here and there.
    bool after_space = false;
    for (const char c : text) {
      if (!(after_space && c == ' ')) out += c;
      after_space = c == ' ';
    }
    while (out.ends_with(' ') || out.ends_with('\r')) out.pop_back();
    out += '\n';
    ++verses;
  });
  if (verses != kVerses || chapters != kChapters || books != kBooks.size())
    throw Error(ErrorKind::data,
                concat("the program 'bible' printed ", books, " books, ", chapters, " chapters, ", verses,
                       " verses, expected ", kBooks.size(), ", ", kChapters, ", ", kVerses),
                kHint);
  return out;
}

std::vector<Chapter> parse_bible(std::string_view text, const std::string& where) {
  std::vector<Chapter> chapters;
  bool heading = true;
  std::int64_t number = 0;
  const std::set<std::string_view> books(kBooks.begin(), kBooks.end());
  each_line(text, [&](std::string_view line) {
    ++number;
    if (line.empty()) {
      heading = true;
    } else if (heading) {
      const std::size_t space = line.rfind(' ');
      if (space == std::string_view::npos || !digits(line.substr(space + 1)) || !books.contains(line.substr(0, space)))
        throw Error(ErrorKind::data,
                    concat(where, ":", number, ": expected a chapter's name like 'Genesis 1', found '",
                           std::string(line.substr(0, 40)), "'"),
                    "Remove the file and export the text again: caddie data export-bible");
      chapters.push_back({std::string(line.substr(0, space)), std::atoi(line.substr(space + 1).data()), {}});
      heading = false;
    } else {
      std::string& verses = chapters.back().text;
      if (!verses.empty()) verses += '\n';
      verses += line;
    }
  });
  if (chapters.size() != kChapters)
    throw Error(ErrorKind::data, concat(where, " has ", chapters.size(), " chapters, expected ", kChapters),
                "Remove the file and export the text again: caddie data export-bible");
  return chapters;
}

fs::path bible_file() {
  const auto variable = [](const char* name) {
    const char* value = std::getenv(name);
    return std::string(value == nullptr ? "" : value);
  };
  const std::string data = variable("XDG_DATA_HOME"), home = variable("HOME");
  const fs::path base = !data.empty() ? fs::path(data) : fs::path(home) / ".local/share";
  return base / "caddie" / "bible-kjv.txt";
}

std::optional<std::vector<Chapter>> find_bible() {
  std::vector<fs::path> places;
  if (const char* folder = std::getenv("CADDIE_TEXT_DIR"); folder != nullptr && *folder != '\0')
    places.push_back(fs::path(folder) / "bible-kjv.txt");
  places.push_back(bible_file());
  for (const fs::path& place : places)
    if (fs::exists(place)) return parse_bible(read_text(place), place.string());
  const std::optional<std::string> there = output_of("command -v bible 2>/dev/null");
  if (!there || there->empty()) return std::nullopt;
  return parse_bible(export_bible(), "the program bible's text");
}

}  // namespace caddie::data
