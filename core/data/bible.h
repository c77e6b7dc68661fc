// The King James Bible as Debian's package bible-kjv carries it: exported once to a text file, one chapter a document.
//
// The file: chapters separated by a blank line; the first line of each is its name ("Genesis 1"), every other line is a
// verse without its number. The names are structure, not text: they do not become documents' text.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "caddie/export.h"

namespace caddie::data {

struct Chapter {
  std::string book;  // "Genesis"
  int number;        // from 1
  std::string text;  // verses, one a line
};

// Runs the program `bible` and returns the file's content. Throws Error(data) if it is not installed or prints
// something else than the 31,102 verses.
CADDIE_API std::string export_bible();
// Chapters of such a file. Throws Error(data) naming `where` if it is something else.
CADDIE_API std::vector<Chapter> parse_bible(std::string_view text, const std::string& where);
// The text, from $CADDIE_TEXT_DIR/bible-kjv.txt, then ~/.local/share/caddie/bible-kjv.txt ($XDG_DATA_HOME is heeded),
// then the program. Empty: none of them is there.
CADDIE_API std::optional<std::vector<Chapter>> find_bible();
// The per-user file that the set-up exports to.
CADDIE_API std::filesystem::path bible_file();

}  // namespace caddie::data
