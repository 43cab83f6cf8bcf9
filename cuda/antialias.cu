// Analytic antialiasing of silhouettes (docs/MATH.md, section 5), forward and backward.
//
// 1. antialias_side, antialias_silhouettes: which way a triangle faces, and which of its edges are
// silhouettes.
// 2. antialias_find: every pair of neighbouring pixels once; one byte per pixel keeps all that is discrete.
// 3. antialias_blend, antialias_bwd: colours are gathered: no atomics on images, and results repeat.
//
// What is decided in 2 is read again in 3, so forward and backward cannot disagree about it.
#include "silhouette.h"

template <typename T>
struct AntialiasArgs {
  const T* color;   // [B, H, W, C]
  const T* rast;    // [B, H, W, 4]
  const T* pos;     // [B|1, V, 4]
  const int* tri;   // [F, 3]
  const int* ring;  // silhouettes, find: [F, 3]
  i8* side;         // side, silhouettes, find: [B|1, F] or null (computed where it is needed); 1 counter-clockwise,
                    // -1 clockwise, 0 covers nothing
  u8* silhouettes;  // silhouettes, find: [B|1, F] or null, likewise; bit e: the edge opposite to corner e is one
  u8* pairs;        // find, blend, bwd, jvp: [B, H, W] low half: the pair with the pixel to the right, high half: with
                    // the pixel above
  T* out;           // blend, jvp: [B, H, W, C]
  const T* grad_out;  // bwd, jvp: [B, H, W, C]
  T* grad_color;      // bwd: [B, H, W, C] or null
  T* grad_pos;        // bwd, jvp: [slabs, B|1, V, 4] or null
  i64 count;          // B * H * W
  i64 height, width, channels;
  i64 triangles;                 // F
  i64 pos_stride, table_stride;  // V * 4 and F, or 0 where the batch shares the positions
  i64 cull;                      // side, silhouettes, find: enum Cull
  i64 run;                       // find, blend, bwd, jvp: how many pixels make one element
  i64 slab_size;                 // bwd: numel of one copy of grad_pos
  double boost;                  // bwd, jvp: factor of the gradient of pos

  DR_FN void slab(i64 k) {
    if (grad_pos) grad_pos += k * slab_size;
  }
};

// The half of a byte of `pairs`. Zero: nothing is blended.
enum PairBits {
  kEdge = 3,           // 1 + the corner opposite to the silhouette edge, a corner of the near pixel's triangle
  kFirstNear = 4,      // the pixel that owns the byte is the near one
  kFirstReceives = 8,  // and it is the one that is changed
};

// --- Silhouettes -----------------------------------------------------------------------------------------

template <typename T>
DR_FN bool is_silhouette(const AntialiasArgs<T>& a, i64 view, i64 t, int e) {
  int along = side_of(a, view, t);
  return along != 0 && beyond(a, view, (int)(3 * t + e), a.ring[3 * t + e], along) < 0;
}

template <typename T>
DR_FN void antialias_side(const AntialiasArgs<T>& a, i64 i) {
  AntialiasArgs<T> compute = a;
  compute.side = nullptr;
  a.side[i] = (i8)side_of(compute, i / a.triangles, i % a.triangles);
}

template <typename T>
DR_FN void antialias_silhouettes(const AntialiasArgs<T>& a, i64 i) {
  const i64 view = i / a.triangles, t = i % a.triangles;
  int bits = 0;
  for (int e = 0; e < 3; ++e) bits |= is_silhouette(a, view, t, e) << e;
  a.silhouettes[i] = (u8)bits;
}

// --- Pairs of pixels -------------------------------------------------------------------------------------

// Looks at the pair (p, q), q right of p or above it, with p at the place `at`; returns its half byte.
template <typename T>
DR_FN int find_pair(const AntialiasArgs<T>& a, i64 p, i64 q, PixelPlace at) {
  const i64 tp = triangle_of(a.rast, p, a.triangles), tq = triangle_of(a.rast, q, a.triangles);
  const T zp = a.rast[4 * p + 2], zq = a.rast[4 * q + 2];
  const bool first_near = tp >= 0 && (tq < 0 || zp < zq || (zp == zq && tp < tq));
  const i64 t = first_near ? tp : tq;
  if (t < 0) return 0;
  const int open = a.silhouettes ? a.silhouettes[at.view * a.table_stride + t] : 7;
  if (!open) return 0;

  const bool vertical = q == p + a.width;
  const PixelCentre cp = centre_of(a, at.ix, at.iy), cq = centre_of(a, at.ix + !vertical, at.iy + vertical);
  const PixelCentre cn = first_near ? cp : cq, cf = first_near ? cq : cp;
  const T* corner[3];
  for (int k = 0; k < 3; ++k) corner[k] = a.pos + at.view * a.pos_stride + 4 * (i64)a.tri[3 * t + k];
  double near[3], far[3];
  for (int k = 0; k < 3; ++k) {
    near[k] = edge_function(corner[(k + 1) % 3], corner[(k + 2) % 3], cn);
    far[k] = edge_function(corner[(k + 1) % 3], corner[(k + 2) % 3], cf);
  }
  const double sum = near[0] + near[1] + near[2];
  int edge = -1;
  Crossing first = {2, 0};
  for (int k = 0; k < 3; ++k) {
    if (!(sum > 0 ? far[k] < 0 : far[k] > 0)) continue;
    const Crossing c = crossing_of(near[k], far[k]);
    if (c.alpha < first.alpha) first = c, edge = k;
  }
  // The last condition: not finite, or of a size that no derivative can be computed for.
  if (edge < 0 || sum == 0 || !(first.inverse < 1e300)) return 0;
  // Vertical pairs blend flat edges and horizontal pairs the others: were both to blend an edge, its motion
  // would count twice.
  if (vertical != is_flat(a, corner[(edge + 1) % 3], corner[(edge + 2) % 3])) return 0;
  if (a.silhouettes ? !(open >> edge & 1) : !is_silhouette(a, at.view, t, edge)) return 0;
  const bool near_receives = first.alpha < 0.5;
  return (edge + 1) | (first_near ? kFirstNear : 0) | (first_near == near_receives ? kFirstReceives : 0);
}

// One element is a run of pixels, so that the place in the image is divided out once per run.
template <typename T>
DR_FN void antialias_find(const AntialiasArgs<T>& a, i64 i) {
  const i64 begin = i * a.run, end = dr_min(begin + a.run, a.count);
  PixelPlace at = place_of(a, begin);
  for (i64 p = begin; p < end; ++p) {
    const T id = a.rast[4 * p + 3];
    int code = 0;
    if (at.ix + 1 < a.width && a.rast[4 * (p + 1) + 3] != id) code = find_pair(a, p, p + 1, at);
    if (at.iy + 1 < a.height && a.rast[4 * (p + a.width) + 3] != id) code |= find_pair(a, p, p + a.width, at) << 4;
    a.pairs[p] = (u8)code;
    if (++at.ix < a.width) continue;
    at.ix = 0;
    if (++at.iy == a.height) at.iy = 0, ++at.view;
  }
}

// A pixel's four pairs: 0 with the pixel to the right, 1 above, 2 to the left, 3 below; seen from the other
// pixel it is pair k ^ 2. A pair that would leave the image has the code of a last column or row, zero.
struct PixelPair {
  i64 other;
  int code;
  bool first;  // whether the pixel owns the byte
};

template <typename T>
DR_FN PixelPair pair_of(const AntialiasArgs<T>& a, i64 p, int k) {
  const i64 step = k & 1 ? a.width : 1, owner = k < 2 ? p : p - step;
  const int code = owner < 0 ? 0 : a.pairs[owner] >> (k & 1 ? 4 : 0) & 15;
  return {k < 2 ? p + step : owner, code, k < 2};
}

DR_FN bool receives(PixelPair pair) {
  return pair.code && pair.first == ((pair.code & kFirstReceives) != 0);
}

template <typename T>
DR_FN bool any_pair(const AntialiasArgs<T>& a, i64 begin, i64 end) {
  int any = 0;
  for (i64 p = begin; p < end; ++p) any |= a.pairs[p] | (p >= a.width ? a.pairs[p - a.width] & 0xF0 : 0);
  return any || (begin > 0 && (a.pairs[begin - 1] & 0x0F));
}

// The silhouette edge between a pixel and the other one of a pair.
template <typename T>
struct SilhouetteEdge {
  i64 from, to;  // offsets of its ends in pos
  PixelCentre near, far;
  double near_value, far_value;  // the edge function at both centres
  int sign;                      // of d(weight)/d(alpha) where the pixel receives: -1 if it is the near one
};

template <typename T>
DR_FN SilhouetteEdge<T> edge_of(const AntialiasArgs<T>& a, i64 p, PixelPair pair) {
  const bool near_here = pair.first == ((pair.code & kFirstNear) != 0);
  const i64 near = near_here ? p : pair.other, far = near_here ? pair.other : p;
  const PixelPlace n = place_of(a, near), f = place_of(a, far);
  const int* corner = a.tri + 3 * triangle_of(a.rast, near, a.triangles);
  const int e = (pair.code & kEdge) - 1;
  SilhouetteEdge<T> edge;
  edge.from = n.view * a.pos_stride + 4 * (i64)corner[(e + 1) % 3];
  edge.to = n.view * a.pos_stride + 4 * (i64)corner[(e + 2) % 3];
  edge.near = centre_of(a, n.ix, n.iy), edge.far = centre_of(a, f.ix, f.iy);
  edge.near_value = edge_function(a.pos + edge.from, a.pos + edge.to, edge.near);
  edge.far_value = edge_function(a.pos + edge.from, a.pos + edge.to, edge.far);
  edge.sign = near_here ? -1 : 1;
  return edge;
}

// What flows into a pixel: the weight of each of its pairs, and what their sum is divided by.
struct Inflow {
  double weight[4], sum, norm;
};

template <typename T>
DR_FN Inflow inflow_of(const AntialiasArgs<T>& a, i64 p) {
  Inflow in = {{0, 0, 0, 0}, 0, 1};
  for (int k = 0; k < 4; ++k) {
    const PixelPair pair = pair_of(a, p, k);
    if (!receives(pair)) continue;
    const SilhouetteEdge<T> e = edge_of(a, p, pair);
    in.weight[k] = dr_max(e.sign * (crossing_of(e.near_value, e.far_value).alpha - 0.5), 0.0);
    in.sum += in.weight[k];
  }
  in.norm = dr_max(1.0, in.sum);
  return in;
}

// --- Forward ---------------------------------------------------------------------------------------------

template <typename T>
DR_FN void blend_pixel(const AntialiasArgs<T>& a, i64 p) {
  const Inflow in = inflow_of(a, p);
  if (in.sum == 0) return;
  const T* own = a.color + p * a.channels;
  for (i64 c = 0; c < a.channels; ++c) {
    T value = own[c], low = own[c], high = own[c];
    for (int k = 0; k < 4; ++k) {
      if (in.weight[k] == 0) continue;
      const T other = a.color[pair_of(a, p, k).other * a.channels + c];
      value += (T)(in.weight[k] / in.norm) * (other - own[c]);
      low = dr_min(low, other), high = dr_max(high, other);
    }
    a.out[p * a.channels + c] = value < low ? low : value > high ? high : value;  // removes rounding, lets NaN pass
  }
}

template <typename T>
DR_FN void antialias_blend(const AntialiasArgs<T>& a, i64 i) {
  const i64 begin = i * a.run, end = dr_min(begin + a.run, a.count);
  for (i64 c = begin * a.channels; c < end * a.channels; ++c) a.out[c] = a.color[c];
  if (!any_pair(a, begin, end)) return;
  for (i64 p = begin; p < end; ++p) blend_pixel(a, p);
}

// --- Backward --------------------------------------------------------------------------------------------

// Gathers what pixel p gets from its own output, and from those of the neighbours that it flows into.
template <typename T>
DR_FN void color_bwd(const AntialiasArgs<T>& a, i64 p, const Inflow& in) {
  T* grad = a.grad_color + p * a.channels;
  const T keep = (T)(1 - in.sum / in.norm);
  for (i64 c = 0; c < a.channels; ++c) grad[c] = keep * a.grad_out[p * a.channels + c];
  for (int k = 0; k < 4; ++k) {
    const PixelPair pair = pair_of(a, p, k);
    if (!pair.code || receives(pair)) continue;
    const Inflow other = inflow_of(a, pair.other);
    const T share = (T)(other.weight[k ^ 2] / other.norm);
    for (i64 c = 0; c < a.channels; ++c) grad[c] += share * a.grad_out[pair.other * a.channels + c];
  }
}

// Scatters the gradient of pixel p's weights to the ends of the edges that they come from.
template <typename T>
DR_FN void position_bwd(const AntialiasArgs<T>& a, i64 p, const Inflow& in) {
  const T *own = a.color + p * a.channels, *grad = a.grad_out + p * a.channels;
  double gain[4] = {0, 0, 0, 0},
         mean = 0;  // <grad, c_q - c_p>, and its mean by weight where the weights are normalized
  for (int k = 0; k < 4; ++k) {
    const PixelPair pair = pair_of(a, p, k);
    if (!receives(pair)) continue;
    const T* other = a.color + pair.other * a.channels;
    for (i64 c = 0; c < a.channels; ++c) gain[k] += (double)grad[c] * ((double)other[c] - (double)own[c]);
    if (in.sum > 1) mean += in.weight[k] / in.sum * gain[k];
  }
  for (int k = 0; k < 4; ++k) {
    const PixelPair pair = pair_of(a, p, k);
    if (!receives(pair)) continue;
    const SilhouetteEdge<T> e = edge_of(a, p, pair);
    const double g_alpha = a.boost * e.sign * (gain[k] - mean) / in.norm;
    if (g_alpha == 0) continue;
    double g_near, g_far, g_from[3] = {0, 0, 0}, g_to[3] = {0, 0, 0};
    crossing_bwd(e.far_value, crossing_of(e.near_value, e.far_value), g_alpha, g_near, g_far);
    edge_function_bwd(a.pos + e.from, a.pos + e.to, e.near, g_near, g_from, g_to);
    edge_function_bwd(a.pos + e.from, a.pos + e.to, e.far, g_far, g_from, g_to);
    for (int c = 0; c < 3; ++c) {  // x, y and w
      accumulate(a.grad_pos + e.from + (c < 2 ? c : 3), (T)g_from[c]);
      accumulate(a.grad_pos + e.to + (c < 2 ? c : 3), (T)g_to[c]);
    }
  }
}

template <typename T>
DR_FN void antialias_bwd(const AntialiasArgs<T>& a, i64 i) {
  const i64 begin = i * a.run, end = dr_min(begin + a.run, a.count);
  if (a.grad_color)
    for (i64 c = begin * a.channels; c < end * a.channels; ++c) a.grad_color[c] = a.grad_out[c];
  if (!any_pair(a, begin, end)) return;
  for (i64 p = begin; p < end; ++p) {
    if (!any_pair(a, p, p + 1)) continue;
    const Inflow in = inflow_of(a, p);
    if (a.grad_color) color_bwd(a, p, in);
    if (a.grad_pos) position_bwd(a, p, in);
  }
}

// --- Forward mode ----------------------------------------------------------------------------------------

// How fast the crossing of a pair moves, from the tangents of pos.
template <typename T>
DR_FN double alpha_motion(const T* pos, const T* tangent, const SilhouetteEdge<T>& e) {
  double g_near, g_far, g_from[3] = {0, 0, 0}, g_to[3] = {0, 0, 0}, sum = 0;
  crossing_bwd(e.far_value, crossing_of(e.near_value, e.far_value), 1, g_near, g_far);
  edge_function_bwd(pos + e.from, pos + e.to, e.near, g_near, g_from, g_to);
  edge_function_bwd(pos + e.from, pos + e.to, e.far, g_far, g_from, g_to);
  for (int c = 0; c < 3; ++c) {  // x, y and w
    const int k = c < 2 ? c : 3;
    sum += g_from[c] * (double)tangent[e.from + k] + g_to[c] * (double)tangent[e.to + k];
  }
  return sum;
}

// The derivative of `out` along given motions of color and pos: grad_out and grad_pos hold these tangents,
// and out that of the output.
template <typename T>
DR_FN void antialias_jvp(const AntialiasArgs<T>& a, i64 i) {
  const i64 begin = i * a.run, end = dr_min(begin + a.run, a.count);
  for (i64 c = begin * a.channels; c < end * a.channels; ++c) a.out[c] = a.grad_out[c];
  if (!any_pair(a, begin, end)) return;
  for (i64 p = begin; p < end; ++p) {
    if (!any_pair(a, p, p + 1)) continue;
    const Inflow in = inflow_of(a, p);
    double motion[4] = {0, 0, 0, 0}, total = 0;  // of the weights
    for (int k = 0; k < 4; ++k) {
      const PixelPair pair = pair_of(a, p, k);
      if (!receives(pair)) continue;
      const SilhouetteEdge<T> e = edge_of(a, p, pair);
      motion[k] = a.boost * e.sign * alpha_motion(a.pos, a.grad_pos, e), total += motion[k];
    }
    const i64 own = p * a.channels;
    for (int k = 0; k < 4; ++k) {
      const PixelPair pair = pair_of(a, p, k);
      if (!receives(pair)) continue;
      const double weight = in.weight[k] / in.norm;
      const double change = (motion[k] - (in.sum > 1 ? weight * total : 0)) / in.norm;
      const i64 other = pair.other * a.channels;
      for (i64 n = 0; n < a.channels; ++n)
        a.out[own + n] += (T)weight * (a.grad_out[other + n] - a.grad_out[own + n]) +
                          (T)change * (a.color[other + n] - a.color[own + n]);
    }
  }
}

DR_KERNEL(antialias_side, AntialiasArgs)
DR_KERNEL(antialias_silhouettes, AntialiasArgs)
DR_KERNEL(antialias_find, AntialiasArgs)
DR_KERNEL(antialias_blend, AntialiasArgs)
DR_SCATTER(antialias_bwd, AntialiasArgs)
DR_KERNEL(antialias_jvp, AntialiasArgs)
