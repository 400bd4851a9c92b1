// An image as the products want it: its channels last, with its padding, in memory of its own.

#pragma once

#include "registers.h"

// C channels of H x W pixels; `across` pixels in a row with its padding; `row` numbers a pixel: its channels, and what makes an odd
// number of registers of them, so that neighbouring pixels do not fall into the same few places of the cache
struct Picture {
    Int C, H, W, ph, pw, across, row;
    Picture(Int C, Int H, Int W, Int ph, Int pw, Int across)
        : C(C), H(H), W(W), ph(ph), pw(pw), across(across), row((parts(C, LANES) | 1) * LANES) {}
};

// (high, across, row) from the padded row `top` on; `end` is that of all images
static inline void channels_last(const float* image, const float* end, Int top, Int high, float* to, const Picture& s) {
    std::memset(to, 0, high * s.across * s.row * 4);
    const Int first = std::max<Int>(0, top - s.ph) * s.W, stop = std::min(s.H, top + high - s.ph) * s.W;
    for (Int c = 0; c < s.C; c += LANES)
        for (Int at = first; at < stop; at += LANES) {
            const Int channels = std::min<Int>(LANES, s.C - c), pixels = std::min<Int>(LANES, stop - at);
            vec t[LANES] = {};
            for (Int i = 0; i < channels; i++) {
                const float* from = image + (c + i) * s.H * s.W + at;
                if (from + LANES <= end) t[i] = load(from);
                else std::memcpy(&t[i], from, pixels * 4);
            }
            transpose(t);
            Int y = at / s.W, q = at % s.W;
            for (Int i = 0; i < pixels; i++) {
                store(to + ((y + s.ph - top) * s.across + q + s.pw) * s.row + c, t[i]);
                if (++q == s.W) q = 0, y++;
            }
        }
}

// 16 x (tile, row), `apart`: what a transform makes of the pixels of every 2 x 2 outputs, `units` of them in a line
template <class Transform>
static inline void tiles(const float* last, float* to, Int apart, Int lines, Int units, const Picture& s, Transform transform) {
    for (Int t = 0; t < lines * units; t++)
        for (Int c = 0; c < s.C; c += LANES)
            transform(last + (t / units * 2 * s.across + t % units * 2) * s.row + c, s.across * s.row, s.row, to + t * s.row + c,
                      apart);
}
