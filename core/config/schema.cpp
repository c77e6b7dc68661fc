// The table of the core's keys. Change it here, and everything follows.
#include "core/config/schema.h"

#include "caddie/error.h"

namespace caddie::config {
namespace {

using enum Type;
constexpr const char* required = nullptr;
constexpr const char* none = nullptr;

// clang-format off
constexpr KeySpec kKeys[] = {
  // path                             type       default      min    max    choices               doc
  {"caddie",                          integer,   "1",         "1",   "1",   none,                 "version of the manifest's format"},
  {"name",                            name,      "\"\"",      none,  none,  none,                 "what the run is called; default: the file's name"},
  {"seed",                            integer,   "1337",      "0",   none,  none,                 "of every random stream of the run"},
  {"device",                          text,      "\"auto\"",  none,  none,  "auto|cpu|cuda",      "where to compute; auto: a GPU if there is one"},
  {"precision",                       text,      "\"auto\"",  none,  none,  "auto|float32|bfloat16", "of activations and of the weights' compute copies"},
  {"threads",                         integer,   "0",         "0",   "4096", none,                "CPU threads; 0: all cores"},

  {"data",                            section,   required,    none,  none,  none,                 "shards (train, validation, tokenizer), a text, or a dataset"},
  {"data.train",                      paths,     "null",      none,  none,  none,                 "training shards, with * and ?"},
  {"data.validation",                 paths,     "null",      none,  none,  none,                 "validation shards, with * and ?"},
  {"data.tokenizer",                  path,      "null",      none,  none,  none,                 "SentencePiece model of the shards"},
  {"data.text",                       source,    "null",      none,  none,  "bible-kjv|synthetic", "a text file, or a text by name; its tokenizer is trained"},
  {"data.vocabulary",                 integer,   "1024",      "16",  "65536", none,               "pieces of the tokenizer that is trained on a text"},
  {"data.dataset",                    text,      "null",      none,  none,  none,                 "OWNER/NAME[@REVISION] on the Hugging Face Hub: shards and tokenizer, pulled on first use"},
  {"data.variant",                    text,      "null",      none,  none,  none,                 "which of several sets of shards in a dataset (sp1024); null: there is only one"},
  {"data.shards",                     count,     "\"all\"",   none,  none,  none,                 "training shards of a dataset: the first N, or all"},
  {"data.order",                      text,      "\"sequential\"", none, none, "sequential|shuffled|coprime|packed", "of the training data: as it lies; sequences permuted by the seed; strided over all shards; rows of whole documents, best fit (long ones in parts; attention looks across the documents of a row)"},
  {"data.holdout",                    number,    "0.05",      "0.0001", "0.9", none,                "share of a text that is kept for validation"},

  {"model",                           component, required,    none,  none,  "model",              "the model"},
  {"model.vocabulary",                integer,   "null",      "16",  "65536", none,               "pieces of the tokenizer that the model is for; null: those of the data's tokenizer"},

  {"train",                           section,   required,    none,  none,  none,                 "training"},
  {"train.sequence",                  integer,   required,    "1",   "1048576", none,             "tokens of a sequence"},
  {"train.tokens_per_step",           integer,   required,    "1",   "1000000000", none,          "tokens of a step, over all ranks"},
  {"train.micro_batches",             integer,   "1",         "1",   "1000000", none,             "parts of a step that are computed one after the other, over all ranks"},
  {"train.weights",                   path,      "null",      none,  none,  none,                 "a safetensors file of weights to take in place of training; null: train"},
  {"train.warmup_steps",              integer,   "0",         "0",   "1000000", none,             "steps before the first one, undone exactly"},
  {"train.gradient_clip",             number,    "0",         "0",   none,  none,                 "largest gradient norm; 0: no limit"},
  {"train.stop",                      section,   required,    none,  none,  none,                 "when training ends: whichever comes first"},
  {"train.stop.seconds",              number,    "null",      "0.001", none,  none,                 "of training time"},
  {"train.stop.steps",                integer,   "null",      "1",   none,  none,                 "steps"},
  {"train.checkpoint",                section,   "{}",        none,  none,  none,                 "when to save a checkpoint; the time it takes is not training time"},
  {"train.checkpoint.seconds",        number,    "60",        "0",   none,  none,                 "seconds between checkpoints; 0: off"},
  {"train.checkpoint.steps",          integer,   "0",         "0",   none,  none,                 "steps between checkpoints; 0: off"},
  {"train.schedule",                  section,   "{}",        none,  none,  none,                 "factor of the learning rates"},
  {"train.schedule.shape",            text,      "\"linear\"", none, none,  "linear|cosine|constant", "of the warmdown"},
  {"train.schedule.warmdown",         number,    "0.35",      "0",   "1",   none,                 "share of the budget, at its end, over which the factor falls"},
  {"train.schedule.minimum",          number,    "0",         "0",   "1",   none,                 "factor at the end"},
  {"train.schedule.by",               text,      "\"auto\"",  none,  none,  "auto|seconds|steps", "which budget it follows; auto: seconds if stop.seconds is set"},
  {"train.fake_quant",                entries,   "[]",        none,  none,  none,                 "weights that training rounds to few bits (straight-through)"},
  {"train.fake_quant[]",              section,   required,    none,  none,  none,                 "weights and their bits"},
  {"train.fake_quant[].match",        text,      required,    none,  none,  none,                 "role, group or name pattern of weights"},
  {"train.fake_quant[].bits",         integer,   required,    "2",   "8",   none,                 "bits of a weight"},
  {"train.fake_quant_from",           number,    "0",         "0",   "1",   none,                 "share of the budget after which training rounds them; 0: from the first step"},
  {"train.sequence_schedule",         entries,   "[]",        none,  none,  none,                 "shorter sequences first, with as many tokens a step"},
  {"train.sequence_schedule[]",       section,   required,    none,  none,  none,                 "a length and when it ends; train.sequence follows the last"},
  {"train.sequence_schedule[].until", number,    required,    "0",   "1",   none,                 "share of the budget"},
  {"train.sequence_schedule[].sequence", integer, required,   "1",   "1048576", none,             "tokens of a sequence; must divide train.sequence"},
  {"train.average",                   section,   "{}",        none,  none,  none,                 "averages of the weights over training; the final weights"},
  {"train.average.ema",               number,    "null",      "0",   "1",   none,                 "decay a step of the exponential average; null: none"},
  {"train.average.swa",               optional,  "null",      none,  none,  none,                 "plain average of weights late in training; null: none"},
  {"train.average.swa.every",         integer,   "5",         "1",   "1000000", none,             "steps between the weights that it takes"},
  {"train.average.swa.below",         number,    "0.5",       "0",   none,  none,                 "begins when the schedule's factor is below"},
  {"train.average.swa.from",          number,    "0",         "0",   "1",   none,                 "share of the budget before which no weights join"},
  {"train.average.latest",            optional,  "null",      none,  none,  none,                 "mean of the latest weights taken, in place of swa; null: none"},
  {"train.average.latest.count",      integer,   "5",         "1",   "1000", none,                "how many of them"},
  {"train.average.latest.every",      integer,   "100",       "1",   "1000000", none,             "steps between them"},
  {"train.average.blend",             number,    "0.5",       "0",   "1",   none,                 "share of the exponential average where both exist"},

  {"optimizers",                      entries,   required,    none,  none,  none,                 "who updates which parameters; each parameter has exactly one"},
  {"optimizers[]",                    component, required,    none,  none,  "optimizer",          "an optimizer and its parameters"},
  {"optimizers[].match",              text,      required,    none,  none,  none,                 "role, group or name pattern of parameters"},

  {"quantize",                        optional,  "null",      none,  none,  none,                 "weights to codes; null: no artifact is made"},
  {"quantize.calibrate",              section,   "{}",        none,  none,  none,                 "the tokens that quantizers look at"},
  {"quantize.calibrate.source",       text,      "\"self\"",  none,  none,  "self|train|random",  "sampled from the model, from the training data, or random tokens"},
  {"quantize.calibrate.sequences",    integer,   "16",        "1",   "1000000", none,             "how many"},
  {"quantize.calibrate.length",       integer,   "512",       "2",   "1048576", none,             "tokens of each"},
  {"quantize.calibrate.temperature",  number,    "1.0",       "0",   "100", none,                 "of sampling; 0: the likeliest token"},
  {"quantize.calibrate.batch",        integer,   "1",         "1",   "1000000", none,             "sequences of a batch"},
  {"quantize.calibrate.sequential",   boolean,   "false",     none,  none,  none,                 "layer by layer, each on inputs that already quantized layers make"},
  {"quantize.keep_float_elements",    integer,   "65536",     "0",   none,  none,                 "tensors of at most so many elements stay float16"},
  {"quantize.requantize",             boolean,   "false",     none,  none,  none,                 "derive the row scales again from the decoded weights, as the reference does"},
  {"quantize.tensors",                entries,   required,    none,  none,  none,                 "who quantizes which weights"},
  {"quantize.tensors[]",              component, required,    none,  none,  "quantizer",          "a quantizer and its weights"},
  {"quantize.tensors[].match",        text,      required,    none,  none,  none,                 "role, group or name pattern of weights"},

  {"compress",                        component, "null",      none,  none,  "compressor",         "codes to a file; null: no artifact is made"},
  {"compress.transpose",              boolean,   "false",     none,  none,  none,                 "code matrices are stored column by column"},
  {"compress.sort_rows",              text,      "\"none\"",  none,  none,  "none|magnitude|similarity", "rows of code matrices are sorted; their order is stored"},

  {"evaluate",                        optional,  "null",      none,  none,  none,                 "scores; null: none"},
  {"evaluate.flat",                   optional,  "{}",        none,  none,  none,                 "sequences side by side; null: not scored"},
  {"evaluate.sliding",                optional,  "null",      none,  none,  none,                 "overlapping windows; null: not scored"},
  {"evaluate.sliding.stride",         integer,   "64",        "1",   "1048576", none,             "tokens between windows"},
  {"evaluate.tokens",                 count,     "\"all\"",   none,  none,  none,                 "tokens of the validation text to score"},
  {"evaluate.batch_tokens",           integer,   "0",         "0",   none,  none,                 "tokens of a batch; 0: chosen"},

  {"ttt",                             component, "null",      none,  none,  "ttt",                "test-time training; null: none"},
  {"ttt.chunk",                       integer,   "131072",    "1",   none,  none,                 "tokens that are scored before the model learns from them"},
  {"ttt.documents",                   boolean,   "false",     none,  none,  none,                 "a chunk ends where its document ends, and learns from a part of a sequence too"},
  {"ttt.freeze",                      texts,     "[]",        none,  none,  none,                 "roles, groups or name patterns of parameters that stay as they are"},

  {"budgets",                         section,   "{}",        none,  none,  none,                 "limits that the run's verdict looks at"},
  {"budgets.artifact_bytes",          integer,   "16000000",  "1",   none,  none,                 "of the artifact and the code"},
  {"budgets.train_seconds",           number,    "null",      "0",   none,  none,                 "of training"},
  {"budgets.evaluate_seconds",        number,    "null",      "0",   none,  none,                 "of each evaluation"},
};
// clang-format on

// Finds or makes the node of "a.b[].c" below `root`.
Schema& reach(Schema& root, std::string_view path) {
  Schema* node = &root;
  while (!path.empty()) {
    const std::size_t end = std::min(path.find_first_of(".["), path.size());
    const bool element = path.starts_with("[]");
    const std::string key(element ? "[]" : path.substr(0, end));
    path.remove_prefix(key.size());
    if (path.starts_with('.')) path.remove_prefix(1);
    Schema* next = const_cast<Schema*>(node->find(key));
    if (!next) next = &node->children.emplace_back(Schema{nullptr, key, {}});
    node = next;
  }
  return *node;
}

Schema build() {
  Schema root;
  for (const KeySpec& spec : kKeys) reach(root, spec.path).spec = &spec;
  return root;
}

}  // namespace

const Schema* Schema::find(std::string_view child) const {
  for (const Schema& schema : children)
    if (schema.key == child) return &schema;
  return nullptr;
}

PluginKind Schema::kind() const {
  for (PluginKind kind : {PluginKind::model, PluginKind::optimizer, PluginKind::quantizer, PluginKind::compressor})
    if (std::string_view(spec->choices) == kind_word(kind)) return kind;
  return PluginKind::ttt;
}

OptionSpec Schema::option() const {
  OptionType option_type = OptionType::text;
  if (spec->type == Type::boolean) option_type = OptionType::boolean;
  if (spec->type == Type::integer) option_type = OptionType::integer;
  if (spec->type == Type::number) option_type = OptionType::number;
  return {spec->path, option_type, spec->fallback, spec->minimum, spec->maximum, spec->choices, spec->doc};
}

std::span<const KeySpec> key_table() { return kKeys; }

const Schema& core_schema() {
  static const Schema schema = build();
  return schema;
}

const Schema* find_schema(std::string_view path) {
  const Schema* node = &core_schema();
  while (node && !path.empty()) {
    if (path.starts_with('[')) {
      const std::size_t close = path.find(']');
      path.remove_prefix(close == std::string_view::npos ? path.size() : close + 1);
      node = node->find("[]");
    } else {
      const std::size_t end = std::min(path.find_first_of(".["), path.size());
      node = node->find(path.substr(0, end));
      path.remove_prefix(end);
    }
    if (path.starts_with('.')) path.remove_prefix(1);
  }
  return node;
}

const char* kind_word(PluginKind kind) {
  switch (kind) {
    case PluginKind::model: return "model";
    case PluginKind::optimizer: return "optimizer";
    case PluginKind::quantizer: return "quantizer";
    case PluginKind::compressor: return "compressor";
    case PluginKind::ttt: break;
  }
  return "ttt";
}

std::vector<std::string> child_keys(const Schema& schema) {
  std::vector<std::string> keys;
  for (const Schema& child : schema.children) keys.push_back(child.key);
  return keys;
}

std::vector<std::string> split_choices(const char* choices) {
  std::vector<std::string> result;
  std::string_view rest = choices ? choices : "";
  while (!rest.empty()) {
    const std::size_t bar = rest.find('|');
    result.emplace_back(rest.substr(0, bar));
    rest.remove_prefix(bar == std::string_view::npos ? rest.size() : bar + 1);
  }
  return result;
}

}  // namespace caddie::config
