// What computes the attention from an image: the mean of each channel, one or two linear layers, the first with its negative outputs
// set to 0, and a softmax; and all gradients. Called by scores.py.
//
// The idea. These products are small, and there is nothing to gain from cutting them; but a library's product cuts them all the same, by
// the number of threads, and with the cuts the order of its sums. Here a thread has whole rows of what is computed, and each number is
// summed in an order that depends on the sizes alone.

#include <cmath>
#include <vector>

#include "registers.h"

struct Rows { const float* first; Int count, length; };
struct Layer { const float *weight, *bias; Int ins, outs; };         // (outs, ins), (outs) or null
struct Gradients { float *x, *weight, *bias; };                      // each may be null

// to (length) = the sum of the rows, each times its weight; the weights lie `step` apart
static void add_rows(const float* weights, Int step, const Rows& rows, float* __restrict to) {
    std::memset(to, 0, rows.length * 4);
    for (Int i = 0; i < rows.count; i++)
        for (Int j = 0; j < rows.length; j++) to[j] += weights[i * step] * rows.first[i * rows.length + j];
}

// The next three are run by all threads of a team. What takes a processor longest of a short sum is to add the lanes of a register: so it
// is done for LANES sums at once.
static void mean_of(const float* x, Int rows, Int positions, float* to) {
    const Int whole = positions / LANES * LANES;
    const float* end = x + rows * positions;
#pragma omp for
    for (Int r = 0; r < rows; r += LANES) {
        const Int some = std::min<Int>(LANES, rows - r);
        vec t[LANES] = {};
        for (Int i = 0; i < some; i++) {
            const float* from = x + (r + i) * positions;
            t[i] = lanes_of(whole, [&](Int at) { return load(from + at); });
            if (whole < positions) t[i] += only(load_some(from + whole, end, positions - whole), positions - whole);
        }
        const vec means = totals(t) / float(positions);
        std::memcpy(to + r, &means, some * 4);
    }
}

// The same where the channels of a position lie side by side: a register holds LANES of them.
static void mean_of_last(const float* x, Int rows, Int channels, Int positions, float* to) {
    const float* end = x + rows * positions * channels;
#pragma omp for collapse(2)
    for (Int r = 0; r < rows; r++)
        for (Int c = 0; c < channels; c += LANES) {
            const Int some = std::min<Int>(LANES, channels - c);
            const float* from = x + r * positions * channels + c;
            const vec means = lanes_of(positions * LANES, [&](Int i) { return load_some(from + i / LANES * channels, end, some); }) / float(positions);
            std::memcpy(to + r * channels + c, &means, some * 4);
        }
}

// sums (R) of the products of w with R rows that lie `length` apart, lane by lane; each in an order that depends on the length alone
template <int R>
static inline void multiply(const float* w, const float* w_end, const float* x, const float* x_end, Int length, vec* sums, Int apart) {
    constexpr Int CHAINS = 2, PIECE = 64 * LANES;
    const Int whole = length / LANES * LANES, rest = length - whole;
    vec all[R] = {};
    for (Int from = 0; from < whole; from += PIECE) {
        vec some[R][CHAINS] = {};
        const Int stop = std::min(whole, from + PIECE), pairs = from + (stop - from) / (CHAINS * LANES) * (CHAINS * LANES);
        for (Int i = from; i < pairs; i += CHAINS * LANES)
            for (Int c = 0; c < CHAINS; c++)
                for (int r = 0; r < R; r++) some[r][c] += load(w + i + c * LANES) * load(x + r * length + i + c * LANES);
        for (int r = 0; r < R; r++) {
            if (pairs < stop) some[r][0] += load(w + pairs) * load(x + r * length + pairs);
            all[r] += some[r][0] + some[r][1];
        }
    }
    for (int r = 0; r < R; r++) {
        if (rest) all[r] += only(load_some(w + whole, w_end, rest), rest) * only(load_some(x + r * length + whole, x_end, rest), rest);
        sums[r * apart] = all[r];
    }
}

static void forward(const Layer& layer, const float* x, Int rows, float* y, bool relu) {
    constexpr int TOGETHER = 4;  // rows
    const auto [weight, bias, ins, outs] = layer;
    const float *weight_end = weight + outs * ins, *x_end = x + rows * ins;
#pragma omp for collapse(2)
    for (Int first = 0; first < rows; first += TOGETHER)
        for (Int o = 0; o < layer.outs; o += LANES) {
            const Int few = std::min<Int>(TOGETHER, rows - first), some = std::min<Int>(LANES, outs - o);
            vec sums[TOGETHER][LANES] = {};
            for (Int i = 0; i < some; i++) {
                const float *w = weight + (o + i) * ins, *from = x + first * ins;
                if (few == TOGETHER) multiply<TOGETHER>(w, weight_end, from, x_end, ins, &sums[0][i], LANES);
                else for (Int r = 0; r < few; r++) multiply<1>(w, weight_end, from + r * ins, x_end, ins, &sums[r][i], LANES);
            }
            for (Int r = 0; r < few; r++) {
                vec v = totals(sums[r]);
                if (bias) v += load_some(bias + o, bias + outs, some);
                if (relu) v = v < 0 ? vec{} : v;
                std::memcpy(y + (first + r) * outs + o, &v, some * 4);
            }
        }
}

static void backward(const Layer& layer, const float* x, const float* grad, Int rows, const Gradients& to) {
    const auto [ins, outs] = std::pair(layer.ins, layer.outs);
    const float one = 1;
#pragma omp for nowait
    for (Int r = 0; r < (to.x ? rows : 0); r++) add_rows(grad + r * outs, 1, {layer.weight, outs, ins}, to.x + r * ins);
#pragma omp for nowait
    for (Int o = 0; o < (to.weight ? outs : 0); o++) add_rows(grad + o, outs, {x, rows, ins}, to.weight + o * ins);
#pragma omp single
    if (to.bias) add_rows(&one, 0, {grad, rows, outs}, to.bias);
}

static void softmax(float* y, Int outs, double temperature) {
    const float most = *std::max_element(y, y + outs);
    float sum = 0;
    for (Int o = 0; o < outs; o++) sum += y[o] = std::exp(float((y[o] - most) / temperature));
    for (Int o = 0; o < outs; o++) y[o] /= sum;
}

static void softmax_backward(const float* y, const float* grad, Int outs, double temperature, float* to) {
    const float mean = sum_of_products(y, grad, outs);
    for (Int o = 0; o < outs; o++) to[o] = y[o] * (grad[o] - mean) / temperature;
}

extern "C" void dynconv_perceptron_forward(const Perceptron* given) {
    const Perceptron& p = *given;
    const bool has_mean = p.positions != 1;
    const Int own_hidden = p.second && !p.hidden ? p.rows * p.width : 0;
    std::vector<float> own(own_hidden + (has_mean && !p.mean ? p.rows * p.ins : 0));
    float *hidden = p.hidden ? p.hidden : own.data(), *means = p.mean ? p.mean : own.data() + own_hidden;
    const float* mean = has_mean ? means : p.x;
#pragma omp parallel num_threads(p.threads) if (p.rows * p.ins * (p.positions + p.width) > SMALL)
    {
        if (has_mean) p.channels_last ? mean_of_last(p.x, p.rows, p.ins, p.positions, means) : mean_of(p.x, p.rows * p.ins, p.positions, means);
        forward({p.weight, p.bias, p.ins, p.width}, mean, p.rows, p.second ? hidden : p.y, p.second);
        if (p.second) forward({p.second, p.second_bias, p.width, p.outs}, hidden, p.rows, p.y, false);
    }
    for (Int r = 0; r < (p.temperature ? p.rows : 0); r++) softmax(p.y + r * p.outs, p.outs, p.temperature);
}

extern "C" void dynconv_perceptron_backward(const Perceptron* given) {
    const Perceptron& p = *given;
    std::vector<float> of_hidden(p.second ? p.rows * p.width : 0);
    std::vector<float> of_scores(p.temperature ? p.rows * p.outs : 0);
    for (Int r = 0; r < (p.temperature ? p.rows : 0); r++)
        softmax_backward(p.y + r * p.outs, p.grad_y + r * p.outs, p.outs, p.temperature, of_scores.data() + r * p.outs);
    const float *scores = p.temperature ? of_scores.data() : p.grad_y;
    const float *mean = p.positions == 1 ? p.x : p.mean, *grad = p.second ? of_hidden.data() : scores;
#pragma omp parallel num_threads(p.threads) if (p.rows * p.ins * (p.positions + p.width) > SMALL)
    {
        if (p.second) {
            backward({p.second, nullptr, p.width, p.outs}, p.hidden, scores, p.rows, {of_hidden.data(), p.grad_second, p.grad_second_bias});
#pragma omp for
            for (Int i = 0; i < p.rows * p.width; i++)
                if (!(p.hidden[i] > 0)) of_hidden[i] = 0;
        }
        backward({p.weight, nullptr, p.ins, p.width}, mean, grad, p.rows, {p.grad_x, p.grad_weight, p.grad_bias});
#pragma omp for
        for (Int r = 0; r < (p.grad_x ? p.rows * p.ins : 0); r++) p.grad_x[r] /= p.positions;
    }
}
