#include "registry/report/markup.h"

#include <cmath>
#include <cstdio>

#include "core/base/clock.h"

namespace caddie::registry::report {
namespace {

// Bytes of the UTF-8 character that starts at `at`; 0 if it is none that a page may hold.
std::size_t character(std::string_view raw, std::size_t at) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(raw[i]); };
  const unsigned char first = byte(at);
  if (first < 0x80) return first >= 0x20 ? (first == 0x7f ? 0 : 1) : first == '\n' || first == '\t' ? 1 : 0;
  const std::size_t length = first >= 0xf0 && first < 0xf5 ? 4 : first >= 0xe0 ? 3 : first >= 0xc2 ? 2 : 0;
  if (length == 0 || first >= 0xf5 || at + length > raw.size()) return 0;
  for (std::size_t i = 1; i < length; ++i)
    if ((byte(at + i) & 0xc0) != 0x80) return 0;
  return length;
}

}  // namespace

std::string text(std::string_view raw) {
  std::string safe;
  safe.reserve(raw.size());
  for (std::size_t at = 0; at < raw.size();) {
    const std::size_t length = character(raw, at);
    switch (raw[at]) {
      case '&': safe += "&amp;"; break;
      case '<': safe += "&lt;"; break;
      case '>': safe += "&gt;"; break;
      case '"': safe += "&quot;"; break;
      case '\'': safe += "&#39;"; break;
      default:
        if (length == 0) safe += "\xef\xbf\xbd";
        else safe += raw.substr(at, length);
    }
    at += length == 0 ? 1 : length;
  }
  return safe;
}

std::string fixed(double value, int decimals) {
  if (!std::isfinite(value)) return "-";
  char digits[64];
  std::snprintf(digits, sizeof digits, "%.*f", decimals, value);
  return digits;
}

std::string signed_fixed(double value, int decimals) {
  if (!std::isfinite(value)) return "-";
  const std::string digits = fixed(std::abs(value), decimals);
  const bool zero = digits.find_first_not_of("0.") == std::string::npos;
  return (zero ? "" : value < 0 ? "\xe2\x88\x92" : "+") + digits;
}

std::string grouped(std::int64_t value) {
  std::string digits = std::to_string(value);
  for (auto at = static_cast<std::ptrdiff_t>(digits.size()) - 3; at > (value < 0 ? 1 : 0); at -= 3)
    digits.insert(static_cast<std::size_t>(at), ",");
  return digits;
}

std::string seconds_text(double seconds) {
  if (!std::isfinite(seconds)) return "-";
  return seconds < 0.1 ? fixed(1000 * seconds, seconds < 0.01 ? 1 : 0) + " ms" : human_seconds(seconds);
}

std::string shortened(const std::string& raw, std::size_t width) {
  std::size_t characters = 0;
  for (std::size_t at = 0; at < raw.size(); ++at) {
    if ((static_cast<unsigned char>(raw[at]) & 0xc0) == 0x80) continue;
    if (++characters > width) {
      // The last one that fits makes room for the dots.
      std::size_t end = at;
      do --end;
      while (end > 0 && (static_cast<unsigned char>(raw[end]) & 0xc0) == 0x80);
      return raw.substr(0, end) + "\xe2\x80\xa6";
    }
  }
  return raw;
}

std::string p_text(double p) {
  if (!std::isfinite(p)) return "-";
  if (p < 1e-15) return "< 1e-15";
  char digits[32];
  std::snprintf(digits, sizeof digits, p < 0.001 ? "%.1e" : "%.3f", p);
  return digits;
}

std::string Table::html() const {
  std::string out = "<div class=\"scroll\"><table><thead><tr>";
  for (const Column& column : columns_) {
    out += std::string("<th scope=\"col\"") + (column.number ? " class=\"n\"" : "");
    if (!column.hint.empty()) out += " title=\"" + text(column.hint) + "\"";
    out += ">" + text(column.head) + "</th>";
  }
  out += "</tr></thead><tbody>\n";
  for (const auto& row : rows_) {
    out += "<tr>";
    for (std::size_t i = 0; i < row.size(); ++i) {
      const bool number = i < columns_.size() && columns_[i].number;
      const std::string style = (number ? std::string("n") : std::string()) +
                                (row[i].style.empty() ? "" : (number ? " " : "") + row[i].style);
      out += "<td";
      if (!style.empty()) out += " class=\"" + style + "\"";
      if (row[i].sort && std::isfinite(*row[i].sort)) {
        char value[40];
        std::snprintf(value, sizeof value, " data-v=\"%.9g\"", *row[i].sort);
        out += value;
      }
      out += ">" + row[i].html + "</td>";
    }
    out += "</tr>\n";
  }
  return out + "</tbody></table></div>\n";
}

std::string section(const std::string& id, const std::string& head, const std::string& intro, const std::string& body) {
  return "<section id=\"" + text(id) + "\"><h2>" + text(head) + "</h2>\n" +
         (intro.empty() ? "" : "<p class=\"intro\">" + intro + "</p>\n") + body + "</section>\n";
}

std::string figure(const std::string& head, const std::string& drawing, const std::string& caption) {
  return "<figure><h3>" + text(head) + "</h3>\n" + drawing +
         (caption.empty() ? "" : "<figcaption>" + text(caption) + "</figcaption>\n") + "</figure>\n";
}

std::string details(const std::string& summary, const std::string& body, bool open, bool print) {
  return std::string("<details") + (print ? "" : " class=\"long\"") + (open ? " open" : "") + "><summary>" + text(summary) +
         "</summary>\n" + body + "</details>\n";
}

}  // namespace caddie::registry::report
