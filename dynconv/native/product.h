// Matrix products in tiles of sums that stay in registers: of some rows with what columns.h lays out.

#pragma once

#include "memory.h"
#include "mixing.h"

constexpr Int WORKERS = 4;  // the work is cut for so many threads, be there more or less

// M registers of numbers to where `wide` of them belong
template <int M>
static inline void put(const vec (&from)[M], float* to, Int wide, bool add) {
    float some[M * LANES] = {};
    const bool whole = wide >= M * LANES;
    if (!whole && add) std::memcpy(some, to, wide * 4);
    float* there = whole ? to : some;
#pragma GCC unroll 2
    for (int m = 0; m < M; m++) store(there + m * LANES, add ? from[m] + load(there + m * LANES) : from[m]);
    if (!whole) std::memcpy(to, some, wide * 4);
}

// A matrix whose rows lie `row` and whose columns lie `column` apart
struct Left { const float* at; Int row, column; };
// A tile whose rows follow each other, `row` apart
struct Right { const float* at; Int row; };
// Where a tile of the product goes: its rows `along` apart, `wide` numbers of each; added to what is there, or in its place
struct Place { float* at; Int along, wide; bool add; };

// What is asked of memory while something else is multiplied, which leaves it idle: some rows of each kernel of a stack, a line of the cache
// at a time
struct Ahead {
    const float* at;
    Int stack, kernel, length, across, rows;  // numbers of a row; how far apart kernels, and rows, lie
    Int done = 0;                             // numbers of the first row

    void ask() {
        constexpr Int LINE = 16;
        if (!rows) return;
        for (Int k = 0; k < stack; k++) __builtin_prefetch(at + k * kernel + done, 0, 2);
        done += LINE;
        if (done >= length) done = 0, at += across, rows--;
    }
};

// place (R, M x LANES) = or += left (R, length) x right (length, M x LANES)
template <int M, int R, bool ASKS>
static void multiply(const Left& left, const Right& right, Int length, const Place& to, Ahead* ahead) {
    vec a[R][M] = {};
    const float *w = right.at, *rows[(R + 2) / 3];  // every third: the others are one and two away
#pragma GCC unroll 16
    for (int r = 0; r < R; r += 3) rows[r / 3] = left.at + r * left.row;
    for (Int l = 0; l < length; l++, w += right.row) {
        if constexpr (ASKS) ahead->ask();
        vec v[M];
#pragma GCC unroll 2
        for (int m = 0; m < M; m++) v[m] = load(w + m * LANES);
#pragma GCC unroll 16
        for (int r = 0; r < R; r++)
#pragma GCC unroll 2
            for (int m = 0; m < M; m++) a[r][m] += v[m] * rows[r / 3][r % 3 * left.row];
#pragma GCC unroll 16
        for (int r = 0; r < R; r += 3) rows[r / 3] += left.column;
    }
#pragma GCC unroll 16
    for (int r = 0; r < R; r++) put<M>(a[r], to.at + r * to.along, to.wide, to.add);
}

typedef void (*Multiply)(const Left&, const Right&, Int, const Place&, Ahead*);
template <int... R>
static Multiply pick(Int wide, Int rows, bool asks, std::integer_sequence<int, R...>) {
    static constexpr Multiply all[4][MOST] = {
        {multiply<1, R + 1, false>...}, {multiply<2, R + 1, false>...}, {multiply<1, R + 1, true>...}, {multiply<2, R + 1, true>...}};
    return all[2 * asks + (wide > LANES)][rows - 1];
}

// One tile, any number of rows
static void multiply_tile(const Left& left, Int rows, const Right& right, Int length, const Place& to, Ahead* ahead = nullptr) {
    const Int blocks = parts(rows, MOST);
    for (Int j = 0; j < blocks; j++) {
        const Int from = j * rows / blocks, some = (j + 1) * rows / blocks - from;
        const Multiply run = pick(to.wide, some, ahead && ahead->rows, std::make_integer_sequence<int, MOST>());
        run({left.at + from * left.row, left.row, left.column}, right, length, {to.at + from * to.along, to.along, to.wide, to.add}, ahead);
    }
}

// left (rows, length) times tiles of (length, WIDE), `wide` numbers in all
static inline void multiply_tiles(const Left& left, Int rows, const float* tiles, Int length, const Place& to, Ahead* ahead = nullptr) {
    for (Int p = 0; p < to.wide; p += WIDE, tiles += length * WIDE)
        multiply_tile(left, rows, {tiles, WIDE}, length, {to.at + p, to.along, std::min<Int>(WIDE, to.wide - p), to.add}, ahead);
}

// Some numbers of some rows of the kernels, mixed for each of some images: (image, row, apart), where `apart` are whole registers
static void mix_rows(const Call& call, Int image, Int images, const float* kernels, Int across, Int rows, Int length, float* to, Int apart,
                     Int tile) {
    const Int kernel = call.outs * across;
    const float *pi = call.attention + image * call.stack, *end = call.kernels + call.stack * kernel;
    for (Int r = 0; r < rows; r++, kernels += across, to += apart)
        mix({images, call.stack, length, pi, kernels, nullptr, kernel, tile, end, 8 * across}, to);
}

// Work that needs memory; false where there is not enough
template <class Work>
static bool done(Work work) {
    const Memory memory(work.memory());
    if (memory.get()) work.run(memory.get());
    return memory.get();
}
