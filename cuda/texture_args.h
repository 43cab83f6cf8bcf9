// What every texture kernel is given, and what they all do with it.
#pragma once
#include "common.h"
#include "texture_sample.h"

// The levels' addresses are in the struct itself: a table in memory would have to be sent to the GPU with
// every call.
static const int kMaxLevels = 24;

template <typename T>
struct TextureArgs {
  const T* level[kMaxLevels];  // [B|1, (6|max(1, D >> l),) max(1, Ht >> l), max(1, Wt >> l), C]
  T* grad_level[kMaxLevels];   // bwd: as level, or null; of the first worker
  T* scratch;                  // bwd: [slabs - 1, slab_size] the other workers' gradients, level after level
  const T* uv;                 // [B, H, W, 2], cube and volume: [B, H, W, 3]
  const T* uv_da;              // [B, H, W, 4], cube and volume: [B, H, W, 6], or null
  const T* bias;               // [B, H, W] or null
  T* out;                      // fwd: [B, H, W, C]
  const T* grad_out;           // bwd: [B, H, W, C]
  T* grad_uv;                  // bwd: as uv, or null
  T* grad_uv_da;               // bwd: as uv_da, or null
  T* grad_bias;                // bwd: as bias, or null
  i64 levels;
  i64 batch, faces, depth, height, width, channels;  // B|1 of the texture, 1 or 6, 1 or D, Ht, Wt, C
  i64 count, pixels;                                 // B * H * W, and H * W of one image
  i64 boundary;                                      // enum Boundary
  i64 linear_levels;                                 // whether neighbouring levels are blended
  i64 max_anisotropy;                                // of the filter of that name
  i64 slab_size;                                     // bwd: numel of one copy of the levels' gradients

  DR_FN int boundary_mode() const {
#if defined(DR_BOUNDARY)
    return DR_BOUNDARY;
#else
    return (int)boundary;
#endif
  }

  DR_FN i64 image_size(int l) const {
    return faces * level_size(depth, l) * level_size(height, l) * level_size(width, l) * channels;
  }

  DR_FN void slab(i64 k) {
    if (k == 0) return;
    T* at = scratch + (k - 1) * slab_size;
    for (int l = 0; l < levels; ++l) {
      if (!grad_level[l]) continue;
      grad_level[l] = at;
      at += batch * image_size(l);
    }
  }
};

// (ds/dX, ds/dY, dt/dX, dt/dY) in texels of level 0.
template <typename T>
DR_FN Vec4<T> jacobian(const TextureArgs<T>& a, i64 i) {
  const T w = (T)a.width, h = (T)a.height;
  const Vec4<T> J = load4(a.uv_da, i);
  return {J.x * w, J.y * w, J.z * h, J.w * h};
}

// Offset of the texture image that pixel i samples, on level l.
template <typename T>
DR_FN i64 image_at(const TextureArgs<T>& a, i64 i, int l) {
  return a.batch > 1 ? i / a.pixels * a.image_size(l) : 0;
}

// Zeros for N pixels from `start` on; uv has `axes` coordinates.
template <typename T, int N>
DR_FN void no_gradient(const TextureArgs<T>& a, i64 start, int axes) {
  for (int k = 0; a.grad_uv && k < N * axes; ++k) a.grad_uv[start * axes + k] = 0;
  for (int k = 0; a.grad_uv_da && k < N * axes * 2; ++k) a.grad_uv_da[start * axes * 2 + k] = 0;
  for (int k = 0; a.grad_bias && k < N; ++k) a.grad_bias[start + k] = 0;
}

// Pixel i is one texel, counted from the start of the batch, or nothing (-1).
template <typename T>
DR_FN void nearest_fwd(const TextureArgs<T>& a, i64 i, i64 texel) {
  const i64 channels = a.channels;
  for (i64 c = 0; c < channels; ++c) a.out[i * channels + c] = texel < 0 ? T(0) : a.level[0][texel * channels + c];
}

// Adjoint of `nearest_fwd`.
template <typename T>
DR_FN void nearest_bwd(const TextureArgs<T>& a, i64 i, i64 texel, int axes) {
  const i64 channels = a.channels;
  if (texel >= 0 && a.grad_level[0]) {
    const Peers peers = peers_of(texel);
    for (i64 c = 0; c < channels; ++c)
      accumulate(a.grad_level[0] + texel * channels + c, a.grad_out[i * channels + c], peers);
  }
  no_gradient<T, 1>(a, i, axes);
}

// Runs op<T, C> for pixel i, with the number of channels C where it is known; 0 is any number.
#if defined(DR_CHANNELS)
#define DR_BY_CHANNELS(op) op<T, DR_CHANNELS>(a, i)
#elif defined(__CUDACC__)
#define DR_BY_CHANNELS(op) op<T, 0>(a, i)
#else
#define DR_BY_CHANNELS(op)                                       \
  const bool fast = sizeof(T) == 4; /* float64 is for proofs */  \
  if (fast && a.channels == 3) return op<T, fast ? 3 : 0>(a, i); \
  if (fast && a.channels == 4) return op<T, fast ? 4 : 0>(a, i); \
  op<T, 0>(a, i)
#endif
