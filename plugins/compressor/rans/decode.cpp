// The plain decoder, and the choice among all.
#include "stream.h"

namespace rans {

void decode_plain(Stream& stream, const std::uint32_t* entries, const Piece& piece) {
  walk(piece, [&](const Block& block) { return decode_block(stream, entries, block); }, [&] { return stream.beyond; });
}

DecodePiece fastest_decoder() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl"))
    return decode_avx512;
  if (__builtin_cpu_supports("avx2")) return decode_avx2;
#endif
  return decode_plain;
}

}  // namespace rans
