// Memory for the work of one call. Memory that is new to a process costs it more than the arithmetic on it, so a thread keeps its
// last, if it is not much.

#pragma once

#include <cstdlib>
#include <memory>

#include "registers.h"

// So many numbers, or null; the first begins a line of the cache. One at a time in a thread.
class Memory {
    struct Free { void operator()(float* memory) const { std::free(memory); } };
    static constexpr Int MUCH = 1 << 24;  // numbers: 64 MB
    static inline thread_local std::unique_ptr<float, Free> kept;
    static inline thread_local Int size = 0;

  public:
    explicit Memory(Int numbers) {
        if (numbers <= size) return;
        release();
        kept.reset(static_cast<float*>(std::aligned_alloc(64, up(numbers, 16) * 4)));
        if (kept) size = numbers;
    }
    ~Memory() {
        if (size > MUCH) release();
    }
    float* get() const { return kept.get(); }
    static void release() { kept.reset(), size = 0; }
};
