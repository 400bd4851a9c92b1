// What crosses the border: border.py reads these structures, whose pointers stand first, to fill them from Python.

#pragma once

#include <cstdint>

typedef std::int64_t Int;

struct Call {
    const float *x;                        // (images, channels, height, width)
    const float *kernels;                  // (stack, outs, channels / groups, taps_down, taps_across)
    const float *attention;                // (images, stack); inside of the library also null: one kernel for all images
    const float *bias;                     // (stack, outs), or null
    float *outputs;                        // (images, outs, high, wide); backward reads their gradient there
    float *grad_x, *grad_kernels, *grad_attention, *grad_bias;  // written by backward, each unless it is null
    Int images, channels, height, width;
    Int outs, stack, taps_down, taps_across;
    Int stride_down, stride_across, pad_down, pad_across, gap_down, gap_across;
    Int high, wide;
    Int next_out, next_channel;  // how far apart two output and two input channels lie in a kernel
    Int turned;                  // whether a kernel's taps are read from the last
    Int groups;                  // 1, or as many as there are channels, with one channel in and one out each (depthwise)
    Int threads, channels_last;  // the latter: whether the channels of a pixel lie side by side, in x, the outputs and their gradients
};

struct Perceptron {
    const float* x;                                // (rows, ins, positions)
    const float *weight, *bias;                    // (width, ins), (width) or null
    const float *second, *second_bias;             // (outs, width), (outs); null where there is one layer, or no bias
    float *mean, *hidden;                          // (rows, ins), (rows, width): kept from forward to backward; forward takes null, too
    float* y;                                      // (rows, outs)
    const float* grad_y;                           // read by backward
    float* grad_x;                                 // (rows, ins): every position of a channel gets the same
    float *grad_weight, *grad_bias, *grad_second, *grad_second_bias;  // these five are written by backward, each unless it is null
    Int rows, ins, positions, width, outs, threads;
    Int channels_last;                             // whether x is (rows, positions, ins)
    double temperature;  // of a softmax of each row of y, or 0 where there is none
};

struct Gate {
    const float *x;                        // (images, channels, height, width)
    const float *kernel, *bias;            // (channels, 3, 3), (1) or null
    const float *of_mean, *of_mean_bias;   // (channels), (1) or null: of each channel's mean
    float* scores;                         // (images, height, width)
    Int images, channels, height, width, threads;
};

// A 3 x 3 convolution with padding 1 and without a bias, and the batch norm after it
struct Convolution {
    const float *kernels;                  // (outs, channels, 3, 3)
    const float *factor, *term;            // (outs), or null
    const float *mean, *variance;          // (outs)
};

struct Branch {
    const float *x;                        // (images, channels, height, width)
    const float *gate;                     // (images, high, wide): closed where it is 0
    float *outputs, *hidden;               // (images, outs, high, wide); hidden: memory for what lies between the convolutions
    Convolution first, second;             // first: at the stride
    Int images, channels, height, width, outs, high, wide, stride, threads;
    Int always;                            // whether no more than is needed may be computed, though all positions would be faster
    double first_eps, second_eps;          // of the batch norms
};

// How a dynamic convolution is computed; each is false where there is not memory enough
struct Within;                                     // images.h: where it is one of a branch's
bool forward_by_tiles(const Call& call, const Within* within = nullptr);  // winograd.cpp
bool forward_by_columns(const Call& call);         // columns.cpp
bool forward_by_patches(const Call& call);         // patches.cpp: of images whose channels lie last
bool input_gradient_by_columns(const Call& call);  // columns.cpp
bool kernel_gradients(const Call& call);           // gradients.cpp
bool depthwise_forward(const Call& call);          // depthwise.cpp: for as many groups as channels
bool depthwise_gradients(const Call& call);        // depthwise.cpp: all but what comes through the bias
bool through_bias(const Call& call);               // gradients.cpp: to those of the kernels and the attention
