// Numbers in vector registers, and matrices turned by them: what the files beside this one share.
//
// A processor adds and multiplies LANES numbers at once. Here a register holds LANES *channels* of one pixel or one tap, so
// channels lie side by side in memory ("channels last"), while torch keeps the pixels of a channel side by side. Going from one to
// the other is turning a matrix, which registers do a block at a time.

#pragma once

#include <omp.h>

#if defined(__SSE2__)
#include <immintrin.h>
#endif

#include <algorithm>
#include <cstring>
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
constexpr Int SMALL = 1 << 16;  // numbers that one thread reads in less time than it takes to wake another
constexpr int WIDE = 2 * LANES;  // channels in a panel: the last one of a layer may have half as many

typedef float vec __attribute__((vector_size(LANES * 4)));
typedef int ints __attribute__((vector_size(LANES * 4)));
typedef float loose __attribute__((vector_size(LANES * 4), aligned(4), may_alias));

static inline vec load(const float* p) { return *reinterpret_cast<const loose*>(p); }
// In a register from here on: a compiler may otherwise read it from memory again for each use, which takes longer than to multiply by it.
static inline vec held(vec v) {
#if defined(__SSE2__)
    __asm__("" : "+v"(v));
#elif defined(__aarch64__)
    __asm__("" : "+w"(v));
#endif
    return v;
}
static inline void store(float* p, vec v) { *reinterpret_cast<loose*>(p) = v; }
// The same to where a register's numbers may begin a line, past the caches; `after_past` comes before anybody else reads there.
#if defined(__AVX512F__)
static inline void store_past(float* p, vec v) { _mm512_stream_ps(p, reinterpret_cast<__m512&>(v)); }
#elif defined(__AVX2__)
static inline void store_past(float* p, vec v) { _mm256_stream_ps(p, reinterpret_cast<__m256&>(v)); }
#elif defined(__SSE2__)
static inline void store_past(float* p, vec v) { _mm_stream_ps(p, reinterpret_cast<__m128&>(v)); }
#else
static inline void store_past(float* p, vec v) { store(p, v); }
#endif
static inline void after_past() {
#if defined(__SSE2__)
    _mm_sfence();
#endif
}
static inline Int up(Int n, Int step) { return (n + step - 1) / step * step; }
static inline Int parts(Int n, Int size) { return (n + size - 1) / size; }

// Two rows that lie S apart with their blocks of S exchanged: of both the first of each two blocks, and the second.
struct Pair { vec first, second; };
template <int S, int... I>
static inline Pair exchanged(vec a, vec b, std::integer_sequence<int, I...>) {
    return {__builtin_shufflevector(a, b, ((I & S) ? LANES + I - S : I)...), __builtin_shufflevector(a, b, ((I & S) ? LANES + I : I + S)...)};
}

// In place: the LANES x LANES numbers of t, rows for columns, by exchanging ever larger blocks.
template <int S, class All>
static inline void exchange(vec* t, All all) {
#pragma GCC unroll 16
    for (int i = 0; i < LANES; i++)
        if (!(i & S)) {
            const Pair rows = exchanged<S>(t[i], t[i | S], all);
            t[i] = rows.first, t[i | S] = rows.second;
        }
}
static inline void transpose(vec* t) {
    constexpr auto all = std::make_integer_sequence<int, LANES>();
    exchange<1>(t, all);
    exchange<2>(t, all);
    if constexpr (LANES > 4) exchange<4>(t, all);
    if constexpr (LANES > 8) exchange<8>(t, all);
}

// Moves a register's numbers: place i gets that from places[i], or 0 where that is LANES.
#if defined(__AVX512F__)
constexpr bool MOVES = true;  // whether that is one instruction
struct Moved {
    const __m512i places;
    const __mmask16 some;
    explicit Moved(ints from) : places(reinterpret_cast<__m512i>(from)), some(_mm512_cmplt_epi32_mask(places, _mm512_set1_epi32(LANES))) {}
    vec operator()(vec v) const { return reinterpret_cast<vec>(_mm512_maskz_permutexvar_ps(some, places, reinterpret_cast<__m512>(v))); }
};
#else
constexpr bool MOVES = false;
struct Moved {
    const ints places;
    explicit Moved(ints from) : places(from) {}
    vec operator()(vec v) const {
        vec to = {};
        for (int i = 0; i < LANES; i++)
            if (places[i] < LANES) to[i] = v[places[i]];
        return to;
    }
};
#endif

// A register of which `here` numbers are wanted: read whole, if no more than what lies before `end` is touched.
static inline vec load_some(const float* at, const float* end, Int here) {
    vec v = {};
    if (at + LANES <= end) v = load(at);
    else std::memcpy(&v, at, here * 4);
    return v;
}
static inline void store_some(float* at, vec v, Int here) {
    if (here >= LANES) store(at, v);
    else std::memcpy(at, &v, here * 4);
}

// Sums over n numbers, in an order that depends on n alone: lane by lane, in several registers, for one addition waits for the last; `at(i)`
// is what is added from place i on, and a piece of so many registers comes first, so that small numbers are not added to a large sum.
template <class At>
static inline vec lanes_of(Int n, At at) {
    constexpr Int CHAINS = 4, PIECE = 64 * LANES;
    vec lanes = {};
    if (n < CHAINS * LANES) {
        for (Int i = 0; i < n; i += LANES) lanes += at(i);
        return lanes;
    }
    for (Int from = 0; from < n; from += PIECE) {
        vec some[CHAINS] = {};
        const Int stop = std::min(n, from + PIECE), whole = from + (stop - from) / (CHAINS * LANES) * (CHAINS * LANES);
        for (Int i = from; i < whole; i += CHAINS * LANES)
            for (Int c = 0; c < CHAINS; c++) some[c] += at(i + c * LANES);
        for (Int i = whole; i < stop; i += LANES) some[0] += at(i);
        lanes += (some[0] + some[1]) + (some[2] + some[3]);
    }
    return lanes;
}
static inline float total(vec lanes) {
    float sum = 0;
    for (int lane = 0; lane < LANES; lane++) sum += lanes[lane];
    return sum;
}
// Of LANES registers at once, which are overwritten: two become one, whose numbers are sums of neighbours in either, until one is left.
template <int S, class All>
static inline void fold(vec* t, All all) {
#pragma GCC unroll 16
    for (int i = 0; i < LANES; i += 2 * S) {
        const Pair rows = exchanged<S>(t[i], t[i + S], all);
        t[i] = rows.first + rows.second;
    }
}
static inline vec totals(vec* t) {
    constexpr auto all = std::make_integer_sequence<int, LANES>();
    fold<1>(t, all);
    fold<2>(t, all);
    if constexpr (LANES > 4) fold<4>(t, all);
    if constexpr (LANES > 8) fold<8>(t, all);
    return t[0];
}
// The first numbers of a register, and 0 for the rest
template <int... I>
static inline vec only(vec v, int here, std::integer_sequence<int, I...>) { return ints{I...} < here ? v : vec{}; }
static inline vec only(vec v, Int here) { return only(v, int(here), std::make_integer_sequence<int, LANES>()); }
static float sum_of(const float* a, Int n) {
    const Int whole = n / LANES * LANES;
    float sum = total(lanes_of(whole, [&](Int i) { return load(a + i); }));
    for (Int i = whole; i < n; i++) sum += a[i];
    return sum;
}
static vec lanes_of_products(const float* a, const float* b, Int n) {
    const Int whole = n / LANES * LANES;
    vec lanes = lanes_of(whole, [&](Int i) { return load(a + i) * load(b + i); });
    for (Int i = whole; i < n; i++) lanes[i - whole] += a[i] * b[i];
    return lanes;
}
static float sum_of_products(const float* a, const float* b, Int n) { return total(lanes_of_products(a, b, n)); }

// A matrix whose rows lie `across` numbers apart; `end` is where its memory ends.
struct Source { const float* at; Int across; const float* end; };
// A matrix whose rows lie `along` apart and have `room` numbers, of which those that are not asked for may be overwritten; so may
// what comes after a row, before `end`, if it is written later.
struct Target { float* at; Int along, room; const float* end; };

// LANES rows, `across` apart, in registers all the way, if all can be read whole; row(i) says where the i-th of `wide` columns is written.
template <class Row>
static inline __attribute__((always_inline)) bool turn(const float* from, Int across, const float* end, Int wide, Row row) {
    if (wide < LANES && from + (LANES - 1) * across + LANES > end) return false;
    vec t[LANES];
#pragma GCC unroll 16
    for (int i = 0; i < LANES; i++) t[i] = load(from + i * across);
    transpose(t);
    if (wide >= LANES) {  // without a question at each
#pragma GCC unroll 16
        for (int i = 0; i < LANES; i++) store(row(i), t[i]);
    } else {
#pragma GCC unroll 16
        for (int i = 0; i < LANES - 1; i++)
            if (i < wide) store(row(i), t[i]);
    }
    return true;
}

// Of a matrix at most LANES of each: `next` says, once for each column, where its numbers are written, LANES of them.
template <class Next>
static inline void turn_some(const Source& from, Int rows, Int columns, Next next) {
    if (rows >= LANES && turn(from.at, from.across, from.end, columns, next)) return;
    vec t[LANES] = {};
    for (Int i = 0; i < std::min<Int>(LANES, rows); i++) t[i] = load_some(from.at + i * from.across, from.end, columns);
    transpose(t);
    for (Int i = 0; i < columns; i++) store(next(int(i)), t[i]);
}

// to[c][r] = from[r][c] for rows x columns numbers.
static void transpose(const Source& from, Int rows, Int columns, const Target& to) {
    if (from.across == 1 && columns == 1) {  // a column that lies in one piece
        std::memcpy(to.at, from.at, rows * 4);
        for (Int r = rows; r < std::min(to.room, up(rows, LANES)); r++) to.at[r] = 0;
        return;
    }
    if (to.along == 1 && rows == 1) {
        std::memcpy(to.at, from.at, columns * 4);
        return;
    }
    for (Int r = 0; r < rows; r += LANES)
        for (Int c = 0; c < columns; c += LANES) {
            const Int high = std::min<Int>(LANES, rows - r), wide = std::min<Int>(LANES, columns - c);
            const auto row = [&](int i) { return to.at + (c + i) * to.along + r; };
            if (high == LANES && turn(from.at + r * from.across + c, from.across, from.end, wide, row)) continue;
            vec t[LANES] = {};
            for (Int i = 0; i < high; i++) t[i] = load_some(from.at + (r + i) * from.across + c, from.end, wide);
            transpose(t);
            const bool fits = r + LANES <= to.room;
            for (Int i = 0; i < wide; i++) {
                float* at = to.at + (c + i) * to.along + r;
                if (fits || (rows <= LANES && at + LANES <= to.end)) store(at, t[i]);
                else std::memcpy(at, &t[i], high * 4);
            }
        }
}
