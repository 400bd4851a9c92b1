// Three matrix products with the attention, on a piece of every kernel at a time:
//
//     mix       tiles   (images, length) =  attention (images, stack) x kernels (stack, length)
//     gather    kernels (stack, length)  =  attention^T x tiles         the gradient of the kernels, or what is to be added to it
//     compare   dots    (images, stack) +=  tiles x kernels^T           the gradient of the attention
//
// Each keeps four kernels' numbers in registers while it goes through the images, so the stack is read once for all of them.

#pragma once

#include "registers.h"

struct Mixture {
    Int images, stack, length;
    const float *attention, *kernels, *tiles;
    Int kernel, tile;  // how far apart two kernels and two tiles lie
    const float* end;  // of the kernels' memory; it does not matter where the length is a whole number of registers
    Int next = 0;      // how far on lies what is asked for ahead, for the next pieces follow no pattern that a processor sees; or 0
};

#define IN_PLACE inline __attribute__((always_inline))  // rows are short: to hand a Mixture over costs as much as one

// piece(i, get) for each register of a length, `get` from where its numbers lie; last(i, get) for one that has too few of its own.
template <class Piece, class Last>
static inline void by_registers(const Mixture& m, Piece piece, Last last) {
    const Int whole = m.length / LANES * LANES;
    for (Int i = 0; i < whole; i += LANES) piece(i, load);
    if (whole < m.length) last(whole, [&](const float* at) { return load_some(at, m.end, m.length - whole); });
}

// some(N, k) for the kernels k … k + N - 1, four at a time, with N known to the compiler
template <class Some>
static inline void by_fours(Int stack, Some some) {
    for (Int k = 0; k < stack; k += 4) switch (stack - k) {
        case 1: some(std::integral_constant<int, 1>(), k); break;
        case 2: some(std::integral_constant<int, 2>(), k); break;
        case 3: some(std::integral_constant<int, 3>(), k); break;
        default: some(std::integral_constant<int, 4>(), k);
    }
}

// A tile's last register is written whole.
template <int N>
static void mix_some(Mixture m, Int first, float* tiles) {
    const float *pi = m.attention + first, *kernels = m.kernels + first * m.kernel;
    const auto piece = [&](Int i, auto get) {
        vec w[N];
        for (int k = 0; k < N; k++) w[k] = get(kernels + k * m.kernel + i);
        if (m.next) for (int k = 0; k < N; k++) __builtin_prefetch(kernels + k * m.kernel + i + m.next, 0, 2);
        for (Int b = 0; b < m.images; b++) {
            vec sum = w[0] * pi[b * m.stack];
            if (first) sum += load(tiles + b * m.tile + i);
            for (int k = 1; k < N; k++) sum += w[k] * pi[b * m.stack + k];
            store(tiles + b * m.tile + i, sum);
        }
    };
    by_registers(m, piece, piece);
}

// How what is gathered is written: added to what is there, or new, or new and past the caches, which it is far too large for
enum class Write { ADD, NEW, PAST };

template <int N>
static IN_PLACE void gather_some(Mixture m, Int first, float* kernels, Write how) {
    const float* pi = m.attention + first;
    kernels += first * m.kernel;
    const auto sums = [&](Int i, vec (&a)[N]) {
        for (Int b = 0; b < m.images; b++) {
            const vec t = load(m.tiles + b * m.tile + i);
            for (int k = 0; k < N; k++) a[k] += t * pi[b * m.stack + k];
        }
    };
    const auto piece = [&](Int i, auto get) {
        vec a[N];
        for (int k = 0; k < N; k++) a[k] = how == Write::ADD ? get(kernels + k * m.kernel + i) : vec{};
        if (m.next) for (int k = 0; k < N; k++) __builtin_prefetch(m.kernels + (first + k) * m.kernel + i + m.next, 0, 2);
        sums(i, a);
        if (how == Write::PAST) for (int k = 0; k < N; k++) store_past(kernels + k * m.kernel + i, a[k]);
        else for (int k = 0; k < N; k++) store(kernels + k * m.kernel + i, a[k]);
    };
    const auto last = [&](Int i, auto) {  // what comes after it is another thread's
        const std::size_t bytes = (m.length - i) * 4;
        vec a[N] = {};
        for (int k = 0; k < N && how == Write::ADD; k++) std::memcpy(&a[k], kernels + k * m.kernel + i, bytes);
        sums(i, a);
        for (int k = 0; k < N; k++) std::memcpy(kernels + k * m.kernel + i, &a[k], bytes);
    };
    by_registers(m, piece, last);
}

// dots (images, stack, LANES): each is the sum of its lanes
template <int N>
static IN_PLACE void compare_some(Mixture m, Int first, float* dots) {
    const float* kernels = m.kernels + first * m.kernel;
    for (Int b = 0; b < m.images; b++) {
        float* to = dots + (b * m.stack + first) * LANES;
        vec a[N];
        for (int k = 0; k < N; k++) a[k] = load(to + k * LANES);
        const auto add = [&](Int i, vec t, auto get) {
            for (int k = 0; k < N; k++) a[k] += t * get(kernels + k * m.kernel + i);
        };
        const auto piece = [&](Int i, auto get) { add(i, load(m.tiles + b * m.tile + i), get); };
        const auto last = [&](Int i, auto) {  // what comes after it may be no number at all, and counts as 0
            const auto few = [&](const float* at) { return load_some(at, at, m.length - i); };
            add(i, few(m.tiles + b * m.tile + i), few);
        };
        by_registers(m, piece, last);
        for (int k = 0; k < N; k++) store(to + k * LANES, a[k]);
    }
}

static inline void mix(const Mixture& m, float* tiles) {
    by_fours(m.stack, [&](auto n, Int k) { mix_some<decltype(n)::value>(m, k, tiles); });
}
static IN_PLACE void gather(const Mixture& m, float* kernels, Write how) {
    by_fours(m.stack, [&](auto n, Int k) { gather_some<decltype(n)::value>(m, k, kernels, how); });
}
static IN_PLACE void compare(const Mixture& m, float* dots) {
    by_fours(m.stack, [&](auto n, Int k) { compare_some<decltype(n)::value>(m, k, dots); });
}
