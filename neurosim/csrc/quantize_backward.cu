// The derivatives of neurosim::quantize on CUDA: a thread recomputes E neighbouring elements at a time and takes their gradient back.
// NS_NEEDS: bit 0: the gradient to x is wanted, bit 1 + i: that to operand i. A part of the gradient to an operand that lies along the channels
// is written for every element, of any other one for every thread; torch adds them. The other constants: quantize_thread.h.
#include "quantize_thread.h"

using namespace NEUROSIM_SET;

struct BackwardOnCuda {
    BackwardFields fields;
    void *parts[GRADIENTS]; // for every element, in the compute type, or for every thread, in double
};

constexpr bool SLOPE_BEFORE = PLAN.before.kind != NO_NOISE && !PLAN.before.straight, SLOPE_AFTER = PLAN.after.kind != NO_NOISE && !PLAN.after.straight;

NS_DEVICE constexpr bool wanted(int operand) { return is_tensor(operand) && (NS_NEEDS >> (operand + 1) & 1) != 0; }

extern "C" __global__ void __launch_bounds__(128) quantize_backward(const __grid_constant__ BackwardOnCuda given) {
    const BackwardFields &b = given.fields;
    const QuantizeFields &f = b.common;
    const int64_t thread = static_cast<int64_t>(blockIdx.x) * 128 + threadIdx.x;
    const T steps = static_cast<T>(f.levels - 1);
    Elements here(f);
    double sums[GRADIENTS] = {0, 0, 0, 0, 0, 0};
    for (int64_t at = thread * E; at < f.n; at += static_cast<int64_t>(gridDim.x) * 128 * E) {
        T x[E], g[E], before[E], after[E], chance[E];
        here.move(at);
        read_elements(x, f.x, at, f.n);
        read_elements(g, b.grad, at, f.n);
        here.noise_before(before);
        here.chances(chance);
        if constexpr (SLOPE_AFTER && (PLAN.after.growth != ADDITIVE || wanted(AFTER_SCALE)))
            here.noise_after(after);
#pragma unroll
        for (int e = 0; e < E; ++e) {
            T part[GRADIENTS] = {0, 0, 0, 0, 0, 0};
            T x1 = x[e];
            if constexpr (PLAN.before.kind != NO_NOISE)
                x1 = with_error<PLAN.before.growth>(x1, before[e], here.before_scale(e));
            const T x2 = here.within(here.limited(x1, e));
            if constexpr (LEVELS) {
                const Grid<T> grid = here.grid(e);
                const T v = here.steps(x2, grid), k = round_level<PLAN.rounding, SHIFTED>(v, x2, chance[e]);
                if constexpr (SLOPE_AFTER && (PLAN.after.growth != ADDITIVE || wanted(AFTER_SCALE)))
                    g[e] = error_slope<PLAN.after.growth>(g[e], here.level(k, grid), after[e], here.after_scale(e), part[AFTER_SCALE]);
                if constexpr (PLAN.grad != STRAIGHT)
                    g[e] = level_slope<PLAN.grad>(g[e], x2, v, k, steps, grid, part[LEVEL_LOW], part[LEVEL_HIGH]);
            } else if constexpr (SLOPE_AFTER && (PLAN.after.growth != ADDITIVE || wanted(AFTER_SCALE))) {
                g[e] = error_slope<PLAN.after.growth>(g[e], x2, after[e], here.after_scale(e), part[AFTER_SCALE]);
            }
            if constexpr (LIMIT_NUMBERS && !PLAN.limits_straight)
                g[e] = limit_slope(g[e], x1, here.limit_low(e), here.limit_high(e));
            if constexpr (LIMIT_TENSORS && !PLAN.limits_straight) {
                const T raised = between_tensors(x1, here.limit_low(e), infinite());
                g[e] = bound_slope<false>(g[e], raised, here.limit_high(e), part[LIMIT_HIGH]);
                g[e] = bound_slope<true>(g[e], x1, here.limit_low(e), part[LIMIT_LOW]);
            }
            if constexpr (SLOPE_BEFORE)
                g[e] = error_slope<PLAN.before.growth>(g[e], x[e], before[e], here.before_scale(e), part[BEFORE_SCALE]);
#pragma unroll
            for (int operand = 0; operand < GRADIENTS; ++operand)
                if (wanted(operand) && at + e < f.n) {
                    if (is_each(operand))
                        static_cast<T *>(given.parts[operand])[at + e] = part[operand];
                    else
                        sums[operand] += static_cast<double>(part[operand]);
                }
        }
        if constexpr ((NS_NEEDS & 1) != 0)
            write_elements(b.grad_x, at, f.n, g);
    }
#pragma unroll
    for (int operand = 0; operand < GRADIENTS; ++operand)
        if (wanted(operand) && !is_each(operand))
            static_cast<double *>(given.parts[operand])[thread] = sums[operand];
}
