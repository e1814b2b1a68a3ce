// What one CUDA thread of the quantiser works on: E neighbouring elements, with everything that belongs to them. Fixed when it is compiled:
// NS_STORED (type in memory), NS_FLAGS (the plan), NS_OPERANDS (bit i: operand i is a tensor), NS_EACH (bit i: it lies along the channels),
// NS_SHIFTED (whether zero may lie between the levels), NS_PACKED (whether memory allows accesses of 128 bits).
#pragma once

#include "quantize_fields.h"
#include "vector.h"

namespace NEUROSIM_SET {

using S = NS_STORED;
using T = Computed<S>;
constexpr QuantizePlan PLAN = quantize_plan(NS_FLAGS);
constexpr bool SHIFTED = NS_SHIFTED, LEVELS = PLAN.fixed || PLAN.learned;
constexpr int PACK = 16 / sizeof(S), E = PACK < 4 ? 4 : PACK; // whole blocks of random numbers

NS_DEVICE constexpr bool is_tensor(int operand) { return (NS_OPERANDS >> operand & 1) != 0; }
NS_DEVICE constexpr bool is_each(int operand) { return (NS_EACH >> operand & 1) != 0; }

constexpr bool LIMIT_TENSORS = PLAN.limits && (is_tensor(LIMIT_LOW) || is_tensor(LIMIT_HIGH)), LIMIT_NUMBERS = PLAN.limits && !LIMIT_TENSORS;

NS_DEVICE T infinite() { return T(from_bits(0x7F800000u)); }

// Elements at … at + E - 1 of a row of n.
NS_DEVICE void read_elements(T (&out)[E], const void *row, int64_t at, int64_t n) {
    if (NS_PACKED && at + E <= n) {
#pragma unroll
        for (int part = 0; part < E; part += PACK) {
            const Pack<S, PACK> pack = read<S, PACK>(row, at + part);
#pragma unroll
            for (int e = 0; e < PACK; ++e)
                out[part + e] = element<S, PACK>(pack, e);
        }
        return;
    }
#pragma unroll
    for (int e = 0; e < E; ++e)
        out[e] = at + e < n ? element<S, 1>(read<S, 1>(row, at + e), 0) : T(0);
}

NS_DEVICE void write_elements(void *row, int64_t at, int64_t n, const T (&values)[E]) {
    if (NS_PACKED && at + E <= n) {
#pragma unroll
        for (int part = 0; part < E; part += PACK)
            write<S, PACK>(row, at + part, packed<S, PACK>(values + part));
        return;
    }
#pragma unroll
    for (int e = 0; e < E; ++e)
        if (at + e < n)
            write<S, 1>(row, at + e, packed<S, 1>(values + e));
}

class Elements {
  public:
    NS_METHOD explicit Elements(const QuantizeFields &fields) : f(fields) {
        int used = 0;
        if (draws(PLAN.before))
            before = source_of(f.words[used++], f.counters);
        if (PLAN.rounding == STOCHASTIC)
            rounding = source_of(f.words[used++], f.counters);
        if (draws(PLAN.after))
            after = source_of(f.words[used], f.counters);
    }

    // Look at another E elements, from `first` on.
    NS_METHOD void move(int64_t first) {
        at = first;
        if constexpr (NS_EACH != 0) {
            channel[0] = at / f.inner % f.channels;
            int64_t place = at % f.inner;
#pragma unroll
            for (int e = 1; e < E; ++e) {
                place = place + 1 == f.inner ? 0 : place + 1;
                channel[e] = place != 0 ? channel[e - 1] : channel[e - 1] + 1 == f.channels ? 0 : channel[e - 1] + 1;
            }
        }
    }

    template <int OPERAND> NS_METHOD T operand(double number, int e) const {
        const T *values = static_cast<const T *>(f.operands[OPERAND]);
        return !is_tensor(OPERAND) ? static_cast<T>(number) : values[is_each(OPERAND) ? channel[e] : 0];
    }

    NS_METHOD T limit_low(int e) const { return operand<LIMIT_LOW>(f.numbers.limit_low, e); }
    NS_METHOD T limit_high(int e) const { return operand<LIMIT_HIGH>(f.numbers.limit_high, e); }
    NS_METHOD T before_scale(int e) const { return operand<BEFORE_SCALE>(f.numbers.before_scale, e); }
    NS_METHOD T after_scale(int e) const { return operand<AFTER_SCALE>(f.numbers.after_scale, e); }

    NS_METHOD Grid<T> grid(int e) const {
        if constexpr (PLAN.learned)
            return grid_between(operand<LEVEL_LOW>(0, e), operand<LEVEL_HIGH>(0, e), f.levels);
        const QuantizeNumbers &q = f.numbers;
        return {T(q.steps_per_unit), T(q.shift), T(q.unit), T(q.low), T(q.high), T(q.first), T(q.last)};
    }

    NS_METHOD void noise_before(T (&out)[E]) const { noise<PLAN.before.kind>(out, before, 0); }
    NS_METHOD void noise_after(T (&out)[E]) const { noise<PLAN.after.kind>(out, after, 1); }

    // Limits that are tensors.
    NS_METHOD T limited(T x, int e) const { return LIMIT_TENSORS ? between_tensors(x, limit_low(e), limit_high(e)) : x; }

    // Limits that are numbers.
    NS_METHOD T within(T x) const { return LIMIT_NUMBERS ? between(x, T(f.numbers.limit_low), T(f.numbers.limit_high)) : x; }

    // Uniform numbers, where rounding needs them.
    NS_METHOD void chances(T (&out)[E]) const {
        if constexpr (PLAN.rounding == STOCHASTIC)
            noise<UNIT>(out, rounding, 0);
        else
            fill_zero(out);
    }

    NS_METHOD T steps(T x, const Grid<T> &g) const {
        constexpr bool clipped = PLAN.clip == BEFORE_ROUNDING;
        const T v = in_steps<SHIFTED>(x, clipped ? g.low : -infinite(), clipped ? g.high : infinite(), g);
        return directed(PLAN.rounding) && PLAN.clip != NEVER ? at_ends(v, x, clipped ? g.first : -infinite(), clipped ? g.last : infinite(), g) : v;
    }

    NS_METHOD T level(T k, const Grid<T> &g) const {
        const T y = from_steps<SHIFTED>(k, g);
        return PLAN.clip == AFTER_ROUNDING ? between(y, g.low, g.high) : y;
    }

  private:
    const QuantizeFields &f;
    Source before, rounding, after;
    int64_t at, channel[E];

    NS_METHOD void fill_zero(T (&out)[E]) const {
#pragma unroll
        for (int e = 0; e < E; ++e)
            out[e] = 0;
    }

    template <int KIND> NS_METHOD void noise(T (&out)[E], const Source &source, int which) const {
        if constexpr (KIND == NO_NOISE) {
            fill_zero(out);
        } else if constexpr (KIND == GIVEN) {
            const T *values = static_cast<const T *>(f.noise[which]);
#pragma unroll
            for (int e = 0; e < E; ++e)
                out[e] = at + e < f.n ? values[f.noise_count[which] == f.n ? at + e : (at + e) / f.noise_inner[which] % f.noise_count[which]] : T(0);
        } else {
#pragma unroll
            for (int e = 0; e < E; e += 4) {
                T four[4];
                block_of<KIND>(source, static_cast<uint32_t>((at + e) / 4), four);
#pragma unroll
                for (int j = 0; j < 4; ++j)
                    out[e + j] = four[j];
            }
        }
    }
};

} // namespace NEUROSIM_SET
