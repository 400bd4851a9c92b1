// What the positions of an output see of an image, as a matrix: a row for each channel and tap, a column for each position. It is
// never made whole: some rows of some positions at a time are laid out as they will be multiplied.

#pragma once

#include "registers.h"

// In tiles, WIDE numbers of a line each and `apart` from one to the next; what the last has too few is 0.
static inline void lay(const float* line, Int numbers, float* to, Int apart) {
    for (; numbers >= WIDE; numbers -= WIDE, line += WIDE, to += apart) std::memcpy(to, line, WIDE * 4);
    if (numbers <= 0) return;
    std::memset(to, 0, WIDE * 4);
    std::memcpy(to, line, numbers * 4);
}

// A register of numbers that lie `step` apart, of which `here` are wanted
template <int... I>
static inline vec evens(const vec& a, const vec& b, std::integer_sequence<int, I...>) { return __builtin_shufflevector(a, b, (2 * I)...); }
static inline vec every(Int step, const float* at, Int here, const float* end) {
    if (step == 1) return load_some(at, end, here);
    vec v = {};
    if (step == 2 && at + 2 * LANES <= end) v = evens(load(at), load(at + LANES), std::make_integer_sequence<int, LANES>());
    else for (Int i = 0; i < here; i++) v[i] = at[i * step];
    return v;
}

struct Columns {
    const Call call;
    const Int taps, rows, positions, plane;  // plane: pixels of a channel
    const bool plain;                        // whether the matrix is the image itself

    explicit Columns(const Call& c)
        : call(c),
          taps(c.taps_down * c.taps_across),
          rows(c.channels * taps),
          positions(c.high * c.wide),
          plane(c.height * c.width),
          plain(taps * c.stride_down * c.stride_across == 1 && c.pad_down + c.pad_across == 0) {}

    // run(i, pixel, count): so many positions from `first` + i on see, by a row of the matrix, the pixels from that on, a stride apart
    template <class Run>
    void runs(Int row, Int first, Int stop, Run run) const {
        const Int tap = row % taps, step = call.stride_across;
        const Int down = tap / call.taps_across * call.gap_down - call.pad_down;
        const Int across = tap % call.taps_across * call.gap_across - call.pad_across;
        const Int begin = across < 0 ? parts(-across, step) : 0;
        const Int end = across < call.width ? std::min(call.wide, parts(call.width - across, step)) : 0;
        for (Int y = first / call.wide; y * call.wide < stop; y++) {
            const Int at = y * call.stride_down + down, left = y * call.wide;
            const Int from = std::max(begin, first - left), to = std::min(end, stop - left);
            if (at >= 0 && at < call.height && from < to) run(left + from - first, at * call.width + from * step + across, to - from);
        }
    }

    const float* channel(Int image, Int row) const { return call.x + (image * call.channels + row / taps) * plane; }

    // What some positions see by one row; where it does not lie in one piece, it is brought together in `room`, which has LANES more. Whole
    // registers are written: what is too much is overwritten by what comes after it.
    const float* line(Int image, Int row, Int first, Int stop, float* room) const {
        const float *from = channel(image, row), *end = call.x + call.images * call.channels * plane;
        if (plain) return from + first;
        Int done = 0;
        const auto nothing_until = [&](Int i) { for (; done < i; done += LANES) store(room + done, vec{}); };
        runs(row, first, stop, [&](Int i, Int pixel, Int count) {
            nothing_until(i);
            for (Int j = 0; j < count; j += LANES)
                store(room + i + j, every(call.stride_across, from + pixel + j * call.stride_across, std::min<Int>(LANES, count - j), end));
            done = i + count;
        });
        nothing_until(stop - first);
        return room;
    }

    // The way back: to a channel's pixels, what its positions' numbers in one row say.
    void add_back(Int image, Int row, Int first, Int stop, const float* line) const {
        float* to = call.grad_x + (image * call.channels + row / taps) * plane;
        runs(row, first, stop, [&](Int i, Int pixel, Int count) {
            for (Int j = 0; j < count; j++) to[pixel + j * call.stride_across] += line[i + j];
        });
    }

    // (tile of positions, row, WIDE)
    void across(Int image, Int row, Int some, Int first, Int stop, float* to, float* room) const {
        for (Int r = 0; r < some; r++) lay(line(image, row + r, first, stop, room), stop - first, to + r * WIDE, some * WIDE);
    }

    // (position, WIDE): at most WIDE rows, turned
    void down(Int image, Int row, Int some, Int first, Int stop, float* to, float* room) const {
        const Int here = stop - first;
        const Source from = plain ? Source{channel(image, row) + first, plane, call.x + call.images * call.channels * plane}
                                  : Source{room, here, room + WIDE * here};
        for (Int r = 0; r < some && !plain; r++) line(image, row + r, first, stop, room + r * here);
        transpose(from, some, here, {to, WIDE, WIDE, nullptr});
    }
};

constexpr Int POSITIONS = 256;  // that are seen together, of one image or of several

// How the images are cut: into pieces of so many positions, or into groups of whole ones
struct Cut {
    Int pieces, together, groups;  // of an image; images in a group
    explicit Cut(const Call& call) {
        const Int positions = call.high * call.wide;
        pieces = parts(positions, POSITIONS), together = std::min(call.images, std::max<Int>(1, POSITIONS / positions));
        groups = parts(call.images, together), together = parts(call.images, groups);
    }
    Int first(Int group, const Call& call) const { return group * call.images / groups; }
    Int start(Int piece, Int positions) const { return piece * positions / pieces; }
    Int most(Int positions) const { return parts(positions, pieces); }  // positions in a piece
};
