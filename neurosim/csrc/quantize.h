// An error, limits, levels and an error of one number, and their derivatives: what neurosim/ops/quantize_reference.py does, in its order.
#pragma once

#include "philox.h"

namespace NEUROSIM_SET {

// In the order of neurosim/ops/quantize_plan.py.
enum Growth : int { ADDITIVE, PROPORTIONAL, SHOT };
enum Rounding : int { HALF_EVEN, HALF_TO_ZERO, TO_ZERO, AWAY_FROM_ZERO, DOWN, UP, STOCHASTIC };
enum Clip : int { NEVER, BEFORE_ROUNDING, AFTER_ROUNDING };
enum LevelGrad : int { TRUE_DERIVATIVE, STRAIGHT, STRAIGHT_MASKED, LEARNED_STEP };

// plan[0] of an op, taken apart.
struct ErrorPlan {
    int kind, growth; // of Noise and Growth
    bool straight;
};

struct QuantizePlan {
    ErrorPlan before, after;
    bool keep, limits, limits_straight, fixed, learned;
    int rounding, clip, grad;
};

NS_FN constexpr ErrorPlan error_plan(int64_t bits) { return {int(bits & 7), int(bits >> 3 & 3), (bits >> 5 & 1) != 0}; }

NS_FN constexpr QuantizePlan quantize_plan(int64_t flags) {
    return {error_plan(flags >> 3),      error_plan(flags >> 9),      (flags & 1) != 0,           (flags >> 15 & 1) != 0,
            (flags >> 16 & 1) != 0,      (flags >> 17 & 1) != 0,      (flags >> 18 & 1) != 0,     int(flags >> 19 & 7),
            int(flags >> 22 & 3),        int(flags >> 24 & 3)};
}

NS_FN constexpr bool draws(const ErrorPlan &error) { return error.kind != NO_NOISE && error.kind != GIVEN; }

// The tensors in the order of the op's arguments; the first six may have a gradient.
enum Operand : int { LIMIT_LOW, LIMIT_HIGH, LEVEL_LOW, LEVEL_HIGH, BEFORE_SCALE, AFTER_SCALE, GRADIENTS };

// The numbers in the order of the op's last argument.
struct QuantizeNumbers {
    double limit_low, limit_high, steps_per_unit, shift, unit, low, high, first, last, before_scale, after_scale;
};

// Where levels are: at (k + shift) / p; clipped to [low, high] before and to [low_after, high_after] after rounding; first and
// last are k of the levels at low and high, NaN where there is none.
template <class T> struct Grid {
    T p, shift, unit, low, high, first, last;
};

// Levels between two bounds, their places computed in double. Bounds that have crossed give NaN.
template <class T> NS_FN Grid<T> grid_between(T low, T high, int64_t levels) {
    const double span = static_cast<double>(high) - static_cast<double>(low);
    const double p = static_cast<double>(levels - 1) / (high > low ? span : span * 0.0 / (span * 0.0));
    const double origin = static_cast<double>(low) * p, first = ceil(origin - 0.5);
    return {T(p), T(origin - first), T(1.0 / p), low, high, T(first), T(first + static_cast<double>(levels - 1))};
}

NS_FN float size(float x) { return fabsf(x); }
NS_FN double size(double x) { return fabs(x); }
NS_FN float root(float x) { return sqrtf(x); }
NS_FN double root(double x) { return sqrt(x); }
NS_FN float with_sign(float x, float of) { return copysignf(x, of); }
NS_FN double with_sign(double x, double of) { return copysign(x, of); }

#if defined(__SSE4_1__) || defined(__AVX__) || defined(__CUDACC__) || defined(__aarch64__)
NS_FN float nearest(float x) { return rintf(x); }
NS_FN double nearest(double x) { return rint(x); }
NS_FN float down(float x) { return floorf(x); }
NS_FN double down(double x) { return floor(x); }
NS_FN float up(float x) { return ceilf(x); }
NS_FN double up(double x) { return ceil(x); }
NS_FN float cut(float x) { return truncf(x); }
NS_FN double cut(double x) { return trunc(x); }
#else
// The instruction set has no rounding: where the mantissa ends at the units, a sum rounds to the nearest, ties to even.
template <class T> NS_FN T nearest(T x) {
    const T whole = sizeof(T) == 4 ? T(8388608.0) : T(4503599627370496.0), magnitude = size(x);
    return with_sign(magnitude < whole ? (magnitude + whole) - whole : magnitude, x);
}
template <class T> NS_FN T down(T x) {
    const T k = nearest(x);
    return with_sign(k > x ? k - T(1) : k, x);
}
template <class T> NS_FN T up(T x) {
    const T k = nearest(x);
    return with_sign(k < x ? k + T(1) : k, x);
}
template <class T> NS_FN T cut(T x) { return with_sign(down(size(x)), x); }
#endif

// min(max(x, low), high); NaN stays.
template <class T> NS_FN T between(T x, T low, T high) {
    const T raised = low > x ? low : x;
    return high < raised ? high : raised;
}

// The same where a bound may be NaN, which the result then is too.
template <class T> NS_FN T between_tensors(T x, T low, T high) {
    const T raised = x < low ? low : x, checked = low == low ? raised : low;
    const T lowered = checked > high ? high : checked;
    return high == high ? lowered : high;
}

template <int GROWTH, class T> NS_FN T with_error(T x, T noise, T scale) {
    const T error = noise * scale;
    return GROWTH == ADDITIVE ? x + error : x + error * (GROWTH == PROPORTIONAL ? size(x) : root(size(x)));
}

// v is in steps, x the signal at whose sign some rules look; u is uniform on (0, 1).
template <int ROUNDING, bool SHIFTED, class T> NS_FN T round_level(T v, T x, T u) {
    if constexpr (ROUNDING == STOCHASTIC) {
        const T below = down(v);
        return below + (v - below > u ? T(1) : T(0));
    }
    if constexpr (ROUNDING == HALF_TO_ZERO)
        return SHIFTED ? (x > 0 ? up(v - T(0.5)) : down(v + T(0.5))) : with_sign(up(size(v) - T(0.5)), v);
    if constexpr (ROUNDING == TO_ZERO)
        return SHIFTED ? (x > 0 ? down(v) : up(v)) : cut(v);
    if constexpr (ROUNDING == AWAY_FROM_ZERO)
        return SHIFTED ? (x > 0 ? up(v) : down(v)) : with_sign(up(size(v)), v);
    if constexpr (ROUNDING == DOWN)
        return down(v);
    if constexpr (ROUNDING == UP)
        return up(v);
    return nearest(v);
}

// The signal in steps: [low, high] are infinite where it is not clipped before rounding.
template <bool SHIFTED, class T> NS_FN T in_steps(T x, T low, T high, const Grid<T> &grid) {
    const T v = between(x, low, high) * grid.p;
    return SHIFTED ? v - grid.shift : v;
}

// Roundings that a last bit of v takes to another level.
NS_FN constexpr bool directed(int rounding) { return rounding != HALF_EVEN && rounding != HALF_TO_ZERO; }

// v of the signal x, an end that is a level being that level, which the rounding of p x - o may miss by a last bit: from an end on, a signal has
// at least the steps of that end, and where it is clipped before rounding (to least and most, else infinite) no more.
template <class T> NS_FN T at_ends(T v, T x, T least, T most, const Grid<T> &grid) {
    const T more = v < grid.last ? grid.last : v, raised = x >= grid.high ? more : v;
    const T less = raised > grid.first ? grid.first : raised, lowered = x <= grid.low ? less : raised;
    return between(lowered, least, most);
}

template <bool SHIFTED, class T> NS_FN T from_steps(T k, const Grid<T> &grid) { return (SHIFTED ? k + grid.shift : k) * grid.unit; }

template <class T> NS_FN T sign_of(T x) { return T(x > 0) - T(x < 0); }

// The gradient before an error, and what its scale gets. Shot noise has slope 1 at zero, where its own is infinite.
template <int GROWTH, class T> NS_FN T error_slope(T g, T x, T noise, T scale, T &to_scale) {
    const T error = noise * scale;
    if constexpr (GROWTH == ADDITIVE) {
        to_scale = g * noise;
        return g;
    }
    if constexpr (GROWTH == PROPORTIONAL) {
        to_scale = g * (noise * size(x));
        return g * (T(1) + error * sign_of(x));
    }
    const T r = root(size(x));
    to_scale = g * (noise * r);
    return g * (r > 0 ? T(1) + error * sign_of(x) * (T(0.5) / r) : T(1));
}

// The gradient before the levels, and what their bounds get; steps is the number of levels less one.
template <int GRAD, class T> NS_FN T level_slope(T g, T x, T v, T k, T steps, const Grid<T> &grid, T &to_low, T &to_high) {
    if constexpr (GRAD == TRUE_DERIVATIVE) {
        const T share = (k - grid.first) / steps;
        to_low = g * (T(1) - share);
        to_high = g * share;
        return T(0);
    }
    const bool inside = x >= grid.low && x <= grid.high;
    to_low = x < grid.low ? g : T(0);
    to_high = x > grid.high ? g : T(0);
    if constexpr (GRAD == LEARNED_STEP) {
        const T share = inside ? g * ((v - k) / steps) : T(0); // u - k/n, without the cancellation
        to_low += share;
        to_high -= share;
    }
    return inside ? g : T(0);
}

// The gradient before limits that are numbers.
template <class T> NS_FN T limit_slope(T g, T x, T low, T high) { return x >= low && x <= high ? g : T(0); }

// The gradient before max(x, bound), or min for LOWER false, and what the bound gets: a tie is shared, NaN gives all to both.
template <bool LOWER, class T> NS_FN T bound_slope(T g, T x, T bound, T &to_bound) {
    const T shared = x == bound ? g / T(2) : g;
    to_bound = (LOWER ? x > bound : x < bound) ? T(0) : shared;
    return (LOWER ? x < bound : x > bound) ? T(0) : shared;
}

} // namespace NEUROSIM_SET
