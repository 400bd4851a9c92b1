// Dynamic convolution on a CPU, in which the kernels that are mixed for an image never leave the cache; read with its kernels
// turned round it is also the gradient of the input. Plain C++ with the vector types of GCC and Clang, and OpenMP; float32; one
// group. Called by convolution.py.
//
// The K kernels are packed once, output channels last. For a few images at a time a slice of their kernels is mixed into a little
// memory that is used again, and multiplied in registers with what it sees of each image, whose channels lie last, too (Goto and
// van de Geijn, Anatomy of High-Performance Matrix Multiplication, 2008, https://doi.org/10.1145/1356052.1356053, with the mixing
// as a part of its packing). What a kernel sees are pixels, one product a tap; or, for 3 x 3 kernels at stride 1, Winograd's sums
// of them: winograd.h.

#include <vector>

#include "images.h"
#include "winograd.h"

// sums (R, M x LANES) = or += over segments and their depth: w (segment, depth, M x LANES), x (R rows, `gap` apart; depth)
template <int M, int R>
static void multiply(Int segments, const Int* offsets, Int depth, const float* w, const float* x, Int gap, float* sums, bool add) {
    vec a[R][M] = {};
    if (add)
#pragma GCC unroll 16
        for (int r = 0; r < R; r++)
#pragma GCC unroll 2
            for (int m = 0; m < M; m++) a[r][m] = load(sums + (r * M + m) * LANES);
    for (Int i = 0; i < segments; i++) {
        const float* rows[(R + 2) / 3];  // every third: the others are one and two gaps away
#pragma GCC unroll 16
        for (int r = 0; r < R; r += 3) rows[r / 3] = x + offsets[i] + r * gap;
        for (Int l = 0; l < depth; l++, w += M * LANES) {
            vec v[M];
#pragma GCC unroll 2
            for (int m = 0; m < M; m++) v[m] = load(w + m * LANES);
#pragma GCC unroll 16
            for (int r = 0; r < R; r++)
#pragma GCC unroll 2
                for (int m = 0; m < M; m++) a[r][m] += v[m] * rows[r / 3][r % 3 * gap];
#pragma GCC unroll 16
            for (int r = 0; r < R; r += 3) rows[r / 3]++;
        }
    }
    store(sums, a);
}

typedef void (*Multiply)(Int, const Int*, Int, const float*, const float*, Int, float*, bool);
template <int... R>
static Multiply pick(int M, int rows, std::integer_sequence<int, R...>) {
    static constexpr Multiply all[2][MOST] = {{multiply<1, R + 1>...}, {multiply<2, R + 1>...}};
    return all[M - 1][rows - 1];
}
static Multiply pick(Int M, Int rows) { return pick(M, rows, std::make_integer_sequence<int, MOST>()); }

// For each of some images: out (length) = sum over K of its weight times a packed slice, four kernels at a time
template <int N>
static void mix_some(const float* packed, Int apart, const float* pi, Int K, float* out, Int step, Int length, Int images,
                     bool add) {
    for (Int i = 0; i < length; i += LANES) {
        vec w[N];
        for (int k = 0; k < N; k++) w[k] = load(packed + k * apart + i);
        for (Int b = 0; b < images; b++) {
            vec sum = w[0] * pi[b * K];
            if (add) sum += load(out + b * step + i);
            for (int k = 1; k < N; k++) sum += w[k] * pi[b * K + k];
            store(out + b * step + i, sum);
        }
    }
}
static void mix(const float* packed, Int apart, const float* pi, Int K, float* out, Int step, Int length, Int images) {
    for (Int k = 0; k < K; k += 4) {
        const auto some = K - k >= 4 ? mix_some<4> : K - k == 3 ? mix_some<3> : K - k == 2 ? mix_some<2> : mix_some<1>;
        some(packed + k * apart, apart, pi + k, K, out, step, length, images, k > 0);
    }
}

// How the work is cut. A line is a row of outputs, or of 2 x 2 outputs: its units. At most `some` images (a group) and `rows` lines
// (a cut) are seen at a time, and `few` images mixed for at a time. A kernel is 16 steps, or one step of as many segments as it
// has taps; input channels are taken in slices. Either the stack is packed once and each thread has groups of its own; or, where
// the stack is large or the images are few, all threads share a group, and each packs the panels that it multiplies.
struct Plan {
    bool winograd, shared;
    Int taps, steps, segments, padded, panels, slice, panel, lines, units, across, row, cuts, rows, groups, some, few;
    Int last, seen, mixed, sums, flat, scratch, common, own;  // sizes of memory in numbers: each one's, but `own` a thread's in all
    Plan(const Sizes& s, Int threads) {
        constexpr Int FEW = 4, ALONE = 1 << 18, TOGETHER = 1 << 22, LARGE = 1 << 22, SLICE = 128, WEIGHTS = 256;
        winograd = has_tiles(s);
        taps = s.kh * s.kw, steps = winograd ? 16 : 1, segments = winograd ? 1 : taps;
        padded = up(s.O, LANES), panels = parts(padded, WIDE);
        slice = std::min(s.C, winograd ? SLICE : std::max<Int>(16, WEIGHTS / taps));
        panel = (steps * segments * s.C + steps * parts(s.C, slice)) * WIDE + LANES;
        shared = panels >= 2 * threads && (s.K * panels * panel > LARGE || s.B < 2 * threads);
        lines = winograd ? parts(s.oh, 2) : s.oh, units = winograd ? parts(s.ow, 2) : s.ow;
        across = winograd ? 2 * units + 2 : s.W + 2 * s.pw, row = Picture(s.C, s.H, s.W, s.ph, s.pw, across).row;
        const Int budget = shared ? TOGETHER : ALONE, line = (winograd ? 16 * units : s.sh * across) * row;
        cuts = std::min(lines, std::max(parts(lines * line, budget), shared ? 1 : parts(threads, s.B)));
        rows = parts(lines, cuts);
        const Int most = cuts > 1 ? 1 : std::max<Int>(1, budget / (rows * line));
        groups = shared ? parts(s.B, most) : std::min(s.B, up(parts(s.B, std::min(most, FEW)), threads));
        some = parts(s.B, groups), few = std::min(some, FEW);
        const Int pixels = up(high(rows, s) * across * row, 16);
        last = winograd ? pixels : 0, seen = winograd ? 16 * rows * units * row : pixels;
        mixed = slice * segments * WIDE + LANES, sums = steps * rows * units * WIDE;
        flat = (winograd ? 4 * rows * units * WIDE : 0) + LANES * WIDE, scratch = 16 * taps * WIDE;
        common = up(shared ? some * seen : s.K * panels * panel, 16);
        own = up(few * (mixed + sums) + flat + scratch + last + (shared ? s.K * panel : some * seen), 16);
    }
    Int top(Int line, const Sizes& s) const { return winograd ? 2 * line : line * s.sh; }  // the first padded row it sees
    Int high(Int lines, const Sizes& s) const { return winograd ? 2 * lines + 2 : (lines - 1) * s.sh + (s.kh - 1) * s.dh + 1; }
    Int run(Int here, Int width) const { return (segments * here + 1) * width; }  // from one packed step to the next, and one apart
    Int place(Int c, Int width) const { return (steps * segments * c + c / slice * steps) * width; }  // of a slice, in a panel
};

// A panel's channels out of one kernel: (slice of channels in, step, segment, channel in, width). `end` is that of the stack.
static void pack(const float* kernel, const float* end, Int panel, float* scratch, float* to, const Sizes& s, const Plan& p) {
    const Int first = panel * WIDE, width = std::min<Int>(WIDE, p.padded - first), real = std::min(width, s.O - first);
    const float* from = kernel + first * s.out;
    for (Int c0 = 0; c0 < s.C; c0 += p.slice) {
        const Int here = std::min(p.slice, s.C - c0);
        for (Int c = 0; c < here; c += 16) {
            const Int some = std::min<Int>(16, here - c);
            if (!s.turned) transpose(from + (c0 + c) * s.in, s.out, real, some * p.taps, end, scratch, width, width, nullptr);
            else  // the last tap first
                for (Int i = 0; i < some; i++)
                    transpose(from + (c0 + c + i) * s.in, s.out, real, p.taps, end, scratch + (i * p.taps + p.taps - 1) * width,
                              -width, width, nullptr);
            for (Int i = 0; i < some; i++)
                for (Int m = 0; m < width; m += LANES) {
                    const float* taps = scratch + i * p.taps * width + m;
                    float* place = to + p.place(c0, width) + (c + i) * width + m;
                    if (p.winograd) transform_kernel(taps, width, place, p.run(here, width));
                    else for (Int t = 0; t < p.taps; t++) store(place + t * here * width, load(taps + t * width));
                }
        }
    }
}

// One kernel for the one image there is
static void mix_all(const float* kernels, const float* pi, Int K, Int numbers, float* out, int threads) {
    constexpr Int PIECE = 64 * LANES;
    const Int pieces = numbers / PIECE;
#pragma omp parallel for num_threads(threads)
    for (Int i = 0; i < pieces; i++) mix(kernels + i * PIECE, numbers, pi, K, out + i * PIECE, 0, PIECE, 1);
    for (Int i = pieces * PIECE; i < numbers; i++) {
        out[i] = 0;
        for (Int k = 0; k < K; k++) out[i] += pi[k] * kernels[k * numbers + i];
    }
}

extern "C" int dynconv_forward(const Call* call) {
    Sizes s = sizes_of(*call);
    const float *x = call->x, *kernels = call->kernels, *pi = call->attention;
    float* y = call->outputs;
    const int threads = call->threads;
    constexpr Int LINE = 1024;
    if (s.kh * s.kw * s.sh * s.sw == 1 && s.ph + s.pw == 0 && s.H * s.W <= LINE)  // each pixel by itself: they may be one line
        s.W = s.ow = s.H * s.W, s.H = s.oh = 1;
    const Int numbers = s.O * s.C * s.kh * s.kw;
    const Int K = s.K;
    const bool single = s.B == 1 && K > 1;
    if (single) s.K = 1;
    const Plan p(s, threads);
    const Picture picture(s.C, s.H, s.W, s.ph, s.pw, p.across);
    const Memory memory(p.common + threads * p.own + (single ? numbers : 0));
    if (!memory.get()) return 1;
    const float one = 1;
    if (single) {
        float* whole = memory.get() + p.common + threads * p.own;
        mix_all(kernels, pi, K, numbers, whole, threads);
        kernels = whole, pi = &one;
    }
    const float *x_end = x + s.B * s.C * s.H * s.W, *kernels_end = kernels + s.K * numbers;
    std::vector<Int> offsets(p.segments, 0);  // of what a segment sees
    if (!p.winograd)
        for (Int t = 0; t < p.taps; t++) offsets[t] = (t / s.kw * s.dh * p.across + t % s.kw * s.dw) * p.row;

    // what the kernels see of an image
    const auto look = [&](Int b, Int y0, Int y1, float* last, float* seen) {
        channels_last(x + b * s.C * s.H * s.W, x_end, p.top(y0, s), p.high(y1 - y0, s), p.winograd ? last : seen, picture);
        if (p.winograd) tiles(last, seen, (y1 - y0) * p.units * p.row, y1 - y0, p.units, picture, transform_input);
    };
    // the sums of one image, for a slice of its mixed kernel that begins at channel c0: step f
    const auto sum = [&](const float* mixed, const float* seen, float* sums, Int lines, Int c0, Int here, Int f, Int width) {
        const Int runs = p.winograd ? 1 : lines, units = p.winograd ? lines * p.units : p.units;  // what is one row of sums
        const Int blocks = parts(units, MOST), gap = p.winograd ? p.row : s.sw * p.row;
        for (Int i = 0; i < runs; i++)
            for (Int j = 0; j < blocks; j++) {
                const Int from = j * units / blocks, R = (j + 1) * units / blocks - from;
                pick(width / LANES, R)(p.segments, offsets.data(), here, mixed,
                                       seen + i * s.sh * p.across * p.row + f * units * p.row + from * gap + c0, gap,
                                       sums + ((i + f) * units + from) * width, c0 > 0);
            }
    };
    // the pixels of 2 x 2 outputs each, channels last
    const auto outputs = [&](const float* sums, float* flat, Int lines, Int high, Int width) {
        const Int all = lines * p.units;
        for (Int t = 0; t < all; t++)
            for (Int m = 0; m < width; m += LANES) {
                const Int r = t / p.units * 2, q = t % p.units * 2;
                vec out[4];
                transform_output(sums + t * width + m, all * width, out);
                for (int i = 0; i < 4; i++)
                    if (r + i / 2 < high && q + i % 2 < s.ow)
                        store(flat + ((r + i / 2) * s.ow + q + i % 2) * width + m, out[i]);
            }
    };
    // one panel of the outputs of some images
    const auto compute = [&](Int b0, Int images, Int y0, Int y1, Int panel, const float* packed, Int apart, const float* seen,
                             float* mixed) {
        const Int first = panel * WIDE, width = std::min<Int>(WIDE, p.padded - first), lines = y1 - y0;
        float *sums = mixed + p.few * p.mixed, *flat = sums + p.few * p.sums;
        for (Int c0 = 0; c0 < s.C; c0 += p.slice)
            for (Int f = 0; f < p.steps; f++) {
                const Int here = std::min(p.slice, s.C - c0);
                mix(packed + p.place(c0, width) + f * p.run(here, width), apart, pi + b0 * s.K, s.K, mixed, p.mixed,
                    p.segments * here * width, images);
                for (Int b = 0; b < images; b++)
                    sum(mixed + b * p.mixed, seen + b * p.seen, sums + b * p.sums, lines, c0, here, f, width);
            }
        const Int top = p.winograd ? 2 * y0 : y0, high = std::min(p.winograd ? 2 * y1 : y1, s.oh) - top;
        for (Int b = 0; b < images; b++) {
            const float* from = sums + b * p.sums;
            if (p.winograd) outputs(from, flat, lines, high, width);
            if (p.winograd) from = flat;
            transpose(from, width, high * s.ow, std::min(width, s.O - first), from + (high * s.ow + LANES) * width,
                      y + ((b0 + b) * s.O + first) * s.oh * s.ow + top * s.ow, s.oh * s.ow, high * s.ow, nullptr);
        }
    };

    float* common = memory.get();
#pragma omp parallel num_threads(threads)
    {
        float* mixed = common + p.common + omp_get_thread_num() * p.own;  // then the sums and the outputs
        float *scratch = mixed + p.few * (p.mixed + p.sums) + p.flat, *last = scratch + p.scratch;
        float* rest = last + p.last;  // what is seen of the images, or the panel that is packed
        const auto group_of = [&](Int part, Int* b0, Int* images, Int* y0, Int* y1) {
            const Int group = part / p.cuts, cut = part % p.cuts;
            *b0 = group * s.B / p.groups, *images = (group + 1) * s.B / p.groups - *b0;
            *y0 = cut * p.lines / p.cuts, *y1 = (cut + 1) * p.lines / p.cuts;
        };
        Int b0, images, y0, y1;
        if (!p.shared) {
#pragma omp for collapse(2)
            for (Int k = 0; k < s.K; k++)
                for (Int panel = 0; panel < p.panels; panel++)
                    pack(kernels + k * numbers, kernels_end, panel, scratch, common + (k * p.panels + panel) * p.panel, s, p);
#pragma omp for schedule(dynamic)
            for (Int part = 0; part < p.groups * p.cuts; part++) {
                group_of(part, &b0, &images, &y0, &y1);
                for (Int b = 0; b < images; b++) look(b0 + b, y0, y1, last, rest + b * p.seen);
                for (Int panel = 0; panel < p.panels; panel++)
                    compute(b0, images, y0, y1, panel, common + panel * p.panel, p.panels * p.panel, rest, mixed);
            }
        } else
            for (Int part = 0; part < p.groups * p.cuts; part++) {
                group_of(part, &b0, &images, &y0, &y1);
#pragma omp for
                for (Int b = 0; b < images; b++) look(b0 + b, y0, y1, last, common + b * p.seen);
#pragma omp for schedule(dynamic)
                for (Int panel = 0; panel < p.panels; panel++) {
                    for (Int k = 0; k < s.K; k++)
                        pack(kernels + k * numbers, kernels_end, panel, scratch, rest + k * p.panel, s, p);
                    for (Int b = 0; b < images; b += p.few)
                        compute(b0 + b, std::min(p.few, images - b), y0, y1, panel, rest, p.panel, common + b * p.seen,
                                mixed);
                }
            }
    }
    return 0;
}

extern "C" void dynconv_release() { Memory::release(); }
