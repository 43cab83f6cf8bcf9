// Anisotropic filtering of 2-D textures (docs/MATH.md, section 4), forward and backward: a row of trilinear
// taps along the major axis of the pixel's footprint. One element is one pixel.
#include "texture_args.h"
#include "texture_ellipse.h"

// A pixel's taps: where they are and which levels they see.
template <typename T>
struct Row {
  bool found, point;  // whether there is anything to sample, and whether the footprint is but a point
  T s, t;             // the middle
  T ds, dt;           // the step, in units of the texture
  Ellipse<T> ellipse;
  Line<T> line;
  Levels<T> levels;
};

template <typename T>
DR_FN Row<T> row_at(const TextureArgs<T>& a, i64 i) {
  Row<T> r;
  r.s = a.uv[2 * i], r.t = a.uv[2 * i + 1];
  r.found = dr_finite(r.s) && dr_finite(r.t);
  const Vec4<T> J = jacobian(a, i);
  r.point = !(footprint(J) > 0);  // level 0 whatever the bias
  r.ellipse = ellipse_of(r.point ? Vec4<T>{T(0), T(0), T(0), T(0)} : J);
  r.line = line_of(r.ellipse, (T)a.max_anisotropy);
  r.ds = r.line.step_s / (T)a.width, r.dt = r.line.step_t / (T)a.height;
  // An infinite footprint has no minor axis to speak of.
  const T width = dr_finite(r.line.width) ? r.line.width : r.ellipse.major();
  const T level = r.point ? T(-1) : dr_log2(width) + (a.bias ? a.bias[i] : T(0));
  r.levels = levels_at(level, (int)a.levels - 1, true);
  return r;
}

// Where tap k is.
template <typename T>
struct Spot {
  T s, t;
};

template <typename T>
DR_FN Spot<T> tap_place(const TextureArgs<T>& a, const Row<T>& r, int k) {
  // The middle needs no step, which may be infinite.
  const T s = k ? r.s + (T)k * r.ds : r.s, t = k ? r.t + (T)k * r.dt : r.t;
  const bool wrap = a.boundary_mode() == kWrap;
  return {s - (wrap ? dr_floor(s) : T(0)), t - (wrap ? dr_floor(t) : T(0))};
}

// Its texels on a level.
template <typename T>
DR_FN Taps<T> texels_at(const TextureArgs<T>& a, Spot<T> p, int l) {
  return taps_2d(p.s, p.t, level_size(a.width, l), level_size(a.height, l), a.boundary_mode());
}

template <typename T, int C>
DR_FN void anisotropic_fwd(const TextureArgs<T>& a, i64 i) {
  const int channels = C ? C : (int)a.channels;
  T* out = a.out + i * channels;
  T sum[C ? C : 1];
  T* to = C ? sum : out;
  for (int c = 0; c < channels; ++c) to[c] = 0;
  const Row<T> r = row_at(a, i);
  const int reach = r.found ? r.line.reach : -1;  // no tap at all where there is nothing
  for (int k = -reach; k <= reach; ++k) {
    const T weight = r.line.weight(k);
    const Spot<T> place = tap_place(a, r, k);
    for (int q = 0; q <= r.levels.two; ++q) {
      const int l = r.levels.low + q;
      const T share = weight * (q ? r.levels.fraction : 1 - r.levels.fraction);
      const Taps<T> taps = texels_at(a, place, l);
      const T* from = a.level[l] + image_at(a, i, l);
      for (int j = 0; j < 4; ++j) {
        const T w = share * taps.w[j];
        for (int c = 0; c < channels; ++c) to[c] += w * from[taps.at[j] * channels + c];
      }
    }
  }
  for (int c = 0; c < C; ++c) out[c] = sum[c];
}

// What comes to the pixel's own inputs; s, t and the step in units of the texture.
template <typename T>
struct RowGradient {
  T s, t, ds, dt, count, level;
};

// The gradient `g` [C] of a pixel arrives at the texels of tap k, and <g, texel> is what all other gradients
// are made of.
template <typename T, int C>
DR_FN void tap_bwd(const TextureArgs<T>& a, i64 i, const Row<T>& r, int k, const T* g, bool want,
                   RowGradient<T>& grad) {
  const int channels = C ? C : (int)a.channels;
  const T weight = r.line.weight(k);
  const Spot<T> place = tap_place(a, r, k);
  T gs = 0, gt = 0, value = 0;
  for (int q = 0; q <= r.levels.two; ++q) {
    const int l = r.levels.low + q;
    const T of_level = q ? r.levels.fraction : 1 - r.levels.fraction;
    const Taps<T> taps = texels_at(a, place, l);
    const i64 image = image_at(a, i, l);
    T here = 0, dx = 0, dy = 0;
    for (int j = 0; j < 4; ++j) {
      const i64 at = image + taps.at[j] * channels;
      if (want) {
        T dot = 0;
        for (int c = 0; c < channels; ++c) dot += g[c] * a.level[l][at + c];
        here += taps.w[j] * dot, dx += taps.dx[j] * dot, dy += taps.dy[j] * dot;
      }
      if (!a.grad_level[l]) continue;
      const T share = weight * of_level * taps.w[j];
      const Peers peers = peers_of((i64)(a.grad_level[l] + at));
      for (int c = 0; c < channels; ++c) accumulate(a.grad_level[l] + at + c, share * g[c], peers);
    }
    gs += of_level * dx * (T)level_size(a.width, l), gt += of_level * dy * (T)level_size(a.height, l);
    value += of_level * here;
    if (r.levels.two) grad.level += weight * (q ? here : -here);
  }
  gs *= weight, gt *= weight;
  grad.s += gs, grad.t += gt, grad.ds += (T)k * gs, grad.dt += (T)k * gt;
  grad.count += r.line.weight_slope(k) * value;
}

template <typename T, int C>
DR_FN void anisotropic_bwd(const TextureArgs<T>& a, i64 i) {
  const int channels = C ? C : (int)a.channels;
  T held[C ? C : 1];
  for (int c = 0; c < C; ++c) held[c] = a.grad_out[i * C + c];
  const T* g = C ? held : a.grad_out + i * channels;
  bool any = false;
  for (int c = 0; c < channels; ++c) any = any || g[c] != 0;
  if (!any) return no_gradient<T, 1>(a, i, 2);
  const Row<T> r = row_at(a, i);
  if (!r.found) return no_gradient<T, 1>(a, i, 2);
  const bool want = a.grad_uv || a.grad_uv_da || a.grad_bias;
  RowGradient<T> grad = {0, 0, 0, 0, 0, 0};
  for (int k = -r.line.reach; k <= r.line.reach; ++k) tap_bwd<T, C>(a, i, r, k, g, want, grad);
  if (a.grad_uv) a.grad_uv[2 * i] = grad.s, a.grad_uv[2 * i + 1] = grad.t;
  if (a.grad_bias) a.grad_bias[i] = grad.level;
  if (!a.grad_uv_da) return;
  // A footprint that is a point, or infinite, does not change.
  const T width = (T)a.width, height = (T)a.height;
  Vec4<T> J = {0, 0, 0, 0};
  if (!r.point && dr_finite(r.ellipse.major()))
    J = line_bwd(r.ellipse, r.line, (T)a.max_anisotropy, grad.level, grad.ds / width, grad.dt / height, grad.count);
  store4(a.grad_uv_da, i, {J.x * width, J.y * width, J.z * height, J.w * height});
}

template <typename T>
DR_FN void texture_fwd_anisotropic_2d(const TextureArgs<T>& a, i64 i) {
  DR_BY_CHANNELS(anisotropic_fwd);
}
template <typename T>
DR_FN void texture_bwd_anisotropic_2d(const TextureArgs<T>& a, i64 i) {
  DR_BY_CHANNELS(anisotropic_bwd);
}

DR_KERNEL(texture_fwd_anisotropic_2d, TextureArgs)
DR_SCATTER(texture_bwd_anisotropic_2d, TextureArgs)
