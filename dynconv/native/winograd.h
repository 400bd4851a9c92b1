// Minimal filtering F(m x m, 3 x 3): m x m outputs of a 3 x 3 kernel for (m + 2) x (m + 2) products (Winograd, Arithmetic Complexity of
// Computations, 1980; Lavin and Gray, Fast Algorithms for Convolutional Neural Networks, 2016, https://arxiv.org/abs/1509.09308).
// Outputs = A^T [(G g G^T) . (B^T d B)] A. All are linear, so kernels may be mixed after G as well as before. From the outputs' gradient e
// the kernel's is G^T [(A e A^T) . (B^T d B)] G: again 16 products for 36, and the transforms back once for all tiles of an image. Each
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
};

// Products of 16 outputs: 36, not 144. Which points the polynomials are evaluated at decides what rounding does (Barabasz et al., Error
// Analysis and Improving the Accuracy of Winograd Convolution for Deep Neural Networks, 2020, https://arxiv.org/abs/1803.10986): with
// 0, 1, -1, 2, -2 and infinity it errs four times as much as with the roots of 1/2 and 2 in their places.
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
};

// What an image takes, in products of a channel in and a channel out: to transform and mix a kernel costs about as much as three tiles.
template <class F>
static inline Int work_by_tiles(Int high, Int wide, Int stack) { return F::STEPS * (parts(high, F::SIDE) * parts(wide, F::SIDE) + 3 * stack); }

// The larger tiles take fewer products an output; but more is mixed of each of the K kernels, and maps are filled up to fours.
static inline bool large_tiles_win(Int high, Int wide, Int stack) { return work_by_tiles<Four>(high, wide, stack) < work_by_tiles<Two>(high, wide, stack); }

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

// A e A^T of 2 x 2 outputs' gradients; rows of them lie `down` apart, columns `right`
static inline void transform_gradient(const float* e, Int down, Int right, float* out, Int apart) {
    vec rows[4][2];
    for (int j = 0; j < 2; j++) {
        const vec a = load(e + j * right), b = load(e + down + j * right);
        rows[0][j] = a, rows[1][j] = a + b, rows[2][j] = a - b, rows[3][j] = -b;
    }
    for (int i = 0; i < 4; i++, out += 4 * apart) {
        const vec a = rows[i][0], b = rows[i][1];
        store(out, a), store(out + apart, a + b), store(out + 2 * apart, a - b), store(out + 3 * apart, -b);
    }
}

// A kernel's 9 taps = G^T m G, a register each
static inline void transform_taps(const float* m, Int apart, float* out) {
    vec rows[3][4];
    for (int j = 0; j < 4; j++) {
        const vec b = load(m + (4 + j) * apart) * 0.5f, c = load(m + (8 + j) * apart) * 0.5f;
        rows[0][j] = load(m + j * apart) + (b + c), rows[1][j] = b - c, rows[2][j] = (b + c) + load(m + (12 + j) * apart);
    }
    for (int i = 0; i < 3; i++, out += 3 * LANES) {
        const vec b = rows[i][1] * 0.5f, c = rows[i][2] * 0.5f;
        store(out, rows[i][0] + (b + c)), store(out + LANES, b - c), store(out + 2 * LANES, (b + c) + rows[i][3]);
    }
}
