// The outputs of a dynamic convolution, and the gradient of its input, as matrix products with what its positions see (columns.h): for
// 1 x 1 kernels, at a stride, for few positions; where winograd.h applies, winograd.cpp saves products. Kernels are read as torch keeps
// them, a few rows at a time, mixed for a few images into a little memory that is used again, and at once multiplied: so the stack is
// read once for all of these images, and mixed kernels never leave the cache.
//
// Each output, and each number of the gradient, is summed by one thread, in an order that the sizes alone decide. So are the tiles: what is
// rounded before it is added is the choice of a compiler, tile by tile.

#include "columns.h"
#include "product.h"

constexpr Int CHUNK = 1 << 16;   // numbers that some positions see together, and
constexpr Int MIXED = 1 << 15;   // of the kernels that are mixed for them: the cache holds both,
constexpr Int FEWER = 4;         // and for one image so many times less, for then what is asked of memory meanwhile is as much again
constexpr Int BLOCK = 8 * MOST;  // rows of kernels, at most, that are mixed together

static Int fewer(const Cut& cut) { return cut.together > 1 ? 1 : FEWER; }

// What will be mixed next: for as many channels out, from `out` on, the same numbers of their kernels
static Ahead rows_after(const Call& call, Int out, Int outs, Int across, Int row, Int length) {
    return {call.kernels + out * across + row, call.stack, call.outs * across, length, across, std::min(outs, call.outs - out)};
}

class Outputs {
    const Columns see;
    const Call& call;
    const Cut cut;
    Int chunk, block, shares, tile, seen, own;  // of a kernel's rows; of channels out

  public:
    explicit Outputs(const Call& given) : see(given), call(see.call), cut(call) {
        const Int most = cut.most(see.positions);
        seen = up(most, WIDE);
        const Int less = fewer(cut);
        chunk = std::min(see.rows, up(std::max<Int>(64, CHUNK / less / (cut.together * seen)), LANES));
        shares = std::min(parts(call.outs, MOST), parts(2 * WORKERS, cut.groups * cut.pieces));
        block = std::max<Int>(MOST, std::min(BLOCK, MIXED / less / (cut.together * chunk) / MOST * MOST));
        tile = block * up(chunk, LANES);
        own = up(cut.together * (seen * chunk + tile) + seen + LANES, 16);
    }

    Int memory() const { return call.threads * own; }

    // A thread takes several shares of the channels out: what their positions see is laid out once for all of them.
    void run(float* memory) const {
        const Int teams = std::min(shares, call.threads);
#pragma omp parallel for num_threads(call.threads) schedule(dynamic) collapse(2)
        for (Int i = 0; i < cut.groups * cut.pieces; i++)
            for (Int team = 0; team < teams; team++)
                work(i / cut.pieces, i % cut.pieces, team * shares / teams, (team + 1) * shares / teams, memory + omp_get_thread_num() * own);
    }

  private:
    Int first_out(Int share) const { return share * call.outs / shares; }

    void work(Int group, Int piece, Int share, Int last, float* room) const {
        const Int image = cut.first(group, call), images = cut.first(group + 1, call) - image;
        const Int first = cut.start(piece, see.positions), stop = cut.start(piece + 1, see.positions);
        float* line = room + cut.together * (seen * chunk + tile);
        if (call.bias) begin(image, images, first_out(share), first_out(last), first, stop);
        for (Int row = 0; row < see.rows; row += chunk) {
            const Int some = std::min(chunk, see.rows - row);
            for (Int b = 0; b < images; b++) see.across(image + b, row, some, first, stop, room + b * seen * chunk, line);
            for (Int s = share; s < last; s++)
                for (Int o = first_out(s); o < first_out(s + 1); o += block)
                    add_products(image, images, o, std::min(block, first_out(s + 1) - o), row, some, first, stop, room);
        }
    }

    void add_products(Int image, Int images, Int out, Int outs, Int row, Int some, Int first, Int stop, float* room) const {
        const Int apart = up(some, LANES);
        float* mixed = room + cut.together * seen * chunk;
        mix_rows(call, image, images, call.kernels + out * see.rows + row, see.rows, outs, some, mixed, apart, tile);
        Ahead ahead = rows_after(call, out + outs, outs, see.rows, row, some);
        for (Int b = 0; b < images; b++) {
            float* to = call.outputs + ((image + b) * call.outs + out) * see.positions + first;
            multiply_tiles({mixed + b * tile, apart, 1}, outs, room + b * seen * chunk, some, {to, see.positions, stop - first, row || call.bias}, &ahead);
        }
    }

    // With each image's mixed bias
    void begin(Int image, Int images, Int out, Int last, Int first, Int stop) const {
        for (Int b = image; b < image + images; b++)
            for (Int o = out; o < last; o++) {
                float bias = 0;
                for (Int k = 0; k < call.stack; k++) bias += call.attention[b * call.stack + k] * call.bias[k * call.outs + o];
                float* to = call.outputs + (b * call.outs + o) * see.positions;
                std::fill(to + first, to + stop, bias);
            }
    }
};

class InputGradient {
    const Columns see;
    const Call& call;
    const Cut cut;
    Int channels, chunk, tile, seen, back, own;  // channels that a thread takes together; channels out of a chunk

  public:
    explicit InputGradient(const Call& given) : see(given), call(see.call), cut(call) {
        seen = up(cut.most(see.positions), WIDE);
        const Int most = std::max<Int>(1, 2 * BLOCK / see.taps), enough = parts(2 * WORKERS, cut.groups);
        channels = parts(call.channels, std::min(call.channels, std::max(parts(call.channels, most), enough)));
        if (channels > LANES) channels = channels / LANES * LANES;  // rows of whole registers
        chunk = std::min(call.outs, std::max<Int>(32, (CHUNK / 2) / fewer(cut) / (cut.together * seen)));
        tile = chunk * up(channels * see.taps, LANES), back = see.plain ? 0 : channels * see.taps * seen;
        own = up(cut.together * (seen * chunk + tile + back), 16);
    }

    Int memory() const { return call.threads * own; }

    void run(float* memory) const {
#pragma omp parallel for num_threads(call.threads) schedule(dynamic) collapse(2)
        for (Int group = 0; group < cut.groups; group++)
            for (Int c = 0; c < call.channels; c += channels)
                work(group, c, std::min(channels, call.channels - c), memory + omp_get_thread_num() * own);
    }

  private:
    void work(Int group, Int channel, Int some, float* room) const {
        const Int image = cut.first(group, call), images = cut.first(group + 1, call) - image;
        for (Int b = image; b < image + images && !see.plain; b++)
            std::memset(call.grad_x + (b * call.channels + channel) * see.plane, 0, some * see.plane * 4);
        for (Int piece = 0; piece < cut.pieces; piece++) {
            const Int first = cut.start(piece, see.positions), stop = cut.start(piece + 1, see.positions);
            float* back_at = room + cut.together * (seen * chunk + tile);
            for (Int o = 0; o < call.outs; o += chunk)
                add_products(image, images, channel, some, first, stop, o, std::min(chunk, call.outs - o), room, back_at);
            for (Int b = 0; b < images && !see.plain; b++)
                for (Int r = 0; r < some * see.taps; r++)
                    see.add_back(image + b, channel * see.taps + r, first, stop, back_at + b * back + r * seen);
        }
    }

    void add_products(Int image, Int images, Int channel, Int some, Int first, Int stop, Int out, Int outs, float* room, float* back_at) const {
        const Int row = channel * see.taps, rows = some * see.taps, apart = up(rows, LANES);
        float* mixed = room + cut.together * seen * chunk;
        mix_rows(call, image, images, call.kernels + out * see.rows + row, see.rows, outs, rows, mixed, apart, tile);
        Ahead ahead = rows_after(call, out + outs, outs, see.rows, row, rows);
        for (Int b = 0; b < images; b++) {
            const float* grad = call.outputs + ((image + b) * call.outs + out) * see.positions + first;
            float* packed = room + b * seen * chunk;
            for (Int o = 0; o < outs; o++) lay(grad + o * see.positions, stop - first, packed + o * WIDE, outs * WIDE);
            float* to = see.plain ? call.grad_x + ((image + b) * call.channels + channel) * see.plane + first : back_at + b * back;
            multiply_tiles({mixed + b * tile, 1, apart}, rows, packed, outs, {to, see.plain ? see.plane : seen, stop - first, out > 0}, &ahead);
        }
    }
};

bool forward_by_columns(const Call& call) { return done(Outputs(call)); }
bool input_gradient_by_columns(const Call& call) { return done(InputGradient(call)); }
