// Catch2 beside LibTorch: LibTorch defines CHECK too, and whichever comes last wins, silently. Tests include this header
// and never catch2/ directly (a test over the sources enforces it).
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/util/Logging.h>
#undef CHECK
#include <catch2/catch.hpp>
