// Neurons over a sequence, forward: a thread takes NS_WIDTH neighbouring neurons through time, and reads NS_AHEAD steps before it needs them.
// NS_SPIKES, NS_RECORD: whether these results are wanted. The rest: neuron_thread.h.
#include "neuron_thread.h"

using namespace NEUROSIM_SET;

extern "C" __global__ void __launch_bounds__(NS_THREADS) neurons_forward(const __grid_constant__ ForwardArgs a) {
    const int64_t n = (static_cast<int64_t>(blockIdx.x) * NS_THREADS + threadIdx.x) * W, units = a.run.units, steps = a.run.steps;
    if (n >= units)
        return;
    const Thread here(a.run, n);
    State state = here.start();
    for (int64_t from = 0; from < steps; from += NS_AHEAD) {
        Pack<S, W> ahead[NS_AHEAD];
#pragma unroll
        for (int k = 0; k < NS_AHEAD; ++k)
            if (from + k < steps)
                ahead[k] = read<S, W>(a.run.x, (from + k) * units + n);
#pragma unroll
        for (int k = 0; k < NS_AHEAD; ++k) {
            const int64_t t = from + k;
            if (t < steps) {
                T x[W], h[W], drive[W], spikes[W];
                bool before[W];
                here.input(x, ahead[k], t);
                here.advance(state, x, t, h, drive, before);
#pragma unroll
                for (int w = 0; w < W; ++w)
                    spikes[w] = fires<STRICT>(h[w], here.p[w]) ? T(1) : T(0);
                if constexpr (NS_SPIKES)
                    write<S, W>(a.spikes, t * units + n, packed<S, W>(spikes));
                if constexpr (NS_RECORD)
                    write<S, W>(a.record, t * units + n, packed<S, W>(state.v));
            }
        }
    }
    write_row(a.v_after, n, state.v);
    if constexpr (SYNAPSE)
        write_row(a.i_after, n, state.i);
}
