// Images as the products want them: their channels last, with their padding, in memory of its own; for Winograd's products, the pixels
// that a tile of outputs sees, transformed.

#pragma once

#include "memory.h"

// A tile's numbers lie `apart` from one to the next, and `pixel` from one tile to the next; a tile for each of `units` in each of `lines`, of
// `side` x `side` outputs
struct Tiles { Int lines, units, apart, pixel, side; };

struct Images {
    const float *first, *end;             // (images, channels, height, width)
    Int channels, height, width;
    Int pad_down, pad_across, across;     // `across` pixels in a row with its padding
    Int pixel;                            // numbers a pixel: its channels, and what makes an odd number of registers of them, so that
                                          // neighbouring pixels do not fall into the same few lines of the cache

    void set_row(Int pixels) { across = pixels, pixel = (parts(channels, LANES) | 1) * LANES; }

    // zeros around an image from the padded row `top` on
    void surround(Int top, Int high, float* to) const {
        for (Int row = 0; row < high; row++, to += across * pixel) {
            const Int y = top + row - pad_down, right = pad_across + width;
            const bool outside = y < 0 || y >= height;
            std::memset(to, 0, (outside ? across : pad_across) * pixel * 4);
            if (!outside) std::memset(to + right * pixel, 0, (across - right) * pixel * 4);
        }
    }

    // (high, across, pixel): an image from the padded row `top` on; `blank` where zeros lie around it already
    void channels_last(Int image, Int top, Int high, float* to, bool blank = false) const {
        if (!blank) surround(top, high, to);
        const float* from = first + image * channels * height * width;
        const Int begin = std::max<Int>(0, top - pad_down) * width, stop = std::min(height, top + high - pad_down) * width;
        for (Int c = 0; c < channels; c += LANES)
            for (Int at = begin; at < stop; at += LANES) {
                const Int some = std::min<Int>(LANES, channels - c), pixels = std::min<Int>(LANES, stop - at);
                float* row = to + ((at / width + pad_down - top) * across + pad_across) * pixel + c;
                Int q = at % width;
                const auto next = [&](int) {
                    float* here = row + q * pixel;
                    if (++q == width) q = 0, row += across * pixel;
                    return here;
                };
                turn_some({from + c * height * width + at, height * width, end}, some, pixels, next);
            }
    }

    // (number, tile, its pixel): what `transform` makes of the pixels of every tile
    template <class Transform>
    void transform(const float* last, float* to, const Tiles& tiles, Transform transform) const {
        for (Int t = 0; t < tiles.lines * tiles.units; t++)
            for (Int c = 0; c < channels; c += LANES)
                transform(last + (t / tiles.units * across + t % tiles.units) * tiles.side * pixel + c, across * pixel, pixel,
                          to + t * tiles.pixel + c, tiles.apart);
    }
};

// Images between two convolutions with padding 1, channels last as tiles of either size want them, zeros around them
class Between {
  public:
    const Images of;
    const Int image;              // numbers of one

    Between(Int images, Int channels, Int high, Int wide)
        : of(images_of(channels, high, wide)), image((up(high, 4) + 2) * of.across * of.pixel), memory(aligned(images * image)) {
        for (Int i = 0; i < (memory ? images : 0); i++) of.surround(0, up(high, 4) + 2, at(i));
    }
    bool exists() const { return bool(memory); }
    float* at(Int i) const { return memory.get() + i * image; }

  private:
    static Images images_of(Int channels, Int high, Int wide) {
        Images images{nullptr, nullptr, channels, high, wide, 1, 1, 0, 0};
        images.set_row(up(wide, 4) + 2);
        return images;
    }
    const Numbers memory;
};

// Where a convolution is one of a branch's: what follows on its outputs, and how its images and outputs lie
struct Within {
    const float *factor, *term;            // (outs): of a norm
    const float* gates;                    // (images, high, wide), or null where a ReLU follows
    const Between *from, *to;              // each is null where they lie as a call's do
};
// On one sum after its norm, or a register of them: a gate that is closed leaves nothing, of NaN and infinity neither
template <class V>
static inline V followed(V v, const float* gate) {
    if (gate) return *gate != 0 ? v * *gate : V{};
    return v < 0 ? V{} : v;
}
