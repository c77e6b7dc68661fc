#include "core/comm/shared_region.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <climits>
#include <ctime>

#include "core/base/files.h"

namespace caddie {
namespace {

constexpr std::size_t kLine = 64;
constexpr int kSpins = 300;  // before a rank goes to sleep; long spins cost the others their cores

// A boot of a machine; containers of one machine that share no /dev/shm find out when they open the region.
std::string host_identity() {
  char name[256] = "";
  ::gethostname(name, sizeof name - 1);
  std::string boot;
  try {
    boot = read_text("/proc/sys/kernel/random/boot_id");
  } catch (const Error&) {  // no /proc: the name has to do
  }
  return concat(name, " ", boot);
}

std::int64_t host_serial() {
  static std::atomic<std::int64_t> made{0};
  return ++made;
}

struct Descriptor {
  int value = -1;
  ~Descriptor() {
    if (value >= 0) ::close(value);
  }
};

}  // namespace

struct SharedRegion::Counter {
  std::atomic<std::uint32_t> arrived;  // barriers that the rank has reached
  std::atomic<std::uint32_t> sleepers;
  char rest[kLine - 8];
};

std::unique_ptr<SharedRegion> SharedRegion::open(Group& group, std::size_t slot_bytes) {
  static_assert(sizeof(Counter) == kLine && std::atomic<std::uint32_t>::is_always_lock_free);
  const auto slots = static_cast<std::size_t>(group.size()) + 1;
  const std::size_t counters = kLine * slots, bytes = (counters + 4095) / 4096 * 4096 + slots * 2 * slot_bytes;
  KeyStore& store = group.store();
  const std::string key = group.unique("region"), opened = key + "/opened", refused = key + "/refused";
  const double patience = group.settings().join_seconds;
  Descriptor file;
  std::string name;
  // Rank 0 makes the region, the others open it, and all say whether they could: all of them use it, or none.
  if (group.rank() == 0) {
    name = concat("/caddie_", ::getpid(), "_", host_serial());
    file.value = ::shm_open(name.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    // Reserved now: a page that cannot be had later would be a signal in the middle of a copy.
    if (file.value >= 0 && ::posix_fallocate(file.value, 0, static_cast<off_t>(bytes)) != 0) {
      ::shm_unlink(name.c_str());
      name.clear();
    }
    store.set(key, concat(host_identity(), "|", file.value >= 0 ? name : ""));
  } else {
    const std::string offer = group.wait_for(key, patience, "rank 0's shared memory");
    const auto bar = offer.rfind('|');
    if (offer.substr(0, bar) == host_identity()) name = offer.substr(bar + 1);
    if (!name.empty()) file.value = ::shm_open(name.c_str(), O_RDWR | O_CLOEXEC, 0600);
  }
  void* memory = MAP_FAILED;
  if (!name.empty() && file.value >= 0)
    memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file.value, 0);
  store.add(memory == MAP_FAILED ? refused : opened, 1);
  group.wait_until([&] { return store.add(opened, 0) + store.add(refused, 0) == group.size(); }, patience,
                   "all ranks to open their shared memory");
  if (group.rank() == 0 && !name.empty()) ::shm_unlink(name.c_str());
  if (store.add(refused, 0) == 0)
    return std::unique_ptr<SharedRegion>(new SharedRegion(memory, bytes, group.rank(), group.size(), slot_bytes));
  if (memory != MAP_FAILED) ::munmap(memory, bytes);
  return nullptr;
}

SharedRegion::SharedRegion(void* memory, std::size_t bytes, int rank, int size, std::size_t slot_bytes)
    : memory_(memory), bytes_(bytes), slot_bytes_(slot_bytes), rank_(rank), size_(size) {}

SharedRegion::~SharedRegion() { ::munmap(memory_, bytes_); }

SharedRegion::Counter& SharedRegion::counter(int rank) const { return static_cast<Counter*>(memory_)[rank]; }

std::byte* SharedRegion::slot(int rank, int half) const {
  const std::size_t counters = (kLine * (static_cast<std::size_t>(size_) + 1) + 4095) / 4096 * 4096;
  return static_cast<std::byte*>(memory_) + counters + (static_cast<std::size_t>(rank) * 2 + static_cast<std::size_t>(half)) * slot_bytes_;
}

void SharedRegion::barrier(const Group& group) {
  Counter& own = counter(rank_);
  const std::uint32_t turn = own.arrived.fetch_add(1) + 1;
  if (own.sleepers.load() > 0) ::syscall(SYS_futex, &own.arrived, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
  for (int other = 0; other < size_; ++other) {
    Counter& theirs = counter(other);
    const auto behind = [&] { return static_cast<std::int32_t>(theirs.arrived.load() - turn) < 0; };
    for (int spin = 0; spin < kSpins && behind(); ++spin) __builtin_ia32_pause();
    if (!behind()) continue;
    group.wait_until(
        [&] {
          const std::uint32_t seen = theirs.arrived.load();
          if (static_cast<std::int32_t>(seen - turn) >= 0) return true;
          theirs.sleepers.fetch_add(1);
          const timespec limit{0, 50'000'000};
          ::syscall(SYS_futex, &theirs.arrived, FUTEX_WAIT, seen, &limit, nullptr, 0);
          theirs.sleepers.fetch_sub(1);
          return !behind();
        },
        group.settings().operation_seconds, concat("rank ", other));
  }
}

}  // namespace caddie
