// Rows of numbers in memory, whatever type they are stored in: float32, float64, and float16 and bfloat16 that are computed in float32.
#pragma once

#include "bits.h"

#if defined(__clang__)
#define NS_INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#elif defined(__GNUC__)
#define NS_INDEPENDENT _Pragma("GCC ivdep")
#elif defined(_MSC_VER)
#define NS_INDEPENDENT __pragma(loop(ivdep))
#endif

namespace NEUROSIM_SET {

enum Storage : int { FLOAT32, FLOAT64, FLOAT16, BFLOAT16 };

NS_FN int64_t bytes_of(int64_t storage) { return storage == FLOAT64 ? 8 : storage == FLOAT32 ? 4 : 2; }

NS_FN float from_bfloat16(uint16_t half) { return from_bits(static_cast<uint32_t>(half) << 16); }

NS_FN uint16_t to_bfloat16(float value) {
    const uint32_t bits = to_bits(value), rounded = (bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16;
    return static_cast<uint16_t>((bits & 0x7FFFFFFFu) > 0x7F800000u ? 0x7FC0u : rounded);
}

// Exponent and mantissa are moved into place, and the product corrects the exponent's bias, subnormal numbers included.
NS_FN float from_float16(uint16_t half) {
    const uint32_t magnitude = (half & 0x7FFFu) << 13, sign = (half & 0x8000u) << 16;
    const uint32_t finite = to_bits(from_bits(magnitude) * 5.192296858534828e33f);
    return from_bits((magnitude >= 0x0F800000u ? magnitude | 0x7F800000u : finite) | sign);
}

// To the nearest, ties to even: the sum with a suitable power of two rounds where the mantissa of the result ends.
NS_FN uint16_t to_float16(float value) {
    const uint32_t bits = to_bits(value), sign = bits >> 16 & 0x8000u, magnitude = bits & 0x7FFFFFFFu;
    const uint32_t normal = (magnitude + 0xC8000FFFu + (magnitude >> 13 & 1u)) >> 13;
    const uint32_t subnormal = to_bits(from_bits(magnitude) + 0.5f) - 0x3F000000u;
    const uint32_t rounded = magnitude < 0x38800000u ? subnormal : normal;
    const uint32_t finite = magnitude >= 0x477FF000u ? 0x7C00u : rounded;
    return static_cast<uint16_t>((magnitude > 0x7F800000u ? 0x7E00u : finite) | sign);
}

// Rows of 16-bit numbers, converted; in cpu_storage.cpp.
void load_row(float *out, const void *row, int64_t storage, int64_t n);
void store_row(void *row, const float *in, int64_t storage, int64_t n);

// A row as numbers of the type that it is computed in: itself, or converted into the buffer.
inline const float *row_in(const void *base, int64_t first, int64_t storage, float *buffer, int64_t n) {
    const char *row = static_cast<const char *>(base) + first * bytes_of(storage);
    if (storage == FLOAT32)
        return reinterpret_cast<const float *>(row);
    load_row(buffer, row, storage, n);
    return buffer;
}

inline const double *row_in(const void *base, int64_t first, int64_t, double *, int64_t) { return static_cast<const double *>(base) + first; }

// Where to compute a row of results: in place, or in the buffer, from which row_done converts it.
inline float *row_out(void *base, int64_t first, int64_t storage, float *buffer) {
    return storage == FLOAT32 ? static_cast<float *>(base) + first : buffer;
}

inline double *row_out(void *base, int64_t first, int64_t, double *) { return static_cast<double *>(base) + first; }

inline void row_done(void *base, int64_t first, int64_t storage, const float *row, int64_t n) {
    if (storage != FLOAT32)
        store_row(static_cast<char *>(base) + first * 2, row, storage, n);
}

inline void row_done(void *, int64_t, int64_t, const double *, int64_t) {}

// A row of results that exists already.
inline void row_copied(void *base, int64_t first, int64_t storage, const float *row, int64_t n) {
    if (storage == FLOAT32)
        memcpy(static_cast<float *>(base) + first, row, n * 4);
    else
        row_done(base, first, storage, row, n);
}

inline void row_copied(void *base, int64_t first, int64_t, const double *row, int64_t n) { memcpy(static_cast<double *>(base) + first, row, n * 8); }

} // namespace NEUROSIM_SET
