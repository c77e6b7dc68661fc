#include "registry/report/figures.h"

#include <cctype>
#include <cstdlib>
#include <map>

#include "registry/report/style.h"

namespace caddie::registry::report {
namespace {

// Room beside a drawing: on a page its outermost labels may reach over its edge, in a file they would be cut.
constexpr int kLeft = 24, kRight = 12;

// What stands between `before` and the next quote, from `at` on.
std::string attribute(const std::string& page, std::size_t at, const std::string& before) {
  const std::size_t begin = page.find(before, at) + before.size();
  return page.substr(begin, page.find('"', begin) - begin);
}

std::string file_name(const std::string& title) {
  std::string name;
  bool entity = false;  // &lt; and its like
  for (const char c : title) {
    entity = c == '&' || (entity && c != ';');
    if (!entity && std::isalnum(static_cast<unsigned char>(c)) != 0)
      name += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    else if (!name.empty() && name.back() != '_')
      name += '_';
  }
  while (!name.empty() && name.back() == '_') name.pop_back();
  return name.empty() ? "figure" : name;
}

}  // namespace

std::vector<Figure> figures_of(const std::string& page) {
  std::vector<Figure> figures;
  std::map<std::string, int> seen;
  for (std::size_t at = page.find("<svg "); at != std::string::npos; at = page.find("<svg ", at + 1)) {
    const std::size_t inside = page.find('>', at) + 1, end = page.find("</svg>", inside);
    const std::string box = attribute(page, at, "viewBox=\"0 0 "), title = attribute(page, at, "aria-label=\"");
    std::string name = file_name(title);
    if (const int before = seen[name]++; before > 0) name += "_" + std::to_string(before + 1);
    const std::string width = std::to_string(std::atoi(box.c_str()) + kLeft + kRight), left = std::to_string(-kLeft);
    const std::string height = box.substr(box.find(' ') + 1);
    std::string svg = "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"" + width + "\" height=\"" + height +
                      "\" viewBox=\"" + left + " 0 " + width + " " + height + "\" role=\"img\" aria-label=\"" + title +
                      "\">\n<style>" + kStyle +
                      "svg{font-family:system-ui,\"Segoe UI\",Roboto,\"DejaVu Sans\",sans-serif}</style>\n" +
                      "<rect x=\"" + left + "\" width=\"100%\" height=\"100%\" fill=\"var(--page)\"/>" +
                      page.substr(inside, end - inside) + "</svg>\n";
    figures.push_back({std::move(name), std::move(svg)});
  }
  return figures;
}

}  // namespace caddie::registry::report
