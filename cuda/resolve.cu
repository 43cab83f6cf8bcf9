// From the visible triangle of each pixel to (u, v, z/w, id + 1) and the pixel derivatives of (u, v)
// (docs/MATH.md, section 2). Every rasterizer shares this file, so all of them agree to the last bit wherever
// they see the same triangle.
#include "common.h"

template <typename T>
struct ResolveArgs {
  const T* pos;           // [B|1, V, 4]
  const int* tri;         // [F, 3]
  const int* id;          // [B, H, W] visible triangle + 1, or 0
  T* rast;                // [B, H, W, 4]
  T* rast_db;             // [B, H, W, 4] or null
  const T* grad_rast;     // [B, H, W, 4]
  const T* grad_rast_db;  // [B, H, W, 4] or null
  T* grad_pos;            // [slabs, B|1, V, 4]
  i64 height, width;
  double inv_height, inv_width;
  i64 pos_stride;  // V * 4, or 0 where the batch shares the positions
  i64 slab_size;   // numel of one copy of grad_pos

  DR_FN void slab(i64 k) { grad_pos += k * slab_size; }
};

// A vertex seen from the pixel centre: its homogeneous coordinates after the centre has been moved to the
// origin, x' = x - X w and y' = y - Y w. The subtraction cancels, so it is done in double; everything after
// it is well conditioned in T.
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

// The corners of triangle t. Where products of them could leave the range of T they are all multiplied by one
// power of two, which is returned: nothing that is computed from homogeneous coordinates depends on their
// scale.
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
  T u, v, inv_sum;  // 1 / (a0 + a1 + a2)
  T a0, a1, a2;     // edge functions
  T dx0, dx1, dxs;  // da0/dX, da1/dX, ds/dX
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

// Adjoint of `barycentrics`: from d/d(u, v) and d/d(du/dX, du/dY, dv/dX, dv/dY) to d/d(x', y', w) of the
// corners.
//
// Moving corner k by (dx, dy) moves the point that is seen through the pixel by its barycentric b_k of that,
// and the pixel then sees the point of the triangle that was -b_k (dx, dy) / w away: du/dx_k = -b_k (du/dX) /
// w, with w of the seen point. Differentiating this by X once more, with d2u/dX2 = -2 (du/dX) R and dw/dX =
// -w R, R = (dS/dX) / S, gives the rest (docs/MATH.md, section 2).
template <typename T>
DR_FN void barycentrics_bwd(const Corner<T> (&c)[3], T sx, T sy, T gu, T gv, Vec4<T> gdb,
                            Corner<T> (&gc)[3]) {
  const Barycentrics<T> b = barycentrics(c, sx, sy);
  const T r = b.inv_sum, rx = b.dxs * r, ry = b.dys * r;
  const T ux = b.dx0 * r - b.u * rx, uy = b.dy0 * r - b.u * ry, vx = b.dx1 * r - b.v * rx,
          vy = b.dy1 * r - b.v * ry;
  const T w = (b.a0 * c[0].w + b.a1 * c[1].w + b.a2 * c[2].w) * r;
  const T inv_w = w != 0 ? 1 / w : T(0), per_x = -inv_w / sx, per_y = -inv_w / sy;
  const T both = gdb.x * ux + gdb.y * uy + gdb.z * vx + gdb.w * vy;
  const T x0 = gu * ux + gv * vx - rx * both, xx = gdb.x * ux + gdb.z * vx, xy = gdb.y * ux + gdb.w * vx;
  const T y0 = gu * uy + gv * vy - ry * both, yx = gdb.x * uy + gdb.z * vy, yy = gdb.y * uy + gdb.w * vy;
  const T beta[3] = {b.u, b.v, 1 - b.u - b.v}, beta_x[3] = {ux, vx, -ux - vx}, beta_y[3] = {uy, vy, -uy - vy};
  for (int k = 0; k < 3; ++k) {
    gc[k].x = per_x * (beta[k] * x0 + beta_x[k] * xx + beta_y[k] * xy);
    gc[k].y = per_y * (beta[k] * y0 + beta_x[k] * yx + beta_y[k] * yy);
    gc[k].w = inv_w * beta[k] * both;
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
  const T depth =
      (b.a0 * c[0].z + b.a1 * c[1].z + b.a2 * c[2].z) / (b.a0 * c[0].w + b.a1 * c[1].w + b.a2 * c[2].w);
  // The exact coverage test has put the centre inside; this only removes the rounding of the division.
  T u = dr_max(b.u, T(0)), v = dr_max(b.v, T(0));
  if (u + v > 1) {
    const T over = u + v;
    u /= over, v /= over;
  }
  store4(a.rast, i, {u, v, depth, encode_id(t + 1, T(0))});
  if (!a.rast_db) return;
  store4(a.rast_db, i,
         {(b.dx0 - b.u * b.dxs) * b.inv_sum, (b.dy0 - b.u * b.dys) * b.inv_sum,
          (b.dx1 - b.v * b.dxs) * b.inv_sum, (b.dy1 - b.v * b.dys) * b.inv_sum});
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
