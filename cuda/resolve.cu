// From the visible triangle of each pixel to (u, v, z/w, id + 1) and the pixel derivatives of (u, v)
// (docs/MATH.md, section 2). Every rasterizer shares this file, so all of them agree to the last bit wherever
// they see the same triangle.
#include "common.h"

template <typename T>
struct ResolveArgs {
  const T* pos;           // [B|1, V, 4]
  const int* tri;         // [F, 3]
  const int* id;          // [B, H, W] visible triangle + 1, or 0
  T* rast;                // fwd: [B, H, W, 4]
  T* rast_db;             // fwd: [B, H, W, 4] or null
  const T* grad_rast;     // bwd: [B, H, W, 4]
  const T* grad_rast_db;  // bwd: [B, H, W, 4] or null
  T* grad_pos;            // bwd: [slabs, B|1, V, 4]
  i64 count;              // B * H * W
  i64 height, width;
  double inv_height, inv_width;
  i64 pos_stride;  // V * 4, or 0 where the batch shares the positions
  i64 slab_size;   // bwd: numel of one copy of grad_pos

  DR_FN void slab(i64 k) { grad_pos += k * slab_size; }
};

// A vertex seen from the pixel centre: its homogeneous coordinates after the centre has been moved to the
// origin, x' = x - X w and y' = y - Y w. The subtraction cancels, so it is done in double; everything after
// it is well conditioned in T.
template <typename T>
struct Corner {
  T x, y, w, z;
};

// The pixels of a block: their triangles, and the corners seen from their centres, times `scale`. Where
// products of coordinates could leave the range of T, the scale is a power of two; nothing computed from
// homogeneous coordinates depends on it.
template <typename T>
struct PixelBlock {
  int lanes, visible;    // pixels in the block, and how many of them see a triangle
  i64 triangle[kLanes];  // or -1
  i64 image[kLanes];
  double X[kLanes], Y[kLanes];
  T x[3][kLanes], y[3][kLanes], w[3][kLanes], z[3][kLanes];
  T scale[kLanes];

  DR_FN void corners(int j, Corner<T> (&c)[3]) const {
    for (int k = 0; k < 3; ++k) c[k] = {x[k][j], y[k][j], w[k][j], z[k][j]};
  }
};

// The corners of a pixel's triangle; of none, any triangle, so that the arithmetic stays finite.
template <typename T>
DR_FN void load_corners(const ResolveArgs<T>& a, i64 image, i64 triangle, Corner<T> (&c)[3]) {
  for (int k = 0; k < 3; ++k) {
    if (triangle < 0) {
      c[k] = {T(k == 1), T(k == 2), 1, 0};
      continue;
    }
    const T* v = a.pos + image * a.pos_stride + 4 * (i64)a.tri[3 * triangle + k];
    c[k] = {v[0], v[1], v[3], v[2]};
  }
}

template <typename T>
DR_FN void load_block(const ResolveArgs<T>& a, i64 begin, PixelBlock<T>& b) {
  const int* id = a.id + begin;
  b.lanes = (int)dr_min((i64)kLanes, a.count - begin), b.visible = 0;
  int others = 0;  // which see another triangle than the first
  for (int j = 0; j < b.lanes; ++j) b.visible += id[j] > 0, others |= id[j] ^ id[0];
  if (!b.visible) return;
  Pixel p = pixel_at(begin, a.height, a.width);
  if (!others && b.lanes == kLanes && p.x + kLanes <= a.width) {
    Corner<T> c[3];
    load_corners(a, p.image, (i64)id[0] - 1, c);
    const int x = (int)(2 * p.x + 1 - a.width);
    const double y = (double)(2 * p.y + 1 - a.height) * a.inv_height;
    for (int j = 0; j < kLanes; ++j) {
      b.triangle[j] = (i64)id[0] - 1, b.image[j] = p.image;
      b.X[j] = (double)(x + 2 * j) * a.inv_width, b.Y[j] = y;
      for (int k = 0; k < 3; ++k) b.x[k][j] = c[k].x, b.y[k][j] = c[k].y, b.w[k][j] = c[k].w, b.z[k][j] = c[k].z;
    }
  } else {
    for (int j = 0; j < kLanes; ++j) {
      b.triangle[j] = j < b.lanes ? (i64)id[j] - 1 : -1, b.image[j] = p.image;
      b.X[j] = (double)(2 * p.x + 1 - a.width) * a.inv_width, b.Y[j] = (double)(2 * p.y + 1 - a.height) * a.inv_height;
      if (++p.x == a.width) {
        p.x = 0;
        if (++p.y == a.height) p.y = 0, ++p.image;
      }
      Corner<T> c[3];
      load_corners(a, b.image[j], b.triangle[j], c);
      for (int k = 0; k < 3; ++k) b.x[k][j] = c[k].x, b.y[k][j] = c[k].y, b.w[k][j] = c[k].w, b.z[k][j] = c[k].z;
    }
  }
  int far_from_one = 0;
  for (int j = 0; j < kLanes; ++j) {
    T size = 0;
    for (int k = 0; k < 3; ++k) {
      b.x[k][j] = (T)((double)b.x[k][j] - b.X[j] * (double)b.w[k][j]);
      b.y[k][j] = (T)((double)b.y[k][j] - b.Y[j] * (double)b.w[k][j]);
      size = dr_max(size, dr_max(b.w[k][j], -b.w[k][j]));
    }
    b.scale[j] = size;
    far_from_one |= !(size > T(1e-6)) | !(size < T(1e6));
  }
  for (int j = 0; j < kLanes; ++j) {
    b.scale[j] = far_from_one ? (T)power_of_two_below((double)b.scale[j]) : T(1);
    if (!far_from_one) continue;
    for (int k = 0; k < 3; ++k)
      b.x[k][j] *= b.scale[j], b.y[k][j] *= b.scale[j], b.w[k][j] *= b.scale[j], b.z[k][j] *= b.scale[j];
  }
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
DR_FN void barycentrics_bwd(const Corner<T> (&c)[3], T sx, T sy, T gu, T gv, Vec4<T> gdb, Corner<T> (&gc)[3]) {
  const Barycentrics<T> b = barycentrics(c, sx, sy);
  const T r = b.inv_sum, rx = b.dxs * r, ry = b.dys * r;
  const T ux = b.dx0 * r - b.u * rx, uy = b.dy0 * r - b.u * ry, vx = b.dx1 * r - b.v * rx, vy = b.dy1 * r - b.v * ry;
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

// The kernels do a block and move i to its last pixel.

template <typename T>
DR_FN void resolve_fwd(const ResolveArgs<T>& a, i64& i) {
  const i64 begin = i;
  PixelBlock<T> block;
  load_block(a, begin, block);
  i += block.lanes - 1;
  T u[kLanes], v[kLanes], depth[kLanes], db[4][kLanes];
  if (block.visible) {
#pragma omp simd
    for (int j = 0; j < kLanes; ++j) {
      Corner<T> c[3];
      block.corners(j, c);
      const Barycentrics<T> b = barycentrics(c, T(2 * a.inv_width), T(2 * a.inv_height));
      depth[j] = (b.a0 * c[0].z + b.a1 * c[1].z + b.a2 * c[2].z) / (b.a0 * c[0].w + b.a1 * c[1].w + b.a2 * c[2].w);
      // The exact coverage test has put the centre inside; this only removes the rounding of the division.
      const T inside_u = dr_max(b.u, T(0)), inside_v = dr_max(b.v, T(0)), over = dr_max(inside_u + inside_v, T(1));
      u[j] = inside_u / over, v[j] = inside_v / over;
      db[0][j] = (b.dx0 - b.u * b.dxs) * b.inv_sum, db[1][j] = (b.dy0 - b.u * b.dys) * b.inv_sum;
      db[2][j] = (b.dx1 - b.v * b.dxs) * b.inv_sum, db[3][j] = (b.dy1 - b.v * b.dys) * b.inv_sum;
    }
  }
  for (int j = 0; j < block.lanes; ++j) {
    const bool hit = block.visible && block.triangle[j] >= 0;
    const Vec4<T> none = {0, 0, 0, 0};
    const Vec4<T> value = {u[j], v[j], depth[j], hit ? encode_id(block.triangle[j] + 1, T(0)) : T(0)};
    const Vec4<T> value_db = {db[0][j], db[1][j], db[2][j], db[3][j]};
    store4(a.rast, begin + j, hit ? value : none);
    if (a.rast_db) store4(a.rast_db, begin + j, hit ? value_db : none);
  }
}

template <typename T>
DR_FN void resolve_bwd(const ResolveArgs<T>& a, i64& i) {
  const i64 begin = i;
  PixelBlock<T> block;
  load_block(a, begin, block);
  i += block.lanes - 1;
  if (!block.visible) return;
  T gu[kLanes], gv[kLanes], gdb[4][kLanes], gx[3][kLanes], gy[3][kLanes], gw[3][kLanes];
  for (int j = 0; j < kLanes; ++j) {
    const bool hit = block.triangle[j] >= 0;
    gu[j] = hit ? a.grad_rast[4 * (begin + j)] : T(0), gv[j] = hit ? a.grad_rast[4 * (begin + j) + 1] : T(0);
    for (int c = 0; c < 4; ++c) gdb[c][j] = hit && a.grad_rast_db ? a.grad_rast_db[4 * (begin + j) + c] : T(0);
  }
#pragma omp simd
  for (int j = 0; j < kLanes; ++j) {
    Corner<T> c[3], g[3];
    block.corners(j, c);
    barycentrics_bwd(c, T(2 * a.inv_width), T(2 * a.inv_height), gu[j], gv[j],
                     {gdb[0][j], gdb[1][j], gdb[2][j], gdb[3][j]}, g);
    for (int k = 0; k < 3; ++k) {
      gx[k][j] = g[k].x * block.scale[j], gy[k][j] = g[k].y * block.scale[j];
      gw[k][j] = (g[k].w - (T)block.X[j] * g[k].x - (T)block.Y[j] * g[k].y) * block.scale[j];
    }
  }
  for (int j = 0; j < block.lanes; ++j) {
    if (block.triangle[j] < 0) continue;
    if (gu[j] == 0 && gv[j] == 0 && gdb[0][j] == 0 && gdb[1][j] == 0 && gdb[2][j] == 0 && gdb[3][j] == 0) continue;
    T* grad = a.grad_pos + block.image[j] * a.pos_stride;
    const Peers peers = peers_of(block.image[j] << 32 | block.triangle[j]);
    for (int k = 0; k < 3; ++k) {
      T* corner = grad + 4 * (i64)a.tri[3 * block.triangle[j] + k];
      accumulate(corner, gx[k][j], peers);
      accumulate(corner + 1, gy[k][j], peers);
      accumulate(corner + 3, gw[k][j], peers);
    }
  }
}

DR_KERNEL(resolve_fwd, ResolveArgs)
DR_SCATTER(resolve_bwd, ResolveArgs)
