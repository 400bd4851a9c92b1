// The scores of a spatial gate: a 3 x 3 convolution of all channels to one, with padding 1, and a linear layer of their means. Called by
// sparse.py.
//
// The idea. With one channel out there is nothing to multiply as a matrix. Some rows of sums wait in the cache, and to them one channel
// after the other is added, laid out with zeros around it; a register holds neighbouring positions of a row.
// Each number is summed by one thread, channel by channel.

#include <vector>

#include "registers.h"

namespace {

constexpr Int HIGH = 16;  // rows of scores at a time

// sums (HIGH, across) += a channel's HIGH + 2 rows times its taps
void add_channel(const float* rows, const float* taps, Int across, float* sums) {
    for (Int i = 0; i < HIGH * across; i += LANES) {
        vec v = load(sums + i);
        for (Int t = 0; t < 9; t++) v += taps[t] * load(rows + i + t / 3 * across + t % 3);
        store(sums + i, v);
    }
}

// What each position of an image gets from all
float everywhere(const Gate& g, const float* x, Int plane) {
    float sum = 0;
    for (Int c = 0; c < g.channels; c++) sum += g.of_mean[c] * (sum_of(x + c * plane, plane) / plane);
    return sum + (g.of_mean_bias ? *g.of_mean_bias : 0) + (g.bias ? *g.bias : 0);
}

}  // namespace

extern "C" void dynconv_gate(const Gate* given) {
    const Gate& g = *given;
    const Int plane = g.height * g.width, across = up(g.width + 1, LANES), strips = parts(g.height, HIGH);  // a row ends in a zero
    std::vector<float> terms(g.images);
#pragma omp parallel num_threads(g.threads) if (g.images * g.channels * plane > SMALL)
    {
        std::vector<float> rows((HIGH + 2) * across + 2 * LANES), sums(HIGH * across);
#pragma omp for
        for (Int b = 0; b < g.images; b++) terms[b] = everywhere(g, g.x + b * g.channels * plane, plane);
#pragma omp for collapse(2) schedule(static)
        for (Int b = 0; b < g.images; b++)
            for (Int strip = 0; strip < strips; strip++) {
                const Int top = strip * HIGH, first = std::max<Int>(0, top - 1), last = std::min(g.height, top + HIGH + 1);
                std::fill(rows.begin(), rows.end(), 0.0f);
                std::fill(sums.begin(), sums.end(), terms[b]);
                for (Int c = 0; c < g.channels; c++) {
                    const float* x = g.x + (b * g.channels + c) * plane;
                    for (Int y = first; y < last; y++) std::memcpy(&rows[(y - top + 1) * across + 1], x + y * g.width, g.width * 4);
                    add_channel(rows.data(), g.kernel + c * 9, across, sums.data());
                }
                for (Int y = top; y < std::min(g.height, top + HIGH); y++)
                    std::memcpy(g.scores + b * plane + y * g.width, &sums[(y - top) * across], g.width * 4);
            }
    }
}
