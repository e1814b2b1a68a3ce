// Ranges of random numbers: `count` elements of a source from element `first` on, whatever the alignment, always the same bits.
#pragma once

#include "philox.h"

namespace NEUROSIM_SET {

// noise is one of Noise but GIVEN; defined in cpu_random.cpp for the same instruction set.
void fill_noise(int noise, float *out, const Source &s, int64_t first, int64_t count);
void fill_noise(int noise, double *out, const Source &s, int64_t first, int64_t count);

template <class T> inline void fill_normal(T *out, const Source &s, int64_t first, int64_t count) { fill_noise(GAUSSIAN, out, s, first, count); }
template <class T> inline void fill_uniform(T *out, const Source &s, int64_t first, int64_t count) { fill_noise(UNIT, out, s, first, count); }

} // namespace NEUROSIM_SET
