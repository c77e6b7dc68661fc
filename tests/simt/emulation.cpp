#include "tests/simt/emulation.h"

#include <ucontext.h>

#include <array>
#include <exception>
#include <memory>
#include <stdexcept>
#include <utility>
#include <vector>

namespace caddie::simt {

Place thread_index, block_index, block_size, grid_size;

namespace {

constexpr std::size_t kStack = std::size_t{64} << 10;

struct Fiber {
  ucontext_t context;
  std::unique_ptr<char[]> stack;
  bool done = true, waits = false;
  std::uint32_t given = 0;
  TilePart part;
};

// Of the launch that runs. While it waits for the one ahead, that one has this place.
struct State {
  ucontext_t scheduler;
  std::vector<Fiber> fibers;
  const std::function<void()>* body = nullptr;
  std::exception_ptr failure;
  int arrived = 0, live = 0, waiting = 0, generation = 0;
  bool early = false, released = false;  // launched early; what is ahead is done
};
State state;
std::vector<std::function<void()>> put_off;

void enter() {
  const unsigned mine = thread_index.x;
  try {
    (*state.body)();
    if (state.early && !state.fibers[mine].waits) throw std::runtime_error("a thread of an early launch did not wait");
  } catch (...) {
    state.failure = std::current_exception();
  }
  state.fibers[thread_index.x].done = true;
  --state.live;
}

void rest() {
  const unsigned mine = thread_index.x;
  swapcontext(&state.fibers[mine].context, &state.scheduler);
  thread_index.x = mine;
}

}  // namespace

void block_barrier() {
  const int waits_for = state.generation;
  if (++state.arrived == state.live) {
    state.arrived = 0;
    ++state.generation;
    return;
  }
  while (waits_for == state.generation) rest();
}

// The lanes of a warp make the same calls, so that a turn of all fibers brings every lane to the same one.
std::uint32_t exchanged(std::uint32_t value, int distance) {
  const unsigned mine = thread_index.x;
  state.fibers[mine].given = value;
  rest();
  const std::uint32_t result = state.fibers[mine ^ static_cast<unsigned>(distance)].given;
  rest();
  return result;
}

void tile_product(float (&sums)[4], const TilePart& part) {
  const unsigned mine = thread_index.x, lane = mine % 32, warp = mine - lane;
  state.fibers[mine].part = part;
  rest();
  const auto value = [](std::uint32_t pair, int half) {
    const std::uint32_t bits = half == 0 ? pair << 16 : pair & 0xffff0000u;
    float x;
    std::memcpy(&x, &bits, 4);
    return x;
  };
  for (unsigned i = 0; i < 4; ++i) {
    const unsigned row = lane / 4, column = 2 * (lane % 4) + i % 2;
    for (unsigned quarter = 0; quarter < 4; ++quarter) {
      const TilePart& a = state.fibers[warp + row * 4 + quarter].part;
      const TilePart& b = state.fibers[warp + column * 4 + quarter].part;
      for (int word = 0; word < 2; ++word)
        for (int half = 0; half < 2; ++half)
          sums[i] += value(i < 2 ? a.low[word] : a.high[word], half) * value(b.other[word], half);
    }
  }
  rest();
}

void wait_for_previous() {
  Fiber& fiber = state.fibers[thread_index.x];
  if (!state.early || fiber.waits) return;
  fiber.waits = true;
  ++state.waiting;
  while (!state.released) rest();
}

namespace {

// What is ahead of the launch that runs, in another state.
void run_ahead() {
  const auto places = std::array{thread_index, block_index, block_size, grid_size};
  State other = std::exchange(state, State{});
  finish();
  state = std::move(other);
  thread_index = places[0], block_index = places[1], block_size = places[2], grid_size = places[3];
  state.released = true;
}

void run_now(long long blocks, int threads, const std::function<void()>& what, bool early) {
  state.body = &what;
  state.early = early;
  state.released = !early;
  block_size.x = static_cast<unsigned>(threads);
  grid_size.x = static_cast<unsigned>(blocks);
  auto& fibers = state.fibers;
  if (fibers.size() < static_cast<std::size_t>(threads)) fibers.resize(static_cast<std::size_t>(threads));
  for (long long block = 0; block < blocks; ++block) {
    block_index.x = static_cast<unsigned>(block);
    state.live = threads;
    state.arrived = state.waiting = 0;
    for (int i = 0; i < threads; ++i) {
      Fiber& fiber = fibers[static_cast<std::size_t>(i)];
      if (!fiber.stack) fiber.stack = std::make_unique<char[]>(kStack);
      getcontext(&fiber.context);
      fiber.context.uc_stack.ss_sp = fiber.stack.get();
      fiber.context.uc_stack.ss_size = kStack;
      fiber.context.uc_link = &state.scheduler;
      makecontext(&fiber.context, enter, 0);
      fiber.done = fiber.waits = false;
    }
    while (state.live > 0) {
      for (int i = 0; i < threads; ++i) {
        if (fibers[static_cast<std::size_t>(i)].done) continue;
        thread_index.x = static_cast<unsigned>(i);
        swapcontext(&state.scheduler, &fibers[static_cast<std::size_t>(i)].context);
      }
      if (state.failure) std::rethrow_exception(std::exchange(state.failure, nullptr));
      if (!state.released && state.waiting == threads) run_ahead();
    }
  }
}

}  // namespace

void run(long long blocks, int threads, const std::function<void()>& body) {
  finish();
  run_now(blocks, threads, body, false);
}

void run_early(long long blocks, int threads, const std::function<void()>& body) {
  put_off.push_back([=] { run_now(blocks, threads, body, true); });
}

void finish() {
  if (put_off.empty()) return;
  const auto last = std::move(put_off.back());
  put_off.pop_back();
  last();
}

}  // namespace caddie::simt
