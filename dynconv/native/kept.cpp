// Memory for the gradients of kernels, kept from one step of a training to the next. A system clears what it gives, which takes longer than
// the gradient of a few images is written in; so what is given back is kept for the next that asks for as much, if all of it is not much.

#include <mutex>
#include <vector>

#include "memory.h"

namespace {

constexpr Int MUCH = 1 << 24;  // numbers: 64 MB

struct Block { Numbers memory; Int numbers; };
std::mutex guard;
std::vector<Block> kept;  // the oldest first
Int all = 0;

void forget(std::size_t i) {
    all -= kept[i].numbers;
    kept.erase(kept.begin() + i);
}

}  // namespace

// So many numbers, or null. Nobody waits for another thread: then memory is new.
extern "C" float* dynconv_take(Int numbers) {
    const std::unique_lock<std::mutex> mine(guard, std::try_to_lock);
    for (std::size_t i = 0; mine && i < kept.size(); i++) {
        if (kept[i].numbers != numbers) continue;
        float* found = kept[i].memory.release();
        forget(i);
        return found;
    }
    float* found = aligned(numbers, LARGE_PAGE).release();
    in_large_pages(found, numbers);
    return found;
}

extern "C" void dynconv_give(float* memory, Int numbers) {
    Numbers given(memory);
    const std::unique_lock<std::mutex> mine(guard, std::try_to_lock);
    if (!mine || numbers > MUCH) return;
    kept.push_back({std::move(given), numbers});
    all += numbers;
    while (all > MUCH) forget(0);
}

void forget_all() {
    const std::lock_guard<std::mutex> mine(guard);
    kept.clear(), all = 0;
}
