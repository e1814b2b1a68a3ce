// One step of a neuron and its derivative, one number at a time: what neurosim/ops/neuron_reference.py does, in the same order.
#pragma once

#include "common.h"

namespace NEUROSIM_SET {

// In the order of RESETS in neurosim/ops/neuron_arguments.py.
enum Reset : int { RESET_NONE, RESET_SOFT, RESET_HARD, RESET_SOFT_NEXT, RESET_SOFT_NEXT_DECAYED, RESET_HARD_NEXT, RESET_HARD_NEXT_ERASING, RESET_SOFT_BOTH, RESETS };

// Whether a step asks if the membrane that it starts from is beyond the threshold.
NS_FN constexpr bool looks_back(int reset) { return reset >= RESET_SOFT_NEXT; }
// Whether the membrane after a step differs from h.
NS_FN constexpr bool resets_now(int reset) { return reset == RESET_SOFT || reset == RESET_HARD || reset == RESET_SOFT_BOTH; }

// A gain of 1 and a bias of -0 change no number, so there is one path with and without them.
template <class T> struct Neuron {
    T decay, threshold, reset_by, gain, bias, v_reset, sign;
};

template <bool STRICT, class T> NS_FN bool fires(T v, const Neuron<T> &p) {
    const T z = p.sign * (v - p.threshold);
    return STRICT ? z > 0 : z >= 0;
}

template <class T> NS_FN T charge(T v, T drive, const Neuron<T> &p) { return p.decay * v + p.gain * drive + p.bias; }

// h from the membrane of the step before.
template <int RESET, class T> NS_FN T before_spike(T v, T drive, bool fired_before, const Neuron<T> &p) {
    if constexpr (RESET == RESET_SOFT_NEXT_DECAYED)
        return charge(v - (fired_before ? p.reset_by : T(0)), drive, p);
    if constexpr (RESET == RESET_HARD_NEXT)
        return charge(fired_before ? p.v_reset : v, drive, p);
    const T h = charge(v, drive, p);
    if constexpr (RESET == RESET_SOFT_NEXT || RESET == RESET_SOFT_BOTH)
        return h - (fired_before ? p.reset_by : T(0));
    if constexpr (RESET == RESET_HARD_NEXT_ERASING)
        return fired_before ? p.v_reset : h;
    return h;
}

// The membrane after the step. A reset by 0 changes no number, and is quicker than a choice.
template <int RESET, class T> NS_FN T after_spike(T h, bool fired, bool fired_before, const Neuron<T> &p) {
    if constexpr (RESET == RESET_SOFT)
        return h - (fired ? p.reset_by : T(0));
    if constexpr (RESET == RESET_HARD)
        return fired ? p.v_reset : h;
    if constexpr (RESET == RESET_SOFT_BOTH) {
        return h - (fired == fired_before ? T(0) : fired ? p.reset_by : -p.reset_by);
    }
    return h;
}

// Derivatives of a loss that one step hands back; those of parameters are summed over time by the caller.
template <class T> struct Back {
    T drive, before, decay, threshold, reset_by, gain, bias, v_reset;
};

// into_after, into_spike: derivatives with respect to the membrane after the step and to the spike;
// slope, slope_before: sign * g(sign * (v - threshold)) for h and for the membrane v of the step before.
template <int RESET, bool ATTACHED, class T>
NS_FN Back<T> back(T into_after, T into_spike, T slope, T slope_before, T h, T v, bool fired, bool fired_before, T drive, const Neuron<T> &p) {
    Back<T> out{0, 0, 0, 0, 0, 0, 0, 0};
    T through = into_after;
    if constexpr (RESET == RESET_SOFT) {
        out.reset_by = fired ? -into_after : T(0);
    } else if constexpr (RESET == RESET_SOFT_BOTH) {
        out.reset_by = fired != fired_before ? (fired ? -into_after : into_after) : T(0);
    } else if constexpr (RESET == RESET_HARD) {
        out.v_reset = fired ? into_after : T(0);
        through = fired ? T(0) : into_after;
    }
    if constexpr (ATTACHED && (RESET == RESET_SOFT || RESET == RESET_SOFT_BOTH))
        into_spike = into_spike - p.reset_by * into_after;
    if constexpr (ATTACHED && RESET == RESET_HARD)
        into_spike = into_spike + (p.v_reset - h) * into_after;
    const T by_spike = into_spike * slope;
    const T into_h = through + by_spike;
    out.threshold = -by_spike;

    T into_m = into_h, start = v, by_fired = 0;
    if constexpr (RESET == RESET_HARD_NEXT_ERASING) {
        into_m = fired_before ? T(0) : into_h;
        out.v_reset = fired_before ? into_h : T(0);
        by_fired = (p.v_reset - charge(v, drive, p)) * into_h;
    }
    T into_start = p.decay * into_m;
    if constexpr (RESET == RESET_SOFT_NEXT || RESET == RESET_SOFT_BOTH) {
        out.reset_by -= fired_before ? into_h : T(0);
        by_fired = -(p.reset_by * into_h);
    } else if constexpr (RESET == RESET_SOFT_NEXT_DECAYED) {
        start = v - (fired_before ? p.reset_by : T(0));
        out.reset_by = fired_before ? -into_start : T(0);
        by_fired = -(p.reset_by * into_start);
    } else if constexpr (RESET == RESET_HARD_NEXT) {
        start = fired_before ? p.v_reset : v;
        out.v_reset = fired_before ? into_start : T(0);
        by_fired = (p.v_reset - v) * into_start;
        into_start = fired_before ? T(0) : into_start;
    }
    if constexpr (ATTACHED && looks_back(RESET) && RESET != RESET_SOFT_BOTH) {
        by_fired = by_fired * slope_before;
        out.threshold -= by_fired;
        into_start = into_start + by_fired;
    }
    out.before = into_start;
    out.decay = into_m * start;
    out.gain = into_m * drive;
    out.bias = into_m;
    out.drive = p.gain * into_m;
    return out;
}

} // namespace NEUROSIM_SET
