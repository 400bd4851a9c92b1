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
template <Int N> constexpr auto number = std::integral_constant<Int, N>();

// For each of R lists of weights, that lie `apart` from each other, the sum of the rows, each times its weight of the list; the weights of a
// list lie `step` apart. So many registers of columns at a time: each sum takes the rows in their order.
struct Weights { const float* first; Int step, apart; };
constexpr int ACROSS = MOST > 8 ? 4 : 2;
template <int R>
static inline void add_rows(const Weights& weights, const Rows& rows, Int column, float* to) {
    vec sums[R][ACROSS] = {};
    const Int step = weights.step, apart = weights.apart, left = rows.length - column;
    const float *at = rows.first + column, *end = rows.first + rows.count * rows.length, *weight = weights.first;
    for (Int i = 0; i < rows.count; i++, at += rows.length, weight += step) {
        vec row[ACROSS];
#pragma GCC unroll 4
        for (int a = 0; a < ACROSS; a++) row[a] = a * LANES < left ? load_some(at + a * LANES, end, std::min<Int>(LANES, left - a * LANES)) : vec{};
#pragma GCC unroll 4
        for (int r = 0; r < R; r++)
#pragma GCC unroll 4
            for (int a = 0; a < ACROSS; a++) sums[r][a] += weight[r * apart] * row[a];
    }
#pragma GCC unroll 4
    for (int r = 0; r < R; r++)
#pragma GCC unroll 4
        for (int a = 0; a < ACROSS; a++)
            if (a * LANES < left) store_some(to + r * rows.length + column + a * LANES, sums[r][a], left - a * LANES);
}

// to (lists, length); run by all threads of a team, as are the next three
static void add_rows(const Weights& weights, Int lists, const Rows& rows, float* to) {
    constexpr Int TOGETHER = 4;  // lists: each time, all rows are read
#pragma omp for collapse(2) nowait
    for (Int first = 0; first < lists; first += TOGETHER)
        for (Int column = 0; column < rows.length; column += ACROSS * LANES) {
            const auto some = [&](Int list) { return Weights{weights.first + list * weights.apart, weights.step, weights.apart}; };
            if (first + TOGETHER <= lists) add_rows<TOGETHER>(some(first), rows, column, to + first * rows.length);
            else for (Int list = first; list < lists; list++) add_rows<1>(some(list), rows, column, to + list * rows.length);
        }
}

// What takes a processor longest of a short sum is to add the lanes of a register: so it is done for LANES sums at once.
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

// sums (O, R) of the products of O rows of weights with R rows of x, lane by lane; each in an order that depends on the length alone
template <int O, int R>
static inline void multiply(const float* w, const float* w_end, const float* x, const float* x_end, Int length, vec* sums, Int apart) {
    constexpr Int PIECE = 64 * LANES;
    const Int whole = length / LANES * LANES, rest = length - whole;
    vec all[O][R] = {};
    for (Int from = 0; from < whole; from += PIECE) {
        vec some[O][R] = {};
        for (Int i = from; i < std::min(whole, from + PIECE); i += LANES) {
            vec weights[O];
#pragma GCC unroll 4
            for (int o = 0; o < O; o++) weights[o] = held(load(w + o * length + i));
#pragma GCC unroll 4
            for (int r = 0; r < R; r++) {
                const vec here = held(load(x + r * length + i));
#pragma GCC unroll 4
                for (int o = 0; o < O; o++) some[o][r] += weights[o] * here;
            }
        }
        for (int o = 0; o < O; o++)
            for (int r = 0; r < R; r++) all[o][r] += some[o][r];
    }
    for (int o = 0; o < O; o++)
        for (int r = 0; r < R; r++) {
            if (rest) all[o][r] += only(load_some(w + o * length + whole, w_end, rest), rest) * only(load_some(x + r * length + whole, x_end, rest), rest);
            sums[r * apart + o] = all[o][r];
        }
}

static void forward(const Layer& layer, const float* x, Int rows, float* y, bool relu) {
    constexpr Int TOGETHER = MOST > 8 ? 4 : 2, FOUR = 4;  // rows of x, and of the weights
    const auto [weight, bias, ins, outs] = layer;
    const float *weight_end = weight + outs * ins, *x_end = x + rows * ins;
#pragma omp for collapse(2)
    for (Int o = 0; o < layer.outs; o += LANES)
        for (Int first = 0; first < rows; first += TOGETHER) {
            const Int few = std::min<Int>(TOGETHER, rows - first), some = std::min<Int>(LANES, outs - o);
            vec sums[TOGETHER][LANES] = {};
            const auto block = [&](auto outputs, auto together, Int i, Int r) {
                const float *w = weight + (o + i) * ins, *from = x + (first + r) * ins;
                multiply<outputs, together>(w, weight_end, from, x_end, ins, &sums[r][i], LANES);
            };
            const auto rows_of = [&](auto outputs, Int i) {
                if (few == TOGETHER) block(outputs, number<TOGETHER>, i, 0);
                else for (Int r = 0; r < few; r++) block(outputs, number<1>, i, r);
            };
            Int i = 0;
            for (; i + FOUR <= some; i += FOUR) rows_of(number<FOUR>, i);
            for (; i < some; i++) rows_of(number<1>, i);
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
    static const float one = 1;
    if (to.x) add_rows({grad, 1, outs}, rows, {layer.weight, outs, ins}, to.x);
    if (to.weight) add_rows({grad, outs, 1}, outs, {x, rows, ins}, to.weight);
    if (to.bias) add_rows({&one, 0, 0}, 1, {grad, rows, outs}, to.bias);
#pragma omp barrier
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
