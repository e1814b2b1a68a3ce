// neurosim::philox_uniform and neurosim::philox_normal on CUDA: a thread computes one block of four numbers.
// NS_STORED: type of the result. NS_NOISE: which numbers.
#include "philox.h"
#include "vector.h"

using namespace NEUROSIM_SET;

extern "C" __global__ void random_fill(const __grid_constant__ RandomFields f) {
    constexpr int W = sizeof(NS_STORED) == 8 ? 2 : 4;
    const int64_t index = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x, skip = f.first % 4, at = 4 * index - skip;
    if (at >= f.count)
        return;
    const Source source = source_of(f.source, f.tensors);
    Computed<NS_STORED> number[4];
    block_of<NS_NOISE>(source, static_cast<uint32_t>(f.first / 4 + index), number);
    if (skip == 0 && at + 4 <= f.count) {
#pragma unroll
        for (int i = 0; i < 4; i += W)
            write<NS_STORED, W>(f.out, at + i, packed<NS_STORED, W>(number + i));
        return;
    }
#pragma unroll
    for (int i = 0; i < 4; ++i)
        if (at + i >= 0 && at + i < f.count)
            write<NS_STORED, 1>(f.out, at + i, packed<NS_STORED, 1>(number + i));
}
