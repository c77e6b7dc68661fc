#include "core/parity/parity.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <cstdio>

#include "core/base/clock.h"
#include "core/base/interrupt.h"

namespace caddie::parity {
namespace {

bool wanted(const CheckSpec& check, const std::vector<std::string>& only) {
  return only.empty() || std::any_of(only.begin(), only.end(), [&](const std::string& name) {
           return name == check.kind || name == check.id;
         });
}

void refuse_unknown(const Bundle& bundle, const std::vector<std::string>& only) {
  for (const std::string& name : only)
    CADDIE_CHECK(std::any_of(bundle.checks().begin(), bundle.checks().end(),
                             [&](const CheckSpec& check) { return wanted(check, {name}); }),
                 ErrorKind::usage, "--only ", name, ": the bundle ", bundle.name(), " has no check of this kind or id");
}

// Tokenizers are looked at before anything is computed: a missing one is the bundle's fault, not a check's.
void require_tokenizers(const Bundle& bundle, const CheckSpec& check) {
  const auto look = [&](const Json& settings) {
    if (settings.is_object() && settings.contains("tokenizer") && settings["tokenizer"].is_string())
      bundle.tokenizer(settings["tokenizer"].get<std::string>());
  };
  look(check.settings);
  if (check.settings.contains("ttt")) look(check.settings["ttt"]);
}

CheckResult fail(CheckResult result, std::string why) {
  result.status = Status::failed;
  result.worst = kBroken;
  result.detail = std::move(why);
  return result;
}

CheckResult run_check(const Bundle& bundle, const CheckSpec& spec, const Catalogue& catalogue, Services& services) {
  CheckResult result;
  result.id = spec.id;
  result.kind = spec.kind;
  result.optional = spec.optional();
  const CheckFunction function = check_function(spec.kind);
  if (function == nullptr) {
    result.detail = concat("unknown kind '", spec.kind, "'");
    return result;
  }
  const Stopwatch watch;
  try {
    CheckRun run(bundle, spec, catalogue, services);
    function(run);
    const auto worst = run.worst();
    result.status = worst.comparison.passed() ? Status::passed : Status::failed;
    result.worst = worst.comparison.worst;
    result.output = worst.name;
    result.error = worst.comparison.error;
    result.tolerance = worst.comparison.tolerance;
    result.detail = worst.comparison.detail;
  } catch (const NotCovered& refused) {
    result.detail = refused.why;
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::interrupted) throw;
    result = fail(std::move(result), error.what());
  } catch (const c10::Error& error) {
    result = fail(std::move(result), error.what_without_backtrace());
  } catch (const std::exception& error) {
    result = fail(std::move(result), error.what());
  }
  result.seconds = watch.seconds();
  return result;
}

std::string padded(std::string text, std::size_t width) {
  text.resize(std::max(width, text.size()), ' ');
  return text;
}

std::string short_number(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.2g", value);
  return text;
}

}  // namespace

const char* status_name(Status status) {
  return status == Status::passed ? "passed" : status == Status::failed ? "failed" : "not covered";
}

std::size_t Report::count(Status status) const {
  return static_cast<std::size_t>(
      std::count_if(checks.begin(), checks.end(), [&](const CheckResult& check) { return check.status == status; }));
}

bool Report::passed() const {
  return std::all_of(checks.begin(), checks.end(), [](const CheckResult& check) {
    return check.status == Status::passed || (check.status == Status::not_covered && check.optional);
  });
}

Json Report::to_json() const {
  Json list = Json::array();
  for (const CheckResult& check : checks) {
    Json entry = {{"id", check.id}, {"kind", check.kind}, {"worst", check.worst}, {"seconds", check.seconds}};
    entry["status"] = check.status == Status::not_covered ? "not_covered" : status_name(check.status);
    if (check.status == Status::not_covered) entry["worst"] = nullptr;
    if (check.optional) entry["optional"] = true;
    if (!check.output.empty()) entry["output"] = check.output;
    if (!check.detail.empty()) entry["detail"] = check.detail;
    list.push_back(std::move(entry));
  }
  return {{"bundle", bundle},
          {"passed", count(Status::passed)},
          {"failed", count(Status::failed)},
          {"not_covered", count(Status::not_covered)},
          {"checks", list}};
}

Report run_checks(const Bundle& bundle, const Catalogue& catalogue, Services& services,
                  const std::vector<std::string>& only, const std::function<void(const CheckResult&)>& after_check) {
  refuse_unknown(bundle, only);
  for (const CheckSpec& check : bundle.checks())
    if (wanted(check, only)) require_tokenizers(bundle, check);
  Report report;
  report.bundle = bundle.name();
  for (const CheckSpec& check : bundle.checks()) {
    if (!wanted(check, only)) continue;
    throw_if_interrupted();
    report.checks.push_back(run_check(bundle, check, catalogue, services));
    if (after_check) after_check(report.checks.back());
  }
  return report;
}

std::string text_of(const CheckResult& result) {
  std::string line = padded(status_name(result.status), 11) + "  " + padded(result.id, 27) + "  ";
  if (result.status == Status::not_covered) return line + result.detail + (result.optional ? " (optional)" : "");
  char number[32];
  std::snprintf(number, sizeof number, result.worst < 1000 ? "%7.3f" : "%7.1e", result.worst);
  line += number;
  if (result.tolerance > 0) {
    line += concat("  ", result.output, ": ", short_number(result.error), " of ", short_number(result.tolerance));
  } else if (result.status == Status::passed) {
    line += result.worst > 0 ? "  " + result.output : "  exact";
  } else if (!result.output.empty()) {
    line += "  " + result.output + ":";
  }
  if (result.status == Status::failed && !result.detail.empty()) line += " " + result.detail;
  return line;
}

}  // namespace caddie::parity
