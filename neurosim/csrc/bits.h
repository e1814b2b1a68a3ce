// A float32 as its bits, and back.
#pragma once

#include "common.h"

#ifndef __CUDACC__
#include <cstring>
#endif

namespace NEUROSIM_SET {

#ifdef __CUDA_ARCH__
NS_FN float from_bits(uint32_t bits) { return __uint_as_float(bits); }
NS_FN uint32_t to_bits(float value) { return __float_as_uint(value); }
#else
NS_FN float from_bits(uint32_t bits) {
    float value;
    memcpy(&value, &bits, 4);
    return value;
}

NS_FN uint32_t to_bits(float value) {
    uint32_t bits;
    memcpy(&bits, &value, 4);
    return bits;
}
#endif

} // namespace NEUROSIM_SET
