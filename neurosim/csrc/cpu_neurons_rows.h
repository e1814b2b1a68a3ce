// Loops over the neurons of one time step. Each is simple enough for a compiler to turn it into vectors; tables choose among their variants.
//
// SAME: all neurons have the same parameters, which stay in registers; else a parameter is an array.
#pragma once

#include "neuron.h"
#include "storage.h"
#include "surrogate.h"

namespace NEUROSIM_SET {

// Parameters of consecutive neurons, one array each; where all are the same, only the first number is there.
template <class T> struct Neurons {
    T *decay, *threshold, *reset_by, *gain, *bias, *v_reset, *sign;

    Neuron<T> operator[](int64_t j) const { return {decay[j], threshold[j], reset_by[j], gain[j], bias[j], v_reset[j], sign[j]}; }
};

// What a step reads and writes: v and after may be the same memory; out is h, or the spikes.
template <class T> struct StepRow {
    int64_t n;
    Neurons<T> p;
    const T *v, *drive, *noise;
    T *after, *out;
    bool strict;
};

template <int RESET, bool STRICT, bool SPIKES, class T> void step_row_same(const StepRow<T> &r) {
    const Neuron<T> p = r.p[0];
    const T *v = r.v, *drive = r.drive;
    T *after = r.after, *out = r.out;
    const int64_t n = r.n;
    NS_INDEPENDENT
    for (int64_t j = 0; j < n; ++j) {
        const bool before = looks_back(RESET) && fires<STRICT>(v[j], p);
        const T h = before_spike<RESET>(v[j], drive[j], before, p);
        const bool fired = fires<STRICT>(h, p);
        after[j] = after_spike<RESET>(h, fired, before, p);
        out[j] = SPIKES ? (fired ? T(1) : T(0)) : h;
    }
}

// 1 where v fires, else 0: `at_zero` is what a membrane on the threshold does. One loop for both comparisons keeps the library small.
template <class T> NS_FN T fired_at(T v, T at_zero, const Neuron<T> &p) {
    const T z = p.sign * (v - p.threshold);
    return z > 0 ? T(1) : z == 0 ? at_zero : T(0);
}

template <int RESET, bool SPIKES, class T> void step_row_varied(const StepRow<T> &r) {
    const Neurons<T> p = r.p;
    const T *v = r.v, *drive = r.drive, *noise = r.noise;
    T *after = r.after, *out = r.out;
    const int64_t n = r.n;
    const T at_zero = r.strict ? T(0) : T(1);
    NS_INDEPENDENT
    for (int64_t j = 0; j < n; ++j) {
        const Neuron<T> q = p[j];
        const bool before = looks_back(RESET) && fired_at(v[j], at_zero, q) != 0;
        const T h = before_spike<RESET>(v[j], drive[j], before, q) + noise[j];
        const T fired = fired_at(h, at_zero, q);
        after[j] = after_spike<RESET>(h, fired != 0, before, q);
        out[j] = SPIKES ? fired : h;
    }
}

template <class T> using Stepper = void (*)(const StepRow<T> &);

template <int RESET, bool SAME, class T> Stepper<T> stepper_of(bool strict, bool spikes) {
    if constexpr (!SAME)
        return spikes ? step_row_varied<RESET, true, T> : step_row_varied<RESET, false, T>;
    else if (strict)
        return spikes ? step_row_same<RESET, true, true, T> : step_row_same<RESET, true, false, T>;
    else
        return spikes ? step_row_same<RESET, false, true, T> : step_row_same<RESET, false, false, T>;
}

template <bool SAME, class T> Stepper<T> stepper(int64_t reset, bool strict, bool spikes) {
    switch (reset) {
    case RESET_NONE: return stepper_of<RESET_NONE, SAME, T>(strict, spikes);
    case RESET_SOFT: return stepper_of<RESET_SOFT, SAME, T>(strict, spikes);
    case RESET_HARD: return stepper_of<RESET_HARD, SAME, T>(strict, spikes);
    case RESET_SOFT_NEXT: return stepper_of<RESET_SOFT_NEXT, SAME, T>(strict, spikes);
    case RESET_SOFT_NEXT_DECAYED: return stepper_of<RESET_SOFT_NEXT_DECAYED, SAME, T>(strict, spikes);
    case RESET_HARD_NEXT: return stepper_of<RESET_HARD_NEXT, SAME, T>(strict, spikes);
    case RESET_HARD_NEXT_ERASING: return stepper_of<RESET_HARD_NEXT_ERASING, SAME, T>(strict, spikes);
    default: return stepper_of<RESET_SOFT_BOTH, SAME, T>(strict, spikes);
    }
}

// sign * g(sign * (v - threshold))
template <int CODE, bool SAME, class T> void slope_row(int64_t n, const Neurons<T> &p, const T *v, const Shape<T> &given, T *out) {
    const Shape<T> shape = given;
    const T *thresholds = p.threshold, *signs = p.sign;
    const T one_threshold = *thresholds, one_sign = *signs;
    NS_INDEPENDENT
    for (int64_t j = 0; j < n; ++j) {
        const T threshold = SAME ? one_threshold : thresholds[j], sign = SAME ? one_sign : signs[j];
        out[j] = sign * surrogate_gradient<CODE>(sign * (v[j] - threshold), shape);
    }
}

template <class T> using Sloper = void (*)(int64_t, const Neurons<T> &, const T *, const Shape<T> &, T *);

template <bool SAME, class T> Sloper<T> sloper(int64_t code) {
    switch (code) {
    case G_ARCTAN: return slope_row<G_ARCTAN, SAME, T>;
    case G_FAST_SIGMOID: return slope_row<G_FAST_SIGMOID, SAME, T>;
    case G_SJ_SUPERSPIKE: return slope_row<G_SJ_SUPERSPIKE, SAME, T>;
    case G_LOGISTIC: return slope_row<G_LOGISTIC, SAME, T>;
    case G_TRIANGLE: return slope_row<G_TRIANGLE, SAME, T>;
    case G_RECTANGLE: return slope_row<G_RECTANGLE, SAME, T>;
    case G_GAUSSIAN: return slope_row<G_GAUSSIAN, SAME, T>;
    default: return slope_row<G_CLAMPED_TANH, SAME, T>;
    }
}

// 1 where v fires, else 0
template <bool SAME, class T> void fires_row(int64_t n, const Neurons<T> &p, const T *v, bool strict, T *out) {
    const Neuron<T> one = p[0];
    const T at_zero = strict ? T(0) : T(1);
    NS_INDEPENDENT
    for (int64_t j = 0; j < n; ++j)
        out[j] = fired_at(v[j], at_zero, SAME ? one : p[j]);
}

// What a step backward reads and writes: into_after is replaced by the derivative with respect to the membrane one step before.
template <class T> struct BackRow {
    int64_t n;
    Neurons<T> p;
    const T *into_spike, *slope, *slope_before, *h, *v, *fired, *fired_before, *drive;
    T *into_after, *into_drive;
    Neurons<T> sums; // of derivatives over time; sign has none
};

template <int RESET, bool ATTACHED, bool SAME, bool SUMS, class T> void back_row(const BackRow<T> &r) {
    const Neurons<T> p = r.p, sums = r.sums;
    const Neuron<T> one = p[0];
    const T *into_spike = r.into_spike, *slope = r.slope, *slope_before = r.slope_before, *h = r.h, *v = r.v;
    const T *fired = r.fired, *fired_before = r.fired_before, *drive = r.drive;
    T *into_after = r.into_after, *into_drive = r.into_drive;
    const int64_t n = r.n;
    NS_INDEPENDENT
    for (int64_t j = 0; j < n; ++j) {
        const Back<T> d = back<RESET, ATTACHED, T>(into_after[j], into_spike[j], slope[j], slope_before[j], h[j], v[j], fired[j] != 0,
                                                   fired_before[j] != 0, drive[j], SAME ? one : p[j]);
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

template <int RESET, bool SAME, bool SUMS, class T> Backer<T> backer_of(bool attached) {
    constexpr bool can_attach = RESET != RESET_NONE;
    return attached ? back_row<RESET, can_attach, SAME, SUMS, T> : back_row<RESET, false, SAME, SUMS, T>;
}

template <bool SAME, bool SUMS, class T> Backer<T> backer(int64_t reset, bool attached) {
    switch (reset) {
    case RESET_NONE: return backer_of<RESET_NONE, SAME, SUMS, T>(attached);
    case RESET_SOFT: return backer_of<RESET_SOFT, SAME, SUMS, T>(attached);
    case RESET_HARD: return backer_of<RESET_HARD, SAME, SUMS, T>(attached);
    case RESET_SOFT_NEXT: return backer_of<RESET_SOFT_NEXT, SAME, SUMS, T>(attached);
    case RESET_SOFT_NEXT_DECAYED: return backer_of<RESET_SOFT_NEXT_DECAYED, SAME, SUMS, T>(attached);
    case RESET_HARD_NEXT: return backer_of<RESET_HARD_NEXT, SAME, SUMS, T>(attached);
    case RESET_HARD_NEXT_ERASING: return backer_of<RESET_HARD_NEXT_ERASING, SAME, SUMS, T>(attached);
    default: return backer_of<RESET_SOFT_BOTH, SAME, SUMS, T>(attached);
    }
}

// i = syn_decay * i + w_in * x; i and after may be the same memory.
template <bool SAME, class T> void synapse_row(int64_t n, const T *syn_decay, const T *w_in, const T *x, const T *i, T *after) {
    const T one_decay = *syn_decay, one_weight = *w_in;
    NS_INDEPENDENT
    for (int64_t j = 0; j < n; ++j)
        after[j] = (SAME ? one_decay : syn_decay[j]) * i[j] + (SAME ? one_weight : w_in[j]) * x[j];
}

// Derivatives with respect to x and to the current one step before, which replaces that with respect to the current.
template <bool SAME, class T> void synapse_back_row(int64_t n, const T *syn_decay, const T *w_in, T *into_i, T *into_x) {
    const T one_decay = *syn_decay, one_weight = *w_in;
    NS_INDEPENDENT
    for (int64_t j = 0; j < n; ++j) {
        const T total = into_i[j];
        into_x[j] = (SAME ? one_weight : w_in[j]) * total;
        into_i[j] = (SAME ? one_decay : syn_decay[j]) * total;
    }
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

template <class T> void add_scaled_row(int64_t n, const T *one, T factor, const T *other, T *out) {
    NS_INDEPENDENT
    for (int64_t j = 0; j < n; ++j)
        out[j] = one[j] + factor * other[j];
}

template <class T> void scale_row(int64_t n, T factor, T *row) {
    NS_INDEPENDENT
    for (int64_t j = 0; j < n; ++j)
        row[j] *= factor;
}

} // namespace NEUROSIM_SET
