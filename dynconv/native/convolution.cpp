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

// packed (K, panel, depth, channels of the panel); call inside a parallel region
static void pack_kernels(const float* kernels, float* packed, const Sizes& s) {
    const Int taps = s.kh * s.kw, depth = s.C * taps, padded = up(s.O, LANES), panels = parts(padded, WIDE);
#pragma omp for collapse(2)
    for (Int k = 0; k < s.K; k++)
        for (Int panel = 0; panel < panels; panel++) {
            const Int first = panel * WIDE, width = std::min<Int>(WIDE, padded - first), real = std::min(width, s.O - first);
            const float* from = kernels + k * s.O * depth + first * s.out;
            float* to = packed + (k * padded + first) * depth;
            if (!s.turned) transpose(from, s.out, real, depth, kernels + s.K * s.O * depth, to, width, width, nullptr);
            else  // (channels of the panel, taps) for each channel in, the last tap first
                for (Int c = 0; c < s.C; c++, from += s.in)
                    transpose(from, s.out, real, taps, kernels + s.K * s.O * depth, to + (c + 1) * taps * width - width, -width, width, nullptr);
        }
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

extern "C" int dynconv_forward(const float* x, const float* kernels, const float* pi, float* y, const Int* sizes, int threads) {
    const Sizes s = *reinterpret_cast<const Sizes*>(sizes);
    const Int taps = s.kh * s.kw, depth = s.C * taps, padded = up(s.O, LANES), panels = parts(padded, WIDE);
    // patches of up to 8 images (4 MB) share a slice of kernels; an image of many patches is cut into rows (512 kB)
    constexpr Int IMAGES = 8, TOGETHER = 1 << 20, ALONE = 1 << 17, SLICE = 256;
    const Int cuts = depth * s.oh * s.ow <= ALONE ? 1 : parts(s.oh, std::max<Int>(1, std::max<Int>(ALONE, 64 * depth) / (depth * s.ow)));
    const Int rows = parts(s.oh, cuts), most = rows * s.ow, R = parts(most, parts(most, MOST)), blocks_most = parts(most, R);
    const Int wanted = cuts > 1 ? 1 : std::max<Int>(1, std::min(IMAGES, TOGETHER / (depth * most)));
    const Int groups = std::min(s.B, up(parts(s.B, wanted), threads)), some = parts(s.B, groups);
    const Int step = R * depth + LANES, plane_size = (s.H + 2 * s.ph) * (s.W + 2 * s.pw) + (s.ow + 2 * LANES) * s.sw;
    const Int panel_size = up(some * blocks_most * step + WIDE, 16), mixed_size = some * SLICE * WIDE;
    const Int sums_size = up(some * blocks_most * R * WIDE + LANES * WIDE, 16), line_size = up(blocks_most * R + s.ow + WIDE, 16);
    const Int packed_size = up(s.K * padded * depth + LANES, 16), own = panel_size + mixed_size + sums_size + taps * line_size + up(plane_size, 16);
    float* memory = static_cast<float*>(std::aligned_alloc(64, (packed_size + threads * own) * 4));
    if (!memory) return 1;
    const bool bare = taps == 1 && s.sh == 1 && s.sw == 1 && s.ph == 0 && s.pw == 0;  // patches are the image itself
    const Routines run = routines<MOST>(R);
#pragma omp parallel num_threads(threads)
    {
        float* panel = memory + packed_size + omp_get_thread_num() * own;  // (image, block of positions, depth, R)
        float* mixed = panel + panel_size;                                 // (image, slice of the depth, channels of a panel)
        float* sums = mixed + mixed_size;                                  // (image, position, channels of a panel)
        float *line = sums + sums_size, *plane = line + taps * line_size;  // what each tap sees; a channel with its padding
        std::memset(line, 0, (own - (line - panel)) * 4);
        pack_kernels(kernels, memory, s);  // its loop ends with a barrier
#pragma omp for collapse(2) schedule(dynamic)
        for (Int group = 0; group < groups; group++)
            for (Int cut = 0; cut < cuts; cut++) {
                const Int b0 = group * s.B / groups, images = (group + 1) * s.B / groups - b0;
                const Int y0 = cut * s.oh / cuts, y1 = (cut + 1) * s.oh / cuts, here = (y1 - y0) * s.ow, blocks = parts(here, R);
                for (Int b = 0; b < images; b++)
                    for (Int c = 0; c < s.C; c++) {
                        const float* from = x + ((b0 + b) * s.C + c) * s.H * s.W;
                        float* to = panel + b * blocks * step + c * taps * R;
                        const Int left = x + s.B * s.C * s.H * s.W - from - y0 * s.ow;  // numbers that may be read
                        if (bare && left >= blocks * R + LANES) run.deal(from + y0 * s.ow, to, blocks, step);
                        else {
                            pad(from, x + s.B * s.C * s.H * s.W, plane, s);
                            for (Int t = 0; t < taps; t++) {
                                const Int place = t / s.kw * s.dh * (s.W + 2 * s.pw) + t % s.kw * s.dw;
                                see(plane + place, line + t * line_size, y0, y1, s);
                            }
                            for (Int t = 0; t < taps; t++) run.deal(line + t * line_size, to + t * R, blocks, step);
                        }
                    }
                for (Int p = 0; p < panels; p++) {
                    const Int first = p * WIDE, width = std::min<Int>(WIDE, padded - first), real = std::min(width, s.O - first);
                    std::memset(sums, 0, images * blocks * R * width * 4);
                    for (Int l = 0; l < depth; l += SLICE) {
                        const Int slice = std::min(SLICE, depth - l);
                        mix(memory + first * depth + l * width, padded * depth, pi + b0 * s.K, s.K, mixed, SLICE * WIDE, slice * width, images);
                        for (Int b = 0; b < images; b++)
                            for (Int i = 0; i < blocks; i++)
                                run.multiply[width / LANES - 1](slice, mixed + b * SLICE * WIDE, panel + (b * blocks + i) * step + l * R,
                                                                sums + (b * blocks + i) * R * width);
                    }
                    for (Int b = 0; b < images; b++)
                        transpose(sums + b * blocks * R * width, width, here, real, sums + sums_size,
                                  y + ((b0 + b) * s.O + first) * s.oh * s.ow + y0 * s.ow, s.oh * s.ow, here, nullptr);
                }
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
extern "C" int dynconv_backward(const float* x, const float* kernels, const float* pi, const float* grad, float* grad_kernels,
                                float* grad_pi, const Int* sizes, int threads) {
    const Sizes s = *reinterpret_cast<const Sizes*>(sizes);
    const Int taps = s.kh * s.kw, padded = up(s.C, LANES), panels = parts(padded, WIDE), positions = s.oh * s.ow;
    const Int R = parts(s.O, parts(s.O, MOST)), blocks = parts(s.O, R), one = blocks * R * padded * taps;  // numbers of a kernel here
    const Int high = s.H + 2 * s.ph, across = s.W + 2 * s.pw, IMAGES = 8;
    const Int image = high * across * padded, outputs = blocks * R * positions, own = IMAGES * MOST * WIDE + up(s.B * s.K * LANES, 16);
    const Int sizes_of[] = {up(s.B * image + WIDE, 16), up(s.B * outputs + WIDE, 16), up(s.K * one, 16), up(s.K * one, 16), threads * own};
    Int all = 0;
    for (Int size : sizes_of) all += size;
    float* memory = static_cast<float*>(std::aligned_alloc(64, all * 4));
    if (!memory) return 1;
    float* last = memory;                // x: (image, padded row, padded column, channel)
    float* blocked = last + sizes_of[0];  // grad: (image, block of R channels, position, R)
    float* stack = blocked + sizes_of[1];  // kernels: (K, tap, panel of channels in, channel out, channels of the panel)
    float* change = stack + sizes_of[2];   // their gradient, the same
    float* tiles_of_all = change + sizes_of[3];
    const Routines run = routines<MOST>(R);
    if (grad_pi) std::memset(grad_pi, 0, s.B * s.K * 4);
#pragma omp parallel num_threads(threads)
    {
        float* tiles = tiles_of_all + omp_get_thread_num() * own;
        float* dots = tiles + IMAGES * MOST * WIDE;
        std::memset(dots, 0, s.B * s.K * LANES * 4);
#pragma omp for nowait
        for (Int b = 0; b < s.B; b++) {
            const float *from = x + b * s.C * s.H * s.W, *from_end = x + s.B * s.C * s.H * s.W;
            float* to = last + b * image;
            std::memset(to, 0, image * 4);
            if (s.ph == 0 && s.pw == 0) transpose(from, s.H * s.W, s.C, s.H * s.W, from_end, to, padded, padded, nullptr);
            else
                for (Int r = 0; r < s.H; r++)
                    transpose(from + r * s.W, s.H * s.W, s.C, s.W, from_end, to + ((r + s.ph) * across + s.pw) * padded, padded, padded, nullptr);
            for (Int i = 0; i < blocks; i++) {
                const Int real = std::min(R, s.O - i * R);
                float* block = blocked + b * outputs + i * R * positions;
                if (real < R) std::memset(block, 0, R * positions * 4);
                transpose(grad + (b * s.O + i * R) * positions, positions, real, positions, grad + s.B * s.O * positions, block, R, real,
                          real == R ? block + R * positions : nullptr);
            }
        }
#pragma omp for collapse(2)
        for (Int k = 0; k < s.K; k++)
            for (Int o = 0; o < blocks * R; o++)
                for (Int p = 0; p < panels; p++) {
                    const Int width = std::min<Int>(WIDE, padded - p * WIDE), place = k * one + p * WIDE * blocks * R + o * width;
                    for (Int t = 0; t < taps; t++) {
                        std::memset(change + place + t * padded * blocks * R, 0, width * 4);
                        if (o >= s.O) std::memset(stack + place + t * padded * blocks * R, 0, width * 4);
                    }
                    if (o < s.O && grad_pi)
                        transpose(kernels + ((k * s.O + o) * s.C + p * WIDE) * taps, taps, std::min(width, s.C - p * WIDE), taps,
                                  kernels + s.K * s.O * s.C * taps, stack + place, padded * blocks * R, width, nullptr);
                }
        const Int all_tiles = taps * panels * blocks, me = omp_get_thread_num(), team = omp_get_num_threads();
        for (Int b0 = 0; b0 < s.B; b0 += IMAGES) {
            const Int images = std::min(IMAGES, s.B - b0);
            for (Int tile = me * all_tiles / team; tile < (me + 1) * all_tiles / team; tile++) {
                const Int t = tile / blocks / panels, p = tile / blocks % panels, i = tile % blocks;
                const Int width = std::min<Int>(WIDE, padded - p * WIDE), length = R * width;
                const Int place = (t * padded + p * WIDE) * blocks * R + i * length;
                const float* seen = last + (t / s.kw * s.dh * across + t % s.kw * s.dw) * padded + p * WIDE;
                for (Int b = 0; b < images; b++)
                    run.correlate[width / LANES - 1](seen + (b0 + b) * image, s.sh * across * padded, s.sw * padded,
                                                     blocked + (b0 + b) * outputs + i * R * positions, s.oh, s.ow, tiles + b * length);
                if (grad_kernels) gather(tiles, length, pi + b0 * s.K, s.K, change + place, one, images);
                if (grad_pi) compare(tiles, length, stack + place, one, dots + b0 * s.K * LANES, s.K, images);
            }
        }
        if (grad_pi)
#pragma omp critical
            for (Int i = 0; i < s.B * s.K; i++)
                for (int j = 0; j < LANES; j++) grad_pi[i] += dots[i * LANES + j];
#pragma omp barrier
        if (grad_kernels)
#pragma omp for collapse(2)
            for (Int k = 0; k < s.K; k++)
                for (Int o = 0; o < s.O; o++)
                    for (Int p = 0; p < panels; p++) {
                        const Int width = std::min<Int>(WIDE, padded - p * WIDE), real = std::min(width, s.C - p * WIDE);
                        float* to = grad_kernels + ((k * s.O + o) * s.C + p * WIDE) * taps;
                        transpose(change + k * one + p * WIDE * blocks * R + o * width, padded * blocks * R, taps, real, change + s.K * one,
                                  to, taps, taps, to + real * taps);
                    }
    }
    std::free(memory);
    return 0;
}
