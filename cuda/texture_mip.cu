// One step of mip construction (docs/MATH.md, section 4), forward and backward. One element is one texel.
//
// An axis of n texels becomes m = max(1, floor(n / 2)). Texel i of m averages [i n/m, (i+1) n/m): for even n
// two texels by halves, for n = 2 m + 1 the three texels from 2 i on with weights (m - i, m, i + 1) / n. The
// backward gathers, so it needs no atomics. The axes of a volume are averaged alike.
#include "common.h"

template <typename T>
struct TextureMipArgs {
  const T* fine;         // fwd: [N, h, w, C]
  T* coarse;             // fwd: [N, max(1, h / 2), max(1, w / 2), C]
  const T* grad_coarse;  // bwd: as coarse
  const T* grad_own;     // bwd: as fine: what came to these texels themselves, or null
  T* grad_fine;          // bwd: as fine: that and the coarse texels' share
  i64 height, width;     // h, w
  i64 channels;
};

// Up to three texels along an axis: first, first + 1, ... with their weights.
template <typename T>
struct Span {
  i64 first;
  int count;
  T w[3];
};

template <typename T>
DR_FN Span<T> children(i64 i, i64 n) {
  if (n == 1) return {0, 1, {T(1), T(0), T(0)}};
  if (n % 2 == 0) return {2 * i, 2, {T(0.5), T(0.5), T(0)}};
  const i64 m = n / 2;
  return {2 * i, 3, {(T)(m - i) / (T)n, (T)m / (T)n, (T)(i + 1) / (T)n}};
}

// Adjoint of `children`: the coarse texels that texel j is part of, and its weight in each.
template <typename T>
DR_FN Span<T> parents(i64 j, i64 n) {
  if (n == 1) return {0, 1, {T(1), T(0), T(0)}};
  if (n % 2 == 0) return {j / 2, 1, {T(0.5), T(0), T(0)}};
  const i64 m = n / 2, i = j / 2;
  if (j % 2 == 1) return {i, 1, {(T)m / (T)n, T(0), T(0)}};
  if (i == 0) return {0, 1, {(T)m / (T)n, T(0), T(0)}};
  return {i - 1, i < m ? 2 : 1, {(T)i / (T)n, (T)(m - i) / (T)n, T(0)}};
}

struct Texel {
  i64 image, y, x;
};

// Division is most of the work: 32 bits are several times faster and nearly always enough, and often there is
// but one image.
DR_FN Texel texel_of(i64 i, i64 height, i64 width) {
  if (i < 0x100000000ll && height < 0x100000000ll && width < 0x100000000ll) {
    const u32 row = (u32)i / (u32)width, image = row < (u32)height ? 0 : row / (u32)height;
    return {image, row - image * (u32)height, (u32)i - row * (u32)width};
  }
  const i64 row = i / width, image = row / height;
  return {image, row - image * height, i - row * width};
}

// Sum over the texels of y times x, at channel c of an image [.., width, C] that starts at `from`.
template <typename T>
DR_FN T weigh(const T* from, i64 width, i64 channels, i64 c, const Span<T>& y, const Span<T>& x) {
  T sum = 0;
  for (int j = 0; j < y.count; ++j)
    for (int i = 0; i < x.count; ++i)
      sum += y.w[j] * x.w[i] * from[((y.first + j) * width + x.first + i) * channels + c];
  return sum;
}

template <typename T>
DR_FN void texture_mip_fwd(const TextureMipArgs<T>& a, i64 i) {
  const i64 h = dr_max(a.height / 2, (i64)1), w = dr_max(a.width / 2, (i64)1), channels = a.channels;
  const Texel at = texel_of(i, h, w);
  const T* from = a.fine + at.image * a.height * a.width * channels;
  T* to = a.coarse + i * channels;
  if (a.height % 2 == 0 && a.width % 2 == 0) {
    const T *p = from + (2 * at.y * a.width + 2 * at.x) * channels, *q = p + a.width * channels;
    for (i64 c = 0; c < channels; ++c) to[c] = ((p[c] + p[c + channels]) + (q[c] + q[c + channels])) * T(0.25);
    return;
  }
  const Span<T> y = children<T>(at.y, a.height), x = children<T>(at.x, a.width);
  for (i64 c = 0; c < channels; ++c) to[c] = weigh(from, a.width, channels, c, y, x);
}

// Where both sizes are even each fine texel has one parent, so one element is a coarse texel and its four
// children; otherwise it is a fine texel.
template <typename T>
DR_FN void texture_mip_bwd(const TextureMipArgs<T>& a, i64 i) {
  const i64 h = dr_max(a.height / 2, (i64)1), w = dr_max(a.width / 2, (i64)1), channels = a.channels;
  if (a.height % 2 == 0 && a.width % 2 == 0) {
    const Texel at = texel_of(i, h, w);
    const T* p = a.grad_coarse + i * channels;
    for (i64 row = 0; row < 2; ++row) {
      const i64 first = ((at.image * a.height + 2 * at.y + row) * a.width + 2 * at.x) * channels;
      const T* own = a.grad_own ? a.grad_own + first : a.grad_own;
      T* to = a.grad_fine + first;
      for (i64 c = 0; c < channels; ++c) {
        const T share = p[c] * T(0.25);
        to[c] = share + (own ? own[c] : T(0));
        to[c + channels] = share + (own ? own[c + channels] : T(0));
      }
    }
    return;
  }
  const Texel at = texel_of(i, a.height, a.width);
  const T* from = a.grad_coarse + at.image * h * w * channels;
  const T* own = a.grad_own ? a.grad_own + i * channels : a.grad_own;
  T* to = a.grad_fine + i * channels;
  const Span<T> y = parents<T>(at.y, a.height), x = parents<T>(at.x, a.width);
  for (i64 c = 0; c < channels; ++c) to[c] = weigh(from, w, channels, c, y, x) + (own ? own[c] : T(0));
}

template <typename T>
struct VolumeMipArgs {
  const T* fine;             // fwd: [N, d, h, w, C]
  T* coarse;                 // fwd: [N, max(1, d / 2), max(1, h / 2), max(1, w / 2), C]
  const T* grad_coarse;      // bwd: as coarse
  const T* grad_own;         // bwd: as fine: what came to these voxels themselves, or null
  T* grad_fine;              // bwd: as fine: that and the coarse voxels' share
  i64 depth, height, width;  // d, h, w
  i64 channels;
};

// Sum over the voxels of z times y times x, at channel c of a volume whose slices begin with number `first`.
template <typename T>
DR_FN T weigh_volume(const T* from, i64 first, i64 height, i64 width, i64 channels, i64 c, const Span<T>& z,
                     const Span<T>& y, const Span<T>& x) {
  T sum = 0;
  for (int k = 0; k < z.count; ++k) {
    const T* slice = from + (first + z.first + k) * height * width * channels;
    sum += z.w[k] * weigh(slice, width, channels, c, y, x);
  }
  return sum;
}

template <typename T>
DR_FN void texture_mip_fwd_3d(const VolumeMipArgs<T>& a, i64 i) {
  const i64 d = dr_max(a.depth / 2, (i64)1), h = dr_max(a.height / 2, (i64)1), w = dr_max(a.width / 2, (i64)1);
  const Texel at = texel_of(i, h, w);  // of slice at.image, all volumes counted through
  const i64 volume = at.image / d;
  const Span<T> z = children<T>(at.image - volume * d, a.depth);
  const Span<T> y = children<T>(at.y, a.height), x = children<T>(at.x, a.width);
  for (i64 c = 0; c < a.channels; ++c)
    a.coarse[i * a.channels + c] = weigh_volume(a.fine, volume * a.depth, a.height, a.width, a.channels, c, z, y, x);
}

template <typename T>
DR_FN void texture_mip_bwd_3d(const VolumeMipArgs<T>& a, i64 i) {
  const i64 d = dr_max(a.depth / 2, (i64)1), h = dr_max(a.height / 2, (i64)1), w = dr_max(a.width / 2, (i64)1);
  const Texel at = texel_of(i, a.height, a.width);
  const i64 volume = at.image / a.depth;
  const Span<T> z = parents<T>(at.image - volume * a.depth, a.depth);
  const Span<T> y = parents<T>(at.y, a.height), x = parents<T>(at.x, a.width);
  for (i64 c = 0; c < a.channels; ++c) {
    const i64 to = i * a.channels + c;
    const T own = a.grad_own ? a.grad_own[to] : T(0);
    a.grad_fine[to] = own + weigh_volume(a.grad_coarse, volume * d, h, w, a.channels, c, z, y, x);
  }
}

DR_KERNEL(texture_mip_fwd, TextureMipArgs)
DR_KERNEL(texture_mip_bwd, TextureMipArgs)
DR_KERNEL(texture_mip_fwd_3d, VolumeMipArgs)
DR_KERNEL(texture_mip_bwd_3d, VolumeMipArgs)
