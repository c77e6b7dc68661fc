// A report as one HTML file: no network, no other file, no build step; reads without scripts (they sort tables), on
// a phone, in dark mode and printed.
#pragma once

#include <string>

#include "registry/report/report_data.h"

namespace caddie::registry::report {

// Tables and plots of these runs.
CADDIE_API std::string report_page(const ReportData& data);
// The runs ranked, one table for each validation text.
CADDIE_API std::string leaderboard_page(const ReportData& data);

}  // namespace caddie::registry::report
