// 64 coders in four registers. A block at the stream's end, or of less than 64 codes, is decoded plainly: vectors read
// ahead.
#include "stream.h"

#if defined(__AVX512BW__)
#include <immintrin.h>

namespace rans {
namespace {

struct Visit {
  Stream& stream;
  const std::uint32_t* entries;

  BlockSums operator()(const Block& block) const {
    if (block.count < kLanes || stream.end - stream.next < 2 * kLanes) return decode_block(stream, entries, block);
    __m512i level = _mm512_loadu_si512(block.logs);
    level = _mm512_subs_epu8(_mm512_adds_epu8(level, _mm512_set1_epi8(static_cast<char>(block.expected.up))),
                             _mm512_set1_epi8(static_cast<char>(block.expected.down)));
    level = _mm512_and_si512(_mm512_srli_epi16(level, 2), _mm512_set1_epi8(63));
    level = _mm512_min_epu8(level, _mm512_set1_epi8(kLevels - 1));
    const __m128i levels[4] = {_mm512_castsi512_si128(level), _mm512_extracti32x4_epi32(level, 1),
                               _mm512_extracti32x4_epi32(level, 2), _mm512_extracti32x4_epi32(level, 3)};
    const __m512i low = _mm512_set1_epi32(kProbabilityOne - 1);
    __m512i states[4];
    __mmask16 short_of[4];
    for (int j = 0; j < 4; ++j) {
      const __m512i x = _mm512_loadu_si512(stream.states.data() + 16 * j);
      const __m512i place = _mm512_or_si512(_mm512_slli_epi32(_mm512_cvtepu8_epi32(levels[j]), kProbabilityBits),
                                            _mm512_and_si512(x, low));
      const __m512i entry = _mm512_i32gather_epi32(place, entries, 4);
      const __m512i frequency = _mm512_and_si512(_mm512_srli_epi32(entry, kProbabilityBits), low);
      states[j] = _mm512_add_epi32(_mm512_mullo_epi32(frequency, _mm512_srli_epi32(x, kProbabilityBits)),
                                   _mm512_and_si512(entry, low));
      short_of[j] = _mm512_cmplt_epu32_mask(states[j], _mm512_set1_epi32(kStateLow));
      _mm_storeu_si128(reinterpret_cast<__m128i*>(block.codes + 16 * j), _mm512_cvtepi32_epi8(_mm512_srli_epi32(entry, 24)));
    }
    const std::uint8_t* next = stream.next;
    for (int j = 0; j < 4; ++j) {
      const __m512i words = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(next)));
      const __m512i filled = _mm512_or_si512(_mm512_slli_epi32(states[j], 16), _mm512_maskz_expand_epi32(short_of[j], words));
      _mm512_storeu_si512(stream.states.data() + 16 * j, _mm512_mask_mov_epi32(states[j], short_of[j], filled));
      next += 2 * __builtin_popcount(short_of[j]);
    }
    stream.next = next;
    const __m512i above = _mm512_loadu_si512(block.above);
    __m512i codes = _mm512_loadu_si512(block.codes);
    if (block.expected.differences) {
      codes = _mm512_add_epi8(codes, above);
      _mm512_storeu_si512(block.codes, codes);
    }
    const __m512i magnitudes = _mm512_abs_epi8(codes), apart = _mm512_abs_epi8(_mm512_sub_epi8(codes, above));
    for (int j = 0; j < 2; ++j) {
      const __m512i wide = _mm512_cvtepu8_epi16(j == 0 ? _mm512_castsi512_si256(magnitudes)
                                                       : _mm512_extracti64x4_epi64(magnitudes, 1));
      std::uint16_t* sums = block.sums + 32 * j;
      _mm512_storeu_si512(sums, _mm512_add_epi16(_mm512_loadu_si512(sums), wide));
    }
    const __m512i zero = _mm512_setzero_si512();
    return {static_cast<int>(_mm512_reduce_add_epi64(_mm512_sad_epu8(magnitudes, zero))),
            static_cast<int>(_mm512_reduce_add_epi64(_mm512_sad_epu8(apart, zero)))};
  }
};

}  // namespace

void decode_avx512(Stream& stream, const std::uint32_t* entries, const Piece& piece) {
  walk(piece, Visit{stream, entries}, [&] { return stream.beyond; });
}

}  // namespace rans
#else
namespace rans {
void decode_avx512(Stream& stream, const std::uint32_t* entries, const Piece& piece) { decode_plain(stream, entries, piece); }
}  // namespace rans
#endif
