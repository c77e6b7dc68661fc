// Runs as one long table: a row for each run and figure, for spreadsheets, R and pandas.
#pragma once

#include <string>

#include "registry/report/report_data.h"

namespace caddie::registry::report {

// Columns: sweep, variant, name, seed, run, status, kind, metric, step, value, unit. `kind` is score, loss, size, time,
// train, or step. With `steps` also the training's metrics by step; `step` is empty elsewhere.
CADDIE_API Json long_table(const ReportData& data, bool steps);
// The same with a head line; quoted as RFC 4180 says, numbers with all digits.
CADDIE_API std::string as_csv(const Json& table);

}  // namespace caddie::registry::report
