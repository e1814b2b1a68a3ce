// Neighbouring numbers of a row in one access of up to 128 bits, whatever type they are stored in; 16-bit storage is computed in float32.
// For the indexing on CUDA; a plain C++ compiler makes the same accesses, and the conversions of storage.h.
#pragma once

#include "bits.h"

#if defined(__CUDACC__)
#define NS_DEVICE static __device__ __forceinline__
#define NS_METHOD __device__ __forceinline__
#else
#include "storage.h"
#define NS_DEVICE NS_FN
#define NS_METHOD inline
#endif

namespace NEUROSIM_SET {

struct Float16 {
    uint16_t bits;
};
struct BFloat16 {
    uint16_t bits;
};

// The type that a stored type is computed in.
template <class S> struct ComputedIn { using Type = float; };
template <> struct ComputedIn<double> { using Type = double; };
template <class S> using Computed = typename ComputedIn<S>::Type;

// W numbers as the machine words that hold them.
template <int BYTES> struct alignas(BYTES) Words {
    uint32_t at[BYTES / 4];
};
template <> struct Words<2> {
    uint16_t at[1];
};
template <class S, int W> using Pack = Words<int(sizeof(S)) * W>;

// Memory that nobody writes while the kernel runs.
template <int BYTES> NS_DEVICE Words<BYTES> read_words(const Words<BYTES> *from) {
#if defined(__CUDA_ARCH__)
    Words<BYTES> words;
    if constexpr (BYTES == 2)
        asm("ld.global.nc.u16 %0, [%1];" : "=h"(words.at[0]) : "l"(from));
    else if constexpr (BYTES == 4)
        asm("ld.global.nc.u32 %0, [%1];" : "=r"(words.at[0]) : "l"(from));
    else if constexpr (BYTES == 8)
        asm("ld.global.nc.v2.u32 {%0, %1}, [%2];" : "=r"(words.at[0]), "=r"(words.at[1]) : "l"(from));
    else
        asm("ld.global.nc.v4.u32 {%0, %1, %2, %3}, [%4];"
            : "=r"(words.at[0]), "=r"(words.at[1]), "=r"(words.at[2]), "=r"(words.at[3])
            : "l"(from));
    return words;
#else
    return *from;
#endif
}

template <class S, int W> NS_DEVICE Pack<S, W> read(const void *base, int64_t first) {
    return read_words(reinterpret_cast<const Pack<S, W> *>(static_cast<const S *>(base) + first));
}

template <int BYTES> NS_DEVICE void write_words(Words<BYTES> *to, const Words<BYTES> &words) {
#if defined(__CUDA_ARCH__)
    if constexpr (BYTES == 2)
        asm volatile("st.global.u16 [%0], %1;" ::"l"(to), "h"(words.at[0]) : "memory");
    else if constexpr (BYTES == 4)
        asm volatile("st.global.u32 [%0], %1;" ::"l"(to), "r"(words.at[0]) : "memory");
    else if constexpr (BYTES == 8)
        asm volatile("st.global.v2.u32 [%0], {%1, %2};" ::"l"(to), "r"(words.at[0]), "r"(words.at[1]) : "memory");
    else
        asm volatile("st.global.v4.u32 [%0], {%1, %2, %3, %4};" ::"l"(to), "r"(words.at[0]), "r"(words.at[1]), "r"(words.at[2]), "r"(words.at[3])
                     : "memory");
#else
    *to = words;
#endif
}

template <class S, int W> NS_DEVICE void write(void *base, int64_t first, const Pack<S, W> &pack) {
    write_words(reinterpret_cast<Pack<S, W> *>(static_cast<S *>(base) + first), pack);
}

#if defined(__CUDACC__)
NS_DEVICE float from_float16(uint16_t bits) {
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
    return value;
}

NS_DEVICE uint16_t to_float16(float value) {
    uint16_t bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
    return bits;
}

NS_DEVICE uint16_t to_bfloat16(float value) {
#if __CUDA_ARCH__ >= 800
    uint16_t bits;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(value));
    return bits;
#else
    const uint32_t bits = to_bits(value);
    return value != value ? 0x7FC0u : uint16_t((bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16);
#endif
}
#endif

// The low half of a word is the first number.
NS_DEVICE uint32_t two_to_words(float first, float second, Float16) {
#if __CUDA_ARCH__ >= 800
    uint32_t word;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(second), "f"(first));
    return word;
#else
    return to_float16(first) | uint32_t(to_float16(second)) << 16;
#endif
}

NS_DEVICE uint32_t two_to_words(float first, float second, BFloat16) {
#if __CUDA_ARCH__ >= 800
    uint32_t word;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(second), "f"(first));
    return word;
#else
    return to_bfloat16(first) | uint32_t(to_bfloat16(second)) << 16;
#endif
}

NS_DEVICE float half_of_word(uint32_t word, bool second, BFloat16) { return from_bits(second ? word & 0xFFFF0000u : word << 16); }
NS_DEVICE float half_of_word(uint32_t word, bool second, Float16) { return from_float16(uint16_t(second ? word >> 16 : word)); }

template <class S, int W> NS_DEVICE Computed<S> element(const Pack<S, W> &pack, int w) {
    if constexpr (sizeof(S) == 2 && W == 1)
        return half_of_word(pack.at[0], false, S{});
    else if constexpr (sizeof(S) == 2)
        return half_of_word(pack.at[w / 2], w % 2 == 1, S{});
    else if constexpr (sizeof(S) == 4)
        return from_bits(pack.at[w]);
    else {
        const uint64_t bits = uint64_t(pack.at[2 * w + 1]) << 32 | pack.at[2 * w];
        double value;
        memcpy(&value, &bits, 8);
        return value;
    }
}

template <class S, int W> NS_DEVICE Pack<S, W> packed(const Computed<S> *values) {
    Pack<S, W> pack;
    if constexpr (sizeof(S) == 2 && W == 1) {
        pack.at[0] = uint16_t(two_to_words(values[0], 0.0f, S{}));
    } else if constexpr (sizeof(S) == 2) {
#pragma unroll
        for (int w = 0; w < W; w += 2)
            pack.at[w / 2] = two_to_words(values[w], values[w + 1], S{});
    } else if constexpr (sizeof(S) == 4) {
#pragma unroll
        for (int w = 0; w < W; ++w)
            pack.at[w] = to_bits(values[w]);
    } else {
#pragma unroll
        for (int w = 0; w < W; ++w) {
            uint64_t bits;
            memcpy(&bits, &values[w], 8);
            pack.at[2 * w] = uint32_t(bits);
            pack.at[2 * w + 1] = uint32_t(bits >> 32);
        }
    }
    return pack;
}

} // namespace NEUROSIM_SET
