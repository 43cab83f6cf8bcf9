// Attribute interpolation and its pixel derivatives (docs/MATH.md, section 3), forward and backward. One
// element is one pixel.
#include "common.h"

template <typename T>
struct InterpolateArgs {
  const T* attr;             // [B|1, V, A]
  const T* rast;             // [B, H, W, 4]
  const T* rast_db;          // [B, H, W, 4] or null
  const int* tri;            // [F, 3]
  const i64* diff_attrs;     // [D] channels that get derivatives
  T* out;                    // fwd: [B, H, W, A]
  T* out_da;                 // fwd: [B, H, W, 2 D]
  const T* grad_out;         // bwd: [B, H, W, A]
  const T* grad_out_da;      // bwd: [B, H, W, 2 D] or null
  T* grad_attr;              // bwd: [slabs, B|1, V, A] or null
  T* grad_rast;              // bwd: [B, H, W, 4]
  T* grad_rast_db;           // bwd: [B, H, W, 4] or null
  i64 pixels;                // H * W of one image
  i64 vertices, triangles;   // V, F
  i64 channels, diff_count;  // A, D
  i64 attr_stride;           // V * A, or 0 where the batch shares the attributes
  i64 slab_size;             // bwd: numel of one copy of grad_attr

  DR_FN void slab(i64 k) {
    if (grad_attr) grad_attr += k * slab_size;
  }
};

// Offsets of the three vertices' attributes. Returns the triangle, or -1 for background.
template <typename T>
DR_FN i64 corner_offsets(const InterpolateArgs<T>& a, i64 i, i64 (&at)[3]) {
  const i64 t = triangle_of(a.rast, i, a.triangles);
  if (t < 0) return -1;
  const i64 base = (i / a.pixels) * a.attr_stride;
  for (int k = 0; k < 3; ++k) at[k] = base + (i64)a.tri[3 * t + k] * a.channels;
  return t;
}

template <typename T>
DR_FN void interpolate_fwd(const InterpolateArgs<T>& a, i64 i) {
  T* out = a.out + i * a.channels;
  T* da = a.out_da + i * 2 * a.diff_count;
  i64 at[3];
  if (corner_offsets(a, i, at) < 0) {
    for (i64 c = 0; c < a.channels; ++c) out[c] = 0;
    for (i64 d = 0; d < 2 * a.diff_count; ++d) da[d] = 0;
    return;
  }
  const T *p0 = a.attr + at[0], *p1 = a.attr + at[1], *p2 = a.attr + at[2];
  const T u = a.rast[4 * i], v = a.rast[4 * i + 1], w = 1 - u - v;
  for (i64 c = 0; c < a.channels; ++c) out[c] = u * p0[c] + v * p1[c] + w * p2[c];
  if (a.diff_count == 0) return;
  const Vec4<T> db = load4(a.rast_db, i);
  for (i64 d = 0; d < a.diff_count; ++d) {
    const i64 c = a.diff_attrs[d];
    const T du = p0[c] - p2[c], dv = p1[c] - p2[c];
    da[2 * d] = db.x * du + db.z * dv;
    da[2 * d + 1] = db.y * du + db.w * dv;
  }
}

template <typename T>
DR_FN void interpolate_bwd(const InterpolateArgs<T>& a, i64 i) {
  Vec4<T> grad = {0, 0, 0, 0}, grad_db = {0, 0, 0, 0};
  i64 at[3];
  const i64 t = corner_offsets(a, i, at);
  if (t >= 0) {
    const T *p0 = a.attr + at[0], *p1 = a.attr + at[1], *p2 = a.attr + at[2];
    const T u = a.rast[4 * i], v = a.rast[4 * i + 1], w = 1 - u - v;
    const T* g = a.grad_out + i * a.channels;
    const Peers peers = peers_of((i / a.pixels) << 32 | t);
    for (i64 c = 0; c < a.channels; ++c) {
      grad.x += g[c] * (p0[c] - p2[c]);
      grad.y += g[c] * (p1[c] - p2[c]);
      if (a.grad_attr) {
        accumulate(a.grad_attr + at[0] + c, u * g[c], peers);
        accumulate(a.grad_attr + at[1] + c, v * g[c], peers);
        accumulate(a.grad_attr + at[2] + c, w * g[c], peers);
      }
    }
    if (a.diff_count > 0) {
      const Vec4<T> db = load4(a.rast_db, i);
      const T* gd = a.grad_out_da + i * 2 * a.diff_count;
      for (i64 d = 0; d < a.diff_count; ++d) {
        const i64 c = a.diff_attrs[d];
        const T gx = gd[2 * d], gy = gd[2 * d + 1];
        const T du = p0[c] - p2[c], dv = p1[c] - p2[c];
        grad_db.x += gx * du, grad_db.y += gy * du;
        grad_db.z += gx * dv, grad_db.w += gy * dv;
        if (a.grad_attr) {
          const T g0 = gx * db.x + gy * db.y, g1 = gx * db.z + gy * db.w;
          accumulate(a.grad_attr + at[0] + c, g0, peers);
          accumulate(a.grad_attr + at[1] + c, g1, peers);
          accumulate(a.grad_attr + at[2] + c, -g0 - g1, peers);
        }
      }
    }
  }
  store4(a.grad_rast, i, grad);
  if (a.grad_rast_db) store4(a.grad_rast_db, i, grad_db);
}

DR_KERNEL(interpolate_fwd, InterpolateArgs)
DR_SCATTER(interpolate_bwd, InterpolateArgs)
