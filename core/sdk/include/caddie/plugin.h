// What a plugin library exports: the ABI tag and one entry that returns constant data. Nothing registers itself.
//
//   CADDIE_PLUGIN("1.0", caddie::compressor_component<Brotli>("brotli", "Brotli, one stream", 1, kOptions))
//
// The entry is named after the file: libcaddie_brotli.so exports caddie_plugin_caddie_brotli (set by caddie_add_plugin).
#pragma once

#include <cstddef>
#include <cstdint>

#include "caddie/options.h"

namespace caddie {

enum class PluginKind : std::uint32_t { model, optimizer, quantizer, compressor, ttt };

struct Component {
  PluginKind kind;
  const char* name;              // lower_snake, what a manifest's `use` says
  const char* summary;           // one line
  std::uint32_t behaviour_version;  // raised when the outputs change; part of every stage key
  const OptionSpec* options;
  std::size_t option_count;
  // `context` is the kind's own struct (ModelContext, ...). May throw caddie::Error.
  void* (*create)(const Options& options, const void* context);
  void (*destroy)(void* instance) noexcept;
};

struct PluginDescriptor {
  std::uint32_t size;  // sizeof(PluginDescriptor)
  const char* name;    // the file's stem without "caddie_"
  const char* version;
  const Component* components;
  std::size_t component_count;
};

}  // namespace caddie

#define CADDIE_STRINGIFY_(x) #x
#define CADDIE_STRINGIFY(x) CADDIE_STRINGIFY_(x)
#define CADDIE_PASTE_(a, b) a##b
#define CADDIE_PASTE(a, b) CADDIE_PASTE_(a, b)
#define CADDIE_PLUGIN_ENTRY CADDIE_PASTE(caddie_plugin_, CADDIE_PLUGIN_STEM)

// The tag is a symbol whose *name* is the ABI id: it can be read from the file without running any code of it.
#define CADDIE_PLUGIN(version, ...)                                                                         \
  extern "C" {                                                                                              \
  extern __attribute__((visibility("default"))) const char CADDIE_ABI_ID[];                                 \
  __attribute__((used, section("caddieabi"))) const char CADDIE_ABI_ID[] = CADDIE_STRINGIFY(CADDIE_ABI_ID); \
  __attribute__((visibility("default"))) const ::caddie::PluginDescriptor* CADDIE_PLUGIN_ENTRY() noexcept { \
    static const ::caddie::Component components[] = {__VA_ARGS__};                                          \
    static const ::caddie::PluginDescriptor descriptor = {                                                  \
        sizeof(::caddie::PluginDescriptor), CADDIE_STRINGIFY(CADDIE_PLUGIN_STEM) + 7, version, components,  \
        sizeof(components) / sizeof(components[0])};                                                        \
    return &descriptor;                                                                                     \
  }                                                                                                         \
  }
