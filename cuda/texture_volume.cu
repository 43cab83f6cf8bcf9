// Volume textures (docs/MATH.md, section 4), forward and backward: u runs along the width, v along the
// height, w along the depth. One element is one pixel.
#include "texture_args.h"
#include "texture_cube.h"

// The place of pixel i in the volume, [0, 1] where it wraps.
template <typename T>
struct Place {
  bool found;
  Vec3<T> p;
};

template <typename T>
DR_FN Place<T> place_at(const TextureArgs<T>& a, i64 i) {
  Vec3<T> p = load3(a.uv, 3 * i, 1);
  const bool found = dr_finite(p.x) && dr_finite(p.y) && dr_finite(p.z);
  if (!found) p = {T(0), T(0), T(0)};
  if (a.boundary_mode() == kWrap) p = {p.x - dr_floor(p.x), p.y - dr_floor(p.y), p.z - dr_floor(p.z)};
  return {found, p};
}

// The two texels of one axis.
template <typename T>
struct Ends {
  End<T> low, high;

  // Not an array, which would cost the GPU a trip to memory.
  DR_FN End<T> operator[](int k) const { return k ? high : low; }
};

template <typename T>
DR_FN Ends<T> ends_of(T u, int n, int boundary) {
  const Axis<T> axis = axis_at(u, n);
  return {end_at(axis.i, n, 1 - axis.f, T(-1), boundary), end_at(axis.i + 1, n, axis.f, T(1), boundary)};
}

// One of the eight voxels around the place, counted from the start of the level.
template <typename T>
struct Voxel {
  i64 at;
  End<T> x, y, z;

  DR_FN T weight() const { return x.w * y.w * z.w; }
};

template <typename T>
struct Voxels {
  i64 width, height;
  Ends<T> x, y, z;

  DR_FN Voxel<T> voxel(int j) const {
    const End<T> i = x[j & 1], k = y[j >> 1 & 1], l = z[j >> 2];
    return {(l.i * height + k.i) * width + i.i, i, k, l};
  }
};

template <typename T>
DR_FN Voxels<T> cell_at(const TextureArgs<T>& a, Vec3<T> p, int l) {
  const int width = level_size(a.width, l), height = level_size(a.height, l), depth = level_size(a.depth, l);
  const int boundary = a.boundary_mode();
  return {width, height, ends_of(p.x, width, boundary), ends_of(p.y, height, boundary), ends_of(p.z, depth, boundary)};
}

// The derivatives of the place by X and Y in voxels of level 0: the columns of the Jacobian.
template <typename T>
struct Steps {
  Vec3<T> X, Y;
};

template <typename T>
DR_FN Steps<T> steps_at(const TextureArgs<T>& a, i64 i) {
  const Vec3<T> X = load3(a.uv_da, 6 * i, 2), Y = load3(a.uv_da, 6 * i + 1, 2);
  const T w = (T)a.width, h = (T)a.height, d = (T)a.depth;
  return {{X.x * w, X.y * h, X.z * d}, {Y.x * w, Y.y * h, Y.z * d}};
}

template <typename T>
DR_FN T dot(Vec3<T> p, Vec3<T> q) {
  return p.x * q.x + p.y * q.y + p.z * q.z;
}
template <typename T>
DR_FN Gram<T> gram(const Steps<T>& J) {
  return {dot(J.X, J.X), dot(J.X, J.Y), dot(J.Y, J.Y)};
}

// Adjoint of `steps_at` for a gradient of the level of detail, stored.
template <typename T>
DR_FN void steps_bwd(const TextureArgs<T>& a, i64 i, T grad_level) {
  const Steps<T> J = steps_at(a, i);
  const Gram<T> g = level_bwd(gram(J), grad_level);
  const T w = (T)a.width, h = (T)a.height, d = (T)a.depth;
  T* to = a.grad_uv_da + 6 * i;
  to[0] = (g.a * J.X.x + g.b * J.Y.x) * w, to[1] = (g.c * J.Y.x + g.b * J.X.x) * w;
  to[2] = (g.a * J.X.y + g.b * J.Y.y) * h, to[3] = (g.c * J.Y.y + g.b * J.X.y) * h;
  to[4] = (g.a * J.X.z + g.b * J.Y.z) * d, to[5] = (g.c * J.Y.z + g.b * J.X.z) * d;
}

template <typename T>
DR_FN Levels<T> volume_levels(const TextureArgs<T>& a, i64 i) {
  if (!a.uv_da && !a.bias) return {0, T(0), false};
  T level = a.bias ? a.bias[i] : T(0);
  if (a.uv_da) {
    const T size = footprint(gram(steps_at(a, i)));
    level = size > 0 ? level + dr_log2(size) / 2 : T(-1);  // a point: level 0 whatever the bias
  }
  return levels_at(level, (int)a.levels - 1, a.linear_levels != 0);
}

template <typename T, int C>
DR_FN void volume_fwd(const TextureArgs<T>& a, i64 i) {
  const int channels = C ? C : (int)a.channels;
  T* out = a.out + i * channels;
  T sum[C ? C : 1];
  T* to = C ? sum : out;
  for (int c = 0; c < channels; ++c) to[c] = 0;
  const Place<T> place = place_at(a, i);
  const Levels<T> levels = volume_levels(a, i);
  for (int q = 0; q <= levels.two && place.found; ++q) {
    const int l = levels.low + q;
    const T of_level = q ? levels.fraction : 1 - levels.fraction;
    const Voxels<T> cell = cell_at(a, place.p, l);
    const T* from = a.level[l] + image_at(a, i, l);
    for (int j = 0; j < 8; ++j) {
      const Voxel<T> v = cell.voxel(j);
      const T share = of_level * v.weight();
      for (int c = 0; c < channels; ++c) to[c] += share * from[v.at * channels + c];
    }
  }
  for (int c = 0; c < C; ++c) out[c] = sum[c];
}

template <typename T, int C>
DR_FN void volume_bwd(const TextureArgs<T>& a, i64 i) {
  const int channels = C ? C : (int)a.channels;
  T held[C ? C : 1];
  for (int c = 0; c < C; ++c) held[c] = a.grad_out[i * C + c];
  const T* g = C ? held : a.grad_out + i * channels;
  bool any = false;
  for (int c = 0; c < channels; ++c) any = any || g[c] != 0;
  const Place<T> place = place_at(a, i);
  if (!any || !place.found) return no_gradient<T, 1>(a, i, 3);
  const Levels<T> levels = volume_levels(a, i);
  const bool want = a.grad_uv || a.grad_uv_da || a.grad_bias;
  Vec3<T> grad = {0, 0, 0};
  T grad_level = 0;
  for (int q = 0; q <= levels.two; ++q) {
    const int l = levels.low + q;
    const T of_level = q ? levels.fraction : 1 - levels.fraction;
    const Voxels<T> cell = cell_at(a, place.p, l);
    const i64 image = image_at(a, i, l);
    T value = 0, dx = 0, dy = 0, dz = 0;
    for (int j = 0; j < 8; ++j) {
      const Voxel<T> v = cell.voxel(j);
      const i64 at = image + v.at * channels;
      if (want) {
        T dot = 0;
        for (int c = 0; c < channels; ++c) dot += g[c] * a.level[l][at + c];
        value += v.weight() * dot, dx += v.x.d * v.y.w * v.z.w * dot;
        dy += v.x.w * v.y.d * v.z.w * dot, dz += v.x.w * v.y.w * v.z.d * dot;
      }
      if (!a.grad_level[l]) continue;
      const T share = of_level * v.weight();
      const Peers peers = peers_of((i64)(a.grad_level[l] + at));
      for (int c = 0; c < channels; ++c) accumulate(a.grad_level[l] + at + c, share * g[c], peers);
    }
    grad.x += of_level * dx * (T)cell.width, grad.y += of_level * dy * (T)cell.height;
    grad.z += of_level * dz * (T)level_size(a.depth, l);
    if (levels.two) grad_level += q ? value : -value;
  }
  if (a.grad_uv) a.grad_uv[3 * i] = grad.x, a.grad_uv[3 * i + 1] = grad.y, a.grad_uv[3 * i + 2] = grad.z;
  if (a.grad_bias) a.grad_bias[i] = grad_level;
  if (!a.grad_uv_da) return;
  if (levels.two) return steps_bwd(a, i, grad_level);
  for (int k = 0; k < 6; ++k) a.grad_uv_da[6 * i + k] = 0;
}

// The voxel that holds the sample, counted from the start of the batch; -1 where there is none.
template <typename T>
DR_FN i64 nearest_voxel(const TextureArgs<T>& a, i64 i) {
  const Place<T> place = place_at(a, i);
  const i64 z = texel_index(place.p.z, (int)a.depth);
  if (!place.found || (a.boundary_mode() == kZero && (z < 0 || z >= a.depth))) return -1;
  const i64 x = texel_index(place.p.x, (int)a.width), y = texel_index(place.p.y, (int)a.height);
  const i64 in_slice = nearest_2d(x, y, a.width, a.height, a.boundary_mode());
  if (in_slice < 0) return -1;
  const i64 image = a.batch > 1 ? i / a.pixels * a.depth : 0;
  return (image + dr_clamp(z, (i64)0, a.depth - 1)) * a.height * a.width + in_slice;
}

template <typename T>
DR_FN void texture_fwd_nearest_3d(const TextureArgs<T>& a, i64 i) {
  nearest_fwd(a, i, nearest_voxel(a, i));
}
template <typename T>
DR_FN void texture_bwd_nearest_3d(const TextureArgs<T>& a, i64 i) {
  nearest_bwd(a, i, nearest_voxel(a, i), 3);
}
template <typename T>
DR_FN void texture_fwd_linear_3d(const TextureArgs<T>& a, i64 i) {
  DR_BY_CHANNELS(volume_fwd);
}
template <typename T>
DR_FN void texture_bwd_linear_3d(const TextureArgs<T>& a, i64 i) {
  DR_BY_CHANNELS(volume_bwd);
}

DR_KERNEL(texture_fwd_nearest_3d, TextureArgs)
DR_SCATTER(texture_bwd_nearest_3d, TextureArgs)
DR_KERNEL(texture_fwd_linear_3d, TextureArgs)
DR_SCATTER(texture_bwd_linear_3d, TextureArgs)
