#include "registry/query/database.h"

#include <sqlite3.h>

#include <chrono>
#include <thread>

#include "caddie/error.h"

namespace caddie::registry {
namespace {

constexpr int kBusyMilliseconds = 20000, kPauseMilliseconds = 5;

[[noreturn]] void fail(sqlite3* connection, int code) {
  throw SqlError{code, connection ? sqlite3_errmsg(connection) : sqlite3_errstr(code)};
}

}  // namespace

Database::Database(const std::filesystem::path& path) {
  const std::string name = path.empty() ? ":memory:" : path.string();
  const int code = sqlite3_open_v2(name.c_str(), &handle_, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, nullptr);
  if (code != SQLITE_OK) {
    const SqlError error{code, handle_ ? sqlite3_errmsg(handle_) : "out of memory"};
    sqlite3_close(handle_);
    throw error;
  }
  sqlite3_busy_timeout(handle_, kBusyMilliseconds);
}

Database::~Database() { sqlite3_close(handle_); }

void Database::run(const std::string& sql) {
  const int code = sqlite3_exec(handle_, sql.c_str(), nullptr, nullptr, nullptr);
  if (code != SQLITE_OK) fail(handle_, code);
}

void Database::use_write_ahead_log() {
  // SQLite does not wait here: two who read the file and both want it alone would wait for each other for ever.
  for (int waited = 0;; waited += kPauseMilliseconds) {
    const int code = sqlite3_exec(handle_, "PRAGMA journal_mode = WAL", nullptr, nullptr, nullptr);
    if (code == SQLITE_OK) return;
    if ((code & 0xff) != SQLITE_BUSY || waited >= kBusyMilliseconds) fail(handle_, code);
    std::this_thread::sleep_for(std::chrono::milliseconds(kPauseMilliseconds));
  }
}

std::int64_t Database::number(const std::string& sql) {
  Statement statement(*this, sql);
  return statement.step() ? statement.integer(0) : 0;
}

Database::Damage Database::damage(int code) {
  switch (code & 0xff) {
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_FORMAT:
    case SQLITE_SCHEMA:
    case SQLITE_ERROR: return Damage::not_a_database;  // ERROR: a table that is not as the version says
    case SQLITE_READONLY:
    case SQLITE_CANTOPEN:
    case SQLITE_PERM:
    case SQLITE_IOERR:
    case SQLITE_FULL: return Damage::cannot_write;
    default: return Damage::none;
  }
}

Statement::Statement(Database& database, const std::string& sql) : connection_(database.handle()) {
  check(sqlite3_prepare_v2(connection_, sql.c_str(), static_cast<int>(sql.size()), &statement_, nullptr));
}
Statement::~Statement() { sqlite3_finalize(statement_); }

void Statement::check(int code) const {
  if (code != SQLITE_OK) fail(connection_, code);
}

Statement& Statement::bind(int place, std::int64_t value) {
  check(sqlite3_bind_int64(statement_, place, value));
  return *this;
}
Statement& Statement::bind(int place, std::string_view text) {
  check(sqlite3_bind_text(statement_, place, text.data(), static_cast<int>(text.size()), SQLITE_TRANSIENT));
  return *this;
}
Statement& Statement::bind(int place, const Value& value) {
  if (!value.is_number) return bind(place, std::string_view(value.text));
  check(sqlite3_bind_double(statement_, place, value.number));
  return *this;
}

bool Statement::step() {
  const int code = sqlite3_step(statement_);
  if (code != SQLITE_ROW && code != SQLITE_DONE) {
    sqlite3_reset(statement_);
    fail(connection_, code);
  }
  return code == SQLITE_ROW;
}
void Statement::reset() { sqlite3_reset(statement_); }
void Statement::run() {
  step();
  reset();
}
std::int64_t Statement::integer(int column) const { return sqlite3_column_int64(statement_, column); }
std::string Statement::text(int column) const {
  const auto* text = reinterpret_cast<const char*>(sqlite3_column_text(statement_, column));
  return text ? std::string(text, static_cast<std::size_t>(sqlite3_column_bytes(statement_, column))) : std::string();
}
bool Statement::is_null(int column) const { return sqlite3_column_type(statement_, column) == SQLITE_NULL; }
Value Statement::value(int column) const {
  const int type = sqlite3_column_type(statement_, column);
  if (type == SQLITE_INTEGER || type == SQLITE_FLOAT) return Value::of(sqlite3_column_double(statement_, column));
  return Value::of(text(column));
}

Transaction::Transaction(Database& database) : database_(database) { database_.run("BEGIN IMMEDIATE"); }
Transaction::~Transaction() {
  if (!open_) return;
  try {
    database_.run("ROLLBACK");
  } catch (const SqlError&) {  // SQLite rolled back by itself
  }
}
void Transaction::commit() {
  database_.run("COMMIT");
  open_ = false;
}

}  // namespace caddie::registry
