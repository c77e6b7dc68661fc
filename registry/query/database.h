// SQLite with owners: a connection, prepared statements, a transaction. Nothing about runs.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "registry/query/value.h"

struct sqlite3;
struct sqlite3_stmt;

namespace caddie::registry {

// Throws Error(failed) with SQLite's own words wherever a call fails.
class Database {
 public:
  enum class Damage { none, not_a_database, cannot_write };
  // An empty path: in memory. Waits up to 20 s for other writers.
  explicit Database(const std::filesystem::path& path);
  ~Database();
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;
  void run(const std::string& sql);
  // Readers and one writer do not wait for each other. Waits until others let it switch.
  void use_write_ahead_log();
  std::int64_t number(const std::string& sql);  // first column of the first row; 0 without rows
  sqlite3* handle() const { return handle_; }
  // What a caught failure of this file means.
  static Damage damage(int code);

 private:
  sqlite3* handle_ = nullptr;
};

// What Database and Statement throw inside; `code` is SQLite's.
struct SqlError {
  int code;
  std::string message;
};

class Statement {
 public:
  Statement(Database& database, const std::string& sql);
  ~Statement();
  Statement(const Statement&) = delete;
  Statement& operator=(const Statement&) = delete;
  Statement& bind(int place, std::int64_t value);
  Statement& bind(int place, std::string_view text);
  Statement& bind(int place, const Value& value);
  bool step();  // whether there is a row
  void reset();
  void run();  // step() and reset()
  std::int64_t integer(int column) const;
  std::string text(int column) const;
  bool is_null(int column) const;
  Value value(int column) const;

 private:
  void check(int code) const;
  sqlite3* connection_;
  sqlite3_stmt* statement_ = nullptr;
};

// Takes the write lock at once; rolled back unless committed.
class Transaction {
 public:
  explicit Transaction(Database& database);
  ~Transaction();
  void commit();

 private:
  Database& database_;
  bool open_ = true;
};

}  // namespace caddie::registry
