// What crosses the border: `Call` in convolution.py and `Product` in linear.py, field by field.

#pragma once

#include <cstdint>

typedef std::int64_t Int;

struct Call {
    const float *x;                        // (images, channels, height, width)
    const float *kernels;                  // (stack, outs, channels, taps_down, taps_across)
    const float *attention;                // (images, stack)
    const float *bias;                     // (stack, outs), or null
    float *outputs;                        // (images, outs, high, wide); backward reads their gradient there
    float *grad_kernels, *grad_attention, *grad_bias;  // written by backward, each unless it is null
    Int images, channels, height, width;
    Int outs, stack, taps_down, taps_across;
    Int stride_down, stride_across, pad_down, pad_across, gap_down, gap_across;
    Int high, wide;
    Int next_out, next_channel;  // how far apart two output and two input channels lie in a kernel
    Int turned;                  // whether a kernel's taps are read from the last
    Int threads;
};

struct Product {
    const float *x, *weight, *bias;           // (rows, ins), (outs, ins), (outs) or null
    float *y;                                 // (rows, outs); backward reads its gradient there
    float *grad_x, *grad_weight, *grad_bias;  // written by backward, each unless it is null
    Int rows, ins, outs, threads;
};
