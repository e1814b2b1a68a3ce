// What a run of neurons over a sequence is given, on the CPU and on CUDA.
#pragma once

#include "philox.h"

namespace NEUROSIM_SET {

// decay, threshold, reset_by, gain, bias, v_reset, sign, syn_decay, w_in
constexpr int64_t PARAMETERS = 9, BIAS = 4;

// Fields of 8 bytes, packed by neurosim/ops/neuron_kernel.py. A sequence is (steps, units) in memory.
// Parameter k is a number if it has no channels; else neuron n has the element (n / inner) % channels of an array.
struct Run {
    int64_t steps, units, storage, threads;
    int64_t reset, strict, attached, follows, synapse;
    const void *x, *i, *v; // the input, and the state before the first step or null
    const void *values[PARAMETERS];
    double numbers[PARAMETERS];
    int64_t channels[PARAMETERS], inner[PARAMETERS];
    double input_noise, membrane_noise; // standard deviations
    SourceFields input_source, membrane_source;
    int64_t step;           // before the first one, for the numbers of the noise
    const int64_t *counter; // if there: chip, draw, call and step are here
};

struct ForwardArgs {
    Run run;
    void *spikes, *record, *i_after, *v_after; // results; spikes and record may be null
};

struct BackwardArgs {
    Run run;
    int64_t code; // of the surrogate, and its parameters
    double first, second;
    const void *grad_spikes, *grad_record, *grad_i, *grad_v; // each may be null
    int64_t spikes_row, record_row;                          // elements of a gradient from one time step to the next
    void *grad_x, *grad_i_before, *grad_v_before;
    void *sums;    // a row of units for each needed parameter
    int64_t needs; // bit i: the i-th parameter of Run is needed
};

} // namespace NEUROSIM_SET
