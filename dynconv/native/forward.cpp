// Dynamic convolution on a CPU, in which the kernels that are mixed for an image never leave the cache; read with its kernels turned
// round it is also the gradient of the input. Plain C++ with the vector types of GCC and Clang, and OpenMP; float32; one group.
// Called by convolution.py.
//
// The idea. For one image a convolution is a matrix product, (outs) x (channels and taps) times (channels and taps) x (positions),
// and the left matrix is itself a product: attention times the K kernels. Multiplied out in full, the mixed kernels of a batch are
// far larger than a cache: they would be written to memory and read back. So the kernels are cut into slices that a cache holds.
// A slice is mixed for a few images into a little memory that is used again, and at once multiplied with what it sees of each
// image, in tiles of sums that stay in registers (Goto and van de Geijn, Anatomy of High-Performance Matrix Multiplication, 2008,
// https://doi.org/10.1145/1356052.1356053, with the mixing as a part of its packing).
//
// To have both matrices in the order in which they are read, the K kernels are packed once, output channels last, and an image is
// laid out with its channels last. What a kernel sees of it are pixels, one product a tap; or, for 3 x 3 kernels at stride 1,
// Winograd's sums of pixels, 16 products for four outputs: winograd.h.

#include <vector>

#include "images.h"
#include "memory.h"
#include "mixing.h"
#include "winograd.h"

// What one row of sums sees: in each of some segments `depth` channels, which begin at the row's pixel plus the segment's offset.
// The pixels of neighbouring rows lie `gap` apart.
struct Reach { const Int* offsets; Int segments, depth, gap; };

// sums (R, M x LANES) = or += the products of w (segment, depth, M x LANES) with what R rows reach from x on
template <int M, int R>
static void multiply(const Reach& reach, const float* w, const float* x, float* sums, bool add) {
    const auto [offsets, segments, depth, gap] = reach;
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

typedef void (*Multiply)(const Reach&, const float*, const float*, float*, bool);
template <int... R>
static Multiply pick(int M, int rows, std::integer_sequence<int, R...>) {
    static constexpr Multiply all[2][MOST] = {{multiply<1, R + 1>...}, {multiply<2, R + 1>...}};
    return all[M - 1][rows - 1];
}

// A thread's own memory
struct Room { float *mixed, *sums, *flat, *scratch, *last, *rest; };

// How the work is cut. Nothing here changes a sum: whatever the threads, each output adds the same numbers in the same order.
struct Plan {
    // A kernel is 16 steps (Winograd's products), or one step of as many segments as it has taps. Its output channels are taken in
    // panels, each packed into `panel` numbers, and of its input channels `slice` are mixed and multiplied at a time.
    bool winograd;
    Int taps, steps, segments, outs, panels, panel, slice;
    // A line is a row of outputs, or of 2 x 2 outputs: its units. An image is cut into `cuts` of at most `rows` lines.
    Int lines, units, cuts, rows;
    // `groups` of at most `together` images are seen at a time; of these, `at_once` are mixed for at a time.
    Int groups, together, at_once;
    // Either the stack is packed once and each thread has groups of its own; or, where the stack is large or the images are few,
    // all threads share a group, and each packs the panels that it multiplies.
    bool shared;
    // Memory in numbers: of an image's mixed slice, sums and outputs; of what is packed at a time; of an image as it is laid out
    // and as it is multiplied; what all threads share, and what each has.
    Int mixed, sums, flat, scratch, last, seen, common, own;

    Plan(const Call& call, Images& images) {
        constexpr Int SLICE = 128, WEIGHTS = 256;  // channels for Winograd's products; channels times taps for others
        winograd = has_tiles(call);
        taps = call.taps_down * call.taps_across, steps = winograd ? 16 : 1, segments = winograd ? 1 : taps;
        outs = up(call.outs, LANES), panels = parts(outs, WIDE);
        slice = std::min(call.channels, winograd ? SLICE : std::max<Int>(16, WEIGHTS / taps));
        panel = (steps * segments * call.channels + steps * parts(call.channels, slice)) * WIDE + LANES;
        lines = winograd ? parts(call.high, 2) : call.high, units = winograd ? parts(call.wide, 2) : call.wide;
        images.set_row(winograd ? 2 * units + 2 : call.width + 2 * call.pad_across);
        cut_images(call, images);
        count_memory(call, images);
    }

    void cut_images(const Call& call, const Images& images) {
        constexpr Int FEW = 4, ALONE = 1 << 18, TOGETHER = 1 << 22, LARGE = 1 << 22;  // images; numbers of pixels and of kernels
        const Int threads = call.threads;
        shared = panels >= 2 * threads && (call.stack * panels * panel > LARGE || call.images < 2 * threads);
        const Int budget = shared ? TOGETHER : ALONE;
        const Int line = (winograd ? 16 * units : call.stride_down * images.across) * images.pixel;
        cuts = std::min(lines, std::max(parts(lines * line, budget), shared ? 1 : parts(threads, call.images)));
        rows = parts(lines, cuts);
        const Int most = cuts > 1 ? 1 : std::max<Int>(1, budget / (rows * line));
        groups = shared ? parts(call.images, most) : std::min(call.images, up(parts(call.images, std::min(most, FEW)), threads));
        together = parts(call.images, groups), at_once = std::min(together, FEW);
    }

    void count_memory(const Call& call, const Images& images) {
        const Int pixels = up(high(rows, call) * images.across * images.pixel, 16);
        last = winograd ? pixels : 0, seen = winograd ? 16 * rows * units * images.pixel : pixels;
        mixed = slice * segments * WIDE + LANES, sums = steps * rows * units * WIDE;
        flat = (winograd ? 4 * rows * units * WIDE : 0) + LANES * WIDE, scratch = 16 * taps * WIDE;
        common = up(shared ? together * seen : call.stack * panels * panel, 16);
        own = at_once * (mixed + sums) + flat + scratch + last + (shared ? call.stack * panel : together * seen);
        own = up(own, 16);
    }

    Room room(float* at) const {
        float *flat_at = at + at_once * (mixed + sums), *scratch_at = flat_at + flat, *last_at = scratch_at + scratch;
        return {at, at + at_once * mixed, flat_at, scratch_at, last_at, last_at + last};
    }

    Int top(Int line, const Call& c) const { return winograd ? 2 * line : line * c.stride_down; }  // the first padded row it sees
    Int high(Int some, const Call& c) const {  // how many it sees
        return winograd ? 2 * some + 2 : (some - 1) * c.stride_down + (c.taps_down - 1) * c.gap_down + 1;
    }
    Int width(Int panel_index) const { return std::min<Int>(WIDE, outs - panel_index * WIDE); }
    // In a packed panel: where the slice from channel c on begins, and how far its next step is (one register more than it has)
    Int offset(Int c, Int width) const { return (steps * segments * c + c / slice * steps) * width; }
    Int step(Int channels, Int width) const { return (segments * channels + 1) * width; }
};

struct Part { Int first, images, top, stop; };      // some images, and their lines from top to before stop
struct Slice { Int first, channels, step, width; };  // some channels in, in one step of a panel of that width
struct Packed { const float* first; Int apart; };    // a panel of each of the K kernels

class Forward {
    const Call call;
    Images images;
    const Plan plan;
    const Int numbers;         // of one kernel
    const float* kernels_end;
    std::vector<Int> offsets;  // of what a segment sees

  public:
    explicit Forward(const Call& given)
        : call(given),
          images{given.x, given.x + given.images * given.channels * given.height * given.width, given.channels, given.height,
                 given.width, given.pad_down, given.pad_across, 0, 0},
          plan(call, images),
          numbers(given.outs * given.channels * plan.taps),
          kernels_end(given.kernels + given.stack * numbers),
          offsets(plan.segments, 0) {
        for (Int t = 0; t < plan.taps && !plan.winograd; t++)
            offsets[t] = (t / call.taps_across * call.gap_down * images.across + t % call.taps_across * call.gap_across) * images.pixel;
    }

    Int memory() const { return plan.common + call.threads * plan.own; }

    void run(float* memory) const {
#pragma omp parallel num_threads(call.threads)
        {
            const Room room = plan.room(memory + plan.common + omp_get_thread_num() * plan.own);
            if (plan.shared) share(memory, room);
            else divide(memory, room);
        }
    }

  private:
    // The stack is packed once, and each thread has images of its own.
    void divide(float* packed, const Room& room) const {
#pragma omp for collapse(2)
        for (Int k = 0; k < call.stack; k++)
            for (Int panel = 0; panel < plan.panels; panel++)
                pack(call.kernels + k * numbers, panel, room.scratch, packed + (k * plan.panels + panel) * plan.panel);
#pragma omp for schedule(dynamic)
        for (Int i = 0; i < plan.groups * plan.cuts; i++) {
            const Part part = part_of(i);
            for (Int b = 0; b < part.images; b++) look(part.first + b, part, room.last, room.rest + b * plan.seen);
            for (Int panel = 0; panel < plan.panels; panel++)
                compute(part, panel, {packed + panel * plan.panel, plan.panels * plan.panel}, room.rest, room);
        }
    }

    // All threads see the same images, and each packs panels of its own.
    void share(float* seen, const Room& room) const {
        for (Int i = 0; i < plan.groups * plan.cuts; i++) {
            const Part part = part_of(i);
#pragma omp for
            for (Int b = 0; b < part.images; b++) look(part.first + b, part, room.last, seen + b * plan.seen);
#pragma omp for schedule(dynamic)
            for (Int panel = 0; panel < plan.panels; panel++) {
                for (Int k = 0; k < call.stack; k++)
                    pack(call.kernels + k * numbers, panel, room.scratch, room.rest + k * plan.panel);
                for (Int b = 0; b < part.images; b += plan.at_once) {
                    const Part some = {part.first + b, std::min(plan.at_once, part.images - b), part.top, part.stop};
                    compute(some, panel, {room.rest, plan.panel}, seen + b * plan.seen, room);
                }
            }
        }
    }

    Part part_of(Int i) const {
        const Int group = i / plan.cuts, cut = i % plan.cuts, first = group * call.images / plan.groups;
        return {first, (group + 1) * call.images / plan.groups - first, cut * plan.lines / plan.cuts,
                (cut + 1) * plan.lines / plan.cuts};
    }

    // A panel's channels out of one kernel: (slice of channels in, step, segment, channel in, width)
    void pack(const float* kernel, Int panel, float* scratch, float* to) const {
        const Int first = panel * WIDE, width = plan.width(panel);
        const float* from = kernel + first * call.next_out;
        for (Int c0 = 0; c0 < call.channels; c0 += plan.slice) {
            const Int here = std::min(plan.slice, call.channels - c0), step = plan.step(here, width);
            for (Int c = 0; c < here; c += 16) {
                const Int some = std::min<Int>(16, here - c);
                taps_last(from + (c0 + c) * call.next_channel, std::min(width, call.outs - first), some, scratch, width);
                for (Int i = 0; i < some; i++)
                    for (Int m = 0; m < width; m += LANES) {
                        const float* taps = scratch + i * plan.taps * width + m;
                        float* at = to + plan.offset(c0, width) + (c + i) * width + m;
                        if (plan.winograd) transform_kernel(taps, width, at, step);
                        else for (Int t = 0; t < plan.taps; t++) store(at + t * here * width, load(taps + t * width));
                    }
            }
        }
    }

    // scratch (some channels in, taps, width) of `outs` channels out
    void taps_last(const float* from, Int outs, Int some, float* scratch, Int width) const {
        const Source one = {from, call.next_out, kernels_end};
        if (!call.turned) return transpose(one, outs, some * plan.taps, {scratch, width, width, nullptr});
        for (Int i = 0; i < some; i++) {  // the last tap first
            float* end = scratch + (i * plan.taps + plan.taps - 1) * width;
            transpose({from + i * call.next_channel, call.next_out, kernels_end}, outs, plan.taps, {end, -width, width, nullptr});
        }
    }

    // What the kernels see of the lines of a part in one image
    void look(Int image, const Part& part, float* last, float* seen) const {
        const Int lines = part.stop - part.top;
        images.channels_last(image, plan.top(part.top, call), plan.high(lines, call), plan.winograd ? last : seen);
        if (!plan.winograd) return;
        images.transform(last, seen, {lines, plan.units, lines * plan.units * images.pixel}, transform_input);
    }

    // One panel of the outputs of some images
    void compute(const Part& part, Int panel, const Packed& packed, const float* seen, const Room& room) const {
        const Int width = plan.width(panel), lines = part.stop - part.top;
        for (Int c0 = 0; c0 < call.channels; c0 += plan.slice)
            for (Int f = 0; f < plan.steps; f++) {
                const Slice slice = {c0, std::min(plan.slice, call.channels - c0), f, width};
                const float* kernels = packed.first + plan.offset(c0, width) + f * plan.step(slice.channels, width);
                const Int length = plan.segments * slice.channels * width;
                mix({part.images, call.stack, length, call.attention + part.first * call.stack, kernels, nullptr, packed.apart, plan.mixed},
                    room.mixed);
                for (Int b = 0; b < part.images; b++)
                    add_products(slice, room.mixed + b * plan.mixed, seen + b * plan.seen, room.sums + b * plan.sums, lines);
            }
        for (Int b = 0; b < part.images; b++) write(part, b, panel, room.sums + b * plan.sums, room.flat);
    }

    // To one image's sums of a panel, those of a slice of its mixed kernel
    void add_products(const Slice& slice, const float* mixed, const float* seen, float* sums, Int lines) const {
        const Int runs = plan.winograd ? 1 : lines, units = plan.winograd ? lines * plan.units : plan.units;  // of rows of sums
        const Int blocks = parts(units, MOST), gap = plan.winograd ? images.pixel : call.stride_across * images.pixel;
        const Reach reach = {offsets.data(), plan.segments, slice.channels, gap};
        seen += slice.step * units * images.pixel + slice.first, sums += slice.step * units * slice.width;
        for (Int i = 0; i < runs; i++)
            for (Int j = 0; j < blocks; j++) {
                const Int from = j * units / blocks, rows = (j + 1) * units / blocks - from;
                const Multiply run = pick(slice.width / LANES, rows, std::make_integer_sequence<int, MOST>());
                run(reach, mixed, seen + i * call.stride_down * images.across * images.pixel + from * gap,
                    sums + (i * units + from) * slice.width, slice.first > 0);
            }
    }

    // One image's outputs of a panel out of their sums
    void write(const Part& part, Int b, Int panel, float* sums, float* flat) const {
        const Int first = panel * WIDE, width = plan.width(panel), scale = plan.winograd ? 2 : 1;
        const Int top = scale * part.top, high = std::min(scale * part.stop, call.high) - top, plane = call.high * call.wide;
        if (plan.winograd) outputs(sums, flat, part.stop - part.top, high, width);
        float* from = plan.winograd ? flat : sums;
        if (call.bias) add_bias(part.first + b, panel, from, high * call.wide);
        float* to = call.outputs + ((part.first + b) * call.outs + first) * plane + top * call.wide;
        transpose({from, width, from + (high * call.wide + LANES) * width}, high * call.wide, std::min(width, call.outs - first),
                  {to, plane, high * call.wide, nullptr});
    }

    // To some rows of a panel's channels, the image's mixed bias
    void add_bias(Int image, Int panel, float* rows, Int some) const {
        const Int first = panel * WIDE, width = plan.width(panel);
        const float *pi = call.attention + image * call.stack, *end = call.bias + call.stack * call.outs;
        for (Int m = 0; m < width; m += LANES) {
            vec bias = {};
            for (Int k = 0; k < call.stack; k++)
                bias += load_some(call.bias + k * call.outs + first + m, end, std::min<Int>(LANES, call.outs - first - m)) * pi[k];
            for (float* at = rows + m; at < rows + some * width; at += width) store(at, load(at) + bias);
        }
    }

    // flat (high, wide, width): the pixels of 2 x 2 outputs each
    void outputs(const float* sums, float* flat, Int lines, Int high, Int width) const {
        const Int all = lines * plan.units;
        for (Int t = 0; t < all; t++)
            for (Int m = 0; m < width; m += LANES) {
                const Int y = t / plan.units * 2, x = t % plan.units * 2;
                vec out[4];
                transform_output(sums + t * width + m, all * width, out);
                for (int i = 0; i < 4; i++)
                    if (y + i / 2 < high && x + i % 2 < call.wide)
                        store(flat + ((y + i / 2) * call.wide + x + i % 2) * width + m, out[i]);
            }
    }
};

// The one image's kernel or bias, where there is only one image: of `numbers` each in the stack
static void mix_all(const Call& call, const float* stack, Int numbers, float* out) {
    constexpr Int PIECE = 64 * LANES;
    const Int pieces = numbers / PIECE;
#pragma omp parallel for num_threads(call.threads)
    for (Int i = 0; i < pieces; i++)
        mix({1, call.stack, PIECE, call.attention, stack + i * PIECE, nullptr, numbers, 0}, out + i * PIECE);
    for (Int i = pieces * PIECE; i < numbers; i++) {
        out[i] = 0;
        for (Int k = 0; k < call.stack; k++) out[i] += call.attention[k] * stack[k * numbers + i];
    }
}

// Where each pixel is seen by itself, the whole image may be one line.
static Call in_one_line(Call call) {
    constexpr Int LINE = 1024;
    const bool alone = call.taps_down * call.taps_across * call.stride_down * call.stride_across == 1;
    if (alone && call.pad_down + call.pad_across == 0 && call.height * call.width <= LINE)
        call.width = call.wide = call.height * call.width, call.height = call.high = 1;
    return call;
}

// 0, or 1 where there is not memory enough
extern "C" int dynconv_forward(const Call* given) {
    const Call call = in_one_line(*given);
    if (call.images > 1 || call.stack == 1) {
        const Forward forward(call);
        const Memory memory(forward.memory());
        if (memory.get()) forward.run(memory.get());
        return !memory.get();
    }
    const float whole = 1;
    Call one = call;
    one.stack = 1, one.attention = &whole;
    const Int numbers = call.outs * call.channels * call.taps_down * call.taps_across;
    const Int bias = up(numbers, 16), room = bias + up(call.outs, 16);
    const Memory memory(room + Forward(one).memory());
    if (!memory.get()) return 1;
    mix_all(call, call.kernels, numbers, memory.get());
    one.kernels = memory.get();
    if (call.bias) {
        mix_all(call, call.bias, call.outs, memory.get() + bias);
        one.bias = memory.get() + bias;
    }
    Forward(one).run(memory.get() + room);
    return 0;
}

extern "C" void dynconv_release() { Memory::release(); }
