// neurosim::quantize on CUDA: a thread takes E neighbouring elements at a time through all steps. The constants: quantize_thread.h.
#include "quantize_thread.h"

using namespace NEUROSIM_SET;

extern "C" __global__ void __launch_bounds__(128) quantize_forward(const __grid_constant__ ForwardFields given) {
    const QuantizeFields &f = given.common;
    Elements here(f);
    for (int64_t at = (static_cast<int64_t>(blockIdx.x) * 128 + threadIdx.x) * E; at < f.n; at += static_cast<int64_t>(gridDim.x) * 128 * E) {
        T x[E], noise[E], chance[E], y[E];
        here.move(at);
        read_elements(x, f.x, at, f.n);
        here.noise_before(noise);
        here.chances(chance);
#pragma unroll
        for (int e = 0; e < E; ++e) {
            T value = x[e];
            if constexpr (PLAN.before.kind != NO_NOISE)
                value = with_error<PLAN.before.growth>(value, noise[e], here.before_scale(e));
            value = here.limited(value, e);
            const T limited = here.within(value);
            if constexpr (PLAN.keep) {
                const bool by_limits = !PLAN.limits || PLAN.limits_straight || (value >= here.limit_low(e) && value <= here.limit_high(e));
                const bool by_levels = PLAN.grad != STRAIGHT_MASKED || (limited >= T(f.numbers.low) && limited <= T(f.numbers.high));
                if (at + e < f.n)
                    given.mask[at + e] = by_limits && by_levels;
            }
            y[e] = limited;
            if constexpr (LEVELS) {
                const Grid<T> grid = here.grid(e);
                y[e] = here.level(round_level<PLAN.rounding, SHIFTED>(here.steps(limited, grid), limited, chance[e]), grid);
            }
        }
        if constexpr (PLAN.after.kind != NO_NOISE) {
            here.noise_after(noise);
#pragma unroll
            for (int e = 0; e < E; ++e)
                y[e] = with_error<PLAN.after.growth>(y[e], noise[e], here.after_scale(e));
        }
        write_elements(given.y, at, f.n, y);
    }
}
