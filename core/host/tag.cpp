#define BOOST_DLL_USE_STD_FS
#include "core/host/tag.h"

#include <elf.h>

#include <algorithm>
#include <boost/dll/library_info.hpp>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <map>

#include "caddie/error.h"

namespace caddie {
namespace {

constexpr std::string_view kPrefix = "caddie_abi";

[[noreturn]] void refuse(std::string what) { throw Error(ErrorKind::environment, std::move(what)); }

// Boost.DLL trusts every size in the file. Here the section table and all sections are seen to lie inside of it, so that
// a cut or foreign file is told apart from a library and cannot make the reader allocate what it names.
void check_library(const std::filesystem::path& file) {
  std::error_code failure;
  if (std::filesystem::is_directory(file, failure)) refuse("is a folder, not a library");
  const std::uint64_t size = std::filesystem::file_size(file, failure);
  if (failure) refuse("cannot be read: " + failure.message());
  errno = 0;
  std::ifstream in(file, std::ios::binary);
  if (!in) refuse(concat("cannot be read: ", std::strerror(errno)));
  Elf64_Ehdr header{};
  const std::uint64_t head = std::min<std::uint64_t>(size, sizeof header);
  in.read(reinterpret_cast<char*>(&header), static_cast<std::streamsize>(head));
  if (head < SELFMAG || std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0)
    refuse("is not a shared library (no ELF header)");
  const std::string cut = concat("is cut short or damaged (", size, " bytes)");
  if (head < sizeof header) refuse(cut);
  if (header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_ident[EI_DATA] != ELFDATA2LSB)
    refuse("is a library for another machine (not 64-bit little-endian)");
  if (header.e_type != ET_DYN) refuse("is not a shared library (ELF type " + std::to_string(header.e_type) + ")");
  const std::uint64_t table = std::uint64_t{header.e_shnum} * sizeof(Elf64_Shdr);
  if (header.e_shnum == 0 || header.e_shentsize != sizeof(Elf64_Shdr) || header.e_shstrndx >= header.e_shnum ||
      header.e_shoff > size || table > size - header.e_shoff)
    refuse(cut);
  std::vector<Elf64_Shdr> sections(header.e_shnum);
  in.seekg(static_cast<std::streamoff>(header.e_shoff));
  in.read(reinterpret_cast<char*>(sections.data()), static_cast<std::streamsize>(table));
  if (!in) refuse(cut);
  for (const Elf64_Shdr& section : sections) {
    if (section.sh_type == SHT_NOBITS || section.sh_type == SHT_NULL) continue;
    if (section.sh_offset > size || section.sh_size > size - section.sh_offset) refuse(cut);
  }
}

}  // namespace

std::string_view host_abi() { return CADDIE_ABI_ID; }
std::string_view host_abi_no_torch() { return CADDIE_ABI_ID_NO_TORCH; }

std::vector<std::pair<std::string, std::string>> abi_fields(std::string_view tag) {
  std::vector<std::pair<std::string, std::string>> fields;
  if (!tag.starts_with(kPrefix)) return fields;
  tag.remove_prefix(kPrefix.size());
  while (tag.starts_with("__")) {
    tag.remove_prefix(2);
    const std::string_view field = tag.substr(0, tag.find("__"));
    const std::size_t split = std::min(field.find('_'), field.size());
    fields.emplace_back(field.substr(0, split), field.substr(std::min(split + 1, field.size())));
    tag.remove_prefix(field.size());
  }
  return fields;
}

std::string read_abi_tag(const std::filesystem::path& file) {
  check_library(file);
  std::vector<std::string> symbols;
  try {
    symbols = boost::dll::library_info(file).symbols("caddieabi");
  } catch (const std::exception& error) {
    refuse(concat("cannot be read as a shared library: ", error.what()));
  }
  std::erase_if(symbols, [](const std::string& symbol) { return !symbol.starts_with(kPrefix); });
  if (symbols.empty()) refuse("has no ABI tag: it is not a caddie plugin, or it was not built by caddie_add_plugin");
  if (symbols.size() > 1) refuse(concat("has ", symbols.size(), " ABI tags, a plugin has exactly one"));
  return symbols.front();
}

std::string abi_difference(std::string_view plugin_tag) {
  if (plugin_tag == host_abi() || plugin_tag == host_abi_no_torch()) return {};
  const auto host = abi_fields(host_abi()), list = abi_fields(plugin_tag);
  std::map<std::string, std::string> plugin(list.begin(), list.end());
  std::string text;
  const auto differ = [&text](const std::string& field, const std::string& theirs, const std::string& ours) {
    text += concat(text.empty() ? "" : "; ", field, ": plugin ", theirs, ", host ", ours);
  };
  for (const auto& [field, ours] : host) {
    const auto found = plugin.find(field);
    const std::string theirs = found == plugin.end() ? "(none)" : found->second;
    plugin.erase(field);
    if (theirs != ours && !(field == "torch" && theirs == "none")) differ(field, theirs, ours);
  }
  for (const auto& [field, theirs] : plugin) differ(field, theirs, "(none)");
  if (text.empty()) differ("tag", std::string(plugin_tag), std::string(host_abi()));  // fields in another order
  return text;
}

}  // namespace caddie
