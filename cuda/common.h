// What every kernel file shares: scalar types, the two ways of running an element function, and accumulation.
//
// A kernel is an element function `template <typename T> DR_FN void op(const Args<T>& a, i64 i)` that handles
// element i, and one line DR_KERNEL(op, Args) or DR_SCATTER(op, Args). NVRTC makes of it a grid-stride kernel
// `op_f32` / `op_f64`, the C++ compiler a threaded loop of the same name. Python reads the Args structs from
// these files (backends/arguments.py says how): pointers come first, then numbers, and every field is 8 bytes
// wide (pointer, i64 or double). `op_words` lets it check that the library was compiled from the same files.
#pragma once

typedef long long i64;
typedef unsigned int u32;
typedef unsigned long long u64;

#if defined(__CUDACC__)
#define DR_FN __device__ __forceinline__
#define DR_RARE __device__ __noinline__  // slow code that must not weigh on its callers
#else
#include <cmath>
#include <cstdint>
#include <cstring>
#define DR_FN inline __attribute__((always_inline))
#define DR_RARE __attribute__((noinline, unused))
#endif

template <typename T>
struct Vec4 {
  T x, y, z, w;
};

template <typename T>
DR_FN T dr_min(T a, T b) {
  return a < b ? a : b;
}
template <typename T>
DR_FN T dr_max(T a, T b) {
  return a > b ? a : b;
}
template <typename T>
DR_FN T dr_clamp(T x, T lo, T hi) {
  return dr_min(dr_max(x, lo), hi);
}

template <typename T>
DR_FN bool dr_finite(T x) {
  return x - x == 0;
}

template <typename T>
DR_FN Vec4<T> load4(const T* p, i64 i) {
  return {p[4 * i], p[4 * i + 1], p[4 * i + 2], p[4 * i + 3]};
}
template <typename T>
DR_FN void store4(T* p, i64 i, Vec4<T> v) {
  p[4 * i] = v.x, p[4 * i + 1] = v.y, p[4 * i + 2] = v.z, p[4 * i + 3] = v.w;
}

// Which triangles are not drawn.
enum Cull { kCullNone, kCullBack, kCullFront };

// A number's bits, and back.
#if defined(__CUDACC__)
DR_FN u32 float_bits(float f) {
  return __float_as_uint(f);
}
DR_FN float bits_float(u32 b) {
  return __uint_as_float(b);
}
DR_FN u64 double_bits(double f) {
  return (u64)__double_as_longlong(f);
}
DR_FN double bits_double(u64 b) {
  return __longlong_as_double((i64)b);
}
#else
template <typename To, typename From>
DR_FN To same_bits(From from) {
  To to;
  std::memcpy(&to, &from, sizeof(to));
  return to;
}
DR_FN u32 float_bits(float f) {
  return same_bits<u32>(f);
}
DR_FN float bits_float(u32 b) {
  return same_bits<float>(b);
}
DR_FN u64 double_bits(double f) {
  return same_bits<u64>(f);
}
DR_FN double bits_double(u64 b) {
  return same_bits<double>(b);
}
#endif

// 2^-e for a finite number of size 2^e, so that multiplying by it brings the number near 1 and rounds
// nothing. Its argument is not below the normal range, where it would overflow.
DR_FN double power_of_two_below(double size) {
  const u64 exponent = double_bits(dr_max(size, 1e-300)) & 0x7FF0000000000000ull;
  return bits_double(0x7FE0000000000000ull - exponent);
}

// Kernels may compute pixels in blocks, so that the CPU's vector instructions serve several at once; on the
// GPU a block is one pixel.
#if defined(__CUDACC__)
static const int kLanes = 1;
#else
static const int kLanes = 16;
#endif

// Pixel i of a batch of images. Indices that fit 32 bits take the short division, which is several times
// cheaper everywhere.
struct Pixel {
  i64 image, x, y;
};
DR_FN Pixel pixel_at(i64 i, i64 height, i64 width) {
  if (i <= 0xFFFFFFFFll) {
    const u32 n = (u32)i, row = n / (u32)width, image = row / (u32)height;
    return {image, n - row * (u32)width, row - image * (u32)height};
  }
  const i64 row = i / width, image = row / height;
  return {image, i - row * width, row - image * height};
}

#include "accumulate.h"

// Triangle ids are stored as id + 1 in the scalar type of `rast`. A float32 counts exactly up to 2^24;
// beyond, the number n is stored as the (n - 2^24)-th float32 above 2^24, which is exact and keeps the order
// (docs/MATH.md, section 2).
DR_FN float encode_id(i64 n, float) {
  return n <= 16777216 ? (float)n : bits_float(0x4B800000u + (u32)(n - 16777216));
}
DR_FN double encode_id(i64 n, double) {
  return (double)n;
}

DR_FN i64 decode_id(float f) {
  return f > 16777216.0f ? 16777216 + (i64)(float_bits(f) - 0x4B800000u) : (i64)f;
}
DR_FN i64 decode_id(double f) {
  return (i64)f;
}

// The triangle of a `rast` pixel, or -1 for background and for anything that is no triangle of this mesh.
template <typename T>
DR_FN i64 triangle_of(const T* rast, i64 pixel, i64 triangle_count) {
  i64 t = decode_id(rast[4 * pixel + 3]) - 1;
  return t < triangle_count ? t : -1;
}

#if defined(__CUDACC__)

#define DR_LOOP(name)                             \
  const i64 stride = (i64)gridDim.x * blockDim.x; \
  for (i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += stride) name(a, i);
#define DR_ENTRY(name, Args, suffix, T)                          \
  extern "C" __global__ void name##_##suffix(Args<T> a, i64 n) { \
    DR_LOOP(name)                                                \
  }
#if defined(DR_FIXED)
#define DR_SCATTER_ENTRY(name, Args, suffix, T)                               \
  extern "C" __global__ void name##_##suffix(Args<T> a, i64 n, Fixed fixed) { \
    if (threadIdx.x == 0) dr_fixed = fixed;                                   \
    __syncthreads();                                                          \
    DR_LOOP(name)                                                             \
  }
#else
#define DR_SCATTER_ENTRY DR_ENTRY
#endif

#else

// Chunks are dealt round robin, so that the work of each worker, and with it every sum, depends on their
// number only.
static const i64 kChunk = 2048;

#define DR_ENTRY(name, Args, suffix, T)                                                                               \
  extern "C" __attribute__((visibility("default"))) void name##_##suffix(const Args<T>* args, i64 n, int workers) {   \
    const i64 chunks = (n + kChunk - 1) / kChunk;                                                                     \
    _Pragma("omp parallel for num_threads(workers) schedule(dynamic, 1) if (chunks > 1)") for (i64 c = 0; c < chunks; \
                                                                                               ++c) {                 \
      const Args<T> a = *args;                                                                                        \
      const i64 end = dr_min(n, (c + 1) * kChunk);                                                                    \
      for (i64 i = c * kChunk; i < end; ++i) name(a, i);                                                              \
    }                                                                                                                 \
  }

// Args::slab(k) moves the gradient pointers to the private copy of worker k; the caller allocates `workers`
// copies and adds them up.
#define DR_SCATTER_ENTRY(name, Args, suffix, T)                                                                        \
  extern "C" __attribute__((visibility("default"))) void name##_##suffix(const Args<T>* args, i64 n, int workers) {    \
    _Pragma("omp parallel for num_threads(workers) schedule(static, 1) if (workers > 1)") for (int k = 0; k < workers; \
                                                                                               ++k) {                  \
      Args<T> a = *args;                                                                                               \
      a.slab(k);                                                                                                       \
      for (i64 start = k * kChunk; start < n; start += workers * kChunk) {                                             \
        const i64 end = dr_min(n, start + kChunk);                                                                     \
        for (i64 i = start; i < end; ++i) name(a, i);                                                                  \
      }                                                                                                                \
    }                                                                                                                  \
  }
#endif

#if defined(__CUDACC__)
#define DR_WORDS(name, Args)
#else
#define DR_WORDS(name, Args) \
  extern "C" __attribute__((visibility("default"))) const i64 name##_words = sizeof(Args<float>) / 8;
#endif

// Both scalar types, or the one that is asked for (backends/specialize.py).
#if defined(DR_SCALAR)
#define DR_BOTH(entry, name, Args) DR_ONE(entry, name, Args, DR_SUFFIX, DR_SCALAR)
#define DR_ONE(entry, name, Args, suffix, T) entry(name, Args, suffix, T)
#else
#define DR_BOTH(entry, name, Args) entry(name, Args, f32, float) entry(name, Args, f64, double)
#endif

#define DR_KERNEL(name, Args) DR_BOTH(DR_ENTRY, name, Args) DR_WORDS(name, Args)
#define DR_SCATTER(name, Args) DR_BOTH(DR_SCATTER_ENTRY, name, Args) DR_WORDS(name, Args)
