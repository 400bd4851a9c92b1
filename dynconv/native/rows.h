// Rows of a depthwise convolution that are as long as those they are computed from: stride 1 and half a kernel of padding beside them.
//
// The idea. Which pixel of a row meets which tap is known to the compiler, also at the ends of the row. So a pixel is read once for all taps
// of a row of the kernel, these stay in registers, and nothing is multiplied with padding. A register holds LANES channels.

#pragma once

#include "registers.h"

// act(N, at) for `all` things, with N known to the compiler, at most MOST_OF and each time about as many
template <int N, class Act>
inline void with_number(Int n, Int at, const Act& act) {
    if constexpr (N > 0) n == N ? act(std::integral_constant<int, N>(), at) : with_number<N - 1>(n, at, act);
}
template <int MOST_OF, class Act>
inline void by_some(Int all, const Act& act) {
    const Int times = parts(all, MOST_OF);
    for (Int i = 0; i < times; i++) with_number<MOST_OF>((i + 1) * all / times - i * all / times, i * all / times, act);
}

// LANES channels of some pixels: the first of row `first` lies at `at`, and so far apart two rows, and two of their pixels.
template <class Number>
struct Pixels {
    Number* at;
    Int first, row, pixel;
    Number* from(Int y) const { return at + (y - first) * row; }
};

class Rows {
    static constexpr int PIXELS = 8;  // that are computed at a time
    static constexpr Int HIGH = 16;   // rows of them whose products make a sum of their own
    const Call& call;
    const bool back;

  public:
    static bool fit(const Call& call) {
        const bool known = call.taps_across == 3 || call.taps_across == 5 || call.taps_across == 7;
        const bool as_long = call.stride_across * call.gap_across == 1 && call.pad_across == call.taps_across / 2;
        return known && as_long && call.stride_down == 1;
    }

    // Of outputs, from the images; or of the images' gradient, from that of the outputs
    Rows(const Call& given, bool gradient) : call(given), back(gradient) {}

    // The rows from y to `stop`, to which `start` and what is seen of `high` rows add up; weights (tap, LANES)
    void add(Int y, Int stop, Int high, const float* weights, vec start, const Pixels<const float>& seen, const Pixels<float>& to) const {
        const Int step = back ? -call.gap_down : call.gap_down;
        for (; y < stop; y++) {
            const Int at = back ? y + call.pad_down : y - call.pad_down;  // which row the first row of a kernel sees
            const auto outside = [&](Int row) { return at + row * step < 0 || at + row * step >= high; };
            Int first = 0, last = call.taps_down;
            while (first < last && outside(first)) first++;
            while (first < last && outside(last - 1)) last--;
            const Line line = {seen.from(at + first * step), step * seen.row, seen.pixel, weights + first * call.taps_across * LANES, last - first,
                               start, to.from(y), to.pixel};
            by_taps([&](auto taps) { add<decltype(taps)::value>(line); });
        }
    }

    // To the sums (tap, LANES): what each tap sees of the images times the outputs' gradient, in the rows of these from y to `stop`
    void add_products(Int y, Int stop, const Pixels<const float>& image, const Pixels<const float>& gradient, float* sums) const {
        for (; y < stop; y += HIGH)
            by_taps([&](auto taps) {
                by_piece([&](auto n, auto begins, auto ends, Int at) {
                    for (Int row = 0; row < call.taps_down; row++) {
                        const Int down = row * call.gap_down - call.pad_down, first = std::max(y, -down), last = std::min({y + HIGH, stop, call.height - down});
                        multiply<decltype(taps)::value, decltype(n)::value, decltype(begins)::value, decltype(ends)::value>(
                            last - first, image.from(first + down) + at * image.pixel, image, gradient.from(first) + at * gradient.pixel, gradient,
                            sums + row * call.taps_across * LANES);
                    }
                });
            });
    }

  private:
    struct Line { const float* seen; Int row, pixel; const float* weights; Int rows; vec start; float* to; Int to_pixel; };

    // act(TAPS), with what the taps across are known to the compiler
    template <class Act>
    void by_taps(const Act& act) const {
        switch (call.taps_across) {
            case 3: act(std::integral_constant<int, 3>()); break;
            case 5: act(std::integral_constant<int, 5>()); break;
            default: act(std::integral_constant<int, 7>());
        }
    }

    // act(N, FIRST, LAST, at) for N pixels of a row from `at` on; FIRST and LAST: whether the row begins and ends with them
    template <class Act>
    void by_piece(const Act& act) const {
        constexpr std::true_type yes;
        constexpr std::false_type no;
        by_some<PIXELS>(call.width, [&](auto n, Int at) {
            constexpr int N = decltype(n)::value;
            const bool first = at == 0, last = at + N == call.width;
            if (first && last) act(n, yes, yes, at);
            else if constexpr (N >= PIXELS / 2) {  // a row that is cut has no shorter piece
                if (first) act(n, yes, no, at);
                else if (last) act(n, no, yes, at);
                else act(n, no, no, at);
            }
        });
    }

    template <int TAPS>
    void add(const Line& line) const {
        by_piece([&](auto n, auto begins, auto ends, Int at) { some<TAPS, decltype(n)::value, decltype(begins)::value, decltype(ends)::value>(line, at); });
    }

    template <int TAPS, int N, bool FIRST, bool LAST>
    void some(const Line& line, Int at) const {
        constexpr int BESIDE = TAPS / 2, BEGIN = FIRST ? 0 : -BESIDE, END = LAST ? N : N + BESIDE;
        const float *weights = line.weights, *seen = line.seen + (at + BEGIN) * line.pixel;
        vec sums[N];
#pragma GCC unroll 8
        for (int i = 0; i < N; i++) sums[i] = line.start;
        for (Int y = 0; y < line.rows; y++, weights += TAPS * LANES, seen += line.row) {
            vec w[TAPS];
#pragma GCC unroll 7
            for (int t = 0; t < TAPS; t++) w[t] = held(load(weights + (back ? TAPS - 1 - t : t) * LANES));
            const float* pixel = seen;
#pragma GCC unroll 14
            for (int p = BEGIN; p < END; p++, pixel += line.pixel) {
                const vec here = held(load(pixel));
#pragma GCC unroll 7
                for (int t = 0; t < TAPS; t++)
                    if (const int i = p + BESIDE - t; i >= 0 && i < N) sums[i] += here * w[t];
            }
        }
#pragma GCC unroll 8
        for (int i = 0; i < N; i++) store(line.to + (at + i) * line.to_pixel, sums[i]);
    }

    template <int TAPS, int N, bool FIRST, bool LAST>
    void multiply(Int rows, const float* seen, const Pixels<const float>& image, const float* by, const Pixels<const float>& gradient, float* to) const {
        constexpr int BESIDE = TAPS / 2, BEGIN = FIRST ? 0 : -BESIDE, END = LAST ? N : N + BESIDE;
        constexpr int CHAINS = TAPS < 4 ? 2 : 1;  // for one addition waits for the last
        vec sums[CHAINS][TAPS] = {};
        for (Int y = 0; y < rows; y++, seen += image.row, by += gradient.row) {
            vec g[N];
#pragma GCC unroll 8
            for (int i = 0; i < N; i++) g[i] = held(load(by + i * gradient.pixel));
            const float* pixel = seen + BEGIN * image.pixel;
#pragma GCC unroll 14
            for (int p = BEGIN; p < END; p++, pixel += image.pixel) {
                const vec here = held(load(pixel));
#pragma GCC unroll 7
                for (int t = 0; t < TAPS; t++)
                    if (const int i = p + BESIDE - t; i >= 0 && i < N) sums[i % CHAINS][t] += here * g[i];
            }
        }
#pragma GCC unroll 7
        for (int t = 0; t < TAPS; t++) store(to + t * LANES, load(to + t * LANES) + (CHAINS > 1 ? sums[0][t] + sums[1][t] : sums[0][t]));
    }
};
