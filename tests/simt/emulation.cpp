#include "tests/simt/emulation.h"

#include <ucontext.h>

#include <exception>
#include <memory>
#include <utility>
#include <vector>

namespace caddie::simt {

Place thread_index, block_index, block_size, grid_size;

namespace {

constexpr std::size_t kStack = std::size_t{64} << 10;

struct Fiber {
  ucontext_t context;
  std::unique_ptr<char[]> stack;
  bool done = true;
  std::uint32_t given = 0;
};

ucontext_t scheduler;
std::vector<Fiber> fibers;
const std::function<void()>* body = nullptr;
std::exception_ptr failure;
int arrived = 0, live = 0, generation = 0;

void enter() {
  try {
    (*body)();
  } catch (...) {
    failure = std::current_exception();
  }
  fibers[thread_index.x].done = true;
  --live;
}

void rest() {
  const unsigned mine = thread_index.x;
  swapcontext(&fibers[mine].context, &scheduler);
  thread_index.x = mine;
}

}  // namespace

void block_barrier() {
  const int waits_for = generation;
  if (++arrived == live) {
    arrived = 0;
    ++generation;
    return;
  }
  while (waits_for == generation) rest();
}

// The lanes of a warp make the same calls, so that a turn of all fibers brings every lane to the same one.
std::uint32_t exchanged(std::uint32_t value, int distance) {
  const unsigned mine = thread_index.x;
  fibers[mine].given = value;
  rest();
  const std::uint32_t result = fibers[mine ^ static_cast<unsigned>(distance)].given;
  rest();
  return result;
}

void run(long long blocks, int threads, const std::function<void()>& what) {
  body = &what;
  block_size.x = static_cast<unsigned>(threads);
  grid_size.x = static_cast<unsigned>(blocks);
  if (fibers.size() < static_cast<std::size_t>(threads)) fibers.resize(static_cast<std::size_t>(threads));
  for (long long block = 0; block < blocks; ++block) {
    block_index.x = static_cast<unsigned>(block);
    live = threads;
    arrived = 0;
    for (int i = 0; i < threads; ++i) {
      Fiber& fiber = fibers[static_cast<std::size_t>(i)];
      if (!fiber.stack) fiber.stack = std::make_unique<char[]>(kStack);
      getcontext(&fiber.context);
      fiber.context.uc_stack.ss_sp = fiber.stack.get();
      fiber.context.uc_stack.ss_size = kStack;
      fiber.context.uc_link = &scheduler;
      makecontext(&fiber.context, enter, 0);
      fiber.done = false;
    }
    while (live > 0) {
      for (int i = 0; i < threads; ++i) {
        if (fibers[static_cast<std::size_t>(i)].done) continue;
        thread_index.x = static_cast<unsigned>(i);
        swapcontext(&scheduler, &fibers[static_cast<std::size_t>(i)].context);
      }
      if (failure) std::rethrow_exception(std::exchange(failure, nullptr));
    }
  }
}

}  // namespace caddie::simt
