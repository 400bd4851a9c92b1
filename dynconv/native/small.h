// Depthwise convolutions of images so small that a register holds a channel (4 x 4, where it has sixteen numbers), and the gradient of
// these images.
//
// The idea. Nothing is turned. What a tap sees of a channel is the channel itself with its numbers moved, and 0 where it sees padding; where
// each comes from is the same in all channels and images. For the gradient those of the outputs are moved back.

#pragma once

#include <vector>

#include "mixing.h"

class SmallImages {
    static constexpr Int TOGETHER = 64, FEW = 16;  // channels whose kernels are mixed at a time; taps: for more it takes less to turn images
    const Call& call;
    const float* from;
    float* to;
    const bool back;
    const Int taps, room;
    std::vector<ints> places;  // by taps, of each number: from which place it comes; LANES: from none

  public:
    static bool fit(const Call& call) {
        const bool one_each = call.height * call.width == LANES && call.high * call.wide == LANES;
        return MOVES && one_each && !call.channels_last && call.taps_down * call.taps_across <= FEW;
    }

    SmallImages(const Call& given, bool gradient)
        : call(given), from(gradient ? call.outputs : call.x), to(gradient ? call.grad_x : call.outputs), back(gradient),
          taps(call.taps_down * call.taps_across), room(TOGETHER * (taps + 1)), places(taps, ints{} + LANES) {
        for (Int t = 0; t < taps; t++)
            for (Int output = 0; output < LANES; output++) {
                const Int y = output / call.wide * call.stride_down + t / call.taps_across * call.gap_down - call.pad_down;
                const Int x = output % call.wide * call.stride_across + t % call.taps_across * call.gap_across - call.pad_across;
                if (y < 0 || y >= call.height || x < 0 || x >= call.width) continue;
                const Int pixel = y * call.width + x;
                places[t][back ? pixel : output] = int(back ? output : pixel);
            }
    }

    Int memory() const { return call.threads * room; }

    void run(float* memory) const {
#pragma omp parallel num_threads(call.threads)
        {
            float* weights = memory + omp_get_thread_num() * room;
#pragma omp for collapse(2) schedule(static)
            for (Int channel = 0; channel < call.channels; channel += TOGETHER)
                for (Int b = 0; b < call.images; b++) some_channels(b, channel, std::min(TOGETHER, call.channels - channel), weights);
        }
    }

  private:
    void some_channels(Int image, Int channel, Int channels, float* weights) const {
        constexpr Int FOUR = 4;
        const Int kernel = call.channels * taps, first = (image * call.channels + channel) * LANES;
        const float* pi = call.attention + image * call.stack;
        float* biases = weights + TOGETHER * taps;
        mix({1, call.stack, channels * taps, pi, call.kernels + channel * taps, nullptr, kernel, kernel, call.kernels + call.stack * kernel}, weights);
        if (back || !call.bias) std::fill_n(biases, TOGETHER, 0.0f);
        else mix({1, call.stack, channels, pi, call.bias + channel, nullptr, call.channels, TOGETHER, call.bias + call.stack * call.channels}, biases);
        for (Int c = 0; c < channels;) {
            const Int here = first + c * LANES;
            if (c + FOUR <= channels) move<FOUR>(from + here, weights + c * taps, biases + c, to + here), c += FOUR;
            else move<1>(from + here, weights + c * taps, biases + c, to + here), c++;
        }
    }

    template <int N>
    void move(const float* at, const float* weights, const float* biases, float* sum) const {
        vec here[N], sums[N];
#pragma GCC unroll 4
        for (int c = 0; c < N; c++) here[c] = load(at + c * LANES), sums[c] = vec{} + biases[c];
        for (Int t = 0; t < taps; t++) {
            const Moved moved(places[t]);
#pragma GCC unroll 4
            for (int c = 0; c < N; c++) sums[c] += moved(here[c]) * weights[c * taps + t];
        }
#pragma GCC unroll 4
        for (int c = 0; c < N; c++) store(sum + c * LANES, sums[c]);
    }
};
