// What is called from outside (convolution.py), and by which products it is computed.

#include "memory.h"
#include "winograd.h"

static bool forward(const Call& call) {
    if (call.groups > 1) return depthwise_forward(call);
    if (call.channels_last) return forward_by_patches(call);
    return has_tiles(call) ? forward_by_tiles(call) : forward_by_columns(call);
}

// At stride 1 it is a convolution of the outputs' gradient, with the channels exchanged and the taps read from the last.
static bool input_gradient(const Call& call) {
    Call turned = call;
    turned.x = call.outputs, turned.outputs = call.grad_x, turned.bias = nullptr, turned.turned = 1;
    turned.channels = call.outs, turned.outs = call.channels, turned.next_out = call.next_channel, turned.next_channel = call.next_out;
    turned.height = call.high, turned.width = call.wide, turned.high = call.height, turned.wide = call.width;
    turned.pad_down = 2 - call.pad_down, turned.pad_across = 2 - call.pad_across;
    const bool tiles = has_tiles(turned) && std::min(turned.pad_down, turned.pad_across) >= 0;
    return tiles ? forward_by_tiles(turned) : input_gradient_by_columns(call);
}

// Each: 0, or 1 where there is not memory enough
extern "C" int dynconv_forward(const Call* call) { return !forward(*call); }

// Each of the gradients (like bias) may be null.
extern "C" int dynconv_backward(const Call* given) {
    const Call& call = *given;
    in_large_pages(call.grad_kernels, call.stack * call.outs * (call.channels / call.groups) * call.taps_down * call.taps_across);
    in_large_pages(call.grad_x, call.images * call.channels * call.height * call.width);
    const bool kernels = call.grad_kernels || call.grad_attention, bias = call.bias && (call.grad_bias || call.grad_attention);
    const bool found = call.groups > 1 ? depthwise_gradients(call) : (!call.grad_x || input_gradient(call)) && (!kernels || kernel_gradients(call));
    return !(found && (!bias || through_bias(call)));
}

extern "C" void dynconv_release() { Memory::release(), forget_all(); }
