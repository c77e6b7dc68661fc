// Catch2 beside LibTorch: LibTorch defines CHECK too, and whichever comes last wins, silently. Tests include this header
// and never catch2/ directly (a test over the sources enforces it).
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/util/Logging.h>
#undef CHECK
#include <catch2/catch.hpp>

// Ends a test case that needs what this machine lacks, and says so. It counts as an assertion: a test case
// without any fails (-w NoAssertions).
#define SKIP_TEST(reason)             \
  do {                                \
    WARN("skipped: " << reason);      \
    SUCCEED();                        \
    return;                           \
  } while (false)
