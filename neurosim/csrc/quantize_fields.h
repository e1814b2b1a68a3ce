// What the ops of quantize.h are given, on the CPU and on CUDA.
#pragma once

#include "quantize.h"

namespace NEUROSIM_SET {

// Fields of 8 bytes, packed by neurosim/ops/quantize_op.py.
struct QuantizeFields {
    const void *x;
    const void *operands[GRADIENTS];
    const void *noise[2];
    const int64_t *counters[9];
    int64_t n, storage, threads;
    int64_t inner, channels, each; // operand i lies along the channels if bit i of each is set; channel = index / inner % channels
    int64_t noise_inner[2], noise_count[2];
    int64_t flags, channel, levels;
    SourceFields words[3];
    QuantizeNumbers numbers;
};

struct ForwardFields {
    QuantizeFields common;
    void *y;
    uint8_t *mask;
};

struct BackwardFields {
    QuantizeFields common;
    const void *grad;
    void *grad_x; // null if it is not wanted
    void *sums;   // one row per operand, `columns` wide
    int64_t columns, needs; // bit 1 + i of needs: operand i
};

} // namespace NEUROSIM_SET
