// The threads of the process's own OpenMP runtime, found by name: torch brings one, and a second pool would fight it for the cores.
#include "parallel.h"

#include <atomic>

#if defined(_MSC_VER)
#include <intrin.h>
#define NS_EXPORT extern "C" __declspec(dllexport)
#else
#include <dlfcn.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif
#define NS_EXPORT extern "C" __attribute__((visibility("default")))
#endif

namespace {

using Fork = void (*)(void (*)(void *), void *, unsigned, unsigned);

// GOMP_parallel is part of the interface of GCC's runtime, and LLVM's and Intel's offer it too.
Fork find_fork() {
#if defined(_MSC_VER)
    return nullptr;
#else
    return reinterpret_cast<Fork>(dlsym(RTLD_DEFAULT, "GOMP_parallel"));
#endif
}

struct Work {
    void (*task)(void *, int64_t);
    void *data;
    int64_t tasks;
    std::atomic<int64_t> next;
};

void take(void *pointer) {
    Work &work = *static_cast<Work *>(pointer);
    for (int64_t i = work.next.fetch_add(1, std::memory_order_relaxed); i < work.tasks; i = work.next.fetch_add(1, std::memory_order_relaxed))
        work.task(work.data, i);
}

} // namespace

extern "C" void neurosim_parallel(void (*task)(void *, int64_t), void *data, int64_t tasks, int64_t threads) {
    static const Fork fork = find_fork();
    const int64_t used = threads < tasks ? threads : tasks;
    Work work{task, data, tasks, {0}};
    if (used > 1 && fork)
        fork(take, &work, static_cast<unsigned>(threads), 0); // all of them: a smaller team ends threads that torch has to start again
    else
        take(&work);
}

// Whether several threads can be used.
NS_EXPORT int32_t neurosim_threads_found() { return find_fork() != nullptr; }

// Which sources this was built from, and for how many instruction sets: 1 is the baseline alone, 3 are all below.
#ifndef NEUROSIM_SOURCES
#define NEUROSIM_SOURCES 0
#endif
#ifndef NEUROSIM_SETS
#define NEUROSIM_SETS 1
#endif
NS_EXPORT int64_t neurosim_sources() { return NEUROSIM_SOURCES; }

static int32_t of_processor() {
#if (defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__)))
    __builtin_cpu_init();
    unsigned a = 0, b = 0, c = 0, d = 0;
    const bool f16c = __get_cpuid(1, &a, &b, &c, &d) && (c >> 29 & 1); // clang 14 cannot be asked for it by name
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl") && f16c)
        return 2;
    return __builtin_cpu_supports("avx2") && f16c ? 1 : 0;
#elif defined(_M_X64)
    int leaf[4];
    __cpuidex(leaf, 7, 0);
    const bool avx = (_xgetbv(0) & 0x6) == 0x6, wide = (_xgetbv(0) & 0xe6) == 0xe6;
    const int needed = (1 << 16) | (1 << 17) | (1 << 30) | (1 << 31);
    if (wide && (leaf[1] & needed) == needed)
        return 2;
    return avx && (leaf[1] & (1 << 5)) ? 1 : 0;
#else
    return 0;
#endif
}

// The best instruction set that this processor has and this library was built for: 0 baseline, 1 AVX2, 2 AVX-512.
NS_EXPORT int32_t neurosim_instruction_set() { return of_processor() < NEUROSIM_SETS ? of_processor() : NEUROSIM_SETS - 1; }

// Windows wants every extension module to export this; ours is loaded as a plain library.
NS_EXPORT void *PyInit__native() { return nullptr; }
