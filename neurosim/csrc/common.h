// What the arithmetic of every op needs, on the CPU and on CUDA.
//
// Headers named after an op (philox.h, surrogate.h, neuron.h, quantize.h) hold its arithmetic for one element and are compiled for both.
// cpu_*.cpp hold the loops over memory for the CPU, *.cu the indexing for CUDA. No header of torch or Python is needed.
// Everything lies in a namespace named after the instruction set it is compiled for, so that the linker cannot mix two of them.
#pragma once

#ifdef __CUDACC__
#define NS_FN static __host__ __device__ __forceinline__
#define NEUROSIM_SET cuda
#else
#include <cstdint>
#if defined(_MSC_VER)
#define NS_FN static __forceinline
#define NS_EXPORT extern "C" __declspec(dllexport)
#define NS_RESTRICT __restrict
#else
#define NS_FN static inline __attribute__((always_inline))
#define NS_EXPORT extern "C" __attribute__((visibility("default")))
#define NS_RESTRICT __restrict__
#endif
#ifndef NEUROSIM_SET
#define NEUROSIM_SET baseline
#endif
#endif

#if defined(__CUDACC_RTC__)
using int32_t = int;
using uint32_t = unsigned int;
using int64_t = long long;
using uint64_t = unsigned long long;
using uint16_t = unsigned short;
using uint8_t = unsigned char;
#elif defined(__CUDACC__)
#include <cstdint>
#endif

#define NS_JOIN_(a, b) a##_##b
#define NS_JOIN(a, b) NS_JOIN_(a, b)
// The exported name of an entry point: NS_ENTRY(lif_forward) is lif_forward_avx2 in the build for AVX2. It returns 0, or what was wrong.
#define NS_ENTRY(name) NS_EXPORT int32_t NS_JOIN(name, NEUROSIM_SET)
