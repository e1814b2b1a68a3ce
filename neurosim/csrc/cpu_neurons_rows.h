// Loops over the neurons of one time step. Each is simple enough for a compiler to turn it into vectors; tables choose among their variants.
#pragma once

#include "neuron.h"
#include "storage.h"
#include "surrogate.h"

namespace NEUROSIM_SET {

// Parameters of consecutive neurons, one array each.
template <class T> struct Neurons {
    T *decay, *threshold, *reset_by, *gain, *bias, *v_reset, *sign;

    Neuron<T> operator[](int64_t j) const { return {decay[j], threshold[j], reset_by[j], gain[j], bias[j], v_reset[j], sign[j]}; }
};

// What a step reads and writes; v and after may be the same memory.
template <class T> struct StepRow {
    int64_t n;
    Neurons<T> p;
    const T *v, *drive, *noise;
    T *after, *out;
};

// out is h, or the spikes.
template <int RESET, bool STRICT, bool SPIKES, class T> void step_row(const StepRow<T> &r) {
    const Neurons<T> p = r.p;
    const T *v = r.v, *drive = r.drive, *noise = r.noise;
    T *after = r.after, *out = r.out;
    const int64_t n = r.n;
    NS_INDEPENDENT
    for (int64_t j = 0; j < n; ++j) {
        const Neuron<T> q = p[j];
        const bool before = looks_back(RESET) && fires<STRICT>(v[j], q);
        const T h = before_spike<RESET>(v[j], drive[j], before, q) + noise[j];
        const bool fired = fires<STRICT>(h, q);
        after[j] = after_spike<RESET>(h, fired, before, q);
        out[j] = SPIKES ? (fired ? T(1) : T(0)) : h;
    }
}

template <class T> using Stepper = void (*)(const StepRow<T> &);

template <int RESET, class T> Stepper<T> stepper_of(bool strict, bool spikes) {
    if (strict)
        return spikes ? step_row<RESET, true, true, T> : step_row<RESET, true, false, T>;
    return spikes ? step_row<RESET, false, true, T> : step_row<RESET, false, false, T>;
}

template <class T> Stepper<T> stepper(int reset, bool strict, bool spikes) {
    switch (reset) {
    case RESET_NONE: return stepper_of<RESET_NONE, T>(strict, spikes);
    case RESET_SOFT: return stepper_of<RESET_SOFT, T>(strict, spikes);
    case RESET_HARD: return stepper_of<RESET_HARD, T>(strict, spikes);
    case RESET_SOFT_NEXT: return stepper_of<RESET_SOFT_NEXT, T>(strict, spikes);
    case RESET_SOFT_NEXT_DECAYED: return stepper_of<RESET_SOFT_NEXT_DECAYED, T>(strict, spikes);
    case RESET_HARD_NEXT: return stepper_of<RESET_HARD_NEXT, T>(strict, spikes);
    case RESET_HARD_NEXT_ERASING: return stepper_of<RESET_HARD_NEXT_ERASING, T>(strict, spikes);
    default: return stepper_of<RESET_SOFT_BOTH, T>(strict, spikes);
    }
}

// sign * g(sign * (v - threshold))
template <int CODE, class T> void slope_row(int64_t n, const Neurons<T> &p, const T *v, const Shape<T> &given, T *out) {
    const Shape<T> shape = given;
    const T *threshold = p.threshold, *sign = p.sign;
    NS_INDEPENDENT
    for (int64_t j = 0; j < n; ++j)
        out[j] = sign[j] * surrogate_gradient<CODE>(sign[j] * (v[j] - threshold[j]), shape);
}

template <class T> using Sloper = void (*)(int64_t, const Neurons<T> &, const T *, const Shape<T> &, T *);

template <class T> Sloper<T> sloper(int code) {
    static constexpr Sloper<T> table[SURROGATES] = {
        slope_row<G_ARCTAN, T>,   slope_row<G_FAST_SIGMOID, T>, slope_row<G_SJ_SUPERSPIKE, T>, slope_row<G_LOGISTIC, T>,
        slope_row<G_TRIANGLE, T>, slope_row<G_RECTANGLE, T>,    slope_row<G_GAUSSIAN, T>,      slope_row<G_CLAMPED_TANH, T>,
    };
    return table[code];
}

// 1 where v fires, else 0
template <class T> void fires_row(int64_t n, const Neurons<T> &p, const T *v, bool strict, T *out) {
    const T *threshold = p.threshold, *sign = p.sign;
    const T at_zero = strict ? T(0) : T(1);
    NS_INDEPENDENT
    for (int64_t j = 0; j < n; ++j) {
        const T z = sign[j] * (v[j] - threshold[j]);
        out[j] = z > 0 ? T(1) : z == 0 ? at_zero : T(0);
    }
}

// What a step backward reads and writes: into_after is replaced by the derivative with respect to the membrane one step before.
template <class T> struct BackRow {
    int64_t n;
    Neurons<T> p;
    const T *into_spike, *slope, *slope_before, *h, *v, *fired, *fired_before, *drive;
    T *into_after, *into_drive;
    Neurons<T> sums; // of derivatives over time; sign has none
};

template <int RESET, bool ATTACHED, bool SUMS, class T> void back_row(const BackRow<T> &r) {
    const Neurons<T> p = r.p, sums = r.sums;
    const T *into_spike = r.into_spike, *slope = r.slope, *slope_before = r.slope_before, *h = r.h, *v = r.v;
    const T *fired = r.fired, *fired_before = r.fired_before, *drive = r.drive;
    T *into_after = r.into_after, *into_drive = r.into_drive;
    const int64_t n = r.n;
    NS_INDEPENDENT
    for (int64_t j = 0; j < n; ++j) {
        const Back<T> d = back<RESET, ATTACHED, T>(into_after[j], into_spike[j], slope[j], slope_before[j], h[j], v[j], fired[j] != 0,
                                                   fired_before[j] != 0, drive[j], p[j]);
        into_after[j] = d.before;
        into_drive[j] = d.drive;
        if (SUMS) {
            sums.decay[j] += d.decay;
            sums.threshold[j] += d.threshold;
            sums.reset_by[j] += d.reset_by;
            sums.gain[j] += d.gain;
            sums.bias[j] += d.bias;
            sums.v_reset[j] += d.v_reset;
        }
    }
}

template <class T> using Backer = void (*)(const BackRow<T> &);

template <int RESET, class T> Backer<T> backer_of(bool attached, bool sums) {
    if (attached && RESET != RESET_NONE)
        return sums ? back_row<RESET, RESET != RESET_NONE, true, T> : back_row<RESET, RESET != RESET_NONE, false, T>;
    return sums ? back_row<RESET, false, true, T> : back_row<RESET, false, false, T>;
}

template <class T> Backer<T> backer(int reset, bool attached, bool sums) {
    switch (reset) {
    case RESET_NONE: return backer_of<RESET_NONE, T>(attached, sums);
    case RESET_SOFT: return backer_of<RESET_SOFT, T>(attached, sums);
    case RESET_HARD: return backer_of<RESET_HARD, T>(attached, sums);
    case RESET_SOFT_NEXT: return backer_of<RESET_SOFT_NEXT, T>(attached, sums);
    case RESET_SOFT_NEXT_DECAYED: return backer_of<RESET_SOFT_NEXT_DECAYED, T>(attached, sums);
    case RESET_HARD_NEXT: return backer_of<RESET_HARD_NEXT, T>(attached, sums);
    case RESET_HARD_NEXT_ERASING: return backer_of<RESET_HARD_NEXT_ERASING, T>(attached, sums);
    default: return backer_of<RESET_SOFT_BOTH, T>(attached, sums);
    }
}

// i = syn_decay * i + w_in * x; i and after may be the same memory.
template <class T> void synapse_row(int64_t n, const T *syn_decay, const T *w_in, const T *x, const T *i, T *after) {
    NS_INDEPENDENT
    for (int64_t j = 0; j < n; ++j)
        after[j] = syn_decay[j] * i[j] + w_in[j] * x[j];
}

template <class T> void scale_row(int64_t n, T factor, T *row) {
    NS_INDEPENDENT
    for (int64_t j = 0; j < n; ++j)
        row[j] *= factor;
}

template <class T> void add_scaled_row(int64_t n, const T *one, T factor, const T *other, T *out) {
    NS_INDEPENDENT
    for (int64_t j = 0; j < n; ++j)
        out[j] = one[j] + factor * other[j];
}

template <class T> void add_row(int64_t n, const T *in, T *sum) {
    NS_INDEPENDENT
    for (int64_t j = 0; j < n; ++j)
        sum[j] += in[j];
}

template <class T> void add_product_row(int64_t n, const T *one, const T *other, T *sum) {
    NS_INDEPENDENT
    for (int64_t j = 0; j < n; ++j)
        sum[j] += one[j] * other[j];
}

// out may be one of the factors.
template <class T> void product_row(int64_t n, const T *one, const T *other, T *out) {
    NS_INDEPENDENT
    for (int64_t j = 0; j < n; ++j)
        out[j] = one[j] * other[j];
}

} // namespace NEUROSIM_SET
