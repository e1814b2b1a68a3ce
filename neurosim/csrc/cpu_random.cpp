// Ranges of random numbers on the CPU, and with them neurosim::philox_uniform and neurosim::philox_normal.
//
// Blocks are worked on in groups, one array per word: the multiplications of Philox on 64-bit lanes, of which each holds one 32-bit word
// (compilers do not find that form by themselves), the rest by loops that the compiler vectorises.
#include "random_fill.h"

#include "parallel.h"
#include "storage.h"

#if defined(__SSE2__)
#include <immintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif

namespace NEUROSIM_SET {

#if defined(__GNUC__) && (defined(__SSE2__) || defined(__ARM_NEON))
#define NS_LANES
#if defined(__AVX512F__)
typedef uint64_t Lanes __attribute__((vector_size(64)));
NS_FN Lanes low_product(Lanes a, Lanes b) { return (Lanes)_mm512_maskz_mul_epu32(0xFF, (__m512i)a, (__m512i)b); }
#elif defined(__AVX2__)
typedef uint64_t Lanes __attribute__((vector_size(32)));
NS_FN Lanes low_product(Lanes a, Lanes b) { return (Lanes)_mm256_mul_epu32((__m256i)a, (__m256i)b); }
#elif defined(__SSE2__)
typedef uint64_t Lanes __attribute__((vector_size(16)));
NS_FN Lanes low_product(Lanes a, Lanes b) { return (Lanes)_mm_mul_epu32((__m128i)a, (__m128i)b); }
#else
typedef uint64_t Lanes __attribute__((vector_size(16)));
NS_FN Lanes low_product(Lanes a, Lanes b) { return (Lanes)vmull_u32(vmovn_u64((uint64x2_t)a), vmovn_u64((uint64x2_t)b)); }
#endif
constexpr int LANES = sizeof(Lanes) / 8;

// One round on the low halves of the lanes; what the high halves hold has no effect.
NS_FN void philox_round(Lanes (&c)[4], Lanes key0, Lanes key1) {
    const Lanes p = low_product(c[0], Lanes{} + PHILOX_MULTIPLIER0), q = low_product(c[2], Lanes{} + PHILOX_MULTIPLIER1);
    c[0] = (q >> 32) ^ (c[1] ^ key0);
    c[1] = q;
    c[2] = (p >> 32) ^ (c[3] ^ key1);
    c[3] = p;
}
#endif

// Words of GROUP blocks, word[j][i] being word j of block first + i.
template <int GROUP> NS_FN void philox_group(const Source &s, uint32_t first, uint32_t (&word)[4][GROUP]) {
#ifdef NS_LANES
    Lanes index;
    for (int lane = 0; lane < LANES; ++lane)
        index[lane] = 2 * static_cast<uint64_t>(lane);
    for (int i = 0; i < GROUP; i += 2 * LANES) {
        const Lanes zero = {};
        Lanes even[4] = {index + (static_cast<uint64_t>(first) + i), zero + s.chip, zero + s.draw, zero + s.call};
        Lanes odd[4] = {even[0] + 1, even[1], even[2], even[3]};
        uint32_t key0 = s.key0, key1 = s.key1;
        for (int round = 0; round < PHILOX_ROUNDS; ++round) {
            philox_round(even, zero + key0, zero + key1);
            philox_round(odd, zero + key0, zero + key1);
            key0 += PHILOX_WEYL0;
            key1 += PHILOX_WEYL1;
        }
        for (int j = 0; j < 4; ++j) {
            const Lanes both = (even[j] & 0xFFFFFFFFu) | odd[j] << 32;
            memcpy(&word[j][i], &both, sizeof both);
        }
    }
#else
    for (int i = 0; i < GROUP; ++i) {
        uint32_t w[4];
        philox(s, first + static_cast<uint32_t>(i), w);
        for (int j = 0; j < 4; ++j)
            word[j][i] = w[j];
    }
#endif
}

// The 4 GROUP numbers of GROUP blocks.
template <int NOISE, int GROUP, class T> static void fill_group(T *NS_RESTRICT out, const Source &s, uint32_t first) {
    uint32_t word[4][GROUP];
    T number[4][GROUP];
    philox_group<GROUP>(s, first, word);
    if constexpr (NOISE == GAUSSIAN) {
        for (int j = 0; j < 4; j += 2)
            for (int i = 0; i < GROUP; ++i)
                normal_pair(word[j][i], word[j + 1][i], number[j][i], number[j + 1][i]);
    } else {
        for (int j = 0; j < 4; ++j)
            for (int i = 0; i < GROUP; ++i)
                if constexpr (NOISE == LAPLACIAN)
                    laplace(word[j][i], number[j][i]);
                else
                    uniform(word[j][i], number[j][i], NOISE == CENTRED);
    }
    for (int i = 0; i < GROUP; ++i)
        for (int j = 0; j < 4; ++j)
            out[4 * i + j] = number[j][i];
}

// Elements first … first + count - 1 of a source.
template <int NOISE, class T> static void fill(T *out, const Source &s, int64_t first, int64_t count) {
    constexpr int SMALL = 16, LARGE = sizeof(T) == 4 ? 64 : SMALL; // in double precision libm takes the time
    if (const int64_t skip = first % 4; skip && count > 0) {
        T number[4];
        block_of<NOISE>(s, static_cast<uint32_t>(first / 4), number);
        const int64_t used = count < 4 - skip ? count : 4 - skip;
        for (int64_t i = 0; i < used; ++i)
            out[i] = number[skip + i];
        out += used;
        first += used;
        count -= used;
    }
    uint32_t block = static_cast<uint32_t>(first / 4);
    for (; count >= 4 * LARGE; count -= 4 * LARGE, out += 4 * LARGE, block += LARGE)
        fill_group<NOISE, LARGE>(out, s, block);
    for (; count >= 4 * SMALL; count -= 4 * SMALL, out += 4 * SMALL, block += SMALL)
        fill_group<NOISE, SMALL>(out, s, block);
    if (count > 0) {
        T number[4 * SMALL];
        fill_group<NOISE, SMALL>(number, s, block);
        memcpy(out, number, static_cast<size_t>(count) * sizeof(T));
    }
}

template <class T> static void fill_any(int noise, T *out, const Source &s, int64_t first, int64_t count) {
    if (noise == GAUSSIAN)
        fill<GAUSSIAN>(out, s, first, count);
    else if (noise == LAPLACIAN)
        fill<LAPLACIAN>(out, s, first, count);
    else if (noise == CENTRED)
        fill<CENTRED>(out, s, first, count);
    else
        fill<UNIT>(out, s, first, count);
}

void fill_noise(int noise, float *out, const Source &s, int64_t first, int64_t count) { fill_any(noise, out, s, first, count); }
void fill_noise(int noise, double *out, const Source &s, int64_t first, int64_t count) { fill_any(noise, out, s, first, count); }

constexpr int64_t RANDOM_PIECE = 4096; // a multiple of 4, so that no block is computed twice

template <class T> static void draw(const RandomFields &f, const Source &source) {
    const int storage = static_cast<int>(f.storage);
    parallel_tasks((f.count + RANDOM_PIECE - 1) / RANDOM_PIECE, f.threads, [&](int64_t piece) {
        T buffer[RANDOM_PIECE];
        const int64_t at = piece * RANDOM_PIECE, left = f.count - at, n = left < RANDOM_PIECE ? left : RANDOM_PIECE;
        T *out = row_out(f.out, at, storage, buffer);
        fill_noise(static_cast<int>(f.noise), out, source, f.first + at, n);
        row_done(f.out, at, storage, out, n);
    });
}

NS_ENTRY(random_fill)(const RandomFields *f) {
    const Source source = source_of(f->source, f->tensors);
    if (f->storage == FLOAT64)
        draw<double>(*f, source);
    else
        draw<float>(*f, source);
    return 0;
}

} // namespace NEUROSIM_SET
