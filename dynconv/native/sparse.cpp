// The branch of a sparse block: two 3 x 3 convolutions, each with a batch norm at inference, where a gate is open and where that is
// needed. Called by sparse.py.
//
// The idea. With an image's channels last, what a position sees are three short pieces of memory. They are brought together for some
// positions at a time, and multiplied with a matrix of kernels that is turned once: wherever the positions lie, they are computed in rows.
// Each number is summed by one thread, in an order that the sizes and the gate alone decide.

#include <cmath>
#include <vector>

#include "images.h"
#include "product.h"

constexpr Int GROUP = 8 * MOST;  // positions that are computed together
constexpr Int CHUNK = 1 << 10;   // numbers that each of them sees, at a time: the cache holds them all
constexpr Int TAPS = 9;

typedef std::vector<Int> Places;

// Kernels (outs, channels, 9) as tiles of WIDE outputs, (tap, channel, WIDE) each, and what a batch norm makes of their sums
class Kernels {
    const Convolution& from;
    const double eps;
    float *const tiles, *const scale, *const shift;

  public:
    const Int channels, outs, length, room;  // room: of a position's outputs

    static Int memory(Int channels, Int outs) { return (TAPS * channels + 2) * up(outs, WIDE); }

    Kernels(const Convolution& c, double e, Int ins, Int o, float* to)
        : from(c), eps(e), tiles(to), scale(to + TAPS * ins * up(o, WIDE)), shift(scale + up(o, WIDE)), channels(ins), outs(o), length(TAPS * ins),
          room(up(o, WIDE)) {}

    void turn(Int threads) const {
#pragma omp parallel for num_threads(threads)
        for (Int o = 0; o < room; o += LANES)
            for (Int row = 0; row < length; row += LANES) turn_some(o, row);
        for (Int o = 0; o < room; o++) {
            const double factor = o < outs ? (from.factor ? from.factor[o] : 1) / std::sqrt(from.variance[o] + eps) : 0;
            scale[o] = factor;
            shift[o] = o < outs ? (from.term ? from.term[o] : 0) - from.mean[o] * factor : 0;
        }
    }

    // to (positions, room) = what so many positions see, (positions, length), through all
    void multiply(const float* seen, Int positions, float* to) const {
        for (Int row = 0; row < length; row += CHUNK)
            for (Int o = 0; o < room; o += WIDE)
                multiply_tile({seen + row, length, 1}, positions, {tiles + o * length + row * WIDE, WIDE}, std::min(CHUNK, length - row),
                              {to + o, room, WIDE, row > 0});
    }

    vec normalized(const float* sums, Int o) const { return load(sums + o) * load(scale + o) + load(shift + o); }

  private:
    void turn_some(Int o, Int row) const {
        vec t[LANES] = {};
        for (Int i = 0; i < std::min<Int>(LANES, outs - o); i++)
            t[i] = load_some(from.kernels + (o + i) * length + row, from.kernels + outs * length, std::min<Int>(LANES, length - row));
        transpose(t);
        float* tile = tiles + o / WIDE * length * WIDE + o % WIDE;
        for (Int i = row; i < std::min(length, row + LANES); i++) store(tile + (i % TAPS * channels + i / TAPS) * WIDE, t[i - row]);
    }
};

// Pixels with their channels side by side and a border of one pixel
struct Picture {
    float* at;
    Int across, pixel;

    Int place(Int y, Int x) const { return (y * across + x) * pixel; }

    void see(Int place, Int channels, float* to) const {
        for (Int tap = 0; tap < TAPS; tap++)
            std::memcpy(to + tap * channels, at + place + (tap / 3 * across + tap % 3) * pixel, channels * 4);
    }

    void clear_border(Int high) const {
        std::memset(at, 0, across * pixel * 4);
        std::memset(at + (high + 1) * across * pixel, 0, across * pixel * 4);
        for (Int y = 1; y <= high; y++)
            for (Int x : {Int(0), across - 1}) std::memset(at + place(y, x), 0, pixel * 4);
    }
};

class SparseBranch {
    const Branch& call;
    const Int workers, inner;  // images at a time, threads for each
    Images images;
    Int hidden_pixel, kernels, pictures, group;  // numbers for both layers' kernels, a worker's two pictures, a thread's group
    std::vector<Places> open, needed;            // of each image

  public:
    explicit SparseBranch(const Branch& c)
        : call(c),
          workers(c.images >= c.threads ? c.threads : 1),
          inner(workers > 1 ? 1 : c.threads),
          images{c.x, c.x + c.images * c.channels * c.height * c.width, c.channels, c.height, c.width, 1, 1, 0, 0},
          open(c.images),
          needed(c.images) {
        images.set_row(c.width + 2);
        hidden_pixel = (parts(c.outs, LANES) | 1) * LANES;
        kernels = up(Kernels::memory(c.channels, c.outs) + Kernels::memory(c.outs, c.outs), 16);
        pictures = up((c.height + 2) * images.across * images.pixel + (c.high + 2) * (c.wide + 2) * hidden_pixel, 16);
        group = up(GROUP * (TAPS * std::max(c.channels, c.outs) + up(c.outs, WIDE)), 16);
#pragma omp parallel for num_threads(c.threads)
        for (Int i = 0; i < c.images; i++) find(i);
    }

    // Multiply-adds of the positions that are to be computed, as a share of all
    double share() const {
        double used = 0;
        for (Int i = 0; i < call.images; i++) used += needed[i].size() * call.channels + open[i].size() * call.outs;
        return used / (call.images * call.high * call.wide * (call.channels + call.outs));
    }

    Int memory() const { return kernels + workers * pictures + call.threads * group; }

    void run(float* room) const {
        const Kernels first(call.first, call.first_eps, call.channels, call.outs, room);
        const Kernels second(call.second, call.second_eps, call.outs, call.outs, room + Kernels::memory(call.channels, call.outs));
        first.turn(call.threads), second.turn(call.threads);
        float *own = room + kernels, *groups = own + workers * pictures;
#pragma omp parallel for num_threads(workers) schedule(dynamic)
        for (Int i = 0; i < call.images; i++) {
            const Int worker = omp_get_thread_num();
            compute(i, first, second, own + worker * pictures, groups + worker * inner * group);
        }
    }

  private:
    void find(Int image) {
        const Int across = call.wide + 2;
        const float* gate = call.gate + image * call.high * call.wide;
        std::vector<char> is(across * (call.high + 2)), row(is.size());
        for (Int y = 0; y < call.high; y++)
            for (Int x = 0; x < call.wide; x++)
                if (gate[y * call.wide + x] != 0) is[(y + 1) * across + x + 1] = 1, open[image].push_back(y * call.wide + x);
        for (Int i = 1; i + 1 < Int(is.size()); i++) row[i] = is[i - 1] | is[i] | is[i + 1];
        for (Int y = 0; y < call.high; y++)
            for (Int x = 0; x < call.wide; x++) {
                const Int i = (y + 1) * across + x + 1;
                if (row[i - across] | row[i] | row[i + across]) needed[image].push_back(y * call.wide + x);
            }
    }

    void compute(Int image, const Kernels& first, const Kernels& second, float* own, float* groups) const {
        const Picture x{own, images.across, images.pixel};
        const Picture hidden{own + (call.height + 2) * x.across * x.pixel, call.wide + 2, hidden_pixel};
        images.channels_last(image, 0, call.height + 2, x.at);
        hidden.clear_border(call.high);
        convolve(x, call.stride, needed[image], first, groups, [&](Int place, const float* sums) {
            float* to = hidden.at + hidden.place(place / call.wide + 1, place % call.wide + 1);
            for (Int o = 0; o < up(call.outs, LANES); o += LANES) {
                const vec v = first.normalized(sums, o);
                store(to + o, v < 0 ? vec{} : v);
            }
        });
        const Int positions = call.high * call.wide;
        float* outputs = call.outputs + image * call.outs * positions;
        std::memset(outputs, 0, call.outs * positions * 4);
        convolve(hidden, 1, open[image], second, groups, [&](Int place, const float* sums) {
            const float gate = call.gate[image * positions + place];
            for (Int o = 0; o < call.outs; o += LANES) {
                const vec v = second.normalized(sums, o) * gate;
                for (Int i = 0; i < std::min<Int>(LANES, call.outs - o); i++) outputs[(o + i) * positions + place] = v[i];
            }
        });
    }

    // done(place, sums) for each
    template <class Done>
    void convolve(const Picture& from, Int stride, const Places& places, const Kernels& by, float* groups, Done done) const {
        const Int count = places.size();
#pragma omp parallel for num_threads(inner) schedule(dynamic)
        for (Int g = 0; g < count; g += GROUP) {
            const Int some = std::min(GROUP, count - g);
            float *seen = groups + omp_get_thread_num() * group, *sums = seen + GROUP * by.length;
            for (Int i = 0; i < some; i++)
                from.see(from.place(places[g + i] / call.wide * stride, places[g + i] % call.wide * stride), by.channels, seen + i * by.length);
            by.multiply(seen, some, sums);
            for (Int i = 0; i < some; i++) done(places[g + i], sums + i * by.room);
        }
    }
};

// 0, 1 where there is not memory enough, 2 where so much is open that nothing was computed
extern "C" int dynconv_sparse_branch(const Branch* call) {
    const SparseBranch branch(*call);
    if (branch.share() > call->limit) return 2;
    return !done(branch);
}
