// The outputs of a dynamic convolution whose images have their channels last, where no pixel is seen by two positions and there is no
// padding: 1 x 1 kernels, and those that cut images into patches.
//
// The idea. What a position sees are a few runs of numbers that already lie side by side, so images are multiplied where they are. A register
// holds LANES channels *out*: kernels are turned, some channels out and in at a time, then mixed for each image and multiplied. That takes
// less than to lay the images out anew, if there are more numbers in these.
//
// Each output is summed by one thread, in an order that the sizes alone decide.

#include "product.h"

constexpr Int ROOM = 1 << 17;  // numbers of kernels, turned and mixed, that are multiplied before others are: the cache holds them

class Patches {
    const Call& call;
    const Int taps, groups, together;  // of images; images in a group
    const Int some, tile, own;         // channels in at a time; numbers of their kernels, at most; of a thread

  public:
    explicit Patches(const Call& given)
        : call(given), taps(call.taps_down * call.taps_across), groups(std::min(call.images, parts(2 * WORKERS, parts(call.outs, WIDE)))),
          together(parts(call.images, groups)), some(std::clamp<Int>(ROOM / (WIDE * taps * (call.stack + together)), 1, call.channels)),
          tile(some * taps * WIDE), own((call.stack + together) * tile) {}

    Int memory() const { return call.threads * own; }

    void run(float* memory) const {
#pragma omp parallel for num_threads(call.threads) schedule(dynamic) collapse(2)
        for (Int group = 0; group < groups; group++)
            for (Int out = 0; out < call.outs; out += WIDE)
                work(group * call.images / groups, (group + 1) * call.images / groups, out, memory + omp_get_thread_num() * own);
    }

  private:
    void work(Int first, Int last, Int out, float* kernels) const {
        const Int outs = std::min<Int>(WIDE, call.outs - out), wide = up(outs, LANES);
        const float* pi = call.attention + first * call.stack;
        float* mixed = kernels + call.stack * tile;
        for (Int image = first; image < last && call.bias; image++) begin(image, out, outs);
        for (Int channel = 0; channel < call.channels; channel += some) {
            const Int channels = std::min(some, call.channels - channel), length = channels * taps * wide;
            for (Int k = 0; k < call.stack; k++) turn_kernel(k, out, outs, channel, channels, kernels + k * length);
            mix({last - first, call.stack, length, pi, kernels, nullptr, length, tile, nullptr}, mixed);
            for (Int image = first; image < last; image++) multiply_image(image, out, outs, channel, channels, mixed + (image - first) * tile);
        }
    }

    // With the mixed bias
    void begin(Int image, Int out, Int outs) const {
        float bias[WIDE];
        mix({1, call.stack, outs, call.attention + image * call.stack, call.bias + out, nullptr, call.outs, WIDE, call.bias + call.stack * call.outs}, bias);
        float* to = call.outputs + image * call.high * call.wide * call.outs + out;
        for (Int i = 0; i < call.high * call.wide; i++, to += call.outs) std::memcpy(to, bias, outs * 4);
    }

    // (tap, channel in, channel out) of some channels
    void turn_kernel(Int k, Int out, Int outs, Int channel, Int channels, float* to) const {
        const Int row = call.channels * taps, length = channels * taps, wide = up(outs, LANES);
        const float *from = call.kernels + (k * call.outs + out) * row + channel * taps, *end = call.kernels + call.stack * call.outs * row;
        for (Int o = 0; o < outs; o += LANES)
            for (Int i = 0; i < length; i += LANES) {
                Int in = i / taps, tap = i % taps;
                const auto next = [&](int) {
                    float* here = to + (tap * channels + in) * wide + o;
                    if (++tap == taps) tap = 0, in++;
                    return here;
                };
                turn_some({from + o * row + i, row, end}, outs - o, std::min<Int>(LANES, length - i), next);
            }
    }

    void multiply_image(Int image, Int out, Int outs, Int channel, Int channels, const float* mixed) const {
        const Int wide = up(outs, LANES), whole = channels == call.channels ? call.taps_across : 1, run = whole * channels;  // in one piece
        for (Int y = 0; y < call.high; y++) {
            float* to = call.outputs + (image * call.high + y) * call.wide * call.outs + out;
            for (Int tap = 0; tap < taps; tap += whole) {
                const Int row = image * call.height + y * call.stride_down + tap / call.taps_across;
                const float* seen = call.x + (row * call.width + tap % call.taps_across) * call.channels + channel;
                multiply_tile({seen, call.stride_across * call.channels, 1}, call.wide, {mixed + tap * channels * wide, wide}, run,
                              {to, call.outs, outs, tap || channel || call.bias});
            }
        }
    }
};

bool forward_by_patches(const Call& call) { return done(Patches(call)); }
