// What CUDA gives a kernel, for a plain C++ compiler: the threads of a grid run one after the other, the last block first.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#define __global__
#define __grid_constant__
#define __launch_bounds__(...)

struct Place {
    unsigned x, y, z;
};
static Place blockIdx, threadIdx, blockDim, gridDim;

template <class Args> static int64_t size_of_arguments(void (*)(Args)) { return sizeof(Args); }

template <class Args> static void run_grid(void (*kernel)(Args), const void *bytes, unsigned grid, unsigned block) {
    Args args;
    std::memcpy(&args, bytes, sizeof args);
    gridDim = {grid, 1, 1};
    blockDim = {block, 1, 1};
    for (unsigned b = grid; b-- > 0;)
        for (unsigned t = 0; t < block; ++t) {
            blockIdx = {b, 0, 0};
            threadIdx = {t, 0, 0};
            kernel(args);
        }
}

#define NS_RUN_ON_CPU(entry)                                                                                                                   \
    extern "C" int64_t arguments() { return size_of_arguments(entry); }                                                                        \
    extern "C" void run(const void *args, unsigned grid, unsigned block) { run_grid(entry, args, grid, block); }
