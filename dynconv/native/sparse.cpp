// The branch of a sparse block: two 3 x 3 convolutions, each with a batch norm at inference, where a gate is open and where that is
// needed. Called by sparse.py.
//
// The idea. What some positions see is brought together, wherever they lie: a matrix with a row for each channel and tap and a column
// for each position. Kernels, as torch keeps them, times this matrix are the outputs; nothing of them has to be turned or copied. Where
// many positions are wanted, Winograd's products (winograd.h) compute all of them sooner; the first convolution's leave theirs as the second
// likes them, channels last: then it is registers that are brought together, whether positions follow each other or not.
// Each number is summed by one thread, in an order that the sizes and the gate alone decide.

#include <cmath>
#include <vector>

#include "images.h"
#include "product.h"
#include "winograd.h"

constexpr Int TOGETHER = 4 * WIDE;  // positions, of one image or of several, that are computed together
constexpr Int CHUNK = 32 * TAPS;    // rows of what they see, at a time: the cache holds it, in whole registers
constexpr Int FEW_RUNS = 4;         // of a tile: where there are more they are short, and to write a register takes longer than some numbers
constexpr Int ALONE = LANES / 4;    // positions beyond whole registers of them: so many are not worth one
constexpr Int BLOCK = 4 * MOST;     // channels out that are multiplied with it at a time
constexpr Int MANY = 1 << 16;       // pairs of channels: with more, torch is faster where most is open and Winograd's products do not apply

struct Position { Int image, y, x; };
typedef std::vector<Position> Positions;

// One of the two convolutions, its norm, and where it is wanted
struct Stage {
    const Convolution& by;
    const double eps;
    const float *from, *gate;  // gate: null where a ReLU follows instead
    float* to;
    const Int channels, height, width, stride;
    const Positions& wanted;

    // The norm, as a factor and a term of each channel out
    std::vector<float> norm(Int outs) const {
        std::vector<float> all(2 * outs);
        for (Int o = 0; o < outs; o++) {
            all[o] = (by.factor ? by.factor[o] : 1) / std::sqrt(by.variance[o] + eps);
            all[outs + o] = (by.term ? by.term[o] : 0) - by.mean[o] * all[o];
        }
        return all;
    }
};

// In place, what follows on so many sums of a channel: its norm, and a ReLU or the gates of their positions
static void finish(float* v, Int some, float factor, float term, const float* gates) {
    for (Int i = 0; i < some; i++) v[i] = followed(v[i] * factor + term, gates ? gates + i : nullptr);
}

class AtPositions {
    // Of a tile's positions so many neighbours in a row: the first's column, and the pixel that a tap of it sees; -1 where it is outside
    struct Run { Int column, pixel, count; };
    struct Runs { Run all[TAPS][WIDE]; Int count[TAPS]; Int pixels[TAPS][WIDE]; };

    const Branch& call;
    const Stage& stage;
    const Between* const laid;  // the images, if their channels lie last
    const std::vector<float> norm;
    const Int length, count, groups, teams, plane, positions;

  public:
    AtPositions(const Branch& c, const Stage& l, const Between* from = nullptr)
        : call(c),
          stage(l),
          laid(from),
          norm(l.norm(c.outs)),
          length(TAPS * l.channels),
          count(l.wanted.size()),
          groups(parts(count, TOGETHER)),
          teams(groups < 2 * c.threads ? std::min(c.threads, parts(c.outs, MOST)) : 1),
          plane(l.height * l.width),
          positions(c.high * c.wide) {}

    Int memory() const { return call.threads * own(); }

    void run(float* room) const {
#pragma omp parallel for num_threads(call.threads) schedule(dynamic) collapse(2)
        for (Int group = 0; group < groups; group++)
            for (Int team = 0; team < teams; team++) {
                const Int out = team * call.outs / teams, last = (team + 1) * call.outs / teams;
                work(start(group), start(group + 1) - start(group), out, last, room + omp_get_thread_num() * own());
            }
    }

  private:
    Int start(Int group) const { return std::min(count, group * parts(count, WIDE) / groups * WIDE); }  // whole tiles
    Int own() const { return up((CHUNK + call.outs) * TOGETHER + LANES + ALONE * CHUNK, 16); }

    void work(Int first, Int some, Int out, Int last, float* sums) const {
        const Int rest = some % LANES, alone = some > LANES && rest <= ALONE ? rest : 0, together = some - alone, tiles = parts(together, WIDE);
        float *seen = sums + call.outs * TOGETHER, *seen_alone = seen + CHUNK * TOGETHER + LANES;
        Runs runs[TOGETHER / WIDE];
        const float* corners[TOGETHER];
        for (Int tile = 0; tile < tiles; tile++) {
            const Position* wanted = &stage.wanted[first + tile * WIDE];
            const Int here = std::min<Int>(WIDE, together - tile * WIDE);
            laid ? find(wanted, here, corners + tile * WIDE) : find(wanted, here, runs[tile]);
        }
        for (Int row = 0; row < length; row += CHUNK) {
            const Int rows = std::min(CHUNK, length - row);
            for (Int tile = 0; tile < tiles; tile++) {
                float* to = seen + tile * rows * WIDE;
                laid ? see(corners + tile * WIDE, row, rows, to) : see(runs[tile], row, rows, to);
            }
            for (Int i = 0; i < alone; i++) see(stage.wanted[first + together + i], row, rows, seen_alone + i * CHUNK);
            for (Int o = out; o < last; o += BLOCK) {
                const Int outs = std::min(BLOCK, last - o);
                const float* kernels = stage.by.kernels + o * length + row;
                multiply_tiles({kernels, length, 1}, outs, seen, rows, {sums + o * TOGETHER, TOGETHER, together, row > 0});
                for (Int i = 0; i < alone; i++)
                    multiply_alone(kernels, length, outs, seen_alone + i * CHUNK, rows, {sums + o * TOGETHER + together + i, TOGETHER, 1, row > 0});
            }
        }
        write(&stage.wanted[first], some, out, last, sums);
    }

    // Where a tap of a position lies in the images, or -1
    Int pixel_of(const Position& at, Int tap) const {
        const Int y = at.y * stage.stride + tap / 3 - 1, x = at.x * stage.stride + tap % 3 - 1;
        const bool inside = y >= 0 && y < stage.height && x >= 0 && x < stage.width;
        return inside ? at.image * stage.channels * plane + y * stage.width + x : -1;
    }

    // The runs of a tile of so many positions; the rest sees nothing
    void find(const Position* wanted, Int some, Runs& runs) const {
        for (Int tap = 0; tap < TAPS; tap++) {
            Int n = 0;
            for (Int i = 0; i < WIDE; i++) {
                const Int pixel = runs.pixels[tap][i] = i < some ? pixel_of(wanted[i], tap) : -1;
                Run* before = runs.all[tap] + n - 1;
                if (n && (pixel >= 0 ? before->pixel >= 0 && before->pixel + before->count == pixel : before->pixel < 0)) before->count++;
                else runs.all[tap][n++] = {i, pixel, 1};
            }
            runs.count[tap] = n;
        }
    }

    // Some rows; of long runs whole registers: where one reaches beyond its run, the next run, row or tile is written later
    void see(const Runs& runs, Int row, Int rows, float* to) const {
        const float* end = stage.from + call.images * stage.channels * plane;
        for (Int r = row; r < row + rows; r++, to += WIDE) {
            const float* from = stage.from + r / TAPS * plane;
            const Run* run = runs.all[r % TAPS];
            if (runs.count[r % TAPS] > FEW_RUNS) {
                for (Int i = 0; i < WIDE; i++) to[i] = number(from, runs.pixels[r % TAPS][i]);
                continue;
            }
            for (Int n = runs.count[r % TAPS]; n > 0; n--, run++)
                for (Int i = 0; i < run->count; i += LANES)
                    store(to + run->column + i, run->pixel < 0 ? vec{} : load_some(from + run->pixel + i, end, std::min<Int>(LANES, run->count - i)));
        }
    }

    // Where channels lie last: the first pixel that a position sees, and how far from there lies that of a tap
    const float* corner(const Position& at) const { return laid->at(at.image) + (at.y * laid->of.across + at.x) * laid->of.pixel; }
    Int away(Int tap) const { return (tap / 3 * laid->of.across + tap % 3) * laid->of.pixel; }

    // Those of a tile, which is filled up with the last
    void find(const Position* wanted, Int some, const float** corners) const {
        for (Int i = 0; i < WIDE; i++) corners[i] = corner(wanted[std::min(i, some - 1)]);
    }

    // Some rows there: registers of channels, turned
    void see(const float* const* corners, Int row, Int rows, float* to) const {
        const Int channels = rows / TAPS;
        for (Int c = 0; c < channels; c += LANES)
            for (Int tap = 0; tap < TAPS; tap++)
                for (Int i = 0; i < WIDE; i += LANES) {
                    const Int from = away(tap) + row / TAPS + c;
                    vec t[LANES];
#pragma GCC unroll 16
                    for (int l = 0; l < LANES; l++) t[l] = load(corners[i + l] + from);
                    transpose(t);
#pragma GCC unroll 16
                    for (int l = 0; l < LANES; l++)
                        if (c + l < channels) store(to + ((c + l) * TAPS + tap) * WIDE + i, t[l]);
                }
    }

    // The same of one position
    void see(const Position& at, Int row, Int rows, float* to) const {
        const float* from = laid ? corner(at) : stage.from;
        const Int channel = laid ? 1 : plane;
        Int pixels[TAPS];
        for (Int tap = 0; tap < TAPS; tap++) pixels[tap] = laid ? away(tap) : pixel_of(at, tap);
        for (Int r = row; r < row + rows; r++) *to++ = number(from + r / TAPS * channel, pixels[r % TAPS]);
    }
    static float number(const float* from, Int pixel) { return pixel < 0 ? 0 : from[pixel]; }

    // One number of each of some rows of the kernels, times what one position sees
    static void multiply_alone(const float* kernels, Int length, Int outs, const float* seen, Int rows, const Place& to) {
        for (Int o = 0; o < outs; o += LANES) {
            vec sums[LANES] = {};
            const Int some = std::min<Int>(LANES, outs - o);
            for (Int i = 0; i < some; i++) sums[i] = lanes_of_products(kernels + (o + i) * length, seen, rows);
            const vec all = totals(sums);
            for (Int i = 0; i < some; i++) {
                float& at = to.at[(o + i) * to.along];
                at = all[i] + (to.add ? at : 0);
            }
        }
    }

    void write(const Position* wanted, Int some, Int out, Int last, float* sums) const {
        Int at[TOGETHER];
        float gates[TOGETHER];
        for (Int i = 0; i < some; i++) {
            const Int before = wanted[i].image * positions, here = wanted[i].y * call.wide + wanted[i].x;
            at[i] = before * call.outs + here, gates[i] = stage.gate ? stage.gate[before + here] : 0;
        }
        for (Int o = out; o < last; o++) {
            float *from = sums + o * TOGETHER, *to = stage.to + o * positions;
            finish(from, some, norm[o], norm[call.outs + o], stage.gate ? gates : nullptr);
            for (Int i = 0; i < some; i++) to[at[i]] = from[i];
        }
    }
};

static bool everywhere(const Branch& call, const Stage& stage, const Between* from = nullptr, const Between* to = nullptr) {
    const std::vector<float> norm = stage.norm(call.outs);
    Call all = {stage.from, stage.by.kernels, nullptr, nullptr, stage.to};
    all.images = call.images, all.channels = stage.channels, all.height = stage.height, all.width = stage.width;
    all.outs = call.outs, all.stack = 1, all.taps_down = all.taps_across = 3, all.threads = call.threads, all.groups = 1, all.channels_last = 0;
    all.stride_down = all.stride_across = all.pad_down = all.pad_across = all.gap_down = all.gap_across = 1;
    all.high = call.high, all.wide = call.wide, all.next_out = stage.channels * TAPS, all.next_channel = TAPS;
    const Within within = {norm.data(), norm.data() + call.outs, stage.gate, from, to};
    return forward_by_tiles(all, &within);
}

class SparseBranch {
    const Branch& call;
    Positions open, needed;
    const Stage first{call.first, call.first_eps, call.x, nullptr, call.hidden, call.channels, call.height, call.width, call.stride, needed};
    const Stage second{call.second, call.second_eps, call.hidden, call.gate, call.outputs, call.outs, call.high, call.wide, 1, open};

  public:
    explicit SparseBranch(const Branch& c) : call(c) {
        for (Int i = 0; i < c.images; i++) find(i);
    }

    // Whether torch is faster
    bool too_much() const {
        const bool mostly = needed.size() > 0.45 * call.images * call.high * call.wide;
        return mostly && !call.always && !has_tiles(first) && call.channels * call.outs > MANY;
    }

    bool run() const {
        const bool first_by_tiles = by_tiles(first), second_by_tiles = by_tiles(second, first_by_tiles);
        if (!second_by_tiles) std::memset(call.outputs, 0, call.images * call.outs * call.high * call.wide * 4);
        if (!first_by_tiles) return done(AtPositions(call, first)) && (second_by_tiles ? everywhere(call, second) : done(AtPositions(call, second)));
        const Between between(call.images, call.outs, call.high, call.wide);
        return between.exists() && everywhere(call, first, nullptr, &between) &&
               (second_by_tiles ? everywhere(call, second, &between) : done(AtPositions(call, second, &between)));
    }

  private:
    bool has_tiles(const Stage& stage) const { return stage.stride == 1 && call.high * call.wide >= FEW_POSITIONS; }
    bool by_tiles(const Stage& stage, bool laid = false) const {
        return !call.always && has_tiles(stage) && work_at_positions(stage, laid) > work_everywhere();
    }
    // In products of a channel in and a channel out. Where positions do not follow each other, to bring together what they see costs as much
    // as 64 channels out, or as 8 where channels lie last; tiles of outputs take more than their products, for they are transformed.
    double work_at_positions(const Stage& stage, bool laid) const {
        if (laid) return TAPS * stage.wanted.size() * (1 + 8. / call.outs);
        Int runs = 0;
        const Position* last = nullptr;
        for (const Position& at : stage.wanted) {
            runs += !last || at.x != last->x + 1 || at.y != last->y;
            last = &at;
        }
        return TAPS * (stage.wanted.size() + 64. / call.outs * runs);
    }
    double work_everywhere() const {
        const Int large = work_by_tiles<Four>(call.high, call.wide, KERNEL), small = work_by_tiles<Two>(call.high, call.wide, KERNEL);
        return 1.3 * call.images * std::min(large, small);
    }

    void find(Int image) {
        const Int across = call.wide + 2;
        const float* gate = call.gate + image * call.high * call.wide;
        std::vector<char> is(across * (call.high + 2)), row(is.size());
        for (Int y = 0; y < call.high; y++)
            for (Int x = 0; x < call.wide; x++)
                if (gate[y * call.wide + x] != 0) is[(y + 1) * across + x + 1] = 1, open.push_back({image, y, x});
        for (Int i = 1; i + 1 < Int(is.size()); i++) row[i] = is[i - 1] | is[i] | is[i + 1];
        for (Int y = 0; y < call.high; y++)
            for (Int x = 0; x < call.wide; x++) {
                const Int i = (y + 1) * across + x + 1;
                if (row[i - across] | row[i] | row[i + across]) needed.push_back({image, y, x});
            }
    }
};

// 0, 1 where there is not memory enough, 2 where so much is open that nothing was computed
extern "C" int dynconv_sparse_branch(const Branch* call) {
    const SparseBranch branch(*call);
    if (branch.too_much()) return 2;
    return !branch.run();
}
