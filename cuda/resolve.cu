// From the visible triangle of each pixel to (u, v, z/w, id + 1) and the pixel derivatives of (u, v) (docs/MATH.md, section 2).
// Every rasterizer shares this file, so all of them agree to the last bit wherever they see the same triangle.
#include "common.h"

template <typename T>
struct ResolveArgs {
  const T* pos;        // [B|1, V, 4]
  const int* tri;      // [F, 3]
  const int* id;       // [B, H, W] visible triangle + 1, or 0
  T* rast;             // [B, H, W, 4]
  T* rast_db;          // [B, H, W, 4] or null
  const T* grad_rast;     // [B, H, W, 4]
  const T* grad_rast_db;  // [B, H, W, 4] or null
  T* grad_pos;         // [slabs, B|1, V, 4]
  i64 height, width;
  double inv_height, inv_width;
  i64 pos_stride;  // V * 4, or 0 where the batch shares the positions
  i64 slab_size;   // numel of one copy of grad_pos

  DR_FN void slab(i64 k) { grad_pos += k * slab_size; }
};

// A vertex seen from the pixel centre: its homogeneous coordinates after the centre has been moved to the origin, x' = x - X w and
// y' = y - Y w. The subtraction cancels, so it is done in double; everything after it is well conditioned in T.
template <typename T>
struct Corner {
  T x, y, w, z;
};

struct Centre {  // of a pixel, in normalized device coordinates
  double X, Y;
};

template <typename T>
DR_FN Centre centre_of(const ResolveArgs<T>& a, const Pixel& p) {
  return {(double)(2 * p.x + 1 - a.width) * a.inv_width, (double)(2 * p.y + 1 - a.height) * a.inv_height};
}

// The corners of triangle t. Where products of them could leave the range of T they are all multiplied by one power of two, which is
// returned: nothing that is computed from homogeneous coordinates depends on their scale.
template <typename T>
DR_FN T corners_of(const ResolveArgs<T>& a, const Pixel& p, const Centre& at, i64 t, Corner<T> (&c)[3]) {
  const T* pos = a.pos + p.image * a.pos_stride;
  T size = 0;
  for (int k = 0; k < 3; ++k) {
    const T* v = pos + 4 * (i64)a.tri[3 * t + k];
    c[k] = {(T)((double)v[0] - at.X * (double)v[3]), (T)((double)v[1] - at.Y * (double)v[3]), v[3], v[2]};
    size = dr_max(size, dr_max(v[3], -v[3]));
  }
  if (size > T(1e-6) && size < T(1e6)) return 1;
  const T scale = (T)power_of_two_below((double)size);
  for (int k = 0; k < 3; ++k) c[k] = {c[k].x * scale, c[k].y * scale, c[k].w * scale, c[k].z * scale};
  return scale;
}

// Barycentrics and their derivatives per pixel. `sx`, `sy` are the sizes of a pixel, 2/W and 2/H.
template <typename T>
struct Barycentrics {
  T u, v, inv_sum;         // 1 / (a0 + a1 + a2)
  T a0, a1, a2;            // edge functions
  T dx0, dx1, dxs;         // da0/dX, da1/dX, ds/dX
  T dy0, dy1, dys;
};

template <typename T>
DR_FN Barycentrics<T> barycentrics(const Corner<T> (&c)[3], T sx, T sy) {
  Barycentrics<T> b;
  b.a0 = c[1].x * c[2].y - c[2].x * c[1].y;
  b.a1 = c[2].x * c[0].y - c[0].x * c[2].y;
  b.a2 = c[0].x * c[1].y - c[1].x * c[0].y;
  const T sum = b.a0 + b.a1 + b.a2;
  b.inv_sum = sum != 0 ? 1 / sum : T(0);
  b.u = b.a0 * b.inv_sum, b.v = b.a1 * b.inv_sum;
  b.dx0 = (c[2].w * c[1].y - c[1].w * c[2].y) * sx, b.dy0 = (c[1].w * c[2].x - c[2].w * c[1].x) * sy;
  b.dx1 = (c[0].w * c[2].y - c[2].w * c[0].y) * sx, b.dy1 = (c[2].w * c[0].x - c[0].w * c[2].x) * sy;
  b.dxs = b.dx0 + b.dx1 + (c[1].w * c[0].y - c[0].w * c[1].y) * sx;
  b.dys = b.dy0 + b.dy1 + (c[0].w * c[1].x - c[1].w * c[0].x) * sy;
  return b;
}

// Adjoint of `barycentrics`: from d/d(u, v) and d/d(du/dX, du/dY, dv/dX, dv/dY) to d/d(x, y, w) of the corners.
template <typename T>
DR_FN void barycentrics_bwd(const Corner<T> (&c)[3], T sx, T sy, T gu, T gv, Vec4<T> gdb, Corner<T> (&gc)[3]) {
  const Barycentrics<T> b = barycentrics(c, sx, sy);
  const T r = b.inv_sum;
  const T du_dx = (b.dx0 - b.u * b.dxs) * r, du_dy = (b.dy0 - b.u * b.dys) * r;
  const T dv_dx = (b.dx1 - b.v * b.dxs) * r, dv_dy = (b.dy1 - b.v * b.dys) * r;
  // du/dX = (dx0 - u dxs) r: through dx0, dxs, u and r.
  T g_dx0 = gdb.x * r, g_dy0 = gdb.y * r, g_dx1 = gdb.z * r, g_dy1 = gdb.w * r;
  const T g_dxs = -(b.u * g_dx0 + b.v * g_dx1), g_dys = -(b.u * g_dy0 + b.v * g_dy1);
  gu -= g_dx0 * b.dxs + g_dy0 * b.dys;
  gv -= g_dx1 * b.dxs + g_dy1 * b.dys;
  // u = a0 r and r = 1/sum, so d/d(sum) collects -(value r) from everything that was divided by the sum.
  const T g_sum = -r * (gdb.x * du_dx + gdb.y * du_dy + gdb.z * dv_dx + gdb.w * dv_dy + gu * b.u + gv * b.v);
  const T g_a0 = gu * r + g_sum, g_a1 = gv * r + g_sum, g_a2 = g_sum;
  g_dx0 = (g_dx0 + g_dxs) * sx, g_dx1 = (g_dx1 + g_dxs) * sx, g_dy0 = (g_dy0 + g_dys) * sy, g_dy1 = (g_dy1 + g_dys) * sy;
  const T g_dx2 = g_dxs * sx, g_dy2 = g_dys * sy;
  const T ga[3] = {g_a0, g_a1, g_a2}, gx[3] = {g_dx0, g_dx1, g_dx2}, gy[3] = {g_dy0, g_dy1, g_dy2};
  for (int k = 0; k < 3; ++k) gc[k] = {0, 0, 0, 0};
  for (int k = 0; k < 3; ++k) {  // edge k runs from corner j to corner l
    const int j = (k + 1) % 3, l = (k + 2) % 3;
    gc[j].x += ga[k] * c[l].y - gy[k] * c[l].w;
    gc[l].x += -ga[k] * c[j].y + gy[k] * c[j].w;
    gc[j].y += -ga[k] * c[l].x + gx[k] * c[l].w;
    gc[l].y += ga[k] * c[j].x - gx[k] * c[j].w;
    gc[j].w += -gx[k] * c[l].y + gy[k] * c[l].x;
    gc[l].w += gx[k] * c[j].y - gy[k] * c[j].x;
  }
}

template <typename T>
DR_FN void resolve_fwd(const ResolveArgs<T>& a, i64 i) {
  const i64 t = (i64)a.id[i] - 1;
  if (t < 0) {
    store4(a.rast, i, {0, 0, 0, 0});
    if (a.rast_db) store4(a.rast_db, i, {0, 0, 0, 0});
    return;
  }
  Corner<T> c[3];
  const Pixel p = pixel_at(i, a.height, a.width);
  corners_of(a, p, centre_of(a, p), t, c);
  const Barycentrics<T> b = barycentrics(c, T(2 * a.inv_width), T(2 * a.inv_height));
  const T depth = (b.a0 * c[0].z + b.a1 * c[1].z + b.a2 * c[2].z) / (b.a0 * c[0].w + b.a1 * c[1].w + b.a2 * c[2].w);
  // The exact coverage test has put the centre inside; this only removes the rounding of the division.
  T u = dr_max(b.u, T(0)), v = dr_max(b.v, T(0));
  if (u + v > 1) {
    const T over = u + v;
    u /= over, v /= over;
  }
  store4(a.rast, i, {u, v, depth, encode_id(t + 1, T(0))});
  if (!a.rast_db) return;
  store4(a.rast_db, i,
         {(b.dx0 - b.u * b.dxs) * b.inv_sum, (b.dy0 - b.u * b.dys) * b.inv_sum, (b.dx1 - b.v * b.dxs) * b.inv_sum,
          (b.dy1 - b.v * b.dys) * b.inv_sum});
}

template <typename T>
DR_FN void resolve_bwd(const ResolveArgs<T>& a, i64 i) {
  const i64 t = (i64)a.id[i] - 1;
  if (t < 0) return;
  const T gu = a.grad_rast[4 * i], gv = a.grad_rast[4 * i + 1];
  Vec4<T> gdb = {0, 0, 0, 0};
  if (a.grad_rast_db) gdb = load4(a.grad_rast_db, i);
  if (gu == 0 && gv == 0 && gdb.x == 0 && gdb.y == 0 && gdb.z == 0 && gdb.w == 0) return;
  Corner<T> c[3], g[3];
  const Pixel p = pixel_at(i, a.height, a.width);
  const Centre at = centre_of(a, p);
  const T scale = corners_of(a, p, at, t, c);
  barycentrics_bwd(c, T(2 * a.inv_width), T(2 * a.inv_height), gu, gv, gdb, g);
  T* grad = a.grad_pos + p.image * a.pos_stride;
  for (int k = 0; k < 3; ++k) {
    T* corner = grad + 4 * (i64)a.tri[3 * t + k];
    accumulate(corner, g[k].x * scale);
    accumulate(corner + 1, g[k].y * scale);
    accumulate(corner + 3, (g[k].w - (T)at.X * g[k].x - (T)at.Y * g[k].y) * scale);
  }
}

DR_KERNEL(resolve_fwd, ResolveArgs)
DR_SCATTER(resolve_bwd, ResolveArgs)
