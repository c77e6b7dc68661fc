// Training curves, and where the time of a run goes.
#include <algorithm>
#include <cmath>

#include "registry/report/markup.h"
#include "registry/report/plot.h"
#include "registry/report/sections.h"

namespace caddie::registry::report {
namespace {

using Points = std::vector<std::pair<double, double>>;

constexpr std::size_t kCurvePoints = 140;

// The trainings of a group, as one text: groups with the same ones have the same curves.
std::string trainings_of(const ReportData& data, const ReportGroup& group) {
  std::string keys;
  for (const std::size_t run : group.runs) {
    if (data.runs[run].steps.empty()) continue;
    const std::string key = stage_key_of(data.runs[run].record, "train");
    keys += (key.empty() ? data.runs[run].record.id : key) + " ";
  }
  return keys;
}

template <class Value>
Points points_of(const ReportRun& run, const Value& value) {
  Points points;
  for (const StepPoint& step : run.steps)
    if (const double y = value(step); std::isfinite(y)) points.emplace_back(step.step, y);
  return points;
}

// One curve a seed, in the colour of its group; the first has the label. What is before `from` is left out.
template <class Value>
CurvePlot plot_of(const ReportData& data, const std::vector<Shared>& trainings, const std::string& title,
                  const std::string& y, double from, const Value& value) {
  CurvePlot plot{title, {"step", false, true}, {y, false}, {}};
  for (const Shared& shared : trainings) {
    bool first = true;
    for (const std::size_t run : data.groups[shared.groups.front()].runs) {
      Points points = points_of(data.runs[run], value);
      std::erase_if(points, [&](const auto& point) { return point.first < from; });
      points = thinned(points, kCurvePoints);
      if (points.empty()) continue;
      plot.curves.push_back({first ? shared.label : "", std::move(points), color_of(data, shared.groups.front()), false,
                             shared.names + ", seed " + std::to_string(data.runs[run].record.seed)});
      first = false;
    }
  }
  return plot;
}

// Mean over seeds of the loss at each step that all seeds have.
std::map<double, double> mean_loss(const ReportData& data, const ReportGroup& group) {
  std::map<double, std::pair<double, std::size_t>> sums;
  std::size_t curves = 0;
  for (const std::size_t run : group.runs) {
    curves += data.runs[run].steps.empty() ? 0 : 1;
    for (const StepPoint& step : data.runs[run].steps)
      if (std::isfinite(step.loss)) {
        sums[step.step].first += step.loss;
        ++sums[step.step].second;
      }
  }
  std::map<double, double> means;
  for (const auto& [step, sum] : sums)
    if (sum.second == curves) means[step] = sum.first / static_cast<double>(sum.second);
  return means;
}

// How each training differs from the baseline's along the way; the mean of each stretch, which is less noisy.
std::string difference_figure(const ReportData& data, const std::vector<Shared>& trainings) {
  const std::map<double, double> base = mean_loss(data, data.groups[data.baseline]);
  if (base.size() < 20 || trainings.size() < 2) return {};
  CurvePlot plot{"Training loss less the baseline's",
                 {"step", false, true},
                 {"loss less that of " + shortened(data.groups[data.baseline].name, 24) + ", nats", false},
                 {}};
  for (const Shared& shared : trainings) {
    if (std::find(shared.groups.begin(), shared.groups.end(), data.baseline) != shared.groups.end()) continue;
    Points points;
    for (const auto& [step, loss] : mean_loss(data, data.groups[shared.groups.front()]))
      if (const auto other = base.find(step); other != base.end()) points.emplace_back(step, loss - other->second);
    points.erase(points.begin(), points.begin() + static_cast<std::ptrdiff_t>(points.size() / 10));
    plot.curves.push_back(
        {shared.label, thinned(points, 24), color_of(data, shared.groups.front()), false, shared.names});
  }
  return figure("Training loss less the baseline's", draw(plot),
                "Means over seeds and over stretches of steps, without the first tenth; below zero is better.");
}

}  // namespace

std::string curves_section(const ReportData& data) {
  const auto trainings = shared_by(data, [&](const ReportGroup& group) { return trainings_of(data, group); });
  if (trainings.empty()) return {};
  double last = 0;
  for (const ReportRun& run : data.runs)
    if (!run.steps.empty()) last = std::max(last, run.steps.back().step);
  const double from = last >= 40 ? std::floor(last * 0.1) : 0;  // the fall from ln(vocabulary) would hide the rest
  const auto loss = [](const StepPoint& step) { return step.loss; };
  std::string figures =
      figure("Training loss", draw(plot_of(data, trainings, "Training loss", "loss, nats/token", from, loss)),
             std::string("One curve a seed") + (from > 0 ? ", without the first tenth of the steps" : "") +
                 ". Variants that share a training are one curve.");
  figures += difference_figure(data, trainings);
  const auto validation = [](const StepPoint& step) { return step.validation_loss.value_or(std::nan("")); };
  if (const std::string drawing =
          draw(plot_of(data, trainings, "Validation loss", "validation loss, nats/token", 0, validation));
      !drawing.empty())
    figures += figure("Validation loss during training", drawing, "");
  const auto speed = [](const StepPoint& step) {
    return step.tokens_per_second > 0 ? step.tokens_per_second / 1000 : std::nan("");
  };
  const auto rate = [](const StepPoint& step) { return step.rate; };
  std::string more;
  if (const std::string drawing =
          draw(plot_of(data, trainings, "Training speed", "thousand tokens a second", 0, speed));
      !drawing.empty())
    more += figure("Training speed", drawing, "");
  if (const std::string drawing =
          draw(plot_of(data, trainings, "Learning rate", "factor of the learning rates", 0, rate));
      !drawing.empty())
    more += figure("Schedule", drawing, "");
  return section(
      "curves", "Training", "",
      "<div class=\"figures\">" + figures + "</div>\n" +
          (more.empty() ? "" : details("Speed and schedule", "<div class=\"figures\">" + more + "</div>\n")));
}

std::string time_section(const ReportData& data) {
  BarPlot all{"Seconds by stage", "seconds, mean over seeds", {}, {}},
      rest{"Seconds by stage without training", "seconds, mean over seeds", {}, {}};
  for (const char* stage : {"data", "train", "quantize", "compress", "evaluate", "ttt"}) {
    all.parts.push_back(stage);
    rest.parts.push_back(stage);
  }
  bool any = false;
  for (const ReportGroup& group : data.groups) {
    BarRow row{group.name, {}, ""}, without{group.name, {}, ""};
    double total = 0, others = 0;
    for (const std::string& stage : all.parts) {
      const auto seconds = mean_of(
          data.figures(group, [&](const RunRecord& r) { return number_in(r.result.value("seconds", Json()), stage); }));
      row.values.push_back(seconds.value_or(0));
      without.values.push_back(stage == "train" ? 0 : seconds.value_or(0));
      total += row.values.back();
      others += without.values.back();
    }
    if (total <= 0) continue;
    any = true;
    row.note = seconds_text(total);
    without.note = seconds_text(others);
    all.rows.push_back(std::move(row));
    rest.rows.push_back(std::move(without));
  }
  if (!any) return {};
  return section("time", "Where the time goes",
                 "Computing time of each stage, whether this run or an earlier one computed it.",
                 "<div class=\"figures\">" + figure("All stages", draw(all), "") +
                     figure("Without training", draw(rest), "") + "</div>\n");
}

}  // namespace caddie::registry::report
