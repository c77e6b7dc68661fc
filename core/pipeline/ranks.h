// What several ranks do in one run. Rank 0 alone plans, reads and fills the cache, quantizes, compresses and writes; it
// calls the others for what they share: training, scores and test-time training. Between two calls they wait.
#pragma once

#include <filesystem>
#include <string>

#include "caddie/export.h"
#include "core/pipeline/session.h"

namespace caddie::pipeline {

// Rank 0's calls, each followed by the same work here. With one rank they do nothing.
void call_to_train(const Session& session, const std::filesystem::path& data, const std::filesystem::path& checkpoints,
                   const std::string& key);
// `what`: "flat", "sliding" or "ttt". `weights`: a safetensors file, or an artifact.
void call_to_score(const Session& session, const std::string& what, const std::filesystem::path& data,
                   const std::filesystem::path& weights, bool artifact);
void call_to_end(const Session& session);

// The other ranks' whole run: does what rank 0 calls for, until it calls for the end. Throws what went wrong on this rank,
// or first on another.
CADDIE_API void follow(const Session& session);

}  // namespace caddie::pipeline
