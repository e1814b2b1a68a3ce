// neurosim::quantize and the multiplication of a gradient by its mask on the CPU.
#include "cpu_quantize_back.h"
#include "parallel.h"

namespace NEUROSIM_SET {

constexpr int64_t PIECE = 8 * BLOCK; // numbers of one task

// The derivative to x is 1 where x lies within the limits and the limited x within the outer levels. One pair of comparisons to a loop:
// compilers vectorise that.
template <class T> static void mask_row(uint8_t *mask, const T *x, const Setting<T> &s, T limit_low, T limit_high, int64_t n) {
    const bool by_limits = s.plan.limits && !s.plan.limits_straight;
    const T lowest = s.grid.low, highest = s.grid.high;
    if (by_limits) {
        NS_INDEPENDENT
        for (int64_t j = 0; j < n; ++j)
            mask[j] = (x[j] >= limit_low) & (x[j] <= limit_high);
    }
    if (s.plan.grad != STRAIGHT_MASKED)
        return;
    T limited[BLOCK];
    uint8_t within[BLOCK];
    for (int64_t j = 0; j < n; ++j)
        limited[j] = between(x[j], limit_low, limit_high);
    uint8_t *target = by_limits ? within : mask;
    NS_INDEPENDENT
    for (int64_t j = 0; j < n; ++j)
        target[j] = (limited[j] >= lowest) & (limited[j] <= highest);
    NS_INDEPENDENT
    for (int64_t j = 0; by_limits && j < n; ++j)
        mask[j] &= within[j];
}

template <class T> static int32_t forward(const ForwardFields &f) {
    const QuantizeFields &c = f.common;
    const Setting<T> s(c);
    if (s.failed())
        return 1;
    constexpr T infinite = std::numeric_limits<T>::infinity();
    const int storage = static_cast<int>(c.storage);
    const bool levels = s.plan.fixed || s.plan.learned, numbers = s.limit_numbers(), tensors = s.limit_tensors();
    const T limit_low = numbers ? static_cast<T>(c.numbers.limit_low) : -infinite;
    const T limit_high = numbers ? static_cast<T>(c.numbers.limit_high) : infinite;
    const FixedLevels<T> fixed(s, limit_low, limit_high);
    const bool shifted = c.numbers.shift != 0;
    parallel_tasks((c.n + PIECE - 1) / PIECE, s.threads(), [&](int64_t piece) {
        T in[BLOCK], out[BLOCK], noise[BLOCK];
        Row<T> low, high, before_scale, after_scale;
        GridRows<T> grid;
        LevelRows<T> rows;
        if (tensors) {
            low.start(c.operands[LIMIT_LOW], c.numbers.limit_low, s.along(LIMIT_LOW));
            high.start(c.operands[LIMIT_HIGH], c.numbers.limit_high, s.along(LIMIT_HIGH));
        }
        if (s.plan.before.kind)
            before_scale.start(c.operands[BEFORE_SCALE], c.numbers.before_scale, s.along(BEFORE_SCALE));
        if (s.plan.after.kind)
            after_scale.start(c.operands[AFTER_SCALE], c.numbers.after_scale, s.along(AFTER_SCALE));
        if (s.plan.learned)
            grid.start(s);
        const int64_t end = (piece + 1) * PIECE < c.n ? (piece + 1) * PIECE : c.n;
        for (int64_t at = piece * PIECE; at < end; at += BLOCK) {
            const int64_t n = end - at < BLOCK ? end - at : BLOCK;
            const T *x = row_in(c.x, at, storage, in, n);
            T *y = row_out(f.y, at, storage, out);
            if (s.plan.before.kind) {
                before_scale.move(c, at, n);
                error_row(s.plan.before.growth, y, x, noise_row(noise, s, BEFORE, at, n), before_scale.value, n);
                x = y;
            }
            if (tensors) {
                low.move(c, at, n);
                high.move(c, at, n);
                limit_row(y, x, low.value, high.value, n);
                x = y;
            }
            if (s.plan.keep)
                mask_row(f.mask + at, x, s, limit_low, limit_high, n);
            if (levels) {
                if (s.plan.rounding == STOCHASTIC)
                    fill_uniform(noise, s.source[1], at, n);
                if (s.plan.learned) {
                    grid.move(c, at, n);
                    rows.run(y, x, noise, grid, s, limit_low, limit_high, true, n);
                } else {
                    with_rounding(s.plan.rounding, [&](auto r) {
                        if (shifted)
                            fixed.template run<r.rounding, true>(y, x, noise, n);
                        else
                            fixed.template run<r.rounding, false>(y, x, noise, n);
                    });
                }
                x = y;
            } else if (numbers) {
                NS_INDEPENDENT
                for (int64_t j = 0; j < n; ++j)
                    y[j] = between(x[j], limit_low, limit_high);
                x = y;
            }
            if (s.plan.after.kind) {
                after_scale.move(c, at, n);
                error_row(s.plan.after.growth, y, x, noise_row(noise, s, AFTER, at, n), after_scale.value, n);
            }
            row_done(f.y, at, storage, y, n);
        }
    });
    return 0;
}

NS_ENTRY(quantize_forward)(const ForwardFields *f) { return f->common.storage == FLOAT64 ? forward<double>(*f) : forward<float>(*f); }

struct MaskFields {
    const void *grad;
    const uint8_t *mask;
    void *out;
    int64_t n, bytes, threads;
};

template <class Bits> static void mask_gradient(const MaskFields &f) {
    constexpr int64_t AT_ONCE = 1 << 15;
    const Bits *grad = static_cast<const Bits *>(f.grad);
    const uint8_t *mask = f.mask;
    Bits *out = static_cast<Bits *>(f.out);
    parallel_tasks((f.n + AT_ONCE - 1) / AT_ONCE, f.threads, [&](int64_t piece) {
        const int64_t at = piece * AT_ONCE, end = at + AT_ONCE < f.n ? at + AT_ONCE : f.n;
        NS_INDEPENDENT
        for (int64_t j = at; j < end; ++j)
            out[j] = static_cast<Bits>(grad[j] & (Bits(0) - mask[j])); // a mask is 0 or 1
    });
}

NS_ENTRY(quantize_mask_backward)(const MaskFields *f) {
    if (f->bytes == 2)
        mask_gradient<uint16_t>(*f);
    else if (f->bytes == 4)
        mask_gradient<uint32_t>(*f);
    else
        mask_gradient<uint64_t>(*f);
    return 0;
}

NS_ENTRY(quantize_backward)(const BackwardFields *f) { return f->common.storage == FLOAT64 ? backward<double>(*f) : backward<float>(*f); }

} // namespace NEUROSIM_SET
