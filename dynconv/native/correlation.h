// The gradient of one image's mixed kernel from that of its outputs, a block of it at a time: some channels out in some of a kernel's
// numbers, which are counted channel by channel, tap by tap. An image is cut into pieces, whose gradients add up to its own; a piece is
// laid out once for all blocks.

#pragma once

#include "columns.h"
#include "images.h"
#include "product.h"
#include "winograd.h"

struct Block { Int out, outs, row, rows; };                 // some channels out; some of their numbers
struct Found { float* at; Int along; const float* end; };   // where they go; what comes after them, before `end`, is written later

// As a matrix product: (outs) x (positions), the outputs' gradient, times (positions) x (channels and taps), what they see (columns.h).
class ByColumns {
    const Columns see;
    const Call& call;
    const Cut cut;
    const Int most;

  public:
    static constexpr Int UNIT = WIDE;  // of a block's numbers
    const Int pieces, rows, looks, size, room;  // of an image; numbers of a kernel; parts that are laid out apart; memory

    explicit ByColumns(const Call& given)
        : see(given), call(see.call), cut(call), most(cut.most(see.positions)), pieces(cut.pieces), rows(see.rows), looks(parts(rows, WIDE)),
          size(most * up(rows, WIDE)), room(WIDE * most + LANES) {}

    void look(Int image, Int piece, Int part, float* to, float* own) const {
        see.down(image, part * WIDE, std::min<Int>(WIDE, rows - part * WIDE), first(piece), first(piece + 1), to + part * WIDE * most, own);
    }

    void correlate(Int image, Int piece, const float* seen, const Block& block, const Found& to, float*) const {
        const float* grad = call.outputs + (image * call.outs + block.out) * see.positions + first(piece);
        for (Int r = 0; r < block.rows; r += WIDE)
            multiply_tile({grad, see.positions, 1}, block.outs, {seen + (block.row + r) * most, WIDE}, first(piece + 1) - first(piece),
                          {to.at + r, to.along, std::min<Int>(WIDE, block.rows - r), false});
    }

  private:
    Int first(Int piece) const { return cut.start(piece, see.positions); }
};

// By Winograd's products (winograd.h): each of the 16 or 36 is a matrix product, (outs) x (tiles) times (tiles) x (channels).
template <class F>
class ByTiles {
    static constexpr Int TOGETHER = 4096, STEPS = F::STEPS, SIDE = F::SIDE;  // numbers of a channel; of a tile, and its outputs along an axis

    const Call& call;
    const Int lines, units, across;          // rows of tiles; these in a row; pixels in a row with its padding
    const Int panels, wide, pixel;           // of channels in; these, and channels out, with what fills up registers

  public:
    static constexpr Int UNIT = WIDE * TAPS;
    const Int pieces, rows, looks;

  private:
    const Int most, gradients;               // tiles of a piece; where the outputs' gradients begin

  public:
    const Int size, room;

    explicit ByTiles(const Call& given)
        : call(given), lines(parts(call.high, SIDE)), units(parts(call.wide, SIDE)), across(SIDE * units + 2), panels(parts(call.channels, WIDE)),
          wide(up(call.channels, LANES)), pixel((parts(call.outs, LANES) | 1) * LANES), pieces(parts(lines, std::max<Int>(1, TOGETHER / STEPS / units))),
          rows(call.channels * TAPS), looks(panels + parts(call.outs, WIDE)), most(parts(lines, pieces) * units), gradients(STEPS * most * wide),
          size(STEPS * most * (wide + pixel)), room(up(std::max((SIDE * parts(lines, pieces) + 2) * across * WIDE, STEPS * MOST * WIDE + TAPS * LANES), 16)) {}

    // A panel of the image, (step, tile, width); then some channels of the outputs' gradients, (step, tile, pixel)
    void look(Int image, Int piece, Int part, float* to, float* own) const {
        const Int first = SIDE * start(piece), lines_of = start(piece + 1) - start(piece), tiles = lines_of * units;
        if (part < panels) {
            const Int c = part * WIDE, apart = width(c);
            const Images some = panel(call.x, image, call.channels, c, call.height, call.width, call.pad_down, call.pad_across);
            some.channels_last(0, first, SIDE * lines_of + 2, own);
            some.transform(own, to + STEPS * tiles * c, {lines_of, units, tiles * apart, apart, SIDE}, transform_input<F>);
        } else {
            const Int c = (part - panels) * WIDE;
            const Images some = panel(call.outputs, image, call.outs, c, call.high, call.wide, 0, 0);
            some.channels_last(0, first, SIDE * lines_of, own);
            some.transform(own, to + gradients + c, {lines_of, units, tiles * pixel, pixel, SIDE}, transform_gradient<F>);
        }
    }

    void correlate(Int, Int piece, const float* seen, const Block& block, const Found& to, float* own) const {
        const Int tiles = (start(piece + 1) - start(piece)) * units, blocks = parts(block.outs, MOST);
        float* nine = own + STEPS * MOST * WIDE;
        for (Int j = 0; j < blocks; j++)
            for (Int r = 0; r < block.rows; r += UNIT) {
                const Int first = j * block.outs / blocks, some = (j + 1) * block.outs / blocks - first, c = (block.row + r) / TAPS, across = width(c);
                const float *left = seen + gradients + block.out + first, *right = seen + STEPS * tiles * c;
                for (Int s = 0; s < STEPS; s++)
                    multiply_tile({left + s * tiles * pixel, 1, pixel}, some, {right + s * tiles * across, across}, tiles, {own + s * MOST * WIDE, WIDE, across, false});
                for (Int o = 0; o < some; o++)
                    for (Int i = 0; i < across; i += LANES) {
                        transform_taps<F>(own + o * WIDE + i, MOST * WIDE, nine);
                        float* at = to.at + (first + o) * to.along + r + i * TAPS;
                        transpose({nine, LANES, nine + TAPS * LANES}, TAPS, LANES, {at, TAPS, TAPS, to.end});
                    }
            }
    }

  private:
    Int start(Int piece) const { return piece * lines / pieces; }
    Int width(Int channel) const { return std::min<Int>(WIDE, wide - channel); }

    // Some channels of one image, as if it had no others
    Images panel(const float* at, Int image, Int channels, Int channel, Int height, Int wide_of, Int pad_down, Int pad_across) const {
        const Int plane = height * wide_of;
        return {at + (image * channels + channel) * plane, at + call.images * channels * plane, std::min<Int>(WIDE, channels - channel), height, wide_of,
                pad_down, pad_across, across, WIDE};
    }
};
