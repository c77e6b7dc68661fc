// 64 coders in eight registers, as decode_avx512.cpp; words are dealt to the lanes that need one by a table of permutations.
#include "stream.h"

#if defined(__AVX2__)
#include <immintrin.h>

namespace rans {
namespace {

// For each set of lanes that take a word: which of the next eight words each lane takes.
struct Deals {
  alignas(32) std::uint32_t lane[256][8];
  constexpr Deals() : lane{} {
    for (unsigned set = 0; set < 256; ++set) {
      std::uint32_t taken = 0;
      for (unsigned i = 0; i < 8; ++i)
        if (set >> i & 1) lane[set][i] = taken++;
    }
  }
};
constexpr Deals kDeals;

int sum_of(__m256i quarters) {
  const __m128i halves = _mm_add_epi64(_mm256_castsi256_si128(quarters), _mm256_extracti128_si256(quarters, 1));
  return static_cast<int>(_mm_cvtsi128_si64(halves) + _mm_extract_epi64(halves, 1));
}

struct Visit {
  Stream& stream;
  const std::uint32_t* entries;

  BlockSums operator()(const Block& block) const {
    if (block.count < kLanes || stream.end - stream.next < 2 * kLanes) return decode_block(stream, entries, block);
    const __m256i low = _mm256_set1_epi32(kProbabilityOne - 1);
    alignas(32) std::uint8_t levels[kLanes];
    for (int j = 0; j < 2; ++j) {
      __m256i level = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(block.logs + 32 * j));
      level = _mm256_subs_epu8(_mm256_adds_epu8(level, _mm256_set1_epi8(static_cast<char>(block.expected.up))),
                               _mm256_set1_epi8(static_cast<char>(block.expected.down)));
      level = _mm256_and_si256(_mm256_srli_epi16(level, 2), _mm256_set1_epi8(63));
      _mm256_store_si256(reinterpret_cast<__m256i*>(levels + 32 * j), _mm256_min_epu8(level, _mm256_set1_epi8(kLevels - 1)));
    }
    const std::uint8_t* next = stream.next;
    for (int j = 0; j < 8; ++j) {
      auto* own = reinterpret_cast<__m256i*>(stream.states.data() + 8 * j);
      __m256i x = _mm256_loadu_si256(own);
      const __m256i level = _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(levels + 8 * j)));
      const __m256i place = _mm256_or_si256(_mm256_slli_epi32(level, kProbabilityBits), _mm256_and_si256(x, low));
      const __m256i entry = _mm256_i32gather_epi32(reinterpret_cast<const int*>(entries), place, 4);
      x = _mm256_add_epi32(_mm256_mullo_epi32(_mm256_and_si256(_mm256_srli_epi32(entry, kProbabilityBits), low),
                                              _mm256_srli_epi32(x, kProbabilityBits)),
                           _mm256_and_si256(entry, low));
      // Below 2^16: nothing above the low half.
      const __m256i is_short = _mm256_cmpeq_epi32(_mm256_srli_epi32(x, 16), _mm256_setzero_si256());
      const int set = _mm256_movemask_ps(_mm256_castsi256_ps(is_short));
      const __m256i words = _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(next)));
      const __m256i deal = _mm256_load_si256(reinterpret_cast<const __m256i*>(kDeals.lane[set]));
      const __m256i filled = _mm256_or_si256(_mm256_slli_epi32(x, 16), _mm256_permutevar8x32_epi32(words, deal));
      _mm256_storeu_si256(own, _mm256_blendv_epi8(x, filled, is_short));
      next += 2 * __builtin_popcount(static_cast<unsigned>(set));
      // The highest bytes of eight words, as eight bytes.
      const __m256i symbols = _mm256_srli_epi32(entry, 24);
      const __m128i pairs = _mm_packus_epi32(_mm256_castsi256_si128(symbols), _mm256_extracti128_si256(symbols, 1));
      _mm_storel_epi64(reinterpret_cast<__m128i*>(block.codes + 8 * j), _mm_packus_epi16(pairs, pairs));
    }
    stream.next = next;
    __m256i total = _mm256_setzero_si256(), total_apart = total;
    const __m256i zero = total;
    for (int j = 0; j < 2; ++j) {
      auto* at = reinterpret_cast<__m256i*>(block.codes + 32 * j);
      const __m256i above = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(block.above + 32 * j));
      __m256i codes = _mm256_loadu_si256(at);
      if (block.expected.differences) {
        codes = _mm256_add_epi8(codes, above);
        _mm256_storeu_si256(at, codes);
      }
      const __m256i magnitudes = _mm256_abs_epi8(codes), apart = _mm256_abs_epi8(_mm256_sub_epi8(codes, above));
      total = _mm256_add_epi64(total, _mm256_sad_epu8(magnitudes, zero));
      total_apart = _mm256_add_epi64(total_apart, _mm256_sad_epu8(apart, zero));
      for (int half = 0; half < 2; ++half) {
        auto* sums = reinterpret_cast<__m256i*>(block.sums + 32 * j + 16 * half);
        const __m256i wide = _mm256_cvtepu8_epi16(half == 0 ? _mm256_castsi256_si128(magnitudes)
                                                            : _mm256_extracti128_si256(magnitudes, 1));
        _mm256_storeu_si256(sums, _mm256_add_epi16(_mm256_loadu_si256(sums), wide));
      }
    }
    return {sum_of(total), sum_of(total_apart)};
  }
};

}  // namespace

void decode_avx2(Stream& stream, const std::uint32_t* entries, const Piece& piece) {
  walk(piece, Visit{stream, entries}, [&] { return stream.beyond; });
}

}  // namespace rans
#else
namespace rans {
void decode_avx2(Stream& stream, const std::uint32_t* entries, const Piece& piece) { decode_plain(stream, entries, piece); }
}  // namespace rans
#endif
