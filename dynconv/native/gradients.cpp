// The gradients of the K kernels, of their weights and of their biases, from that of the outputs. (The gradient of the input is a
// convolution, or columns.cpp.)
//
// The idea. The gradient of one image's mixed kernel is a matrix product again (correlation.h). The K kernels get it times the image's
// attention, summed over images; the attention gets its products with the K kernels. The mixed kernels' gradients of a batch are far
// larger than a cache, so they are made a block at a time: some channels out and a panel of channels and taps. While the block of a few
// images lies in the cache it is added to the K kernels' gradient and compared with the K kernels, and then overwritten. A large image is
// cut into pieces, each as good as an image with the same attention.
//
// The order of every sum is fixed by the sizes alone: neither the number of threads nor which is first changes a bit. Each block of
// the kernels' gradient is summed by one thread, and what blocks contribute to the attention's is kept apart until all are done.

#include <vector>

#include "correlation.h"

constexpr Int FEW = 8;  // pieces whose tiles are made before they are gathered

template <class Way>
class KernelGradients {
    const Call& call;
    const Way way;
    const Int kernel;  // numbers of one
    Int pieces, together, panels, panel, blocks, tile, found_size, own;
    bool past;                     // whether the kernels' gradient is written once, and is more than caches hold
    std::vector<float> attention;  // (pieces, stack)
    float *seen, *found;

  public:
    explicit KernelGradients(const Call& given) : call(given), way(call), kernel(call.outs * way.rows) {
        constexpr Int AT_ONCE = 1 << 20, LARGE = 1 << 20, PANEL = 8 * WIDE, BLOCK = 4 * MOST;
        pieces = call.images * way.pieces;
        panels = parts(way.rows, PANEL), panel = up(parts(way.rows, panels), Way::UNIT), panels = parts(way.rows, panel);
        blocks = parts(call.outs, BLOCK);
        while (panels * blocks < 4 * WORKERS && blocks < parts(call.outs, MOST)) blocks++;
        if (panels * blocks % 2 && 2 * blocks < call.outs) blocks++;  // an odd number of them leaves one of two threads alone with the last
        together = std::min(pieces, up(std::max<Int>(1, AT_ONCE / way.size), FEW));
        tile = parts(call.outs, blocks) * panel, found_size = panels * blocks * together * call.stack;
        own = up(FEW * (tile + call.stack * LANES), 16) + up(way.room, 16);
        const bool lined_up = (reinterpret_cast<std::uintptr_t>(call.grad_kernels) / 4 | panel | way.rows) % LANES == 0;
        past = lined_up && pieces <= std::min(FEW, together) && call.stack * kernel > LARGE;
        attention.resize(pieces * call.stack);
        for (Int j = 0; j < pieces * call.stack; j++)
            attention[j] = call.attention[j / call.stack / way.pieces * call.stack + j % call.stack];
    }

    Int memory() const { return together * way.size + up(found_size, 16) + call.threads * own; }

    void run(float* memory) {
        seen = memory, found = seen + together * way.size;
        if (call.grad_attention) std::memset(call.grad_attention, 0, call.images * call.stack * 4);
#pragma omp parallel num_threads(call.threads)
        {
            float* room = found + up(found_size, 16) + omp_get_thread_num() * own;
            for (Int start = 0; start < pieces; start += together) {
                const Int stop = std::min(pieces, start + together);
#pragma omp for collapse(2)
                for (Int piece = start; piece < stop; piece++)
                    for (Int part = 0; part < way.looks; part++)
                        way.look(piece / way.pieces, piece % way.pieces, part, seen + (piece - start) * way.size, room);
#pragma omp for collapse(2) schedule(dynamic)
                for (Int block = 0; block < blocks; block++)
                    for (Int at = 0; at < panels; at++) work(block, at, start, stop, room);
                if (call.grad_attention) add_found(start, stop);
            }
        }
    }

  private:
    // Some rows of the kernels in some channels out
    void work(Int block, Int at, Int start, Int stop, float* tiles) const {
        const Int out = block * call.outs / blocks, outs = (block + 1) * call.outs / blocks - out;
        const Int asked = past && call.grad_attention ? panel : 0;  // while memory is written, the next panel's kernels are read
        const Int row = at * panel, rows = std::min(panel, way.rows - row), from = out * way.rows + row;
        float *dots = tiles + FEW * tile, *room = tiles + up(FEW * (tile + call.stack * LANES), 16);
        for (Int piece = start; piece < stop; piece += FEW) {
            const Int few = std::min(FEW, stop - piece);
            if (call.grad_attention) ask_ahead(outs, rows, from);
            for (Int i = piece; i < piece + few; i++)
                way.correlate(i / way.pieces, i % way.pieces, seen + (i - start) * way.size, {out, outs, row, rows},
                              {tiles + (i - piece) * tile, panel, room}, room);
            const float* pi = attention.data() + piece * call.stack;
            for (Int o = 0; o < outs && call.grad_kernels; o++)
                gather({few, call.stack, rows, pi, call.kernels + from + o * way.rows, tiles + o * panel, kernel, tile, nullptr, asked},
                       call.grad_kernels + from + o * way.rows, past ? Write::PAST : piece > 0 ? Write::ADD : Write::NEW);
            if (past) after_past();
            if (call.grad_attention) compare_rows(few, pi, tiles, outs, rows, from, dots, found + (((block * panels + at) * together) + piece - start) * call.stack);
        }
    }

    // For the kernels' numbers in a block, so that they are there when its gradient is
    void ask_ahead(Int outs, Int rows, Int from) const {
        for (Int o = 0; o < outs; o++)
            for (Int k = 0; k < call.stack; k++)
                for (Int r = 0; r < rows; r += LANES) __builtin_prefetch(call.kernels + k * kernel + from + o * way.rows + r, 0, 2);
    }

    void compare_rows(Int few, const float* pi, const float* tiles, Int outs, Int rows, Int from, float* dots, float* to) const {
        const Int all = few * call.stack;
        std::memset(dots, 0, all * LANES * 4);
        for (Int o = 0; o < outs; o++)
            compare({few, call.stack, rows, pi, call.kernels + from + o * way.rows, tiles + o * panel, kernel, tile, nullptr}, dots);
        for (Int j = 0; j < all; j++) {
            to[j] = 0;
            for (int lane = 0; lane < LANES; lane++) to[j] += dots[j * LANES + lane];
        }
    }

    // To the attention's gradient, what all panels and blocks found for some pieces
    void add_found(Int start, Int stop) const {
        const Int all = (stop - start) * call.stack;
#pragma omp single
        for (Int j = 0; j < all; j++) {
            float* to = call.grad_attention + (start * call.stack + j) / call.stack / way.pieces * call.stack + j % call.stack;
            for (Int i = 0; i < panels * blocks; i++) *to += found[i * together * call.stack + j];
        }
    }
};

// The bias sees every position alike: what counts of the outputs' gradient are its sums over them, (images, outs).
bool through_bias(const Call& call) {
    const Memory memory(up(call.images * call.outs, 16));
    float* sums = memory.get();
    if (!sums) return false;
#pragma omp parallel num_threads(call.threads)
    {
#pragma omp for
        for (Int i = 0; i < call.images * call.outs; i++) {
            const Int positions = call.high * call.wide;
            const float* from = call.outputs + (call.channels_last ? i / call.outs * positions * call.outs + i % call.outs : i * positions);
            if (!call.channels_last) sums[i] = sum_of(from, positions);
            else if (i % call.outs % LANES == 0) {  // LANES channels at once
                const Int some = std::min<Int>(LANES, call.outs - i % call.outs);
                const float* end = call.outputs + call.images * positions * call.outs;
                const vec all = lanes_of(positions * LANES, [&](Int at) { return load_some(from + at / LANES * call.outs, end, some); });
                std::memcpy(sums + i, &all, some * 4);
            }
        }
#pragma omp for nowait
        for (Int k = 0; k < (call.grad_bias ? call.stack : 0); k++)
            for (Int o = 0; o < call.outs; o++) {
                float sum = 0;
                for (Int b = 0; b < call.images; b++) sum += call.attention[b * call.stack + k] * sums[b * call.outs + o];
                call.grad_bias[k * call.outs + o] = sum;
            }
#pragma omp for
        for (Int i = 0; i < (call.grad_attention ? call.images * call.stack : 0); i++)
            call.grad_attention[i] += sum_of_products(sums + i / call.stack * call.outs, call.bias + i % call.stack * call.outs, call.outs);
    }
    return true;
}

bool kernel_gradients(const Call& call) {
    const bool tiles = has_tiles(call) && 2 * call.channels >= LANES;  // fewer leave a register of them half empty
    if (!tiles) return done(KernelGradients<ByColumns>(call));
    const bool large = large_tiles_win(call.high, call.wide, GRADIENT);
    return large ? done(KernelGradients<ByTiles<Four>>(call)) : done(KernelGradients<ByTiles<Two>>(call));
}
