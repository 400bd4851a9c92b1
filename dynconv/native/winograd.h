// Minimal filtering F(2 x 2, 3 x 3): four outputs of a 3 x 3 kernel for 16 products instead of 36 (Winograd, Arithmetic Complexity
// of Computations, 1980; Lavin and Gray, Fast Algorithms for Convolutional Neural Networks, 2016, https://arxiv.org/abs/1509.09308).
// Outputs = A^T [(G g G^T) . (B^T d B)] A. All are linear, so kernels may be mixed after G as well as before. From the outputs' gradient e
// the kernel's is G^T [(A e A^T) . (B^T d B)] G: again 16 products for 36, and the transforms back once for all tiles of an image. Each
// function treats one channel per lane.

#pragma once

#include "registers.h"

constexpr Int TAPS = 9, STEPS = 16;  // of a kernel, and of what it is transformed to
constexpr Int FEW_POSITIONS = 32;    // for fewer, transforming the kernels costs more than is saved

// Whether it applies, and saves something
static inline bool has_tiles(const Call& c) {
    return c.taps_down == 3 && c.taps_across == 3 && c.stride_down == 1 && c.stride_across == 1 && c.gap_down == 1 && c.gap_across == 1 &&
           c.high * c.wide >= FEW_POSITIONS;
}

// 4 x 4 = G g G^T of the kernel's 9 taps, each `step` numbers after the one before; out: `apart` numbers from one to the next
static inline void transform_kernel(const float* g, Int step, float* out, Int apart) {
    vec rows[4][3];
    for (int j = 0; j < 3; j++) {
        const vec a = load(g + j * step), b = load(g + (3 + j) * step), c = load(g + (6 + j) * step);
        const vec sum = (a + c) * 0.5f, half = b * 0.5f;
        rows[0][j] = a, rows[1][j] = sum + half, rows[2][j] = sum - half, rows[3][j] = c;
    }
    for (int i = 0; i < 4; i++, out += 4 * apart) {
        const vec a = rows[i][0], c = rows[i][2], sum = (a + c) * 0.5f, half = rows[i][1] * 0.5f;
        store(out, a), store(out + apart, sum + half), store(out + 2 * apart, sum - half), store(out + 3 * apart, c);
    }
}

// 4 x 4 = B^T d B of 4 x 4 pixels; rows of pixels lie `down` apart, columns `right`
static inline void transform_input(const float* d, Int down, Int right, float* out, Int apart) {
    vec rows[4][4];
    for (int j = 0; j < 4; j++) {
        const float* at = d + j * right;
        const vec a = load(at), b = load(at + down), c = load(at + 2 * down), e = load(at + 3 * down);
        rows[0][j] = a - c, rows[1][j] = b + c, rows[2][j] = c - b, rows[3][j] = b - e;
    }
    for (int i = 0; i < 4; i++, out += 4 * apart) {
        const vec a = rows[i][0], b = rows[i][1], c = rows[i][2], e = rows[i][3];
        store(out, a - c), store(out + apart, b + c), store(out + 2 * apart, c - b), store(out + 3 * apart, b - e);
    }
}

// 2 x 2 outputs = A^T m A
static inline void transform_output(const float* m, Int apart, vec out[4]) {
    vec rows[2][4];
    for (int j = 0; j < 4; j++) {
        const vec b = load(m + (4 + j) * apart), c = load(m + (8 + j) * apart);
        rows[0][j] = load(m + j * apart) + b + c, rows[1][j] = b - c - load(m + (12 + j) * apart);
    }
    for (int i = 0; i < 2; i++) {
        const vec b = rows[i][1], c = rows[i][2];
        out[2 * i] = rows[i][0] + b + c, out[2 * i + 1] = b - c - rows[i][3];
    }
}

// 4 x 4 = A e A^T of 2 x 2 outputs' gradients; rows of them lie `down` apart, columns `right`
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
