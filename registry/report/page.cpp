#include "registry/report/page.h"

#include "core/base/clock.h"
#include "registry/report/markup.h"
#include "registry/report/sections.h"
#include "registry/report/style.h"

namespace caddie::registry::report {
namespace {

// Links to the sections that there are, from their ids and heads.
std::string navigation(const std::string& body) {
  std::string links;
  for (std::size_t at = body.find("<section id=\""); at != std::string::npos;
       at = body.find("<section id=\"", at + 1)) {
    const std::size_t id = at + 13, id_end = body.find('"', id), head = body.find("<h2>", id_end) + 4,
                      head_end = body.find("</h2>", head);
    links += "<a href=\"#" + body.substr(id, id_end - id) + "\">" + body.substr(head, head_end - head) + "</a>\n";
  }
  return "<nav>\n" + links + "</nav>\n";
}

std::string page(const std::string& title, const std::string& sub, const std::string& body) {
  return "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"/>\n"
         "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n"
         "<meta name=\"generator\" content=\"caddie\"/>\n<link rel=\"icon\" href=\"data:,\"/>\n<title>" +
         text(title) + "</title>\n<style>" + kStyle + "</style></head>\n<body><header><h1>" + text(title) +
         "</h1>\n<p class=\"sub\">" + text(sub) + "</p>\n" + navigation(body) + "</header>\n<main>\n" + body +
         "</main>\n<footer>Made by caddie from run folders; every number is in one of them.</footer>\n<script>" +
         kScript + "</script></body></html>\n";
}

std::string sub_title(const ReportData& data) {
  return std::to_string(data.runs.size()) + (data.runs.size() == 1 ? " run of " : " runs of ") + data.from + ", " +
         utc_timestamp();
}

}  // namespace

std::string report_page(const ReportData& data) {
  std::string body = overview_section(data) + scores_section(data) + size_section(data) + curves_section(data) +
                     time_section(data) + tensors_section(data) + text_section(data) + manifests_section(data) +
                     incidents_section(data);
  return page(data.title, sub_title(data), body);
}

std::string leaderboard_page(const ReportData& data) {
  return page("Leaderboard", sub_title(data),
              overview_section(data) + leaderboard_section(data) + size_section(data) + incidents_section(data));
}

}  // namespace caddie::registry::report
