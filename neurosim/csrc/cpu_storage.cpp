// Rows of 16-bit numbers to float32 and back. Alone here, for the header of the intrinsics takes longer to read than everything else.
#include "storage.h"

#if defined(__F16C__)
#include <immintrin.h>
#endif

namespace NEUROSIM_SET {

void load_row(float *out, const void *row, int64_t storage, int64_t n) {
    const uint16_t *in = static_cast<const uint16_t *>(row);
    if (storage == BFLOAT16) {
        NS_INDEPENDENT
        for (int64_t j = 0; j < n; ++j)
            out[j] = from_bfloat16(in[j]);
        return;
    }
    int64_t j = 0;
#if defined(__F16C__)
    for (; j + 8 <= n; j += 8)
        _mm256_storeu_ps(out + j, _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i *>(in + j))));
#endif
    for (; j < n; ++j)
        out[j] = from_float16(in[j]);
}

void store_row(void *row, const float *in, int64_t storage, int64_t n) {
    uint16_t *out = static_cast<uint16_t *>(row);
    if (storage == BFLOAT16) {
        NS_INDEPENDENT
        for (int64_t j = 0; j < n; ++j)
            out[j] = to_bfloat16(in[j]);
        return;
    }
    int64_t j = 0;
#if defined(__F16C__)
    for (; j + 8 <= n; j += 8)
        _mm_storeu_si128(reinterpret_cast<__m128i *>(out + j), _mm256_cvtps_ph(_mm256_loadu_ps(in + j), _MM_FROUND_TO_NEAREST_INT));
#endif
    for (; j < n; ++j)
        out[j] = to_float16(in[j]);
}

} // namespace NEUROSIM_SET
