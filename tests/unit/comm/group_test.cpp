// Groups: messages, agreement, and the first failure on every rank.
#include "core/comm/group.h"

#include <ATen/ops/zeros.h>

#include <chrono>
#include <thread>

#include "core/comm/store.h"
#include "tests/support/catch.h"
#include "tests/support/thread_group.h"

using namespace caddie;
using namespace caddie::testing;

TEST_CASE("rank 0's messages reach all others in order") {
  std::vector<std::string> got(3);
  rethrow_first(run_groups(3, [&](Group& group) {
    if (group.rank() == 0)
      for (const char* word : {"a", "b", "c"}) group.tell(word);
    else
      for (int i = 0; i < 3; ++i) got[static_cast<std::size_t>(group.rank())] += group.next_message().get<std::string>();
  }));
  CHECK(got[1] == "abc");
  CHECK(got[2] == "abc");
}

TEST_CASE("ranks that disagree name the first key that differs") {
  const auto errors = run_groups(2, [](Group& group) {
    group.agree({{"train", {{"sequence", 64}, {"rates", {1, 2}}}}});
    group.agree({{"train", {{"sequence", 64}, {"rates", {1, group.rank() == 1 ? 3 : 2}}}}});
    if (group.rank() == 0) group.wait_until([] { return false; }, 10, "the other");
  });
  CHECK(text_of(errors[1]).find("on rank 1 train.rates[1] is 3, on rank 0 it is 2") != std::string::npos);
  CHECK(text_of(errors[0]).find("rank 1: the ranks do not run the same manifest") != std::string::npos);
}

TEST_CASE("the first rank that fails ends the waits of the others, with its error and its kind") {
  const auto path = GENERATE(StoreCommunicator::Path::best, StoreCommunicator::Path::store_only);
  const auto start = std::chrono::steady_clock::now();
  const auto errors = run_groups(3, [&](Group& group) {
    StoreCommunicator ranks(group, path);
    if (group.rank() == 1) throw Error(ErrorKind::data, "the shard is torn");
    at::Tensor value = at::zeros({4}, at::kFloat);
    ranks.all_reduce_sum(value);
  });
  CHECK(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() < 5);
  for (const std::size_t rank : {0u, 2u}) {
    CHECK(text_of(errors[rank]).find("rank 1: the shard is torn") != std::string::npos);
    try {
      std::rethrow_exception(errors[rank]);
    } catch (const Error& error) {
      CHECK(error.kind() == ErrorKind::data);
    }
  }
}

TEST_CASE("a rank that shows no sign of life is a failure, one that has left is not") {
  GroupSettings settings = quick_settings();
  settings.silence_seconds = 1.6;
  const auto errors = run_groups(3, [](Group& group) {
    if (group.rank() == 2) return;  // leaves
    if (group.rank() == 0) {
      // Longer than the silence that is allowed; rank 2 has left, rank 1 lives.
      std::this_thread::sleep_for(std::chrono::milliseconds(2500));
      group.check();
      group.tell("go on");
    } else {
      group.next_message();
    }
  }, settings);
  rethrow_first(errors);

  // Rank 1 goes without a word: its group object is destroyed without leave() and without fail().
  KeyStore server({"127.0.0.1", 0}, true, "", 20);
  const auto launch_of = [&](int rank) {
    Launch launch;
    launch.rank = launch.local_rank = rank;
    launch.size = launch.local_size = 2;
    launch.store = {"127.0.0.1", server.port()};
    return launch;
  };
  std::thread silent([&] { const Group group(launch_of(1), settings); });
  std::string error;
  try {
    Group group(launch_of(0), settings);
    group.wait_until([] { return false; }, 20, "rank 1");
  } catch (const Error& caught) {
    error = caught.what();
  }
  silent.join();
  CHECK(error.find("rank 1: it has shown no sign of life") != std::string::npos);
}

TEST_CASE("ranks that do not come are named") {
  KeyStore server({"127.0.0.1", 0}, true, "", 20);
  Launch launch;
  launch.size = launch.local_size = 2;
  launch.store = {"127.0.0.1", server.port()};
  GroupSettings settings = quick_settings();
  settings.join_seconds = 0.3;
  try {
    const Group group(launch, settings);
    FAIL("a group of one came together as two");
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::environment);
    CHECK(error.message().find("rank 1 of 2 did not come") != std::string::npos);
  }
}
