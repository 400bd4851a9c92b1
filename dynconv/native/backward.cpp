// The gradients of the K kernels and of their weights, from that of the outputs. (The gradient of the input is a convolution:
// forward.cpp.)
//
// The idea. The gradient of one image's mixed kernel is a matrix product again: (outs) x (positions), the outputs' gradient, times
// (positions) x (channels), the pixels that a tap sees, for every tap. The K kernels get it times the image's attention, summed over
// images; the attention gets its products with the K kernels. The mixed kernels' gradients of a batch are far larger than a
// cache, so they are made a block at a time: some channels out and a panel of channels in, for one tap. While the block of a few
// images lies in the cache it is added to the K kernels' gradient and compared with the K kernels, and then overwritten. Where the
// forward pass multiplies what winograd.h makes of kernels and images, so does this, and goes back at the end.
//
// A large image is cut into pieces, each as good as an image with the same attention.
//
// The order of every sum is fixed by the sizes alone: neither the number of threads nor which is first changes a bit. Each block of
// the kernels' gradient is summed by one thread, and what blocks contribute to the attention's is kept apart until all are done.

#include <vector>

#include "images.h"
#include "memory.h"
#include "mixing.h"
#include "winograd.h"

// How the positions of a piece are walked: `high` rows of `wide`, steps in numbers from one to the next: in the image `row` and
// `column`, in the outputs' gradient, whose rows follow each other, `step`
struct Walk { Int row, column, step, high, wide; };

// tile (R, M x LANES) = over the positions: x (M x LANES of the channels that a tap sees) times g (R channels out)
template <int M, int R>
static void correlate(const Walk& walk, const float* x, const float* g, float* tile) {
    const auto [row, column, step, high, wide] = walk;
    vec a[R][M] = {};
    for (Int i = 0; i < high; i++, x += row) {
        const float* at = x;
        for (Int j = 0; j < wide; j++, at += column, g += step) {
            vec v[M];
#pragma GCC unroll 2
            for (int m = 0; m < M; m++) v[m] = load(at + m * LANES);
#pragma GCC unroll 16
            for (int r = 0; r < R; r++)
#pragma GCC unroll 2
                for (int m = 0; m < M; m++) a[r][m] += v[m] * g[r];
        }
    }
    store(tile, a);
}

typedef void (*Correlate)(const Walk&, const float*, const float*, float*);
template <int... R>
static Correlate pick(int M, int rows, std::integer_sequence<int, R...>) {
    static constexpr Correlate all[2][MOST] = {{correlate<1, R + 1>...}, {correlate<2, R + 1>...}};
    return all[M - 1][rows - 1];
}

constexpr Int FEW = 8;   // pieces whose tiles are made before they are gathered
constexpr Int SOME = 3;  // blocks that see the same pixels one after the other

// How the work is cut.
struct Plan {
    bool winograd;
    Int taps, steps;            // a kernel is as many steps as it has taps, or Winograd's 16
    Int channels, panels;       // of the input: rounded up to registers, and cut into panels
    Int blocks, groups;         // the channels out are cut into blocks; a group of them is taken together
    Int lines, units;           // a line is a row of outputs, or of 2 x 2 outputs: its units
    Int cuts, rows, pieces;     // an image is cut into pieces of at most `rows` lines
    Int together;               // pieces that are seen at a time
    // Memory in numbers: a piece as it is laid out and as it is multiplied, of the image and of the outputs' gradient; a kernel's
    // part of a block; a thread's tiles; a kernel's taps for one channel out; what all blocks find for the attention
    Int last_x, last_grad, seen_x, seen_grad, kernel, tiles, dots, block, line, found, own, common;

    Plan(const Call& call, Images& in, Images& out) {
        winograd = has_tiles(call);
        taps = call.taps_down * call.taps_across, steps = winograd ? 16 : taps;
        channels = up(call.channels, LANES), panels = parts(channels, WIDE);
        cut_kernels(call);
        lines = winograd ? parts(call.high, 2) : call.high, units = winograd ? parts(call.wide, 2) : call.wide;
        in.set_row(winograd ? 2 * units + 2 : call.width + 2 * call.pad_across);
        out.set_row(winograd ? 2 * units : call.wide);
        cut_images(call, in, out);
        count_memory(call);
    }

    void cut_kernels(const Call& call) {
        constexpr Int WORKERS = 4;  // work is cut for so many threads, be there more or less: or else sums would depend on them
        blocks = parts(call.outs, MOST);
        while (panels * blocks % WORKERS && panels * blocks < 8 * WORKERS && blocks < call.outs) blocks++;
        groups = parts(blocks, std::min(SOME, std::max<Int>(1, panels * blocks / (2 * call.threads))));
    }

    void cut_images(const Call& call, const Images& in, const Images& out) {
        constexpr Int ALONE = 1 << 18, TOGETHER = 1 << 22;  // numbers
        const Int line_x = (winograd ? 16 * units : call.stride_down * in.across) * in.pixel;
        const Int line_grad = (winograd ? 16 * units : call.wide) * out.pixel;
        cuts = std::min(lines, parts(lines * (line_x + line_grad), ALONE));
        rows = parts(lines, cuts), pieces = call.images * cuts;
        last_x = high(rows, call) * in.across * in.pixel, last_grad = outputs(rows) * out.across * out.pixel;
        seen_x = winograd ? 16 * rows * units * in.pixel : last_x;
        seen_grad = winograd ? 16 * rows * units * out.pixel : last_grad;
        const Int piece = seen_x + seen_grad + panels * blocks * call.stack;
        together = up(std::min(pieces, std::max<Int>(1, TOGETHER / piece)), FEW);
    }

    void count_memory(const Call& call) {
        const Int most = MOST * WIDE;
        kernel = steps * most + LANES, tiles = FEW * most, dots = together * call.stack * LANES;
        block = tiles + 2 * call.stack * kernel + dots, line = taps * WIDE + LANES;
        own = up(std::max(SOME * block + 2 * line, winograd ? std::max(last_x, last_grad) : 0), 16);
        found = panels * blocks * together * call.stack;
        common = up(together * (seen_x + seen_grad) + found, 16);
    }

    Int high(Int some, const Call& c) const {  // how many padded rows some lines see
        return winograd ? 2 * some + 2 : (some - 1) * c.stride_down + (c.taps_down - 1) * c.gap_down + 1;
    }
    Int outputs(Int some) const { return winograd ? 2 * some : some; }
    Int top(Int piece) const { return piece % cuts * lines / cuts; }
    Int lines_of(Int piece) const { return (piece % cuts + 1) * lines / cuts - top(piece); }
    // Winograd's 16 steps of a few pieces lie together, for they are read together: where a piece's first lies, and how far its next
    Int begin(Int piece, Int seen) const { return winograd ? piece / FEW * FEW * seen + piece % FEW * (seen / 16) : piece * seen; }
    Int next(Int seen) const { return FEW * (seen / 16); }
    Int width(Int panel) const { return std::min<Int>(WIDE, channels - panel * WIDE); }
};

// Some channels of the outputs, in one thread: for each piece its tile (height, width); for each kernel its part of one panel and the
// gradient of that part, both (step, height, width); what the pieces' products with the kernels are
struct Block { Int index, first, height, length, apart; float *tiles, *stack, *change, *dots; };

// A panel and the blocks that are done with it now, on the pieces from `start` to before `stop`
struct Task { Int panel, start, stop, count; Block blocks[SOME]; };

class Backward {
    const Call call;
    Images in, out;
    const Plan plan;
    const float* kernels_end;
    std::vector<float> attention;  // (pieces, stack)
    float *pixels, *gradients, *found;

  public:
    explicit Backward(const Call& given)
        : call(given),
          in{given.x, given.x + given.images * given.channels * given.height * given.width, given.channels, given.height,
             given.width, given.pad_down, given.pad_across, 0, 0},
          out{given.outputs, given.outputs + given.images * given.outs * given.high * given.wide, given.outs, given.high,
              given.wide, 0, 0, 0, 0},
          plan(call, in, out),
          kernels_end(given.kernels + given.stack * given.outs * given.channels * plan.taps),
          attention(plan.pieces * given.stack) {
        for (Int j = 0; j < plan.pieces * call.stack; j++)
            attention[j] = call.attention[j / call.stack / plan.cuts * call.stack + j % call.stack];
    }

    Int memory() const { return plan.common + call.threads * plan.own; }

    void run(float* memory) {
        pixels = memory, gradients = pixels + plan.together * plan.seen_x, found = gradients + plan.together * plan.seen_grad;
        if (call.grad_attention) std::memset(call.grad_attention, 0, call.images * call.stack * 4);
#pragma omp parallel num_threads(call.threads)
        {
            float* own = memory + plan.common + omp_get_thread_num() * plan.own;
            for (Int start = 0; start < plan.pieces; start += plan.together) {
                const Int stop = std::min(plan.pieces, start + plan.together);
                look(start, stop, own);
#pragma omp for collapse(2) schedule(dynamic)
                for (Int panel = 0; panel < plan.panels; panel++)
                    for (Int group = 0; group < plan.groups; group++) work(panel, group, start, stop, own);
                if (call.grad_attention) add_found(start, stop);
            }
        }
    }

  private:
    // What is seen of some pieces; few large ones are shared among the threads, a part of the rows to each.
    void look(Int start, Int stop, float* last) const {
        const Int shares = parts(call.threads, stop - start);
#pragma omp for
        for (Int i = start * shares; i < stop * shares; i++) {
            const Int piece = i / shares, share = i % shares, b = piece / plan.cuts, top = plan.top(piece), here = plan.lines_of(piece);
            float *to_x = pixels + plan.begin(piece - start, plan.seen_x);
            float *to_grad = gradients + plan.begin(piece - start, plan.seen_grad);
            const auto cut = [&](Int all, Int number) { return all * number / shares; };
            if (plan.winograd) {
                const Int from = cut(here, share), lines = cut(here, share + 1) - from;
                see_tiles(b, top + from, lines, {to_x + from * plan.units * in.pixel, to_grad + from * plan.units * out.pixel}, last);
                continue;
            }
            const Int rows = plan.high(here, call), from = cut(rows, share), line = cut(here, share);
            in.channels_last(b, top * call.stride_down + from, cut(rows, share + 1) - from, to_x + from * in.across * in.pixel);
            out.channels_last(b, top + line, cut(here, share + 1) - line, to_grad + line * out.across * out.pixel);
        }
    }

    void see_tiles(Int image, Int top, Int lines, std::pair<float*, float*> to, float* last) const {
        in.channels_last(image, 2 * top, 2 * lines + 2, last);
        in.transform(last, to.first, {lines, plan.units, plan.next(plan.seen_x)}, transform_input);
        out.channels_last(image, 2 * top, 2 * lines, last);
        out.transform(last, to.second, {lines, plan.units, plan.next(plan.seen_grad)}, transform_gradient);
    }

    // One panel and one group of blocks
    void work(Int panel, Int group, Int start, Int stop, float* own) const {
        const Int from = group * plan.blocks / plan.groups, to = (group + 1) * plan.blocks / plan.groups;
        float *taps = own + SOME * plan.block, *line = taps + plan.line;
        Task task = {panel, start, stop, to - from, {}};
        for (Int i = from; i < to; i++) {
            Block& block = task.blocks[i - from] = block_of(i, panel, own + (i - from) * plan.block);
            std::memset(block.change, 0, call.stack * block.apart * 4);
            std::memset(block.dots, 0, (stop - start) * call.stack * LANES * 4);
            if (call.grad_attention) read_kernels(block, panel, taps);
        }
        for (Int first = start; first < stop; first += FEW)
            for (Int f = 0; f < plan.steps; f++) {
                const Int few = std::min(FEW, stop - first);
                for (Int piece = first; piece < first + few; piece++) correlate_piece(task, piece, piece - first, f);
                for (Int i = 0; i < task.count; i++) use_tiles(task.blocks[i], first, first - start, few, f);
            }
        for (Int i = 0; i < task.count; i++) {
            if (call.grad_kernels) write_kernels(task, task.blocks[i], taps, line);
            if (call.grad_attention) write_dots(task, task.blocks[i]);
        }
    }

    Block block_of(Int index, Int panel, float* at) const {
        const Int first = index * call.outs / plan.blocks, height = (index + 1) * call.outs / plan.blocks - first;
        const Int length = height * plan.width(panel);
        float *stack = at + plan.tiles, *change = stack + call.stack * plan.kernel;
        return {index, first, height, length, plan.steps * length + LANES, at, stack, change, change + call.stack * plan.kernel};
    }

    // Where the numbers of one channel out lie in the K kernels and in their gradient, and how many channels in are real
    Int offset(const Block& block, Int k, Int row, Int panel) const {
        return ((k * call.outs + block.first + row) * call.channels + panel * WIDE) * plan.taps;
    }
    Int real(Int panel) const { return std::min(plan.width(panel), call.channels - panel * WIDE); }

    void read_kernels(const Block& block, Int panel, float* taps) const {
        const Int width = plan.width(panel);
        for (Int k = 0; k < call.stack; k++)
            for (Int r = 0; r < block.height; r++) {
                const Source from = {call.kernels + offset(block, k, r, panel), plan.taps, kernels_end};
                float* to = block.stack + k * block.apart + r * width;
                if (!plan.winograd) {
                    transpose(from, real(panel), plan.taps, {to, block.length, width, nullptr});
                    continue;
                }
                transpose(from, real(panel), plan.taps, {taps, width, width, nullptr});
                for (Int m = 0; m < width; m += LANES) transform_kernel(taps + m, width, to + m, block.length);
            }
    }

    // The tiles of one step of a piece, the number-th of a few
    void correlate_piece(const Task& task, Int piece, Int number, Int f) const {
        const float* x = pixels + plan.begin(piece - task.start, plan.seen_x) + task.panel * WIDE;
        const float* g = gradients + plan.begin(piece - task.start, plan.seen_grad);
        const Int here = plan.lines_of(piece), width = plan.width(task.panel);
        Walk walk = {0, in.pixel, out.pixel, 1, here * plan.units};
        if (plan.winograd) x += f * plan.next(plan.seen_x), g += f * plan.next(plan.seen_grad);
        else {
            const Int y = f / call.taps_across * call.gap_down, q = f % call.taps_across * call.gap_across;
            x += (y * in.across + q) * in.pixel;
            walk = {call.stride_down * in.across * in.pixel, call.stride_across * in.pixel, out.pixel, here, call.wide};
        }
        for (Int i = 0; i < task.count; i++) {
            const Block& block = task.blocks[i];
            const Correlate run = pick(width / LANES, block.height, std::make_integer_sequence<int, MOST>());
            run(walk, x, g + block.first, block.tiles + number * block.length);
        }
    }

    // The tiles of a few pieces, which begin at `first`, the at-th that are seen, into the gradients
    void use_tiles(const Block& block, Int first, Int at, Int few, Int f) const {
        const Mixture mixture = {few,         call.stack,   block.length, attention.data() + first * call.stack,
                                 block.stack + f * block.length, block.tiles, block.apart,  block.length};
        if (call.grad_kernels) gather(mixture, block.change + f * block.length);
        if (call.grad_attention) compare(mixture, block.dots + at * call.stack * LANES);
    }

    void write_kernels(const Task& task, const Block& block, float* taps, float* line) const {
        const Int width = plan.width(task.panel), some = real(task.panel);
        for (Int k = 0; k < call.stack; k++)
            for (Int r = 0; r < block.height; r++) {
                const float* from = block.change + k * block.apart + r * width;
                for (Int m = 0; plan.winograd && m < width; m += LANES) transform_back(from + m, block.length, taps + m, width);
                float *to = call.grad_kernels + offset(block, k, r, task.panel), *here = task.start ? line : to;
                const Int across = plan.winograd ? width : block.length;
                transpose({plan.winograd ? taps : from, across, line + plan.line}, plan.taps, some,
                          {here, plan.taps, plan.taps, here + some * plan.taps});
                for (Int j = 0; task.start && j < some * plan.taps; j++) to[j] += line[j];
            }
    }

    void write_dots(const Task& task, const Block& block) const {
        float* to = found + (task.panel * plan.blocks + block.index) * plan.together * call.stack;
        for (Int j = 0; j < (task.stop - task.start) * call.stack; j++) {
            to[j] = 0;
            for (int lane = 0; lane < LANES; lane++) to[j] += block.dots[j * LANES + lane];
        }
    }

    // What all blocks found for the attention of some pieces' images, in the blocks' order
    void add_found(Int start, Int stop) const {
        const Int all = plan.together * call.stack;
#pragma omp for
        for (Int b = start / plan.cuts; b <= (stop - 1) / plan.cuts; b++)
            for (Int piece = std::max(start, b * plan.cuts); piece < std::min(stop, (b + 1) * plan.cuts); piece++)
                for (Int k = 0; k < call.stack; k++) {
                    float sum = 0;
                    for (Int i = 0; i < plan.panels * plan.blocks; i++) sum += found[i * all + (piece - start) * call.stack + k];
                    call.grad_attention[b * call.stack + k] += sum;
                }
    }
};

// For the one image there is the gradient of its one kernel is enough: the K kernels' is that times the attention, and the attention's
// are its products with the K kernels, summed a piece of fixed length at a time.
static void spread(const Call& call, const float* change, Int numbers, float* sums) {
    constexpr Int PIECE = 64 * LANES;
    const Int pieces = parts(numbers, PIECE);
#pragma omp parallel for num_threads(call.threads)
    for (Int i = 0; i < pieces; i++)
        for (Int k = 0; k < call.stack; k++) {
            const Int from = i * PIECE, here = std::min(PIECE, numbers - from);
            if (call.grad_attention) sums[k * pieces + i] = sum_of_products(change + from, call.kernels + k * numbers + from, here);
            for (Int j = from; call.grad_kernels && j < from + here; j++)
                call.grad_kernels[k * numbers + j] = change[j] * call.attention[k];
        }
    for (Int k = 0; call.grad_attention && k < call.stack; k++) {
        call.grad_attention[k] = 0;
        for (Int i = 0; i < pieces; i++) call.grad_attention[k] += sums[k * pieces + i];
    }
}

static bool one_image(const Call& call) {
    const float whole = 1;
    Call one = call;
    one.stack = 1, one.attention = &whole, one.grad_attention = nullptr;
    const Int numbers = one.outs * one.channels * one.taps_down * one.taps_across;
    const Int sums = up(parts(numbers, 64 * LANES) * call.stack, 16), room = up(numbers, 16) + sums;
    const Memory memory(room + Backward(one).memory());
    if (!memory.get()) return false;
    one.grad_kernels = memory.get() + sums;
    Backward(one).run(memory.get() + room);
    spread(call, one.grad_kernels, numbers, memory.get());
    return true;
}

static bool many_images(const Call& call) {
    Backward backward(call);
    const Memory memory(backward.memory());
    if (memory.get()) backward.run(memory.get());
    return memory.get();
}

// The bias sees every position alike: what counts of the outputs' gradient are its sums over them, (images, outs).
static bool through_bias(const Call& call) {
    const Memory memory(up(call.images * call.outs, 16));
    float* sums = memory.get();
    if (!sums) return false;
#pragma omp parallel num_threads(call.threads)
    {
#pragma omp for
        for (Int i = 0; i < call.images * call.outs; i++) sums[i] = sum_of(call.outputs + i * call.high * call.wide, call.high * call.wide);
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

// 0, or 1 where there is not memory enough. Each of grad_kernels, grad_attention and grad_bias (like kernels, attention and bias) may be
// null.
extern "C" int dynconv_backward(const Call* given) {
    const Call& call = *given;
    if ((call.grad_kernels || call.grad_attention) && !(call.images > 1 ? many_images(call) : one_image(call))) return 1;
    return call.bias && (call.grad_bias || call.grad_attention) && !through_bias(call);
}
