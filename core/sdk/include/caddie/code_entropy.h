// What codes of Gaussian weights are expected to cost, so that `plan` can predict an artifact without training.
#pragma once

#include <cstdint>

#include "caddie/export.h"

namespace caddie {

// Bytes of one tensor: as stored (uncompressed), and at the order-0 entropy of its bytes.
struct ExpectedSize {
  double raw_bytes = 0, entropy_bytes = 0;
};

// Entropy in bits a code of absmax rows: rows of `columns` normal numbers, step = the row's largest magnitude / top,
// top = 2^(bits-1) - 1, rounded to the nearest code. Codes of all rows are one distribution. The columns' standard
// deviations are log-normal with the coefficient of variation `column_spread`: large columns make the maximum.
CADDIE_API double absmax_code_bits(int bits, std::int64_t columns, double column_spread = 0);
// The same for a step that is fixed in units of the standard deviation: codes beyond top are cut off.
CADDIE_API double gaussian_code_bits(int bits, double step);
// Bytes of that many row codes at a known entropy a code, with their float16 steps.
CADDIE_API ExpectedSize expected_codes(double bits_a_code, std::int64_t rows, std::int64_t columns, std::int64_t steps);
// One int8 code an element and one float16 step a row. Matrices that are wider than high come out of training with columns
// of unequal size (Muon makes the rows of its updates equal, not their columns), high ones with nearly equal columns.
CADDIE_API ExpectedSize expected_row_codes(int bits, std::int64_t rows, std::int64_t columns);
// Trained float16 values keep about 13.4 of their 16 bits, bfloat16 10.4 of 16, float32 values 25.8 of 32.
CADDIE_API ExpectedSize expected_floats(int bytes_an_element, bool bfloat16, std::int64_t elements);

}  // namespace caddie
