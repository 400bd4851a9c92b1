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
};

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

template <int N>
static void mix_some(Mixture m, Int first, float* tiles) {
    const float *pi = m.attention + first, *kernels = m.kernels + first * m.kernel;
    for (Int i = 0; i < m.length; i += LANES) {
        vec w[N];
        for (int k = 0; k < N; k++) w[k] = load(kernels + k * m.kernel + i);
        for (Int b = 0; b < m.images; b++) {
            vec sum = w[0] * pi[b * m.stack];
            if (first) sum += load(tiles + b * m.tile + i);
            for (int k = 1; k < N; k++) sum += w[k] * pi[b * m.stack + k];
            store(tiles + b * m.tile + i, sum);
        }
    }
}

template <int N>
static void gather_some(Mixture m, Int first, float* kernels, bool add) {
    const float* pi = m.attention + first;
    kernels += first * m.kernel;
    for (Int i = 0; i < m.length; i += LANES) {
        vec a[N];
        for (int k = 0; k < N; k++) a[k] = add ? load(kernels + k * m.kernel + i) : vec{};
        for (Int b = 0; b < m.images; b++) {
            const vec t = load(m.tiles + b * m.tile + i);
            for (int k = 0; k < N; k++) a[k] += t * pi[b * m.stack + k];
        }
        for (int k = 0; k < N; k++) store(kernels + k * m.kernel + i, a[k]);
    }
}

// dots (images, stack, LANES): each is the sum of its lanes
template <int N>
static void compare_some(Mixture m, Int first, float* dots) {
    const float* kernels = m.kernels + first * m.kernel;
    for (Int b = 0; b < m.images; b++) {
        float* to = dots + (b * m.stack + first) * LANES;
        vec a[N];
        for (int k = 0; k < N; k++) a[k] = load(to + k * LANES);
        for (Int i = 0; i < m.length; i += LANES) {
            const vec t = load(m.tiles + b * m.tile + i);
            for (int k = 0; k < N; k++) a[k] += t * load(kernels + k * m.kernel + i);
        }
        for (int k = 0; k < N; k++) store(to + k * LANES, a[k]);
    }
}

static inline void mix(const Mixture& m, float* tiles) {
    by_fours(m.stack, [&](auto n, Int k) { mix_some<decltype(n)::value>(m, k, tiles); });
}
static inline void gather(const Mixture& m, float* kernels, bool add) {
    by_fours(m.stack, [&](auto n, Int k) { gather_some<decltype(n)::value>(m, k, kernels, add); });
}
static inline void compare(const Mixture& m, float* dots) {
    by_fours(m.stack, [&](auto n, Int k) { compare_some<decltype(n)::value>(m, k, dots); });
}
