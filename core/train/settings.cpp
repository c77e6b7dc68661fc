#include "core/train/settings.h"

#include "caddie/error.h"

namespace caddie::train {
namespace {

bool given(const Json& section, const char* key) { return section.contains(key) && !section[key].is_null(); }

template <class T>
void read(const Json& section, const char* key, T& value) {
  if (given(section, key)) value = section[key].get<T>();
}

ScheduleShape shape_from(const std::string& name) {
  if (name == "linear") return ScheduleShape::linear;
  if (name == "cosine") return ScheduleShape::cosine;
  CADDIE_CHECK(name == "constant", ErrorKind::usage, "train.schedule.shape is '", name,
               "'; accepted: linear, cosine, constant");
  return ScheduleShape::constant;
}

void read_schedule(const Json& section, TrainSettings& settings) {
  std::string by = "auto", shape = "linear";
  read(section, "shape", shape);
  settings.schedule.shape = shape_from(shape);
  read(section, "warmdown", settings.schedule.warmdown);
  read(section, "minimum", settings.schedule.minimum);
  read(section, "by", by);
  settings.schedule_by_seconds = by == "seconds" || (by == "auto" && settings.stop_seconds.has_value());
  const bool has_budget = settings.schedule_by_seconds ? settings.stop_seconds.has_value() : settings.stop_steps.has_value();
  if (!has_budget)
    throw Error(ErrorKind::usage, concat("train.schedule.by is '", by, "', but train.stop.",
                                         settings.schedule_by_seconds ? "seconds" : "steps", " is not set"),
                "Set train.stop.seconds or train.stop.steps: the schedule ends there.");
}

void read_average(const Json& section, Averaging& average) {
  if (given(section, "ema")) average.ema = section["ema"].get<double>();
  if (given(section, "swa")) {
    average.swa_every = 5;
    read(section["swa"], "every", average.swa_every);
    read(section["swa"], "below", average.swa_below);
    read(section["swa"], "from", average.swa_from);
  }
  if (given(section, "latest")) {
    average.latest_count = 5;
    average.latest_every = 100;
    read(section["latest"], "count", average.latest_count);
    read(section["latest"], "every", average.latest_every);
    CADDIE_CHECK(average.swa_every == 0, ErrorKind::usage,
                 "train.average.latest and train.average.swa exclude each other: both are means of late weights");
  }
  read(section, "blend", average.blend);
}

void read_sequence_schedule(const Json& stages, TrainSettings& settings) {
  double before = 0;
  for (const Json& entry : stages) {
    const SequenceStage stage{entry.at("until").get<double>(), entry.at("sequence").get<std::int64_t>()};
    CADDIE_CHECK(stage.until > before, ErrorKind::usage, "train.sequence_schedule: 'until' is ", stage.until, " after ", before,
                 "; accepted: shares of the budget that rise");
    CADDIE_CHECK(stage.sequence > 0 && settings.sequence % stage.sequence == 0, ErrorKind::usage,
                 "train.sequence_schedule: a sequence of ", stage.sequence, " does not divide train.sequence = ",
                 settings.sequence);
    settings.sequence_schedule.push_back(stage);
    before = stage.until;
  }
}

}  // namespace

TrainSettings TrainSettings::from_json(const Json& manifest) {
  TrainSettings settings;
  const Json& train = manifest.at("train");
  read(train, "sequence", settings.sequence);
  read(train, "tokens_per_step", settings.tokens_per_step);
  read(train, "micro_batches", settings.micro_batches);
  read(train, "warmup_steps", settings.warmup_steps);
  read(train, "gradient_clip", settings.gradient_clip);
  if (given(train, "stop")) {
    const Json& stop = train["stop"];
    if (given(stop, "seconds")) settings.stop_seconds = stop["seconds"].get<double>();
    if (given(stop, "steps")) settings.stop_steps = stop["steps"].get<std::int64_t>();
  }
  if (given(train, "checkpoint")) {
    read(train["checkpoint"], "seconds", settings.checkpoint_seconds);
    read(train["checkpoint"], "steps", settings.checkpoint_steps);
  }
  read_schedule(given(train, "schedule") ? train["schedule"] : Json::object(), settings);
  if (given(train, "fake_quant"))
    for (const Json& rule : train["fake_quant"])
      settings.fake_quant.push_back({rule.at("match").get<std::string>(), rule.at("bits").get<int>()});
  read(train, "fake_quant_from", settings.fake_quant_from);
  if (given(train, "sequence_schedule")) read_sequence_schedule(train["sequence_schedule"], settings);
  if (given(train, "average")) read_average(train["average"], settings.average);
  for (const Json& entry : manifest.at("optimizers")) settings.optimizers.push_back(entry.at("match").get<std::string>());

  const std::int64_t slices = settings.sequence * settings.micro_batches;
  CADDIE_CHECK(settings.sequence > 0 && settings.micro_batches > 0 && settings.tokens_per_step > 0 &&
                   settings.tokens_per_step % slices == 0,
               ErrorKind::usage, "train.tokens_per_step is ", settings.tokens_per_step,
               "; it must be a multiple of train.sequence x train.micro_batches = ", settings.sequence, " x ",
               settings.micro_batches, " = ", slices);
  return settings;
}

}  // namespace caddie::train
