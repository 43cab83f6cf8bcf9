// What the kernels of mode "area" are given, and the cells of an image with what crosses them (docs/MATH.md,
// section 5).
#pragma once
#include "cell.h"
#include "walk.h"

template <typename T>
struct WalkArgs {
  typedef T Scalar;
  const T* color;     // [B, H, W, C]
  const T* rast;      // [B, H, W, 4]
  const T* pos;       // [B|1, V, 4]
  const int* tri;     // [F, 3]
  const int* ring;    // find: [F, 3]
  i8* side;           // side, find: [B|1, F] or null (computed where it is needed); 1 counter-clockwise, -1 clockwise,
                      // 0 covers nothing
  u8* code;           // find, blend, bwd, jvp: [B, H, W] bit 0: something crosses the pair with the pixel to the right,
                      // bit 1: above; bits 2 and 3: and it runs closer to the pair's direction than across
  T* place;           // find, blend, bwd, jvp: [B, H, W, 2] where, from the centre (0) to the other (1)
  int* owner;         // find, blend, bwd, jvp: [B, H, W, 2, 2] what crosses (struct Owner)
  T* out;             // blend, jvp: [B, H, W, C]
  const T* grad_out;  // bwd, jvp: [B, H, W, C]
  T* grad_color;      // bwd: [B, H, W, C] or null
  T* grad_pos;        // bwd, jvp: [slabs, B|1, V, 4] or null
  i64 count;          // B * H * W
  i64 height, width, channels;
  i64 triangles;                 // F
  i64 pos_stride, table_stride;  // V * 4 and F, or 0 where the batch shares the positions
  i64 cull;                      // side, find: enum Cull
  i64 run;                       // find, blend, bwd, jvp: how many pixels make one element
  i64 slab_size;                 // bwd: numel of one copy of grad_pos
  double boost;                  // bwd, jvp: factor of the gradient of pos

  DR_FN void slab(i64 k) {
    if (grad_pos) grad_pos += k * slab_size;
  }
};

// A cell with what belongs to its corners and sides.
struct PlacedCell {
  Cell cell;
  i64 view, cx, cy;
  i64 pixel[4];     // of the corners; at the border of the image those beyond it are their mirror images
  i64 pair[4];      // of the crossed sides: 2 * pixel + (vertical)
  double share[4];  // of the crossings in the junction
  i64 vertex;       // which is the junction, or -1
  int arms;
};

struct CellPoint {
  double x, y;
};

// Where a vertex is seen in a cell, in pixels from corner 0.
template <typename T>
DR_FN CellPoint cell_point(const WalkArgs<T>& a, const T* p, i64 cx, i64 cy) {
  return {((double)p[0] / p[3] + 1) * 0.5 * (double)a.width - (double)cx - 0.5,
          ((double)p[1] / p[3] + 1) * 0.5 * (double)a.height - (double)cy - 0.5};
}

// What the derivative by a coordinate, at an offset in pos, is used for: added to its gradient, or times its
// tangent to a sum.
template <typename T>
struct AddGradient {
  T* grad_pos;
  DR_FN void operator()(i64 at, double value) { accumulate(grad_pos + at, (T)value); }
};
template <typename T>
struct TimesTangent {
  const T* tangent_pos;
  double sum;
  DR_FN void operator()(i64 at, double value) { sum += value * (double)tangent_pos[at]; }
};

// Adjoint of cell_point, for the vertex at an offset in pos.
template <typename T, typename Use>
DR_FN void cell_point_bwd(const WalkArgs<T>& a, i64 vertex, double gx, double gy, Use& use) {
  const T* p = a.pos + vertex;
  gx *= 0.5 * (double)a.width / p[3], gy *= 0.5 * (double)a.height / p[3];
  const double gw = -(gx * p[0] + gy * p[1]) / p[3];
  if (!dr_finite((T)gx + (T)gy + (T)gw)) return;  // a vertex in the eye
  use(vertex, gx), use(vertex + 1, gy), use(vertex + 3, gw);
}

// How far a point lies on the inner side of side k of its cell.
DR_FN double inward(int k, double x, double y) {
  return k == 0 ? y : k == 1 ? 1 - x : k == 2 ? 1 - y : x;
}

// The junction of two crossings. Where both edges meet at a vertex, and go into the cell on their way to it:
// that vertex, even if it is outside. Otherwise the middle of the chord, unless a crossing runs along its
// side and the chord does not: it belongs to something else, and its place changes too fast to be connected
// with; then there is one crossing less.
template <typename T>
DR_FN int join_two(const WalkArgs<T>& a, int grazing, PlacedCell& c) {
  int first = 3, second = 0;
  for (int k = 0; k < 4; ++k)
    if (c.cell.arm[k]) first = dr_min(first, k), second = dr_max(second, k);
  const Owner o = {a.owner[2 * c.pair[first]], a.owner[2 * c.pair[first] + 1]};
  const Owner q = {a.owner[2 * c.pair[second]], a.owner[2 * c.pair[second] + 1]};
  int shared = 0, vertex = -1;
  for (int i = 1; i < 3; ++i)
    for (int j = 1; j < 3; ++j) {
      if (o.second >= 0 || q.second >= 0) continue;
      const int v = a.tri[o.first / 3 * 3 + (o.first + i) % 3];
      if (v == a.tri[q.first / 3 * 3 + (q.first + j) % 3]) vertex = v, ++shared;
    }
  if (shared == 1) {
    const T* p = a.pos + c.view * a.pos_stride + 4 * (i64)vertex;
    const CellPoint at = cell_point(a, p, c.cx, c.cy);
    if (p[3] > 0 && inward(first, at.x, at.y) > 0 && inward(second, at.x, at.y) > 0) {
      c.vertex = vertex, c.cell.x = at.x, c.cell.y = at.y;
      for (int k = 0; k < 4; ++k) c.share[k] = 0;
      return 2;
    }
  }
  if (shared == 2 || (o.second >= 0 && o.first == q.first && o.second == q.second)) return 2;
  int arms = 2;
  for (int k = 0; k < 4; ++k) {
    if (!c.cell.arm[k] || !(grazing >> k & 1)) continue;
    const double dx = c.cell.x - crossing_x(k, c.cell.at[k]), dy = c.cell.y - crossing_y(k, c.cell.at[k]);
    const double along = dx * side_x(k) + dy * side_y(k), across = dx * side_y(k) - dy * side_x(k);
    if (across * across > along * along) c.cell.arm[k] = false, --arms;
  }
  return arms;
}

// The cell whose lower left corner is pixel (cx, cy), from -1 to width - 1 and height - 1.
template <typename T>
DR_FN bool load_cell(const WalkArgs<T>& a, i64 view, i64 cx, i64 cy, PlacedCell& c) {
  const i64 x0 = dr_max(cx, (i64)0), x1 = dr_min(cx + 1, a.width - 1);
  const i64 y0 = dr_max(cy, (i64)0), y1 = dr_min(cy + 1, a.height - 1), base = view * a.height;
  c.view = view, c.cx = cx, c.cy = cy;
  c.pixel[0] = (base + y0) * a.width + x0, c.pixel[1] = (base + y0) * a.width + x1;
  c.pixel[2] = (base + y1) * a.width + x1, c.pixel[3] = (base + y1) * a.width + x0;
  int grazing = 0;
  c.arms = 0, c.vertex = -1;
  for (int k = 0; k < 4; ++k) {
    const i64 owner = c.pixel[k == 0 || k == 3 ? 0 : k == 1 ? 1 : 3];
    const int vertical = k & 1, code = (vertical ? y0 < y1 : x0 < x1) ? a.code[owner] >> vertical : 0;
    c.cell.arm[k] = code & 1;
    c.pair[k] = 2 * owner + vertical;
    c.arms += c.cell.arm[k];
    grazing |= (code & 5) == 5 ? 1 << k : 0;
  }
  if (c.arms == 0) return false;
  if (c.arms != 2 && grazing) {
    c.arms = 0;
    for (int k = 0; k < 4; ++k) c.cell.arm[k] = c.cell.arm[k] && !(grazing >> k & 1), c.arms += c.cell.arm[k];
    if (c.arms == 0) return false;
  }
  double x = 0, y = 0;
  for (int k = 0; k < 4; ++k) {
    const double place = c.cell.arm[k] ? (double)a.place[c.pair[k]] : 0.5;
    c.cell.at[k] = k < 2 ? place : 1 - place;
    c.share[k] = c.cell.arm[k] ? 1.0 / c.arms : 0;
    x += c.share[k] * crossing_x(k, c.cell.at[k]), y += c.share[k] * crossing_y(k, c.cell.at[k]);
  }
  c.cell.x = x, c.cell.y = y;
  if (c.arms == 2) c.arms = join_two(a, grazing, c);
  if (c.arms == 1) {  // it ends here: goes to the middle, and on along the border between the quarters
    c.cell.x = c.cell.y = 0.5;
    bool arm[4];
    for (int k = 0; k < 4; ++k) arm[k] = c.cell.arm[k] || c.cell.arm[(k + 2) % 4], c.share[k] = 0;
    for (int k = 0; k < 4; ++k) {
      if (!c.cell.arm[k]) c.pair[k] = -1, c.cell.at[k] = 0.5;
      c.cell.arm[k] = arm[k];
    }
  }
  return c.arms > 0;
}

// Whether a corner is a pixel of the image, not the mirror image of one.
template <typename T>
DR_FN bool is_real(const WalkArgs<T>& a, const PlacedCell& c, int corner) {
  const i64 x = c.cx + (corner == 1 || corner == 2), y = c.cy + (corner >= 2);
  return x >= 0 && y >= 0 && x < a.width && y < a.height;
}
