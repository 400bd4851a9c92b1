// A linear layer, y = x W^T + b, and its gradients: what computes the attention from an image. Called by linear.py.
//
// The idea. These products are small, and there is nothing to gain from cutting them; but a library's product cuts them all the same, by
// the number of threads, and with the cuts the order of its sums. Here a thread has whole rows of what is computed, and each number is
// summed in an order that hangs on the sizes alone.

#include "registers.h"

constexpr Int SMALL = 1 << 16;  // products that one thread does in less time than it takes to wake another

struct Rows { const float* first; Int count, length; };

// to (length) = the sum of the rows, each times its weight; the weights lie `step` apart
static void add_rows(const float* weights, Int step, const Rows& rows, float* __restrict to) {
    std::memset(to, 0, rows.length * 4);
    for (Int i = 0; i < rows.count; i++)
        for (Int j = 0; j < rows.length; j++) to[j] += weights[i * step] * rows.first[i * rows.length + j];
}

extern "C" void dynconv_linear_forward(const Product* given) {
    const Product& p = *given;
#pragma omp parallel for collapse(2) num_threads(p.threads) if (p.rows * p.outs * p.ins > SMALL)
    for (Int r = 0; r < p.rows; r++)
        for (Int o = 0; o < p.outs; o++)
            p.y[r * p.outs + o] = sum_of_products(p.x + r * p.ins, p.weight + o * p.ins, p.ins) + (p.bias ? p.bias[o] : 0);
}

extern "C" void dynconv_linear_backward(const Product* given) {
    const Product& p = *given;
    const float one = 1;
#pragma omp parallel num_threads(p.threads) if (p.rows * p.outs * p.ins > SMALL)
    {
#pragma omp for nowait
        for (Int r = 0; r < (p.grad_x ? p.rows : 0); r++) add_rows(p.y + r * p.outs, 1, {p.weight, p.outs, p.ins}, p.grad_x + r * p.ins);
#pragma omp for nowait
        for (Int o = 0; o < (p.grad_weight ? p.outs : 0); o++) add_rows(p.y + o, p.outs, {p.x, p.rows, p.ins}, p.grad_weight + o * p.ins);
#pragma omp single
        if (p.grad_bias) add_rows(&one, 0, {p.y, p.rows, p.outs}, p.grad_bias);
    }
}
