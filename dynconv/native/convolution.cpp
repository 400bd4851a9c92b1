// Dynamic convolution on a CPU, forward and backward, in which the kernels that are mixed for an image never leave the cache.
//
// forward: the K kernels are packed once. Then, for a few images at a time, a slice of their kernels is mixed into a little
// memory that is used again, and multiplied with the images' patches in registers (Goto and van de Geijn, Anatomy of
// High-Performance Matrix Multiplication, 2008, https://doi.org/10.1145/1356052.1356053, with the mixing as a part of its packing).
// Read with kernels turned round it also gives the gradient of the input.
//
// backward: each thread owns tiles of the kernels' gradient; the gradient of one image's kernel exists a tile at a time.
//
// Plain C++ with the vector types of GCC and Clang and OpenMP; float32; one group. Called by convolution.py.

#include <omp.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <utility>

#if defined(__AVX512F__)
constexpr int LANES = 16, MOST = 14;  // numbers in a register; rows of a tile of sums, two registers wide, that fit with the rest
#elif defined(__AVX2__)
constexpr int LANES = 8, MOST = 6;
#elif defined(__aarch64__)
constexpr int LANES = 4, MOST = 12;
#else
constexpr int LANES = 4, MOST = 6;
#endif
constexpr int WIDE = 2 * LANES;  // channels in a panel: the last one of a layer may have half as many

typedef std::int64_t Int;
typedef float vec __attribute__((vector_size(LANES * 4)));
typedef float loose __attribute__((vector_size(LANES * 4), aligned(4), may_alias));

static inline vec load(const float* p) { return *reinterpret_cast<const loose*>(p); }
static inline void store(float* p, vec v) { *reinterpret_cast<loose*>(p) = v; }
static inline Int up(Int n, Int step) { return (n + step - 1) / step * step; }
static inline Int parts(Int n, Int size) { return (n + size - 1) / size; }

// What convolution.py passes, in this order. x is (B, C, H, W), kernels are (K, O, C, kh, kw), outputs (B, O, oh, ow). In the stack
// of kernels `out` and `in` say how far apart two output and two input channels lie; turned: the taps are read from the last.
struct Sizes { Int B, C, H, W, O, K, kh, kw, sh, sw, ph, pw, dh, dw, oh, ow, out, in, turned; };

// ------------------------------------------------------------------------------------------------------------ registers

// In place: the LANES x LANES numbers of t, rows for columns, by exchanging ever larger blocks.
template <int S, int... I>
static inline void exchange(vec* t, std::integer_sequence<int, I...>) {
    for (int i = 0; i < LANES; i++)
        if (!(i & S)) {
            vec a = t[i], b = t[i | S];
            t[i] = __builtin_shufflevector(a, b, ((I & S) ? LANES + I - S : I)...);
            t[i | S] = __builtin_shufflevector(a, b, ((I & S) ? LANES + I : I + S)...);
        }
}
static inline void transpose(vec* t) {
    constexpr auto all = std::make_integer_sequence<int, LANES>();
    exchange<1>(t, all);
    exchange<2>(t, all);
    if constexpr (LANES > 4) exchange<4>(t, all);
    if constexpr (LANES > 8) exchange<8>(t, all);
}

// to[c][r] = from[r][c] for `rows` x `columns` numbers whose rows lie `across` and `along` apart. Whole registers are read where
// they end before from_end, and written where they fit the `room` of a row, or before to_end into places written later.
static void transpose(const float* from, Int across, Int rows, Int columns, const float* from_end, float* to, Int along, Int room,
                      const float* to_end) {
    for (Int r = 0; r < rows; r += LANES)
        for (Int c = 0; c < columns; c += LANES) {
            const Int high = std::min<Int>(LANES, rows - r), wide = std::min<Int>(LANES, columns - c);
            vec t[LANES] = {};
            for (Int i = 0; i < high; i++) {
                const float* at = from + (r + i) * across + c;
                if (at + LANES <= from_end) t[i] = load(at);
                else std::memcpy(&t[i], at, wide * 4);
            }
            transpose(t);
            const bool fits = r + LANES <= room;
            for (Int i = 0; i < wide; i++) {
                float* at = to + (c + i) * along + r;
                if (fits || (rows <= LANES && at + LANES <= to_end)) store(at, t[i]);
                else std::memcpy(at, &t[i], high * 4);
            }
        }
}

// sums (R, M x LANES) += over depth: w (depth, M x LANES), x (depth, R)
template <int M, int R>
static void multiply(Int depth, const float* w, const float* x, float* sums) {
    vec a[R][M];
#pragma GCC unroll 16
    for (int r = 0; r < R; r++)
#pragma GCC unroll 2
        for (int m = 0; m < M; m++) a[r][m] = load(sums + (r * M + m) * LANES);
    for (Int l = 0; l < depth; l++, w += M * LANES, x += R) {
        vec v[M];
#pragma GCC unroll 2
        for (int m = 0; m < M; m++) v[m] = load(w + m * LANES);
#pragma GCC unroll 16
        for (int r = 0; r < R; r++)
#pragma GCC unroll 2
            for (int m = 0; m < M; m++) a[r][m] += v[m] * x[r];
    }
#pragma GCC unroll 16
    for (int r = 0; r < R; r++)
#pragma GCC unroll 2
        for (int m = 0; m < M; m++) store(sums + (r * M + m) * LANES, a[r][m]);
}

// tile (R, M x LANES) = over the positions of an image: x (M x LANES of its channels at the place a tap sees), g (position, R)
template <int M, int R>
static void correlate(const float* x, Int row, Int column, const float* g, Int high, Int wide, float* tile) {
    vec a[R][M] = {};
    for (Int i = 0; i < high; i++, x += row) {
        const float* at = x;
        for (Int j = 0; j < wide; j++, at += column, g += R) {
            vec v[M];
#pragma GCC unroll 2
            for (int m = 0; m < M; m++) v[m] = load(at + m * LANES);
#pragma GCC unroll 16
            for (int r = 0; r < R; r++)
#pragma GCC unroll 2
                for (int m = 0; m < M; m++) a[r][m] += v[m] * g[r];
        }
    }
#pragma GCC unroll 16
    for (int r = 0; r < R; r++)
#pragma GCC unroll 2
        for (int m = 0; m < M; m++) store(tile + (r * M + m) * LANES, a[r][m]);
}

// R numbers of a line to each of a panel's blocks; writes up to LANES numbers, what is too much is written over later
template <int R>
static void deal(const float* line, float* panel, Int blocks, Int step) {
    for (Int i = 0; i < blocks; i++, line += R, panel += step)
        for (int r = 0; r < R; r += LANES) store(panel + r, load(line + r));
}

struct Routines {
    void (*multiply[2])(Int, const float*, const float*, float*);
    void (*correlate[2])(const float*, Int, Int, const float*, Int, Int, float*);
    void (*deal)(const float*, float*, Int, Int);
};
template <int R>
static Routines routines(int rows) {
    if constexpr (R == 1) return {{multiply<1, 1>, multiply<2, 1>}, {correlate<1, 1>, correlate<2, 1>}, deal<1>};
    else if (rows < R) return routines<R - 1>(rows);
    else return {{multiply<1, R>, multiply<2, R>}, {correlate<1, R>, correlate<2, R>}, deal<R>};
}

// ------------------------------------------------------------------------------------------------------ forward

// A panel's channels out of one kernel, from places l to l + slice of its depth, into (slice, width). `end` is that of the stack.
static void pack(const float* kernel, const float* end, Int first, Int width, Int l, Int slice, float* to, const Sizes& s) {
    const Int taps = s.kh * s.kw, real = std::min(width, s.O - first);
    const float* from = kernel + first * s.out;
    if (!s.turned) transpose(from + l, s.out, real, slice, end, to, width, width, nullptr);
    else  // (channels of the panel, taps) for each channel in, the last tap first
        for (Int c = l / taps; c < (l + slice) / taps; c++, to += taps * width)
            transpose(from + c * s.in, s.out, real, taps, end, to + (taps - 1) * width, -width, width, nullptr);
}

// For each of some images: out (length) = sum over K of its weight times a packed slice, four kernels at a time
template <int N>
static void mix_some(const float* packed, Int apart, const float* pi, Int K, float* out, Int step, Int length, Int images, bool add) {
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

// One channel with its padding: whole registers, and zeros again where they wrote too much
static void pad(const float* from, const float* end, float* plane, const Sizes& s) {
    const Int across = s.W + 2 * s.pw;
    float* to = plane + s.ph * across + s.pw;
    for (Int r = 0; r < s.H; r++, to += across, from += s.W) {
        Int q = 0;
        for (; q < s.W && from + q + LANES <= end; q += LANES) store(to + q, load(from + q));
        for (; q < s.W; q++) to[q] = from[q];
        for (q = 0; q < 2 * s.pw; q++) to[s.W + q] = 0.f;
    }
    store(to - across + s.W, vec{});
}

// What one tap sees at the outputs of rows y0 … y1, as one line
static void see(const float* plane, float* line, Int y0, Int y1, const Sizes& s) {
    const Int across = s.W + 2 * s.pw;
    for (Int r = y0; r < y1; r++, line += s.ow) {
        const float* row = plane + r * s.sh * across;
        if (s.sw == 1) for (Int q = 0; q < s.ow; q += LANES) store(line + q, load(row + q));
        else for (Int q = 0; q < s.ow; q++) line[q] = row[q * s.sw];
    }
}

// The patches of one channel of one image at the outputs of rows y0 … y1: R positions a block, `step` numbers from block to block
static void unfold(const float* from, const float* end, float* to, Int y0, Int y1, Int R, Int step, Int line_size, float* line,
                   const Routines& run, const Sizes& s) {
    const Int taps = s.kh * s.kw, blocks = parts((y1 - y0) * s.ow, R);
    const bool bare = taps == 1 && s.sh == 1 && s.sw == 1 && s.ph == 0 && s.pw == 0;  // patches are the image itself
    if (bare && end - from - y0 * s.ow >= blocks * R + LANES) return run.deal(from + y0 * s.ow, to, blocks, step);
    float* plane = line + taps * line_size;
    pad(from, end, plane, s);
    for (Int t = 0; t < taps; t++) see(plane + t / s.kw * s.dh * (s.W + 2 * s.pw) + t % s.kw * s.dw, line + t * line_size, y0, y1, s);
    for (Int t = 0; t < taps; t++) run.deal(line + t * line_size, to + t * R, blocks, step);
}

// How the work is cut. `some` images of at most `rows` rows of outputs are one group, whose patches lie in memory together; a kernel's
// depth is taken in slices. Either the stack is packed once and each thread has groups of its own; or, where the stack is large or
// the images are few, all threads share a group, each has panels of its own, and packs what it needs when it needs it.
struct Plan {
    Int taps, depth, padded, panels, slice, cuts, rows, R, blocks, groups, some, step, patches, line, lines, sums, own;
    bool shared;
    Plan(const Sizes& s, Int threads) {
        constexpr Int IMAGES = 8, SLICE = 256, ALONE = 1 << 17, TOGETHER = 1 << 20, LARGE = 1 << 22;  // numbers
        taps = s.kh * s.kw, depth = s.C * taps, padded = up(s.O, LANES), panels = parts(padded, WIDE);
        slice = std::max<Int>(1, SLICE / taps) * taps;
        shared = panels >= 2 * threads && (s.K * padded * depth > LARGE || s.B < 2 * threads);
        const Int budget = shared ? 4 * TOGETHER : std::max<Int>(ALONE, 64 * depth), all = depth * s.oh * s.ow;
        cuts = all <= budget ? 1 : parts(s.oh, std::max<Int>(1, budget / (depth * s.ow)));
        rows = parts(s.oh, cuts);
        R = parts(rows * s.ow, parts(rows * s.ow, MOST)), blocks = parts(rows * s.ow, R);
        const Int most = cuts > 1 ? 1 : std::max<Int>(1, std::min(IMAGES, TOGETHER / (depth * rows * s.ow)));
        groups = shared ? parts(s.B, most) : std::min(s.B, up(parts(s.B, most), threads));
        some = parts(s.B, groups);
        step = R * depth + LANES, patches = up(some * blocks * step + WIDE, 16);
        line = up(blocks * R + s.ow + WIDE, 16);
        const Int plane = (s.H + 2 * s.ph) * (s.W + 2 * s.pw) + (s.ow + 2 * LANES) * s.sw;
        lines = up(taps * line + plane, 16), sums = up(some * blocks * R * WIDE + LANES * WIDE, 16);
        own = lines + some * slice * WIDE + sums;  // a thread's
        own += shared ? s.K * slice * WIDE : patches;
    }
};

extern "C" int dynconv_forward(const float* x, const float* kernels, const float* pi, float* y, const Int* sizes, int threads) {
    const Sizes s = *reinterpret_cast<const Sizes*>(sizes);
    const Plan p(s, threads);
    const Routines run = routines<MOST>(p.R);
    const float *x_end = x + s.B * s.C * s.H * s.W, *kernels_end = kernels + s.K * s.O * p.depth;
    const Int common = p.shared ? p.patches : up(s.K * p.padded * p.depth + LANES, 16);
    float* memory = static_cast<float*>(std::aligned_alloc(64, (common + threads * p.own) * 4));
    if (!memory) return 1;

    // one panel of the outputs of a group
    const auto multiply = [&](Int b0, Int images, Int y0, Int y1, Int panel, const float* patches, float* fresh, float* mixed, float* sums) {
        const Int first = panel * WIDE, width = std::min<Int>(WIDE, p.padded - first), here = (y1 - y0) * s.ow, blocks = parts(here, p.R);
        std::memset(sums, 0, images * blocks * p.R * width * 4);
        for (Int l = 0; l < p.depth; l += p.slice) {
            const Int slice = std::min(p.slice, p.depth - l), apart = fresh ? p.slice * WIDE : p.padded * p.depth;
            for (Int k = 0; fresh && k < s.K; k++)
                pack(kernels + k * s.O * p.depth, kernels_end, first, width, l, slice, fresh + k * apart, s);
            const float* packed = fresh ? fresh : memory + first * p.depth + l * width;
            mix(packed, apart, pi + b0 * s.K, s.K, mixed, p.slice * WIDE, slice * width, images);
            for (Int b = 0; b < images; b++)
                for (Int i = 0; i < blocks; i++)
                    run.multiply[width / LANES - 1](slice, mixed + b * p.slice * WIDE, patches + (b * blocks + i) * p.step + l * p.R,
                                                    sums + (b * blocks + i) * p.R * width);
        }
        for (Int b = 0; b < images; b++)
            transpose(sums + b * blocks * p.R * width, width, here, std::min(width, s.O - first), sums + (images * blocks * p.R + LANES) * width,
                      y + ((b0 + b) * s.O + first) * s.oh * s.ow + y0 * s.ow, s.oh * s.ow, here, nullptr);
    };

#pragma omp parallel num_threads(threads)
    {
        float* line = memory + common + omp_get_thread_num() * p.own;  // what each tap sees, then a channel with its padding
        float* mixed = line + p.lines;
        float* sums = mixed + p.some * p.slice * WIDE;  // (image, position, channels of a panel)
        float* rest = sums + p.sums;  // patches, or the slices that are packed when they are needed
        std::memset(line, 0, (mixed - line) * 4);
        if (!p.shared) {
#pragma omp for collapse(2)
            for (Int k = 0; k < s.K; k++)
                for (Int panel = 0; panel < p.panels; panel++) {
                    const Int first = panel * WIDE, width = std::min<Int>(WIDE, p.padded - first);
                    pack(kernels + k * s.O * p.depth, kernels_end, first, width, 0, p.depth, memory + (k * p.padded + first) * p.depth, s);
                }
#pragma omp for collapse(2) schedule(dynamic)
            for (Int group = 0; group < p.groups; group++)
                for (Int cut = 0; cut < p.cuts; cut++) {
                    const Int b0 = group * s.B / p.groups, images = (group + 1) * s.B / p.groups - b0;
                    const Int y0 = cut * s.oh / p.cuts, y1 = (cut + 1) * s.oh / p.cuts, blocks = parts((y1 - y0) * s.ow, p.R);
                    for (Int b = 0; b < images; b++)
                        for (Int c = 0; c < s.C; c++)
                            unfold(x + ((b0 + b) * s.C + c) * s.H * s.W, x_end, rest + b * blocks * p.step + c * p.taps * p.R, y0, y1, p.R,
                                   p.step, p.line, line, run, s);
                    for (Int panel = 0; panel < p.panels; panel++) multiply(b0, images, y0, y1, panel, rest, nullptr, mixed, sums);
                }
        } else
            for (Int part = 0; part < p.groups * p.cuts; part++) {
                const Int group = part / p.cuts, cut = part % p.cuts;
                const Int b0 = group * s.B / p.groups, images = (group + 1) * s.B / p.groups - b0;
                const Int y0 = cut * s.oh / p.cuts, y1 = (cut + 1) * s.oh / p.cuts, blocks = parts((y1 - y0) * s.ow, p.R);
                // what a register writes too much falls into the same image's next channel: a thread has whole images
#pragma omp for schedule(static)
                for (Int b = 0; b < images; b++)
                    for (Int c = 0; c < s.C; c++)
                        unfold(x + ((b0 + b) * s.C + c) * s.H * s.W, x_end, memory + b * blocks * p.step + c * p.taps * p.R, y0, y1, p.R,
                               p.step, p.line, line, run, s);
#pragma omp for schedule(dynamic)
                for (Int panel = 0; panel < p.panels; panel++) multiply(b0, images, y0, y1, panel, memory, rest, mixed, sums);
            }
    }
    std::free(memory);
    return 0;
}

// ------------------------------------------------------------------------------------------------------------- backward

// sums (K, length) += over some images: its weight times its tile
template <int N>
static void gather_some(const float* tiles, Int length, const float* pi, Int K, float* sums, Int apart, Int images) {
    for (Int i = 0; i < length; i += LANES) {
        vec a[N];
        for (int k = 0; k < N; k++) a[k] = load(sums + k * apart + i);
        for (Int b = 0; b < images; b++) {
            const vec t = load(tiles + b * length + i);
            for (int k = 0; k < N; k++) a[k] += t * pi[b * K + k];
        }
        for (int k = 0; k < N; k++) store(sums + k * apart + i, a[k]);
    }
}
static void gather(const float* tiles, Int length, const float* pi, Int K, float* sums, Int apart, Int images) {
    for (Int k = 0; k < K; k += 4) {
        const auto some = K - k >= 4 ? gather_some<4> : K - k == 3 ? gather_some<3> : K - k == 2 ? gather_some<2> : gather_some<1>;
        some(tiles, length, pi + k, K, sums + k * apart, apart, images);
    }
}

// dots (image, K, LANES) += the products of its tile with the K kernels' tiles
template <int N>
static void compare_some(const float* tiles, Int length, const float* kernels, Int apart, float* dots, Int K, Int images) {
    for (Int b = 0; b < images; b++) {
        vec a[N];
        for (int k = 0; k < N; k++) a[k] = load(dots + (b * K + k) * LANES);
        for (Int i = 0; i < length; i += LANES) {
            const vec t = load(tiles + b * length + i);
            for (int k = 0; k < N; k++) a[k] += t * load(kernels + k * apart + i);
        }
        for (int k = 0; k < N; k++) store(dots + (b * K + k) * LANES, a[k]);
    }
}
static void compare(const float* tiles, Int length, const float* kernels, Int apart, float* dots, Int K, Int images) {
    for (Int k = 0; k < K; k += 4) {
        const auto some = K - k >= 4 ? compare_some<4> : K - k == 3 ? compare_some<3> : K - k == 2 ? compare_some<2> : compare_some<1>;
        some(tiles, length, kernels + k * apart, apart, dots + k * LANES, K, images);
    }
}

// From the gradient of the outputs, those of the kernels (K, O, C, kh, kw) and of the weights pi (B, K); either may be null.
// A thread takes a panel of channels in and R channels out: their kernels and gradients, (K, tap, R, width), stay in its cache.
extern "C" int dynconv_backward(const float* x, const float* kernels, const float* pi, const float* grad, float* grad_kernels,
                                float* grad_pi, const Int* sizes, int threads) {
    const Sizes s = *reinterpret_cast<const Sizes*>(sizes);
    constexpr Int IMAGES = 8;
    const Int taps = s.kh * s.kw, padded = up(s.C, LANES), panels = parts(padded, WIDE), positions = s.oh * s.ow;
    Int cut = parts(s.O, MOST);
    while (panels * cut % threads && panels * cut < 8 * threads && cut < s.O) cut++;  // work for all threads
    const Int R = parts(s.O, cut), blocks = parts(s.O, R);
    const Int high = s.H + 2 * s.ph, across = s.W + 2 * s.pw, image = high * across * padded, outputs = blocks * R * positions;
    const Int most = taps * R * WIDE, dots_size = up(s.B * s.K * LANES, 16), own = IMAGES * R * WIDE + 2 * s.K * most + dots_size;
    const Int last_size = up(s.B * image + WIDE, 16), blocked_size = up(s.B * outputs + WIDE, 16);
    float* memory = static_cast<float*>(std::aligned_alloc(64, (last_size + blocked_size + threads * own) * 4));
    if (!memory) return 1;
    float *last = memory, *blocked = memory + last_size;  // x (image, padded row and column, channel); grad (image, block, position, R)
    const float *x_end = x + s.B * s.C * s.H * s.W, *grad_end = grad + s.B * s.O * positions, *kernels_end = kernels + s.K * s.O * s.C * taps;
    const Routines run = routines<MOST>(R);
    if (grad_pi) std::memset(grad_pi, 0, s.B * s.K * 4);
#pragma omp parallel num_threads(threads)
    {
        float* tiles = blocked + blocked_size + omp_get_thread_num() * own;  // (image, R, width) of one tap
        float *stack = tiles + IMAGES * R * WIDE, *change = stack + s.K * most, *dots = change + s.K * most;
        std::memset(dots, 0, dots_size * 4);
#pragma omp for
        for (Int b = 0; b < s.B; b++) {
            const float* from = x + b * s.C * s.H * s.W;
            float* to = last + b * image;
            std::memset(to, 0, image * 4);
            if (s.ph == 0 && s.pw == 0) transpose(from, s.H * s.W, s.C, s.H * s.W, x_end, to, padded, padded, nullptr);
            else
                for (Int r = 0; r < s.H; r++)
                    transpose(from + r * s.W, s.H * s.W, s.C, s.W, x_end, to + ((r + s.ph) * across + s.pw) * padded, padded, padded, nullptr);
            for (Int i = 0; i < blocks; i++) {
                const Int real = std::min(R, s.O - i * R);
                float* block = blocked + b * outputs + i * R * positions;
                if (real < R) std::memset(block, 0, R * positions * 4);
                transpose(grad + (b * s.O + i * R) * positions, positions, real, positions, grad_end, block, R, real,
                          real == R ? block + R * positions : nullptr);
            }
        }
#pragma omp for collapse(2) schedule(dynamic)
        for (Int panel = 0; panel < panels; panel++)
            for (Int i = 0; i < blocks; i++) {
                const Int width = std::min<Int>(WIDE, padded - panel * WIDE), real = std::min(width, s.C - panel * WIDE);
                const Int length = R * width, apart = taps * length;
                std::memset(change, 0, s.K * apart * 4);
                for (Int k = 0; grad_pi && k < s.K; k++)
                    for (Int r = 0; r < R; r++) {
                        const Int o = i * R + r;
                        float* to = stack + k * apart + r * width;
                        for (Int t = 0; o >= s.O && t < taps; t++) std::memset(to + t * length, 0, width * 4);
                        if (o < s.O)
                            transpose(kernels + ((k * s.O + o) * s.C + panel * WIDE) * taps, taps, real, taps, kernels_end, to, length, width, nullptr);
                    }
                for (Int b0 = 0; b0 < s.B; b0 += IMAGES)
                    for (Int t = 0; t < taps; t++) {
                        const Int images = std::min(IMAGES, s.B - b0);
                        const float* seen = last + b0 * image + (t / s.kw * s.dh * across + t % s.kw * s.dw) * padded + panel * WIDE;
                        for (Int b = 0; b < images; b++)
                            run.correlate[width / LANES - 1](seen + b * image, s.sh * across * padded, s.sw * padded,
                                                             blocked + (b0 + b) * outputs + i * R * positions, s.oh, s.ow, tiles + b * length);
                        if (grad_kernels) gather(tiles, length, pi + b0 * s.K, s.K, change + t * length, apart, images);
                        if (grad_pi) compare(tiles, length, stack + t * length, apart, dots + b0 * s.K * LANES, s.K, images);
                    }
                for (Int k = 0; grad_kernels && k < s.K; k++)
                    for (Int r = 0; r < R && i * R + r < s.O; r++) {
                        float* to = grad_kernels + ((k * s.O + i * R + r) * s.C + panel * WIDE) * taps;
                        transpose(change + k * apart + r * width, length, taps, real, change + s.K * most, to, taps, taps, to + real * taps);
                    }
            }
        if (grad_pi)
#pragma omp critical
            for (Int j = 0; j < s.B * s.K; j++)
                for (int lane = 0; lane < LANES; lane++) grad_pi[j] += dots[j * LANES + lane];
    }
    std::free(memory);
    return 0;
}
