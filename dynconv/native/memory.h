// Memory for the work of one call. Memory that is new to a process costs it more than the arithmetic on it, so a thread keeps its
// last, if it is not much.

#pragma once

#if __has_include(<sys/mman.h>)
#include <sys/mman.h>
#endif

#include <cstdlib>
#include <memory>

#include "registers.h"

struct Free { void operator()(float* memory) const { std::free(memory); } };
typedef std::unique_ptr<float, Free> Numbers;
// So many, or null; the first begins a line of the cache, or one of a system's large pages.
static inline Numbers aligned(Int numbers, Int bytes = 64) { return Numbers(static_cast<float*>(std::aligned_alloc(bytes, up(numbers * 4, bytes)))); }

// The same from what the thread has kept. One at a time in a thread.
class Memory {
    static constexpr Int MUCH = 1 << 24;  // numbers: 64 MB
    static inline thread_local Numbers kept;
    static inline thread_local Int size = 0;

  public:
    explicit Memory(Int numbers) {
        if (numbers <= size) return;
        release();
        kept = aligned(numbers);
        if (kept) size = numbers;
    }
    ~Memory() {
        if (size > MUCH) release();
    }
    float* get() const { return kept.get(); }
    static void release() { kept.reset(), size = 0; }
};

void forget_all();  // kept.cpp: what is kept for gradients

// To be asked for before new memory is first touched: a system gives it a page at a time, and tens of megabytes in small pages cost more
// than the arithmetic that fills them. Where there are no large pages (of 2 MB), nothing happens.
constexpr Int LARGE_PAGE = 1 << 21;  // bytes
static inline void in_large_pages([[maybe_unused]] float* memory, [[maybe_unused]] Int numbers) {
#ifdef MADV_HUGEPAGE
    constexpr std::uintptr_t PAGE = LARGE_PAGE, ENOUGH = 2 * PAGE;
    const auto start = reinterpret_cast<std::uintptr_t>(memory), stop = start + numbers * sizeof(float), first = (start + PAGE - 1) / PAGE * PAGE;
    if (memory && stop >= first + ENOUGH) madvise(reinterpret_cast<void*>(first), (stop - first) / PAGE * PAGE, MADV_HUGEPAGE);
#endif
}
