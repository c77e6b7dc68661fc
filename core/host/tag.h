// The ABI tag: read from a file without opening it as a library, and compared field by field. Nothing here runs any code
// of the plugin.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "caddie/export.h"

namespace caddie {

// The tags that plugins of this build carry: with LibTorch, and without ("torch_none").
CADDIE_API std::string_view host_abi();
CADDIE_API std::string_view host_abi_no_torch();

// "caddie_abi__api_1__sdk_12ab__torch_none__..." -> {{"api", "1"}, {"sdk", "12ab"}, {"torch", "none"}, ...}
CADDIE_API std::vector<std::pair<std::string, std::string>> abi_fields(std::string_view tag);

// The only tag in the file's section "caddieabi". Throws Error(environment) saying what the file is instead: not a
// library, cut short, without a tag.
CADDIE_API std::string read_abi_tag(const std::filesystem::path& file);

// Empty if a plugin with this tag may be loaded, otherwise every field that differs:
// "torch: plugin 2_11_0_cu130, host 2_13_0_cpu; compiler: plugin gnu_13, host gnu_12".
CADDIE_API std::string abi_difference(std::string_view plugin_tag);

}  // namespace caddie
