// Convolutions of 3 x 3 kernels at stride 1 on a CPU by Winograd's products (winograd.h), in which the kernels that are mixed for an
// image never leave the cache; read with its kernels turned round it is also the gradient of the input. One group, float32.
//
// The idea. For one image each of the 16 (or 36) products of its tiles is a matrix product, (outs) x (channels) times (channels) x (tiles), and
// the left matrix is itself a product: attention times the K kernels. Multiplied out in full, the mixed kernels of a batch are far
// larger than a cache: they would be written to memory and read back. So the kernels are cut into slices that a cache holds. A slice is
// mixed for a few images into a little memory that is used again, and at once multiplied with the tiles of each image, in sums that stay
// in registers (Goto and van de Geijn, Anatomy of High-Performance Matrix Multiplication, 2008,
// https://doi.org/10.1145/1356052.1356053, with the mixing as a part of its packing).
//
// To have both matrices in the order in which they are read, the K kernels are packed once, output channels last, and an image is
// laid out channels last, with its padding (images.h).

#include "images.h"
#include "product.h"
#include "winograd.h"

// A thread's own memory
struct Room { float *mixed, *sums, *flat, *scratch, *last, *rest; };

// How the work is cut. Nothing here changes a sum: whatever the threads, each output adds the same numbers in the same order.
template <class F>
struct Plan {
    static constexpr Int STEPS = F::STEPS, SIDE = F::SIDE;
    // A kernel's output channels are taken in panels, each packed into `panel` numbers, and of its input channels `slice` are mixed
    // and multiplied at a time.
    Int outs, panels, panel, slice;
    // A line is a row of tiles of outputs: its units. An image is cut into `cuts` of at most `rows` lines.
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
        constexpr Int SLICE = 128;  // channels
        outs = up(call.outs, LANES), panels = parts(outs, WIDE);
        slice = std::min(call.channels, SLICE);
        panel = STEPS * (call.channels + parts(call.channels, slice)) * WIDE + LANES;
        lines = parts(call.high, SIDE), units = parts(call.wide, SIDE);
        images.set_row(SIDE * units + 2);
        cut_images(call, images);
        count_memory(call, images);
    }

    void cut_images(const Call& call, const Images& images) {
        constexpr Int FEW = 4, ALONE = 1 << 18, TOGETHER = 1 << 20, LARGE = 1 << 22;  // images; numbers of tiles and of kernels
        const Int threads = call.threads;
        shared = panels >= 2 * threads && (call.stack * panels * panel > LARGE || call.images < 2 * threads);
        const Int budget = shared ? TOGETHER : ALONE;
        const Int line = STEPS * units * images.pixel;
        cuts = std::min(lines, std::max(parts(lines * line, budget), shared ? 1 : parts(threads, call.images)));
        rows = parts(lines, cuts);
        const Int most = cuts > 1 ? 1 : std::max<Int>(1, budget / (rows * line));
        groups = shared ? parts(call.images, most) : std::min(call.images, up(parts(call.images, std::min(most, FEW)), threads));
        together = parts(call.images, groups), at_once = std::min(together, FEW);
    }

    void count_memory(const Call& call, const Images& images) {
        last = up((SIDE * rows + 2) * images.across * images.pixel, 16), seen = STEPS * rows * units * images.pixel;
        mixed = slice * WIDE + LANES, sums = STEPS * rows * units * WIDE;
        flat = (SIDE * SIDE * rows * units + LANES) * WIDE, scratch = 16 * TAPS * WIDE;
        common = up(shared ? together * seen : call.stack * panels * panel, 16);
        own = at_once * (mixed + sums) + flat + scratch + last + (shared ? call.stack * panel : together * seen);
        own = up(own, 16);
    }

    Room room(float* at) const {
        float *flat_at = at + at_once * (mixed + sums), *scratch_at = flat_at + flat, *last_at = scratch_at + scratch;
        return {at, at + at_once * mixed, flat_at, scratch_at, last_at, last_at + last};
    }

    Int width(Int panel_index) const { return std::min<Int>(WIDE, outs - panel_index * WIDE); }
    // In a packed panel: where the slice from channel c on begins, and how far its next step is (one register more than it has)
    Int offset(Int c, Int width) const { return STEPS * (c + c / slice) * width; }
    Int step(Int channels, Int width) const { return (channels + 1) * width; }
};

struct Part { Int first, images, top, stop; };      // some images, and their lines from top to before stop
struct Slice { Int first, channels, step, width; };  // some channels in, in one step of a panel of that width
struct Packed { const float* first; Int apart; };    // a panel of each of the K kernels
struct Spread { float* at; Int down, right; };       // pixels: how far apart those of a column and of a row lie

template <class F>
class Forward {
    static constexpr Int STEPS = F::STEPS, SIDE = F::SIDE;

    const Call call;
    const Within* const within;
    Images images;
    const Plan<F> plan;
    const Int numbers;         // of one kernel
    const float* kernels_end;
    bool& finite;              // made false where an output is not

  public:
    Forward(const Call& given, const Within* of_branch, bool& all_finite)
        : call(given),
          within(of_branch),
          images{given.x, given.x + given.images * given.channels * given.height * given.width, given.channels, given.height,
                 given.width, given.pad_down, given.pad_across, 0, 0},
          plan(call, images),
          numbers(given.outs * given.channels * TAPS),
          kernels_end(given.kernels + given.stack * numbers),
          finite(all_finite) {}

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

    // A panel's channels out of one kernel: (slice of channels in, step, channel in, width)
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
                        const float* taps = scratch + i * TAPS * width + m;
                        float* at = to + plan.offset(c0, width) + (c + i) * width + m;
                        transform_kernel<F>(taps, width, at, step);
                    }
            }
        }
    }

    // scratch (some channels in, taps, width) of `outs` channels out
    void taps_last(const float* from, Int outs, Int some, float* scratch, Int width) const {
        const Source one = {from, call.next_out, kernels_end};
        if (!call.turned) return transpose(one, outs, some * TAPS, {scratch, width, width, nullptr});
        for (Int i = 0; i < some; i++) {  // the last tap first
            float* end = scratch + (i * TAPS + TAPS - 1) * width;
            transpose({from + i * call.next_channel, call.next_out, kernels_end}, outs, TAPS, {end, -width, width, nullptr});
        }
    }

    // What the kernels see of the lines of a part in one image
    void look(Int image, const Part& part, float* last, float* seen) const {
        const Int lines = part.stop - part.top;
        const bool laid = within && within->from;
        const Images& there = laid ? within->from->of : images;
        if (!laid) images.channels_last(image, SIDE * part.top, SIDE * lines + 2, last);
        const float* from = laid ? within->from->at(image) + SIDE * part.top * there.across * there.pixel : last;
        there.transform(from, seen, {lines, plan.units, lines * plan.units * images.pixel, images.pixel, SIDE}, transform_input<F>);
    }

    // One panel of the outputs of some images
    void compute(const Part& part, Int panel, const Packed& packed, const float* seen, const Room& room) const {
        const Int width = plan.width(panel), lines = part.stop - part.top;
        for (Int c0 = 0; c0 < call.channels; c0 += plan.slice)
            for (Int f = 0; f < STEPS; f++) {
                const Slice slice = {c0, std::min(plan.slice, call.channels - c0), f, width};
                const float* kernels = packed.first + plan.offset(c0, width) + f * plan.step(slice.channels, width);
                const Int length = slice.channels * width;
                if (call.attention)
                    mix({part.images, call.stack, length, call.attention + part.first * call.stack, kernels, nullptr, packed.apart, plan.mixed},
                        room.mixed);
                for (Int b = 0; b < part.images; b++)
                    add_products(slice, call.attention ? room.mixed + b * plan.mixed : kernels, seen + b * plan.seen, room.sums + b * plan.sums, lines);
            }
        for (Int b = 0; b < part.images; b++) write(part, b, panel, room.sums + b * plan.sums, room.flat);
    }

    // To one image's sums of a panel, those of a slice of its mixed kernel
    void add_products(const Slice& slice, const float* mixed, const float* seen, float* sums, Int lines) const {
        const Int units = lines * plan.units, width = slice.width;
        seen += slice.step * units * images.pixel + slice.first, sums += slice.step * units * width;
        multiply_tile({seen, images.pixel, 1}, units, {mixed, width}, slice.channels, {sums, width, width, slice.first > 0});
    }

    // One image's outputs of a panel out of their sums
    void write(const Part& part, Int b, Int panel, const float* sums, float* flat) const {
        const Int image = part.first + b, first = panel * WIDE, width = plan.width(panel), plane = call.high * call.wide;
        const Int top = SIDE * part.top, high = std::min(SIDE * part.stop, call.high) - top;
        if (within && within->to) {
            const Between& to = *within->to;
            const Int pixel = to.of.pixel, across = to.of.across;
            return outputs<true>(sums, {to.at(image) + ((top + 1) * across + 1) * pixel + first, across * pixel, pixel}, part, image, panel);
        }
        const Spread pixels = {flat, call.wide * width, width};
        within ? outputs<true>(sums, pixels, part, image, panel) : outputs<false>(sums, pixels, part, image, panel);
        if (call.bias) add_bias(image, panel, flat, high * call.wide);
        float* to = call.outputs + (image * call.outs + first) * plane + top * call.wide;
        transpose({flat, width, flat + (high * call.wide + LANES) * width}, high * call.wide, std::min(width, call.outs - first),
                  {to, plane, high * call.wide, nullptr});
    }

    // To some rows of a panel's channels, the image's mixed bias
    void add_bias(Int image, Int panel, float* rows, Int some) const {
        const Int first = panel * WIDE, width = plan.width(panel);
        const float whole = 1, *pi = call.attention ? call.attention + image * call.stack : &whole, *end = call.bias + call.stack * call.outs;
        for (Int m = 0; m < width; m += LANES) {
            vec bias = {};
            for (Int k = 0; k < call.stack; k++)
                bias += load_some(call.bias + k * call.outs + first + m, end, std::min<Int>(LANES, call.outs - first - m)) * pi[k];
            for (float* at = rows + m; at < rows + some * width; at += width) store(at, load(at) + bias);
        }
    }

    // The pixels of the tiles to where they lie, after what follows on them
    template <bool FOLLOWED>
    void outputs(const float* sums, const Spread& pixels, const Part& part, Int image, Int panel) const {
        const Int top = SIDE * part.top, high = std::min(SIDE * part.stop, call.high) - top, all = (part.stop - part.top) * plan.units;
        const Int first = panel * WIDE, width = plan.width(panel);
        const float* gates = FOLLOWED && within->gates ? within->gates + (image * call.high + top) * call.wide : nullptr;
        vec none = {};  // 0, and nothing else if all are finite
        for (Int t = 0; t < all; t++)
            for (Int m = 0; m < width; m += LANES) {
                const Int y = t / plan.units * SIDE, x = t % plan.units * SIDE;
                float* to = pixels.at + y * pixels.down + x * pixels.right + m;
                const bool whole = y + SIDE <= high && x + SIDE <= call.wide;
                const vec factor = FOLLOWED ? of_channels(within->factor, first + m) : vec{}, term = FOLLOWED ? of_channels(within->term, first + m) : vec{};
                transform_output<F>(sums + t * width + m, all * width, [&](int i, int j, vec v) {
                    none += v * 0;
                    if (!whole && (y + i >= high || x + j >= call.wide)) return;
                    if constexpr (FOLLOWED) v = followed(v * factor + term, gates ? gates + (y + i) * call.wide + x + j : nullptr);
                    store(to + i * pixels.down + j * pixels.right, v);
                });
            }
        if (total(none) != 0) {
#pragma omp atomic write
            finite = false;
        }
    }

    // A number of each channel out, from one channel on
    vec of_channels(const float* all, Int channel) const {
        return channel < call.outs ? load_some(all + channel, all + call.outs, std::min<Int>(LANES, call.outs - channel)) : vec{};
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

template <class F>
static bool by_tiles(const Call& call, const Within* within, bool& finite) {
    if (call.images > 1 || call.stack == 1) return done(Forward<F>(call, within, finite));
    Call one = call;
    one.stack = 1, one.attention = nullptr;
    const Int numbers = call.outs * call.channels * TAPS, bias = up(numbers, 16), room = bias + up(call.outs, 16);
    const Memory memory(room + Forward<F>(one, within, finite).memory());
    if (!memory.get()) return false;
    mix_all(call, call.kernels, numbers, memory.get());
    one.kernels = memory.get();
    if (call.bias) {
        mix_all(call, call.bias, call.outs, memory.get() + bias);
        one.bias = memory.get() + bias;
    }
    Forward<F>(one, within, finite).run(memory.get() + room);
    return true;
}

// In large tiles a pixel has a part in outputs that do not see it, which cancels but for rounding; infinity and NaN do not cancel.
bool forward_by_tiles(const Call& call, const Within* within) {
    bool finite = true;
    if (large_tiles_win(call.high, call.wide, KERNEL * (call.images > 1 ? call.stack : 1))) {
        if (!by_tiles<Four>(call, within, finite)) return false;
        if (finite) return true;
    }
    return by_tiles<Two>(call, within, finite);
}
