// The surrogate gradients g(z) of neurosim/surrogate.py, one number at a time.
#pragma once

#include "bits.h"

#ifndef __CUDACC__
#include <cmath>
#endif

namespace NEUROSIM_SET {

// The code of a formula in the registry of neurosim/surrogate.py.
enum Surrogate : int { G_ARCTAN, G_FAST_SIGMOID, G_SJ_SUPERSPIKE, G_LOGISTIC, G_TRIANGLE, G_RECTANGLE, G_GAUSSIAN, G_CLAMPED_TANH, SURROGATES };

NS_FN float absolute(float y) { return fabsf(y); }
NS_FN double absolute(double y) { return fabs(y); }

// On CUDA an exact division costs as much as all the rest of a step backward; this one is right to 2 units in the last place.
NS_FN double quotient(double a, double b) { return a / b; }
#ifdef __CUDA_ARCH__
NS_FN float quotient(float a, float b) { return __fdividef(a, b); }
#else
NS_FN float quotient(float a, float b) { return a / b; }
#endif

// exp(y) for y <= 0 or NaN.
NS_FN double exp_negative(double y) { return exp(y); }
#ifdef __CUDACC__
NS_FN float exp_negative(float y) { return expf(y); }
#else
// To 2e-7, in operations that compilers turn into vectors: y = n ln 2 + r, exp(r) by its series, 2^n by its bits. Where 2^n has no bits it is 0.
NS_FN float exp_negative(float y) {
    const float shift = 12582912.0f; // 3 * 2^22: the bits of y / ln 2 + shift end in the integer next to y / ln 2
    const float z = y < -104.0f ? -104.0f : y;
    const float shifted = z * 1.44269504f + shift;
    const float n = shifted - shift;
    const float r = (z - n * 0.693359375f) - n * -2.12194440e-4f;
    const float r2 = r * r; // two halves, which do not wait for each other
    const float tail = (4.1666667e-2f + 8.3333333e-3f * r) + r2 * 1.3888889e-3f;
    const float series = (1.0f + r) + r2 * ((0.5f + 1.6666667e-1f * r) + r2 * tail);
    const int32_t exponent = static_cast<int32_t>(to_bits(shifted) + (127u - 0x4B400000u));
    const float power = from_bits(static_cast<uint32_t>(exponent < 0 ? 0 : exponent) << 23);
    return series * power;
}
#endif

// sig(y) (1 - sig(y)), from the one exponential that cannot overflow.
template <class T> NS_FN T bell(T y) {
    const T tail = exp_negative(-absolute(y));
    return quotient(tail, (1 + tail) * (1 + tail));
}

// What a formula needs beside z, made once from its parameters as the registry has them.
template <class T> struct Shape {
    T peak, steep, edge;
};

template <class T> NS_FN Shape<T> shape_of(int code, double a, double b) {
    switch (code) {
    case G_ARCTAN: return {T(b * a / 2), T(1.57079632679489662 * a), T(0)};
    case G_FAST_SIGMOID: return {T(b), T(a), T(0)};
    case G_SJ_SUPERSPIKE: return {T(a), T(1), T(0)};
    case G_LOGISTIC: return {T(b * a), T(a), T(0)};
    case G_TRIANGLE: return {T(a), T(b), T(0)};
    case G_RECTANGLE: return {T(a), T(0), T(b / 2)};
    case G_GAUSSIAN: return {T(b / (a * 2.50662827463100050)), T(a), T(0)};
    default: return {T(2 * a / (b * tanh(a / 2))), T(2 * a / b), T(b / 2)};
    }
}

template <int CODE, class T> NS_FN T surrogate_gradient(T z, Shape<T> shape) {
    const T u = absolute(z);
    if constexpr (CODE == G_ARCTAN) {
        const T y = shape.steep * z;
        return quotient(shape.peak, 1 + y * y);
    } else if constexpr (CODE == G_FAST_SIGMOID || CODE == G_SJ_SUPERSPIKE) {
        const T y = 1 + shape.steep * u;
        return quotient(shape.peak, y * y);
    } else if constexpr (CODE == G_LOGISTIC) {
        return shape.peak * bell(shape.steep * z);
    } else if constexpr (CODE == G_TRIANGLE) {
        const T y = shape.peak * (1 - u / shape.steep);
        return y < 0 ? T(0) : y;
    } else if constexpr (CODE == G_RECTANGLE) {
        return u < shape.edge ? shape.peak : T(0);
    } else if constexpr (CODE == G_GAUSSIAN) {
        const T y = z / shape.steep;
        return shape.peak * exp_negative(T(-0.5) * (y * y));
    } else {
        return u > shape.edge ? T(0) : shape.peak * bell(shape.steep * z);
    }
}

} // namespace NEUROSIM_SET
