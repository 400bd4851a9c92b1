// Each channel with a kernel of its own, a number a tap, mixed for each image ("depthwise"): outputs and gradients.
//
// The idea. A register holds LANES channels of one pixel or of one tap. Some rows of an image are laid out so, with their padding; then
// a tap is one multiplication an output, at whatever stride and dilation, and nothing is computed that is not wanted. The gradient of
// the input takes the outputs' gradient laid out in the same way: a pixel gets it from the taps that leave the same rest at the stride.
// The gradient of a tap is a sum of products of both, for LANES channels at once. Rows that stay as long as they were are rows.h's, which
// also reads and writes channels that lie last where they are.
//
// The order of every sum is fixed by the sizes alone: neither the number of threads nor which is first changes a bit.

#include <vector>

#include "images.h"
#include "mixing.h"
#include "product.h"
#include "rows.h"
#include "small.h"

namespace {

constexpr int PIXELS = 8, TAPS = 10;    // that are computed at a time
constexpr int SUMS = LANES > 8 ? 16 : 8; // registers for sums, where rows are so short that several go together
constexpr Int STRIP = 4096, SUM = 256;  // pixels of some rows that are laid out at a time; products that make a sum of their own

struct Tap { Int number, row, place; };  // which of a kernel's; how far from a pixel's row, and from its place, lies what it sees
typedef std::vector<Tap> Taps;
struct Some { const Tap *first, *last; };

// Those taps, which lie in the order of their rows, that see one of `high` rows from `row` on, or from one of the `more` rows after it:
// padding adds nothing
Some inside(const Taps& taps, Int row, Int more, Int high) {
    Some some = {taps.data(), taps.data() + taps.size()};
    const auto outside = [&](const Tap& tap) { return row + more + tap.row < 0 || row + tap.row >= high; };
    while (some.first < some.last && outside(*some.first)) some.first++;
    while (some.first < some.last && outside(some.last[-1])) some.last--;
    return some;
}

// Rows of LANES channels, `above` and `before` of padding around them, `across` pixels in each
struct Laid {
    Int above, before, down, across;
    Int size() const { return down * across * LANES; }

    // From the padded row `top` on, `high` rows of some channels; what stands around them stays where the last were the same.
    // Channels that lie side by side are `pixel` numbers apart from one pixel to the next; 0: each is a plane.
    struct Rows { Int top = -1, high = -1; };
    void lay(const float* from, Int channels, Int height, Int width, const float* end, Int pixel, Rows wanted, Rows& last, float* to) const {
        const bool blank = wanted.top == last.top && wanted.high == last.high;
        last = wanted;
        if (!pixel) {
            Images of{from, end, channels, height, width, above, before};
            of.across = across, of.pixel = LANES;
            of.channels_last(0, wanted.top, wanted.high, to, blank);
            return;
        }
        if (!blank) std::memset(to, 0, wanted.high * across * LANES * 4);
        for (Int y = std::max<Int>(0, wanted.top - above); y < std::min(height, wanted.top + wanted.high - above); y++)
            for (Int x = 0; x < width; x++)
                store(to + ((y + above - wanted.top) * across + x + before) * LANES, load_some(from + (y * width + x) * pixel, end, channels));
    }
};

class Depthwise {
    const Call& call;
    const Int taps, chunks, outputs, pixels, far_down, far_across;
    Int rows, back_rows, own;  // of outputs, and of the input's gradient, at a time; numbers of a thread's own
    Int all_rows;              // of the outputs' gradient with its padding
    const bool by_row;         // whether rows.h computes the outputs and all gradients
    bool whole;                // whether all of it is laid out at once, for both
    Laid image, gradient;      // for so many
    Taps ahead;                // what an output sees
    std::vector<Taps> back;    // what a pixel gets, by the rests that its row and column leave at the stride
    float *of_kernels, *of_attention;  // (images, channels, taps): the mixed kernels' gradients; (chunks, images, stack)

  public:
    explicit Depthwise(const Call& given)
        : call(given), taps(call.taps_down * call.taps_across), chunks(parts(call.channels, LANES)), outputs(call.high * call.wide),
          pixels(call.height * call.width), far_down((call.taps_down - 1) * call.gap_down), far_across((call.taps_across - 1) * call.gap_across),
          by_row(Rows::fit(call)) {
        const Int across = std::max((call.wide - 1) * call.stride_across + far_across + 1, call.width + call.pad_across);
        rows = std::clamp<Int>((STRIP / across - far_down) / call.stride_down, 1, call.high);
        image = {call.pad_down, call.pad_across, (rows - 1) * call.stride_down + far_down + 1, across};
        const Int before = parts(std::max<Int>(0, far_across - call.pad_across), call.stride_across);
        const Int wide = before + std::max(call.wide, (call.width - 1 + call.pad_across) / call.stride_across + 1);
        back_rows = std::clamp<Int>((STRIP / wide - far_down / call.stride_down) * call.stride_down, 1, call.height);
        const Int above = parts(std::max<Int>(0, far_down - call.pad_down), call.stride_down);
        all_rows = above + std::max(call.high, (call.height - 1 + call.pad_down) / call.stride_down + 1);
        whole = rows == call.high && back_rows == call.height;
        gradient = {above, before, whole ? all_rows : std::max(rows, back_rows / call.stride_down + far_down / call.stride_down + 2), wide};
        back.resize(call.stride_down * call.stride_across);
        for (Int t = 0; t < taps; t++) {
            const Int y = t / call.taps_across * call.gap_down, x = t % call.taps_across * call.gap_across;
            ahead.push_back({t, y, (y * across + x) * LANES});
            back[y % call.stride_down * call.stride_across + x % call.stride_across].push_back(
                {t, -(y / call.stride_down), -(y / call.stride_down * wide + x / call.stride_across) * LANES});
        }
        own = up(image.size() + gradient.size() + made() + ((2 + call.stack) * taps + call.images * call.stack) * LANES, 16);
    }

    Int memory() const {
        return up(call.images * call.channels * taps + LANES, 16) + up(chunks * call.images * call.stack, 16) + call.threads * own;
    }

    void forward(float* memory) {
        with_rooms(memory, [&](Room& room) {
#pragma omp for collapse(2) schedule(static)
            for (Int i = 0; i < chunks; i++)
                for (Int b = 0; b < call.images; b++) {
                    const Part part(call, b, i * LANES);
                    mix_kernels(part, room);
                    for (Int y = 0; y < call.high; y += rows) outputs_of(part, y, std::min(call.high, y + rows), room);
                }
        });
    }

    void backward(float* memory) {
        const bool kernels = call.grad_kernels || call.grad_attention;
        with_rooms(memory, [&](Room& room) {
#pragma omp for collapse(2) schedule(static)
            for (Int i = 0; i < chunks; i++)
                for (Int b = 0; b < call.images; b++) {
                    const Part part(call, b, i * LANES);
                    if (call.grad_x) mix_kernels(part, room);
                    for (Int y = 0; y < call.height && call.grad_x; y += back_rows) pixels_of(part, y, std::min(call.height, y + back_rows), room);
                    if (kernels) taps_of(part, room);
                }
#pragma omp for schedule(static)
            for (Int i = 0; i < (kernels ? chunks : 0); i++) share_out(i, room);
        });
        if (!call.grad_attention) return;
        const Int all = call.images * call.stack;
        std::memset(call.grad_attention, 0, all * 4);
        for (Int i = 0; i < chunks; i++)
            for (Int j = 0; j < all; j++) call.grad_attention[j] += of_attention[i * all + j];
    }

  private:
    // Some channels of an image
    struct Part {
        Int image, channel, channels, plane;
        Part(const Call& call, Int b, Int c) : image(b), channel(c), channels(std::min<Int>(LANES, call.channels - c)), plane(b * call.channels + c) {}
    };
    // What a thread works in: both laid out, what is made; the kernels of one chunk and their mix for an image, by taps; sums
    struct Room { float *image, *gradient, *made, *kernels, *weights, *sums, *dots; Int chunk = -1; Laid::Rows image_rows, gradient_rows; };

    Int made() const { return std::max(rows * call.wide, back_rows * call.width) * LANES; }

    template <class Work>
    void with_rooms(float* memory, Work work) {
        of_kernels = memory, of_attention = of_kernels + up(call.images * call.channels * taps + LANES, 16);
        memory = of_attention + up(chunks * call.images * call.stack, 16);
#pragma omp parallel num_threads(call.threads)
        {
            Room room;
            room.image = memory + omp_get_thread_num() * own, room.gradient = room.image + image.size(), room.made = room.gradient + gradient.size();
            room.kernels = room.made + made(), room.weights = room.kernels + call.stack * taps * LANES, room.sums = room.weights + taps * LANES;
            room.dots = room.sums + taps * LANES;
            work(room);
        }
    }

    // weights (tap, LANES); a thread goes through the images of a chunk, then to the next
    void mix_kernels(const Part& part, Room& room) const {
        const Int kernel = taps * LANES;
        const float* end = call.kernels + call.stack * call.channels * taps;
        for (Int k = 0; k < call.stack && room.chunk != part.channel; k++)
            transpose({call.kernels + (k * call.channels + part.channel) * taps, taps, end}, part.channels, taps,
                      {room.kernels + k * kernel, LANES, LANES, nullptr});
        room.chunk = part.channel;
        mix({1, call.stack, kernel, call.attention + part.image * call.stack, room.kernels, nullptr, kernel, kernel, nullptr}, room.weights);
    }

    vec bias_of(const Part& part) const {
        vec sum = {};
        const float* pi = call.attention + part.image * call.stack;
        for (Int k = 0; k < call.stack && call.bias; k++)
            sum += load_some(call.bias + k * call.channels + part.channel, call.bias + call.stack * call.channels, part.channels) * pi[k];
        return sum;
    }

    // How far apart lie what two neighbours see and where they are written, along a row and from row to row
    struct Steps { Int from, from_row, to, to_row; };

    // Of R rows of `count` pixels, what `seen` says
    template <int R>
    static void shifted(Some seen, const float* weights, vec start, const float* from, Int count, float* to, Steps step) {
        if (R < 4 && step.from == LANES) shifted<R, LANES>(seen, weights, start, from, count, to, step);
        else shifted<R, 0>(seen, weights, start, from, count, to, step);
    }

    // BESIDE: how far apart lies what two neighbours see, if the compiler is to know it: then it is a part of an address; or 0. Of four short
    // rows it makes nothing better.
    template <int R, Int BESIDE>
    static void shifted(Some seen, const float* weights, vec start, const float* from, Int count, float* to, Steps step) {
        if (BESIDE) step.from = BESIDE;
        by_some<std::min(PIXELS, SUMS / R)>(count, [&](auto n, Int at) {
            constexpr int N = decltype(n)::value;
            vec sums[R][N];
            for (int r = 0; r < R; r++)
                for (int i = 0; i < N; i++) sums[r][i] = start;
            for (const Tap* tap = seen.first; tap < seen.last; tap++) {
                const vec w = load(weights + tap->number * LANES);
                const float* line = from + tap->place + at * step.from;
                for (int r = 0; r < R; r++)
                    for (int i = 0; i < N; i++) sums[r][i] += load(line + r * step.from_row + i * step.from) * w;
            }
            for (int r = 0; r < R; r++)
                for (int i = 0; i < N; i++) store(to + r * step.to_row + (at + i) * step.to, sums[r][i]);
        });
    }

    // act(R, y) for the rows from `first` to `stop`, R at a time: what they add of padding, which is laid out, takes less than to go row by row
    template <class Act>
    static void by_rows(Int first, Int stop, Int wide, const Act& act) {
        for (Int y = first; y < stop;) {
            if (stop - y >= 4 && wide <= SUMS / 4) act(std::integral_constant<int, 4>(), y), y += 4;
            else if (stop - y >= 2 && wide <= std::min(PIXELS, SUMS / 2)) act(std::integral_constant<int, 2>(), y), y += 2;
            else act(std::integral_constant<int, 1>(), y++);
        }
    }

    // Where some channels of an image begin, of which each has so many numbers
    Int start(const Part& part, Int numbers) const {
        return call.channels_last ? part.image * numbers * call.channels + part.channel : part.plane * numbers;
    }

    // Rows of an image from what was made: (pixel, LANES)
    void put(const Part& part, const float* made, Int first, Int count, Int plane, float* to) const {
        to += start(part, plane);
        if (!call.channels_last) transpose({made, LANES, made + count * LANES}, count, part.channels, {to + first, plane, plane - first, nullptr});
        else for (Int i = 0; i < count; i++) {
            float* pixel = to + (first + i) * call.channels;
            if (part.channels == LANES) store(pixel, load(made + i * LANES));
            else std::memcpy(pixel, made + i * LANES, part.channels * 4);
        }
    }

    void lay_image(const Part& part, Int y, Int stop, Room& room) const {
        image.lay(call.x + start(part, pixels), part.channels, call.height, call.width, call.x + call.images * call.channels * pixels,
                  call.channels_last * call.channels, {y * call.stride_down, (stop - y - 1) * call.stride_down + far_down + 1}, room.image_rows, room.image);
    }
    void lay_gradient(const Part& part, Int top, Int high, Room& room) const {
        gradient.lay(call.outputs + start(part, outputs), part.channels, call.high, call.wide, call.outputs + call.images * call.channels * outputs,
                     call.channels_last * call.channels, whole ? Laid::Rows{0, all_rows} : Laid::Rows{top, high}, room.gradient_rows, room.gradient);
    }

    // Whether the pixels of some channels can be read and written where they are: each is a register
    bool in_place(const Part& part) const { return by_row && call.channels_last && part.channels == LANES; }
    template <class Number>
    Pixels<Number> pixels_at(Number* tensor, const Part& part, Int numbers) const {
        return {tensor + start(part, numbers), 0, call.width * call.channels, call.channels};
    }

    // What is laid out, from row `first` on, for rows.h
    static Pixels<const float> as_laid(const Laid& laid, const float* at, Int first) { return {at + laid.before * LANES, first, laid.across * LANES, LANES}; }

    void outputs_of(const Part& part, Int first, Int stop, Room& room) const {
        const vec bias = bias_of(part);
        if (in_place(part)) {
            const auto x = pixels_at(call.x, part, pixels);
            return Rows(call, false).add(first, stop, call.height, room.weights, bias, x, pixels_at(call.outputs, part, outputs));
        }
        lay_image(part, first, stop, room);
        if (by_row) {
            const auto laid = as_laid(image, room.image, first - image.above);
            Rows(call, false).add(first, stop, call.height, room.weights, bias, laid, {room.made, first, call.wide * LANES, LANES});
        } else {
            const Int row = call.stride_down * image.across * LANES;
            by_rows(first, stop, call.wide, [&](auto n, Int y) {
                constexpr int R = decltype(n)::value;
                const Some seen = inside(ahead, y * call.stride_down - call.pad_down, (R - 1) * call.stride_down, call.height);
                shifted<R>(seen, room.weights, bias, room.image + (y - first) * row, call.wide, room.made + (y - first) * call.wide * LANES,
                           {call.stride_across * LANES, row, LANES, call.wide * LANES});
            });
        }
        put(part, room.made, first * call.wide, (stop - first) * call.wide, outputs, call.outputs);
    }

    // The gradient of some rows of the image
    void pixels_of(const Part& part, Int first, Int stop, Room& room) const {
        if (in_place(part)) {
            const auto seen = pixels_at<const float>(call.outputs, part, outputs);
            return Rows(call, true).add(first, stop, call.high, room.weights, vec{}, seen, pixels_at(call.grad_x, part, pixels));
        }
        const Int seen_first = (first + call.pad_down) / call.stride_down - far_down / call.stride_down;
        const Int begin = whole ? -gradient.above : seen_first;  // the row of outputs that is laid out first
        lay_gradient(part, begin + gradient.above, (stop - 1 + call.pad_down) / call.stride_down - begin + 1, room);
        const auto some_rows = [&](auto n, Int y) {
            constexpr int R = decltype(n)::value;
            for (Int rest = 0; rest < call.stride_across; rest++) {
                const Int x = ((rest - call.pad_across) % call.stride_across + call.stride_across) % call.stride_across;
                const Int row = (y + call.pad_down) / call.stride_down, place = gradient.before + (x + call.pad_across) / call.stride_across;
                if (x >= call.width) continue;
                const Taps& seen = back[(y + call.pad_down) % call.stride_down * call.stride_across + rest];
                shifted<R>(inside(seen, row, R - 1, call.high), room.weights, vec{}, room.gradient + ((row - begin) * gradient.across + place) * LANES, parts(call.width - x, call.stride_across),
                           room.made + ((y - first) * call.width + x) * LANES, {LANES, gradient.across * LANES, call.stride_across * LANES, call.width * LANES});
            }
        };
        if (by_row) {
            const auto laid = as_laid(gradient, room.gradient, begin);
            Rows(call, true).add(first, stop, call.high, room.weights, vec{}, laid, {room.made, first, call.width * LANES, LANES});
        } else if (call.stride_down == 1) by_rows(first, stop, call.width, some_rows);
        else for (Int y = first; y < stop; y++) some_rows(std::integral_constant<int, 1>(), y);
        put(part, room.made, first * call.width, (stop - first) * call.width, pixels, call.grad_x);
    }

    // The gradient of an image's mixed kernels
    void taps_of(const Part& part, Room& room) const {
        std::memset(room.sums, 0, taps * LANES * 4);
        if (in_place(part)) {
            const auto x = pixels_at<const float>(call.x, part, pixels), grad = pixels_at<const float>(call.outputs, part, outputs);
            Rows(call, true).add_products(0, call.high, x, grad, room.sums);
        } else {
            for (Int first = 0; first < call.high; first += rows) add_products(part, first, std::min(call.high, first + rows), room);
        }
        float* to = of_kernels + part.plane * taps;
        transpose({room.sums, LANES, room.dots}, taps, part.channels, {to, taps, taps, to + part.channels * taps});
    }

    // The same of some rows that are laid out
    void add_products(const Part& part, Int first, Int stop, Room& room) const {
        lay_image(part, first, stop, room);
        if (!whole || !call.grad_x) lay_gradient(part, first + gradient.above, stop - first, room);
        const auto grad = as_laid(gradient, room.gradient, whole ? -gradient.above : first);
        if (by_row) return Rows(call, true).add_products(first, stop, as_laid(image, room.image, first - image.above), grad, room.sums);
        const Int few = std::max<Int>(1, SUM / call.wide);
        for (Int y = first; y < stop; y += few)
            by_some<TAPS>(taps, [&](auto n, Int at) { add_products<decltype(n)::value>(y - first, std::min(stop, y + few) - first, at, grad.from(first), room); });
    }

    template <int N>
    void add_products(Int first, Int stop, Int at, const float* gradients, const Room& room) const {
        vec sums[N] = {};
        for (Int y = first; y < stop; y++) {
            const float *grad = gradients + y * gradient.across * LANES, *line = room.image + y * call.stride_down * image.across * LANES;
            for (Int x = 0; x < call.wide; x++) {
                const vec g = load(grad + x * LANES);
                for (int t = 0; t < N; t++) sums[t] += load(line + ahead[at + t].place + x * call.stride_across * LANES) * g;
            }
        }
        for (int t = 0; t < N; t++) store(room.sums + (at + t) * LANES, load(room.sums + (at + t) * LANES) + sums[t]);
    }

    // To the K kernels' gradients, and to the attention's, what was found for some channels
    void share_out(Int chunk, const Room& room) const {
        const Part part(call, 0, chunk * LANES);
        const Int from = part.channel * taps, kernel = call.channels * taps, all = call.images * call.stack;
        const Mixture m = {call.images, call.stack, part.channels * taps, call.attention, call.kernels + from, of_kernels + from,
                           kernel, kernel, call.kernels + call.stack * kernel};
        if (call.grad_kernels) gather(m, call.grad_kernels + from, Write::NEW);
        std::memset(room.dots, 0, all * LANES * 4);
        if (call.grad_attention) compare(m, room.dots);
        for (Int j = 0; j < all; j++) of_attention[chunk * all + j] = total(load(room.dots + j * LANES));
    }
};

template <bool BACKWARD>
struct ByChannel : Depthwise {
    using Depthwise::Depthwise;
    void run(float* memory) { BACKWARD ? backward(memory) : forward(memory); }
};

}  // namespace

bool depthwise_forward(const Call& call) {
    return SmallImages::fit(call) ? done(SmallImages(call, false)) : done(ByChannel<false>(call));
}

bool depthwise_gradients(const Call& call) {
    const bool small = call.grad_x && SmallImages::fit(call);
    Call rest = call;
    if (small) rest.grad_x = nullptr;
    return (!small || done(SmallImages(call, true))) && done(ByChannel<true>(rest));
}
