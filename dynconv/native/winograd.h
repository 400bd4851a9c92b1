// Minimal filtering F(m x m, 3 x 3): m x m outputs of a 3 x 3 kernel for (m + 2) x (m + 2) products (Winograd, Arithmetic Complexity of
// Computations, 1980; Lavin and Gray, Fast Algorithms for Convolutional Neural Networks, 2016, https://arxiv.org/abs/1509.09308).
// Outputs = A^T [(G g G^T) . (B^T d B)] A. All are linear, so kernels may be mixed after G as well as before. From the outputs' gradient e
// the kernel's is G^T [(A e A^T) . (B^T d B)] G: as many products, and the transforms back once for all tiles of an image. Each
// function treats one channel per lane.

#pragma once

#include "registers.h"

constexpr Int TAPS = 9;            // of a kernel
constexpr Int FEW_POSITIONS = 32;  // for fewer, transforming the kernels costs more than is saved

// Whether it applies, and saves something
static inline bool has_tiles(const Call& c) {
    return c.taps_down == 3 && c.taps_across == 3 && c.stride_down == 1 && c.stride_across == 1 && c.gap_down == 1 && c.gap_across == 1 &&
           c.high * c.wide >= FEW_POSITIONS;
}

// Products of four outputs: 16, not 36. The polynomials are evaluated at 0, 1, -1 and infinity; every factor is a power of two.
struct Two {
    static constexpr int SIDE = 2, SEES = SIDE + 2, STEPS = SEES * SEES;
    static inline void kernel(const vec (&g)[3], vec (&to)[4]) {
        const vec sum = (g[0] + g[2]) * 0.5f, half = g[1] * 0.5f;
        to[0] = g[0], to[1] = sum + half, to[2] = sum - half, to[3] = g[2];
    }
    static inline void input(const vec (&d)[4], vec (&to)[4]) { to[0] = d[0] - d[2], to[1] = d[1] + d[2], to[2] = d[2] - d[1], to[3] = d[1] - d[3]; }
    static inline void output(const vec (&m)[4], vec (&to)[2]) { to[0] = m[0] + m[1] + m[2], to[1] = m[1] - m[2] - m[3]; }
    static inline void gradient(const vec (&e)[2], vec (&to)[4]) { to[0] = e[0], to[1] = e[0] + e[1], to[2] = e[0] - e[1], to[3] = -e[1]; }
    static inline void taps(const vec (&m)[4], vec (&to)[3]) {
        const vec b = m[1] * 0.5f, c = m[2] * 0.5f;
        to[0] = m[0] + (b + c), to[1] = b - c, to[2] = (b + c) + m[3];
    }
};

// Products of 16 outputs: 36, not 144. Which points the polynomials are evaluated at decides what rounding does (Barabasz et al., Error
// Analysis and Improving the Accuracy of Winograd Convolution for Deep Neural Networks, 2020, https://arxiv.org/abs/1803.10986): with
// 0, 1, -1, 2, -2 and infinity it errs several times as much as with the roots of 1/2 and 2 in their places (test_native.py would be red).
struct Four {
    static constexpr int SIDE = 4, SEES = SIDE + 2, STEPS = SEES * SEES;
    static constexpr float LOW = 0.70710678f, HIGH = 1.41421356f;  // the points' squares are 1/2 and 2
    static inline void kernel(const vec (&g)[3], vec (&to)[6]) {
        const vec low = g[0] + g[2] * 0.5f, high = g[0] + g[2] * 2, at_low = g[1] * LOW, at_high = g[1] * HIGH;
        to[0] = g[0], to[1] = (low + at_low) * (-2 / 3.f), to[2] = (low - at_low) * (-2 / 3.f);
        to[3] = (high + at_high) * (1 / 6.f), to[4] = (high - at_high) * (1 / 6.f), to[5] = g[2];
    }
    static inline void input(const vec (&d)[6], vec (&to)[6]) {
        const vec low = d[4] - d[2] * 2, high = d[4] - d[2] * 0.5f, at_low = (d[3] - d[1] * 2) * LOW, at_high = (d[3] - d[1] * 0.5f) * HIGH;
        to[0] = d[0] - d[2] * 2.5f + d[4], to[1] = low + at_low, to[2] = low - at_low;
        to[3] = high + at_high, to[4] = high - at_high, to[5] = d[1] - d[3] * 2.5f + d[5];
    }
    static inline void output(const vec (&m)[6], vec (&to)[4]) {
        const vec low = m[1] + m[2], high = m[3] + m[4], at_low = (m[1] - m[2]) * LOW, at_high = (m[3] - m[4]) * HIGH;
        to[0] = m[0] + low + high, to[1] = at_low + at_high, to[2] = low * 0.5f + high * 2, to[3] = at_low * 0.5f + at_high * 2 + m[5];
    }
    static inline void gradient(const vec (&e)[4], vec (&to)[6]) {
        const vec low = e[0] + e[2] * 0.5f, high = e[0] + e[2] * 2, at_low = (e[1] + e[3] * 0.5f) * LOW, at_high = (e[1] + e[3] * 2) * HIGH;
        to[0] = e[0], to[1] = low + at_low, to[2] = low - at_low, to[3] = high + at_high, to[4] = high - at_high, to[5] = e[3];
    }
    static inline void taps(const vec (&m)[6], vec (&to)[3]) {
        const vec low = (m[1] + m[2]) * (-1 / 3.f), high = (m[3] + m[4]) * (1 / 3.f);
        to[0] = m[0] + low * 2 + high * 0.5f, to[2] = low + high + m[5];
        to[1] = (m[1] - m[2]) * (-2 / 3.f * LOW) + (m[3] - m[4]) * (1 / 6.f * HIGH);
    }
};

// What an image takes, in products of a channel in and a channel out, where what is done once for an image costs as much as so many tiles.
template <class F>
static inline Int work_by_tiles(Int high, Int wide, Int once) { return F::STEPS * (parts(high, F::SIDE) * parts(wide, F::SIDE) + once); }

// The larger tiles take fewer products an output; but more is done once for an image, and maps are filled up to fours.
static inline bool large_tiles_win(Int high, Int wide, Int once) { return work_by_tiles<Four>(high, wide, once) < work_by_tiles<Two>(high, wide, once); }
constexpr Int KERNEL = 3, GRADIENT = 12;  // as many tiles as it costs to transform and mix one of K kernels, to transform a gradient back

// A map of N numbers to R, along both axes of N x N numbers: of their columns first
template <int N, int R, class Along, class Get, class Put>
static inline void both_axes(Along along, Get get, Put put) {
    vec rows[R][N];
#pragma GCC unroll 6
    for (int j = 0; j < N; j++) {
        vec column[N], to[R];
#pragma GCC unroll 6
        for (int i = 0; i < N; i++) column[i] = get(i, j);
        along(column, to);
#pragma GCC unroll 6
        for (int i = 0; i < R; i++) rows[i][j] = to[i];
    }
#pragma GCC unroll 6
    for (int i = 0; i < R; i++) {
        vec to[R];
        along(rows[i], to);
#pragma GCC unroll 6
        for (int j = 0; j < R; j++) put(i, j, to[j]);
    }
}

// G g G^T of the kernel's 9 taps, each `step` numbers after the one before; out: `apart` numbers from one to the next
template <class F>
static inline void transform_kernel(const float* g, Int step, float* out, Int apart) {
    both_axes<3, F::SEES>(F::kernel, [&](int i, int j) { return load(g + (3 * i + j) * step); },
                          [&](int i, int j, vec v) { store(out + (F::SEES * i + j) * apart, v); });
}

// B^T d B of the pixels that a tile of outputs sees; rows of pixels lie `down` apart, columns `right`
template <class F>
static inline void transform_input(const float* d, Int down, Int right, float* out, Int apart) {
    both_axes<F::SEES, F::SEES>(F::input, [&](int i, int j) { return load(d + i * down + j * right); },
                                [&](int i, int j, vec v) { store(out + (F::SEES * i + j) * apart, v); });
}

// A^T m A, a tile of outputs: put(row, column, outputs)
template <class F, class Put>
static inline void transform_output(const float* m, Int apart, Put put) {
    both_axes<F::SEES, F::SIDE>(F::output, [&](int i, int j) { return load(m + (F::SEES * i + j) * apart); }, put);
}

// A e A^T of the outputs' gradients of a tile; rows of them lie `down` apart, columns `right`
template <class F>
static inline void transform_gradient(const float* e, Int down, Int right, float* out, Int apart) {
    both_axes<F::SIDE, F::SEES>(F::gradient, [&](int i, int j) { return load(e + i * down + j * right); },
                                [&](int i, int j, vec v) { store(out + (F::SEES * i + j) * apart, v); });
}

// A kernel's 9 taps = G^T m G, a register each
template <class F>
static inline void transform_taps(const float* m, Int apart, float* out) {
    both_axes<F::SEES, 3>(F::taps, [&](int i, int j) { return load(m + (F::SEES * i + j) * apart); },
                          [&](int i, int j, vec v) { store(out + (3 * i + j) * LANES, v); });
}
