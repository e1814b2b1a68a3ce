// Counter-based random numbers, one block of four words at a time: what neurosim/ops/philox.py does.
//
// In float32 no function of libm is called, so that loops over blocks are vectorised, and the same operations give the same bits everywhere.
// Largest errors: of -2 ln u relative 1.7e-7, of cosine and sine absolute 3.3e-8, each before rounding (minimax polynomials).
#pragma once

#include "bits.h"

#ifndef __CUDACC__
#include <cmath>
#endif

namespace NEUROSIM_SET {

// A source of numbers: the generator's key, and the counter after the index of the block.
struct Source {
    uint32_t key0, key1, chip, draw, call;
};

// As an op passes it, in 8-byte fields: a counter word below 0 is read from the tensor of index -1 - word.
struct SourceFields {
    int64_t key0, key1, chip, draw, call;
};

NS_FN uint32_t counter_word(int64_t word, const int64_t *const *tensors) { return static_cast<uint32_t>(word < 0 ? *tensors[-1 - word] : word); }

NS_FN Source source_of(const SourceFields &f, const int64_t *const *tensors) {
    return {static_cast<uint32_t>(f.key0), static_cast<uint32_t>(f.key1), counter_word(f.chip, tensors), counter_word(f.draw, tensors),
            counter_word(f.call, tensors)};
}

// What an op that draws is given: elements first … first + count - 1 of a source go to out.
struct RandomFields {
    void *out;
    int64_t storage, noise, first, count, threads;
    SourceFields source;
    const int64_t *tensors[3];
};

constexpr uint32_t PHILOX_MULTIPLIER0 = 0xD2511F53u, PHILOX_MULTIPLIER1 = 0xCD9E8D57u, PHILOX_WEYL0 = 0x9E3779B9u, PHILOX_WEYL1 = 0xBB67AE85u;
constexpr int PHILOX_ROUNDS = 10;

// The four words of a block.
NS_FN void philox(const Source &s, uint32_t block, uint32_t (&word)[4]) {
    uint32_t a = block, b = s.chip, c = s.draw, d = s.call, key0 = s.key0, key1 = s.key1;
    for (int round = 0; round < PHILOX_ROUNDS; ++round) {
        const uint64_t p = static_cast<uint64_t>(a) * PHILOX_MULTIPLIER0, q = static_cast<uint64_t>(c) * PHILOX_MULTIPLIER1;
        a = static_cast<uint32_t>(q >> 32) ^ b ^ key0;
        b = static_cast<uint32_t>(q);
        c = static_cast<uint32_t>(p >> 32) ^ d ^ key1;
        d = static_cast<uint32_t>(p);
        key0 += PHILOX_WEYL0;
        key1 += PHILOX_WEYL1;
    }
    word[0] = a;
    word[1] = b;
    word[2] = c;
    word[3] = d;
}

constexpr float TWO_24 = 16777216.0f;

// u 2^24, rounded to float32 and kept below 2^24; dividing by 2^24 is exact.
NS_FN float scaled_unit(uint32_t word) {
    const float t = static_cast<float>(static_cast<int32_t>(word >> 8)) + 0.5f;
    return t > TWO_24 - 1.0f ? TWO_24 - 1.0f : t;
}

// -2 ln(t / 2^24) for t in [1/2, 2^24): t = 2^e m with m in [sqrt(1/2), sqrt(2)), and ln m = (m - 1) P(m - 1).
NS_FN float minus_two_log(float t) {
    const int32_t shifted = static_cast<int32_t>(to_bits(t)) - 0x3F3504F3, e = (shifted >> 23) - 24;
    const float f = from_bits(static_cast<uint32_t>((shifted & 0x7FFFFF) + 0x3F3504F3)) - 1.0f;
    float p = 0.2021374702333263f;
    p = p * f - 0.3244516608454853f;
    p = p * f + 0.34501679189339274f;
    p = p * f - 0.3980033298583998f;
    p = p * f + 0.4993981652014912f;
    p = p * f - 0.6667011764893086f;
    p = p * f + 1.0000073027411969f;
    p = p * f - 1.9999998906519367f;
    return p * f - static_cast<float>(e) * 1.3862943611198906f;
}

// cos and sin of the float32 number nearest to 2 pi t / 2^24, for t in [0, 2^24): the angle less q quarter turns, |r| <= pi/4.
NS_FN void cos_sin(float t, float &cosine, float &sine) {
    const float angle = t * (6.2831854820251465f / TWO_24);
    const float shifted = t * (4.0f / TWO_24) + 12582912.0f; // 1.5 2^23: the sum is rounded to whole quarter turns
    const uint32_t q = to_bits(shifted);
    const float turns = shifted - 12582912.0f;
    const float r = angle - turns * 1.5703125f - turns * 0.0004838267923332751f; // pi/2 in two parts, the first product is exact
    const float z = r * r;
    const float s = r + r * z * ((z * -0.00019496229923260356f + 0.00833198444491577f) * z - 0.16666650803726543f);
    const float c = ((z * -0.00135980810562079f + 0.0416563185020535f) * z - 0.4999989529822883f) * z + 1.0f;
    const float across = q & 1u ? s : c, along = q & 1u ? c : s;
    cosine = from_bits(to_bits(across) ^ (((q + 1u) & 2u) << 30));
    sine = from_bits(to_bits(along) ^ ((q & 2u) << 30));
}

NS_FN void uniform(uint32_t word, float &u, bool centred = false) { u = scaled_unit(word) * (1.0f / TWO_24) - (centred ? 0.5f : 0.0f); }
NS_FN void uniform(uint32_t word, double &u, bool centred = false) {
    u = (static_cast<double>(word >> 8) + 0.5) * (1.0 / 16777216.0) - (centred ? 0.5 : 0.0);
}

// Two independent normal numbers from two words (Box and Muller).
NS_FN void normal_pair(uint32_t first, uint32_t second, float &z0, float &z1) {
    const float radius = sqrtf(minus_two_log(scaled_unit(first)));
    cos_sin(scaled_unit(second), z0, z1);
    z0 *= radius;
    z1 *= radius;
}

NS_FN void normal_pair(uint32_t first, uint32_t second, double &z0, double &z1) {
    double u0, u1;
    uniform(first, u0);
    uniform(second, u1);
    const double radius = sqrt(-2.0 * log(u0)), angle = u1 * 6.283185307179586;
    z0 = radius * cos(angle);
    z1 = radius * sin(angle);
}

// A Laplace number of scale 1: the inverse of its distribution function. 1 - |2u - 1| is exact, and at least 2^-24.
NS_FN void laplace(uint32_t word, float &y) {
    float centred;
    uniform(word, centred, true);
    const float tail = centred < 0.0f ? 1.0f + 2.0f * centred : 1.0f - 2.0f * centred;
    const float size = 0.5f * minus_two_log(tail * TWO_24);
    y = centred < 0.0f ? -size : size;
}

NS_FN void laplace(uint32_t word, double &y) {
    double centred;
    uniform(word, centred, true);
    const double size = -log1p(-2.0 * fabs(centred));
    y = centred < 0.0 ? -size : size;
}

// What is made of a block's words. CENTRED is u - 1/2, UNIT is u; GIVEN numbers are none of ours.
enum Noise : int { NO_NOISE, GAUSSIAN, LAPLACIAN, CENTRED, GIVEN, UNIT };

// The four numbers of a block, as on CUDA and at the ragged ends of a range.
template <int NOISE, class T> NS_FN void block_of(const Source &s, uint32_t block, T (&out)[4]) {
    uint32_t word[4];
    philox(s, block, word);
    if constexpr (NOISE == GAUSSIAN) {
        normal_pair(word[0], word[1], out[0], out[1]);
        normal_pair(word[2], word[3], out[2], out[3]);
    } else {
        for (int i = 0; i < 4; ++i)
            if constexpr (NOISE == LAPLACIAN)
                laplace(word[i], out[i]);
            else
                uniform(word[i], out[i], NOISE == CENTRED);
    }
}

} // namespace NEUROSIM_SET
