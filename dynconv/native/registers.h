// Numbers in vector registers: what the files beside this one share.

#pragma once

#include <omp.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <utility>

#include "call.h"

#if defined(__AVX512F__)
constexpr int LANES = 16, MOST = 14;  // numbers in a register; rows of a tile of sums, two registers wide, that fit with the rest
#elif defined(__AVX2__)
constexpr int LANES = 8, MOST = 6;
#elif defined(__aarch64__)
constexpr int LANES = 4, MOST = 12;
#else
constexpr int LANES = 4, MOST = 6;
#endif
constexpr int WIDE = 2 * LANES;  // channels in a panel: the last one of a layer may have half as many

typedef float vec __attribute__((vector_size(LANES * 4)));
typedef float loose __attribute__((vector_size(LANES * 4), aligned(4), may_alias));

static inline vec load(const float* p) { return *reinterpret_cast<const loose*>(p); }
static inline void store(float* p, vec v) { *reinterpret_cast<loose*>(p) = v; }
// A tile of sums out of its registers, one after another
template <int M, int R>
static inline void store(float* p, const vec (&tile)[R][M]) {
#pragma GCC unroll 16
    for (int r = 0; r < R; r++)
#pragma GCC unroll 2
        for (int m = 0; m < M; m++) store(p + (r * M + m) * LANES, tile[r][m]);
}
static inline Int up(Int n, Int step) { return (n + step - 1) / step * step; }
static inline Int parts(Int n, Int size) { return (n + size - 1) / size; }

// What convolution.py passes, in this order. x is (B, C, H, W), kernels are (K, O, C, kh, kw), outputs (B, O, oh, ow). In the stack
// of kernels `out` and `in` say how far apart two output and two input channels lie; turned: the taps are read from the last.
struct Sizes { Int B, C, H, W, O, K, kh, kw, sh, sw, ph, pw, dh, dw, oh, ow, out, in, turned; };
static inline Sizes sizes_of(const Call& c) {
    return {c.images, c.channels, c.height, c.width, c.outs, c.stack, c.taps_down, c.taps_across, c.stride_down, c.stride_across,
            c.pad_down, c.pad_across, c.gap_down, c.gap_across, c.high, c.wide, c.next_out, c.next_channel, c.turned};
}

// In place: the LANES x LANES numbers of t, rows for columns, by exchanging ever larger blocks.
template <int S, int... I>
static inline void exchange(vec* t, std::integer_sequence<int, I...>) {
    for (int i = 0; i < LANES; i++)
        if (!(i & S)) {
            vec a = t[i], b = t[i | S];
            t[i] = __builtin_shufflevector(a, b, ((I & S) ? LANES + I - S : I)...);
            t[i | S] = __builtin_shufflevector(a, b, ((I & S) ? LANES + I : I + S)...);
        }
}
static inline void transpose(vec* t) {
    constexpr auto all = std::make_integer_sequence<int, LANES>();
    exchange<1>(t, all);
    exchange<2>(t, all);
    if constexpr (LANES > 4) exchange<4>(t, all);
    if constexpr (LANES > 8) exchange<8>(t, all);
}

// to[c][r] = from[r][c] for `rows` x `columns` numbers whose rows lie `across` and `along` apart. Whole registers are read where
// they end before from_end, and written where they fit the `room` of a row, or before to_end into places written later.
static void transpose(const float* from, Int across, Int rows, Int columns, const float* from_end, float* to, Int along, Int room,
                      const float* to_end) {
    if (across == 1 && columns == 1) {  // a column that lies in one piece
        std::memcpy(to, from, rows * 4);
        for (Int r = rows; r < std::min(room, up(rows, LANES)); r++) to[r] = 0;
    } else if (along == 1 && rows == 1) std::memcpy(to, from, columns * 4);
    else for (Int r = 0; r < rows; r += LANES)
        for (Int c = 0; c < columns; c += LANES) {
            const Int high = std::min<Int>(LANES, rows - r), wide = std::min<Int>(LANES, columns - c);
            vec t[LANES] = {};
            for (Int i = 0; i < high; i++) {
                const float* at = from + (r + i) * across + c;
                if (at + LANES <= from_end) t[i] = load(at);
                else std::memcpy(&t[i], at, wide * 4);
            }
            transpose(t);
            const bool fits = r + LANES <= room;
            for (Int i = 0; i < wide; i++) {
                float* at = to + (c + i) * along + r;
                if (fits || (rows <= LANES && at + LANES <= to_end)) store(at, t[i]);
                else std::memcpy(at, &t[i], high * 4);
            }
        }
}

// Memory for so many numbers, or null; its first one begins a line of the cache. Memory that is new to a process costs it more than
// the arithmetic on it, so a thread keeps its last, if it is not much.
class Memory {
    struct Free { void operator()(float* memory) const { std::free(memory); } };
    static constexpr Int MUCH = 1 << 24;  // numbers: 64 MB
    static inline thread_local std::unique_ptr<float, Free> kept;
    static inline thread_local Int size = 0;

  public:
    explicit Memory(Int numbers) {
        if (numbers <= size) return;
        release();
        kept.reset(static_cast<float*>(std::aligned_alloc(64, up(numbers, 16) * 4)));
        if (kept) size = numbers;
    }
    ~Memory() {
        if (size > MUCH) release();
    }
    float* get() const { return kept.get(); }
    static void release() { kept.reset(), size = 0; }
};
