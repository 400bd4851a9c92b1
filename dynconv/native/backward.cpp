// The gradients of the K kernels and of their weights, from that of the outputs. (The gradient of the input is a convolution:
// forward.cpp.) Each thread owns blocks of the kernels' gradient; the gradient of one image's kernel exists a block at a time.
// Where the forward pass multiplies what winograd.h makes of kernels and images, so does this, and goes back at the end. A large
// image is cut into pieces, each as good as an image with the same weights.

#include <vector>

#include "images.h"
#include "winograd.h"

// tile (R, M x LANES) = over the positions of an image: x (M x LANES of its channels at the place a tap sees), g (R channels)
template <int M, int R>
static void correlate(const float* x, Int row, Int column, const float* g, Int step, Int high, Int wide, float* tile) {
    vec a[R][M] = {};
    for (Int i = 0; i < high; i++, x += row) {
        const float* at = x;
        for (Int j = 0; j < wide; j++, at += column, g += step) {
            vec v[M];
#pragma GCC unroll 2
            for (int m = 0; m < M; m++) v[m] = load(at + m * LANES);
#pragma GCC unroll 16
            for (int r = 0; r < R; r++)
#pragma GCC unroll 2
                for (int m = 0; m < M; m++) a[r][m] += v[m] * g[r];
        }
    }
    store(tile, a);
}

typedef void (*Correlate)(const float*, Int, Int, const float*, Int, Int, Int, float*);
template <int... R>
static Correlate pick(Int M, Int rows, std::integer_sequence<int, R...>) {
    static constexpr Correlate all[2][MOST] = {{correlate<1, R + 1>...}, {correlate<2, R + 1>...}};
    return all[M - 1][rows - 1];
}

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
        const Int left = K - k;
        const auto some = left >= 4 ? compare_some<4> : left == 3 ? compare_some<3> : left == 2 ? compare_some<2> : compare_some<1>;
        some(tiles, length, kernels + k * apart, apart, dots + k * LANES, K, images);
    }
}

// Some channels of the outputs, in one thread: the K kernels' part of one panel, its gradient, and each piece's: (piece, R, width)
struct Block { Int first, R, length, apart; float *tile, *stack, *change; };

// Either of grad_kernels (K, O, C, kh, kw) and grad_pi (B, K) may be null.
extern "C" int dynconv_backward(const Call* call) {
    const Sizes s = sizes_of(*call);
    const float *x = call->x, *kernels = call->kernels, *pi = call->attention, *grad = call->outputs;
    float *grad_kernels = call->grad_kernels, *grad_pi = call->grad_attention;
    const int threads = call->threads;
    constexpr Int FEW = 8, SOME = 3, ALONE = 1 << 18, TOGETHER = 1 << 22;  // pieces; blocks; numbers
    const bool winograd = has_tiles(s);
    const Int taps = s.kh * s.kw, steps = winograd ? 16 : taps, padded = up(s.C, LANES), panels = parts(padded, WIDE);
    Int blocks = parts(s.O, MOST);
    while (panels * blocks % threads && panels * blocks < 8 * threads && blocks < s.O) blocks++;  // work for all threads
    const Int groups = parts(blocks, std::min(SOME, std::max<Int>(1, panels * blocks / (2 * threads))));  // see the same pixels
    const Int lines = winograd ? parts(s.oh, 2) : s.oh, units = winograd ? parts(s.ow, 2) : s.ow;
    const Int across = winograd ? 2 * units + 2 : s.W + 2 * s.pw;
    const Picture in(s.C, s.H, s.W, s.ph, s.pw, across), out(s.O, s.oh, s.ow, 0, 0, winograd ? 2 * units : s.ow);
    const auto high = [&](Int lines) { return winograd ? 2 * lines + 2 : (lines - 1) * s.sh + (s.kh - 1) * s.dh + 1; };  // pixels
    const auto outputs = [&](Int lines) { return winograd ? 2 * lines : lines; };
    const Int line = (winograd ? 16 * units : s.sh * across) * in.row + (winograd ? 16 * units : s.ow) * out.row;
    const Int cuts = std::min(lines, std::max(parts(lines * line, ALONE), parts(threads, s.B)));
    const Int rows = parts(lines, cuts), pieces = s.B * cuts;
    const Int last_x = high(rows) * across * in.row, last_grad = outputs(rows) * out.across * out.row;
    const Int seen_x = winograd ? 16 * rows * units * in.row : last_x;
    const Int seen_grad = winograd ? 16 * rows * units * out.row : last_grad;
    const Int together = up(std::min(pieces, std::max<Int>(1, TOGETHER / (seen_x + seen_grad))), FEW);  // pieces at a time
    // steps of some pieces lie together, for they are read together: where a piece's first lies, and how far its next
    const auto begin = [&](Int p, Int seen) { return winograd ? p / FEW * FEW * seen + p % FEW * (seen / 16) : p * seen; };
    const Int next_x = FEW * (seen_x / 16), next_grad = FEW * (seen_grad / 16);
    std::vector<float> weights(pieces * s.K);
    for (Int j = 0; j < pieces * s.K; j++) weights[j] = pi[j / s.K / cuts * s.K + j % s.K];
    const Int most = MOST * WIDE, kernel = steps * most + LANES, dots_size = up(pieces * s.K * LANES, 16);
    const Int room = taps * WIDE + LANES, now = SOME * (FEW * most + 2 * s.K * kernel) + 2 * room;
    const Int own = up(winograd ? std::max({last_x, last_grad, now}) : now, 16), common = up(together * (seen_x + seen_grad), 16);
    const Memory memory(common + threads * (own + dots_size));
    if (!memory.get()) return 1;
    float *pixels = memory.get(), *gradients = pixels + together * seen_x;
    const float *x_end = x + s.B * s.C * s.H * s.W, *grad_end = grad + s.B * s.O * s.oh * s.ow;
    const float* kernels_end = kernels + s.K * s.O * s.C * taps;
    if (grad_pi) std::memset(grad_pi, 0, s.B * s.K * 4);
#pragma omp parallel num_threads(threads)
    {
        float *dots = pixels + common + omp_get_thread_num() * (own + dots_size), *last = dots + dots_size;
        float *taps_now = last + SOME * (FEW * most + 2 * s.K * kernel), *line = taps_now + room;
        std::memset(dots, 0, dots_size * 4);
        for (Int start = 0; start < pieces; start += together) {
            const Int stop = std::min(pieces, start + together);
#pragma omp for
            for (Int piece = start; piece < stop; piece++) {
                const Int b = piece / cuts, y0 = piece % cuts * lines / cuts, here = (piece % cuts + 1) * lines / cuts - y0;
                float *to_x = pixels + begin(piece - start, seen_x), *to_grad = gradients + begin(piece - start, seen_grad);
                channels_last(x + b * s.C * s.H * s.W, x_end, winograd ? 2 * y0 : y0 * s.sh, high(here), winograd ? last : to_x, in);
                if (winograd) tiles(last, to_x, next_x, here, units, in, transform_input);
                channels_last(grad + b * s.O * s.oh * s.ow, grad_end, outputs(y0), outputs(here), winograd ? last : to_grad, out);
                if (winograd) tiles(last, to_grad, next_grad, here, units, out, transform_gradient);
            }
#pragma omp for collapse(2) schedule(dynamic)
            for (Int panel = 0; panel < panels; panel++)
                for (Int group = 0; group < groups; group++) {
                    const Int from = group * blocks / groups, to = (group + 1) * blocks / groups;
                    const Int width = std::min<Int>(WIDE, padded - panel * WIDE), real = std::min(width, s.C - panel * WIDE);
                    std::vector<Block> some;
                    for (Int i = from; i < to; i++) {
                        const Int first = i * s.O / blocks, R = (i + 1) * s.O / blocks - first;
                        float *tile = last + (i - from) * (FEW * most + 2 * s.K * kernel), *stack = tile + FEW * most;
                        some.push_back({first, R, R * width, steps * R * width + LANES, tile, stack, stack + s.K * kernel});
                    }
                    const auto place = [&](const Block& block, Int k, Int r) {
                        return ((k * s.O + block.first + r) * s.C + panel * WIDE) * taps;
                    };
                    for (const Block& block : some) {
                        std::memset(block.change, 0, s.K * block.apart * 4);
                        for (Int k = 0; grad_pi && k < s.K; k++)
                            for (Int r = 0; r < block.R; r++) {
                                float* to = block.stack + k * block.apart + r * width;
                                transpose(kernels + place(block, k, r), taps, real, taps, kernels_end, winograd ? taps_now : to,
                                          winograd ? width : block.length, width, nullptr);
                                for (Int m = 0; winograd && m < width; m += LANES)
                                    transform_kernel(taps_now + m, width, to + m, block.length);
                            }
                    }
                    for (Int p0 = start; p0 < stop; p0 += FEW)
                        for (Int f = 0; f < steps; f++) {
                            const Int few = std::min(FEW, stop - p0);
                            for (Int p = 0; p < few; p++) {
                                const float* seen = pixels + begin(p0 - start + p, seen_x) + panel * WIDE;
                                const float* g = gradients + begin(p0 - start + p, seen_grad);
                                const Int cut = (p0 + p) % cuts, here = (cut + 1) * lines / cuts - cut * lines / cuts;
                                for (const Block& block : some) {
                                    const auto run = pick(width / LANES, block.R, std::make_integer_sequence<int, MOST>());
                                    float* tile = block.tile + p * block.length;
                                    if (winograd)
                                        run(seen + f * next_x, 0, in.row, g + f * next_grad + block.first, out.row, 1,
                                            here * units, tile);
                                    else
                                        run(seen + (f / s.kw * s.dh * across + f % s.kw * s.dw) * in.row, s.sh * across * in.row,
                                            s.sw * in.row, g + block.first, out.row, here, s.ow, tile);
                                }
                            }
                            for (const Block& block : some) {
                                const Int at = f * block.length;
                                if (grad_kernels)
                                    gather(block.tile, block.length, weights.data() + p0 * s.K, s.K, block.change + at,
                                           block.apart, few);
                                if (grad_pi)
                                    compare(block.tile, block.length, block.stack + at, block.apart, dots + p0 * s.K * LANES,
                                            s.K, few);
                            }
                        }
                    for (const Block& block : some)
                        for (Int k = 0; grad_kernels && k < s.K; k++)
                            for (Int r = 0; r < block.R; r++) {
                                const float* from = block.change + k * block.apart + r * width;
                                for (Int m = 0; winograd && m < width; m += LANES)
                                    transform_back(from + m, block.length, taps_now + m, width);
                                float* to = start ? line : grad_kernels + place(block, k, r);
                                transpose(winograd ? taps_now : from, winograd ? width : block.length, taps, real, line + room, to,
                                          taps, taps, to + real * taps);
                                for (Int j = 0; start && j < real * taps; j++) grad_kernels[place(block, k, r) + j] += line[j];
                            }
                }
        }
        if (grad_pi)
#pragma omp critical
            for (Int j = 0; j < pieces * s.K; j++)
                for (int lane = 0; lane < LANES; lane++) grad_pi[j / s.K / cuts * s.K + j % s.K] += dots[j * LANES + lane];
    }
    return 0;
}
