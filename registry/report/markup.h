// HTML as text: escaping, numbers, tables. Whatever comes from a run goes through text() or a Cell; nothing else in the
// room puts foreign text into a page.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "caddie/export.h"

namespace caddie::registry::report {

// Safe between tags and in quoted attributes. Control characters and broken UTF-8 become U+FFFD.
CADDIE_API std::string text(std::string_view raw);

CADDIE_API std::string fixed(double value, int decimals);         // "1.2034"; "-" if it is not finite
CADDIE_API std::string grouped(std::int64_t value);               // "15,600,123"
CADDIE_API std::string signed_fixed(double value, int decimals);  // "+0.0012", with U+2212 for minus
CADDIE_API std::string seconds_text(double seconds);              // "12.3 s", "4:05", "1:02:03"
// "a..." of at most `width` characters (code points).
CADDIE_API std::string shortened(const std::string& raw, std::size_t width);
// For p values: "0.032", "1.2e-05", "< 1e-15".
CADDIE_API std::string p_text(double p);

struct Cell {
  std::string html;                 // markup; made by text() where it is foreign
  std::optional<double> sort = {};  // a number to sort by; the text otherwise
  std::string style = {};           // class names: "good", "bad", "quiet"
};

// A table that scrolls sideways on a narrow screen, and that a click on a head sorts where scripts run.
class CADDIE_API Table {
 public:
  struct Column {
    std::string head;  // plain text
    bool number = true;
    std::string hint = {};  // a tooltip
  };
  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}
  void row(std::vector<Cell> cells) { rows_.push_back(std::move(cells)); }
  bool empty() const { return rows_.empty(); }
  std::string html() const;

 private:
  std::vector<Column> columns_;
  std::vector<std::vector<Cell>> rows_;
};

// <section id><h2>..; `intro` is markup.
CADDIE_API std::string section(const std::string& id, const std::string& head, const std::string& intro,
                               const std::string& body);
// A figure: what it shows as a head, the drawing, and one line under it.
CADDIE_API std::string figure(const std::string& head, const std::string& drawing, const std::string& caption);
// What is folded is opened to be printed, unless `print` is off.
CADDIE_API std::string details(const std::string& summary, const std::string& body, bool open = false,
                               bool print = true);

}  // namespace caddie::registry::report
