// Antialiasing by areas (docs/MATH.md, section 5), forward and backward.
//
// 1. antialias_walk_find: what crosses between every pair of neighbouring pixels, by walking over the mesh.
// 2. antialias_walk_blend, _bwd: colours are gathered from the four cells around a pixel, and the gradient of
// a cell's areas is scattered to the vertices.
//
// What is decided in 1 is read again in 2, so forward and backward cannot disagree about it.
#include "placed_cell.h"

template <typename T>
DR_FN void antialias_walk_side(const WalkArgs<T>& a, i64 i) {
  WalkArgs<T> compute = a;
  compute.side = nullptr;
  a.side[i] = (i8)side_of(compute, i / a.triangles, i % a.triangles);
}

// --- Pairs -----------------------------------------------------------------------------------------------

template <typename T>
DR_FN int find_crossing(const WalkArgs<T>& a, i64 p, int vertical, PixelPlace at) {
  const i64 q = vertical ? p + a.width : p + 1;
  if (a.rast[4 * p + 3] == a.rast[4 * q + 3] || continues(a, at.view, p, q)) return 0;
  const PixelCentre cp = centre_of(a, at.ix, at.iy), cq = centre_of(a, at.ix + !vertical, at.iy + vertical);
  const PixelCentre cs = centre_of(a, at.ix + vertical, at.iy + !vertical);
  const Owner owner = crossing_owner(a, at.view, p, q, cp, cq);
  if (owner.first < 0) return 0;
  const Signed s = signed_of(a, at.view, owner, cp, cq);
  const double place = place_of(s);
  if (place < 0) return 0;
  a.place[2 * p + vertical] = (T)place;
  a.owner[4 * p + 2 * vertical] = owner.first, a.owner[4 * p + 2 * vertical + 1] = owner.second;
  return (is_grazing(a, at.view, owner, s, cp, cs) ? 5 : 1) << vertical;
}

template <typename T>
DR_FN void antialias_walk_find(const WalkArgs<T>& a, i64 i) {
  const i64 begin = i * a.run, end = dr_min(begin + a.run, a.count);
  PixelPlace at = place_of(a, begin);
  for (i64 p = begin; p < end; ++p) {
    int code = 0;
    if (at.ix + 1 < a.width) code = find_crossing(a, p, 0, at);
    if (at.iy + 1 < a.height) code |= find_crossing(a, p, 1, at);
    a.code[p] = (u8)code;
    if (++at.ix < a.width) continue;
    at.ix = 0;
    if (++at.iy == a.height) at.iy = 0, ++at.view;
  }
}

// --- Cells around pixels ---------------------------------------------------------------------------------

template <typename T>
DR_FN void step(const WalkArgs<T>& a, PixelPlace& at) {
  if (++at.ix < a.width) return;
  at.ix = 0;
  if (++at.iy == a.height) at.iy = 0, ++at.view;
}

// Which pixels of a run have something crossing in the cells around them, or, at the ends of rows, elsewhere.
struct Touched {
  u8 of[kLanes];
};
template <typename T>
DR_FN bool touched(const WalkArgs<T>& a, i64 begin, i64 end, Touched& t) {
  u8 any = 0;
  if (end - begin == kLanes && begin > a.width && end + a.width < a.count) {
    const u8 *here = a.code + begin, *above = here + a.width, *below = here - a.width;
    for (int j = 0; j < kLanes; ++j) {
      t.of[j] = above[j - 1] | above[j] | above[j + 1] | here[j - 1] | here[j] | here[j + 1] | below[j - 1] | below[j] |
                below[j + 1];
      any |= t.of[j];
    }
  } else {
    for (i64 j = 0; j < kLanes; ++j) {
      t.of[j] = 0;
      for (i64 row = -1; row < 2; ++row)
        for (i64 p = begin + j - 1 + row * a.width; p < begin + j + 2 + row * a.width; ++p)
          t.of[j] |= p >= 0 && p < a.count ? a.code[p] : 0;
      any |= t.of[j];
    }
  }
  return any != 0;
}

// A cell with what the quarters of its corners take from each other.
template <typename T>
struct SharedCell {
  PlacedCell placed;
  Shares shares;
  bool any;
};

// Calls take(cell, r, p), pixel p being corner r, for every crossed cell around each pixel of a run, and
// after these take.done(p, at). In a run the cells to the right of a pixel are kept: they are to the left of
// the next.
template <typename T, typename Take>
DR_FN void take_cells(const WalkArgs<T>& a, i64 begin, i64 end, Take& take) {
  Touched here;
  if (!touched(a, begin, end, here)) return;
  PixelPlace at = place_of(a, begin);
  SharedCell<T> kept[kLanes > 1 ? 2 : 1];
  i64 known = -1;  // the pixel whose cells to the left are kept
  for (i64 p = begin; p < end; ++p, step(a, at)) {
    if (!here.of[p - begin]) continue;
    bool any = false;
    DR_ROLLED
    for (int n = 0; n < 4; ++n) {
      const int below = n >> 1, right = n & 1;
      SharedCell<T>& c = kept[kLanes > 1 ? below : 0];
      if (right || known != p || at.ix == 0) {
        c.any = load_cell(a, at.view, at.ix - 1 + right, at.iy - below, c.placed);
        if (c.any) c.shares = shares_of(c.placed.cell);
      }
      if (c.any) any = true, take(c, below ? 2 + right : 1 - right, p);
    }
    known = p + 1;
    if (any) take.done(p, at);
  }
}

// --- Forward ---------------------------------------------------------------------------------------------

template <typename T>
struct TakeColor {
  const WalkArgs<T>& a;

  DR_FN void operator()(const SharedCell<T>& c, int r, i64 p) {
    const T* own = a.color + p * a.channels;
    for (int m = 0; m < 4; ++m) {
      const T share = (T)c.shares.of[r][m];
      if (share == 0) continue;
      const T* other = a.color + c.placed.pixel[m] * a.channels;
      for (i64 n = 0; n < a.channels; ++n) a.out[p * a.channels + n] += share * (other[n] - own[n]);
    }
  }

  // Removes rounding; lets NaN pass.
  DR_FN void done(i64 p, PixelPlace at) {
    T* out = a.out + p * a.channels;
    const i64 x0 = at.ix > 0 ? -1 : 0, x1 = at.ix + 1 < a.width, y0 = at.iy > 0 ? -1 : 0, y1 = at.iy + 1 < a.height;
    for (i64 n = 0; n < a.channels; ++n) {
      T low = a.color[p * a.channels + n], high = low;
      for (i64 y = y0; y <= y1; ++y)
        for (i64 x = x0; x <= x1; ++x) {
          const T other = a.color[(p + y * a.width + x) * a.channels + n];
          low = dr_min(low, other), high = dr_max(high, other);
        }
      out[n] = out[n] < low ? low : out[n] > high ? high : out[n];
    }
  }
};

template <typename T>
DR_FN void antialias_walk_blend(const WalkArgs<T>& a, i64 i) {
  const i64 begin = i * a.run, end = dr_min(begin + a.run, a.count);
  for (i64 c = begin * a.channels; c < end * a.channels; ++c) a.out[c] = a.color[c];
  TakeColor<T> take = {a};
  take_cells(a, begin, end, take);
}

// --- Backward --------------------------------------------------------------------------------------------

// From the gradient of a pair's crossing to the vertices of what crosses.
template <typename T, typename Use>
DR_FN void crossing_place_bwd(const WalkArgs<T>& a, i64 view, i64 pair, double g, Use& use) {
  const i64 p = pair >> 1;
  const int vertical = (int)(pair & 1);
  const PixelPlace at = place_of(a, p);
  const PixelCentre cp = centre_of(a, at.ix, at.iy), cq = centre_of(a, at.ix + !vertical, at.iy + vertical);
  const Owner owner = {a.owner[2 * pair], a.owner[2 * pair + 1]};
  const Signed s = signed_of(a, view, owner, cp, cq);
  const double r = g / (s.p - s.q), place = s.p / (s.p - s.q), gp = r * (1 - place), gq = r * place;
  const T* pos = a.pos + view * a.pos_stride;
  for (int n = 0; n < (owner.second < 0 ? 1 : 2); ++n) {
    const i64 t = owner.second < 0 ? owner.first / 3 : n ? owner.second : owner.first;
    const int* tri = a.tri + 3 * t;
    const T* const corner[3] = {pos + 4 * (i64)tri[0], pos + 4 * (i64)tri[1], pos + 4 * (i64)tri[2]};
    double gx[3][3] = {{0, 0, 0}, {0, 0, 0}, {0, 0, 0}}, gz[3] = {0, 0, 0};
    if (owner.second < 0) {
      for (int e = 0; e < 3; ++e) {
        if (e != owner.first % 3) continue;
        const int i = (e + 1) % 3, j = (e + 2) % 3;
        edge_function_bwd(corner[i], corner[j], cp, gp, gx[i], gx[j]);
        edge_function_bwd(corner[i], corner[j], cq, gq, gx[i], gx[j]);
      }
    } else {
      plane_depth_bwd(corner, cp, n ? -gp : gp, gx, gz);
      plane_depth_bwd(corner, cq, n ? -gq : gq, gx, gz);
    }
    T total = 0;
    for (int k = 0; k < 3; ++k) total += (T)(gx[k][0] + gx[k][1] + gx[k][2] + gz[k]);
    if (!dr_finite(total)) continue;  // of a size that no derivative can be computed for
    for (int k = 0; k < 3; ++k) {
      const i64 to = view * a.pos_stride + 4 * (i64)tri[k];
      for (int m = 0; m < 3; ++m)
        if (gx[k][m] != 0) use(to + (m < 2 ? m : 3), gx[k][m]);
      if (gz[k] != 0) use(to + 2, gz[k]);
    }
  }
}

// The gradient of the place of the crossing on side k, from those of its place in the cell and of the
// junction.
DR_FN double place_gradient(const PlacedCell& c, int k, double g_at, double g_x, double g_y) {
  if (!c.cell.arm[k] || c.pair[k] < 0) return 0;
  const double g = g_at + c.share[k] * (g_x * side_x(k) + g_y * side_y(k));
  return k < 2 ? g : -g;
}

// Scatters the gradient of a cell's areas to the vertices of what crosses it.
template <typename T>
DR_FN void cell_bwd(const WalkArgs<T>& a, const PlacedCell& c) {
  Shares g;  // <gradient of the output of corner q, what the colour of corner m differs by from its own>
  for (int q = 0; q < 4; ++q) {
    const T *own = a.color + c.pixel[q] * a.channels, *grad = a.grad_out + c.pixel[q] * a.channels;
    const bool real = is_real(a, c, q);
    for (int n = 1; n < 4; ++n) {
      const int m = (q + n) & 3;
      const T* other = a.color + c.pixel[m] * a.channels;
      double sum = 0;
      if (real && weight_of(c.cell, q, n) != 0)
        for (i64 i = 0; i < a.channels; ++i) sum += (double)grad[i] * ((double)other[i] - (double)own[i]);
      g.of[q][m] = sum;
    }
  }
  double g_at[4], g_x, g_y;
  shares_bwd(c.cell, g, g_at, g_x, g_y);
  AddGradient<T> add = {a.grad_pos};
  for (int k = 0; k < 4; ++k) {
    const double g_place = place_gradient(c, k, g_at[k], g_x, g_y);
    if (g_place != 0) crossing_place_bwd(a, c.view, c.pair[k], a.boost * g_place, add);
  }
  if (c.vertex >= 0) cell_point_bwd(a, c.view * a.pos_stride + 4 * c.vertex, a.boost * g_x, a.boost * g_y, add);
}

// Adds what pixel p gets from the outputs of the corners that it flows into, less what its own output takes
// from others.
template <typename T>
DR_FN void color_bwd(const WalkArgs<T>& a, const SharedCell<T>& c, int r, i64 p) {
  T* grad = a.grad_color + p * a.channels;
  for (int q = 0; q < 4; ++q) {
    if (!is_real(a, c.placed, q)) continue;
    double weight = 0;
    for (int m = 0; m < 4; ++m) {
      weight += c.placed.pixel[m] == p ? c.shares.of[q][m] : 0;
      weight -= q == r ? c.shares.of[q][m] : 0;
    }
    if (weight == 0) continue;
    const T* other = a.grad_out + c.placed.pixel[q] * a.channels;
    for (i64 n = 0; n < a.channels; ++n) grad[n] += (T)weight * other[n];
  }
}

template <typename T>
struct TakeGradient {
  const WalkArgs<T>& a;

  // A cell is that of its lower left pixel; beyond the image's left and lower border, of the one next to it.
  DR_FN void operator()(const SharedCell<T>& c, int r, i64 p) {
    if (a.grad_color) color_bwd(a, c, r, p);
    if (a.grad_pos && c.placed.pixel[0] == p) cell_bwd(a, c.placed);
  }
  DR_FN void done(i64, PixelPlace) {}
};

template <typename T>
DR_FN void antialias_walk_bwd(const WalkArgs<T>& a, i64 i) {
  const i64 begin = i * a.run, end = dr_min(begin + a.run, a.count);
  if (a.grad_color)
    for (i64 c = begin * a.channels; c < end * a.channels; ++c) a.grad_color[c] = a.grad_out[c];
  TakeGradient<T> take = {a};
  take_cells(a, begin, end, take);
}

// --- Forward mode ----------------------------------------------------------------------------------------

// How fast a cell's shares change.
template <typename T>
DR_FN Shares shares_motion(const WalkArgs<T>& a, const PlacedCell& c) {
  double v_at[4] = {0, 0, 0, 0}, v_x = 0, v_y = 0;
  for (int k = 0; k < 4; ++k) {
    if (!c.cell.arm[k] || c.pair[k] < 0) continue;
    TimesTangent<T> use = {a.grad_pos, 0};
    crossing_place_bwd(a, c.view, c.pair[k], a.boost, use);
    v_at[k] = k < 2 ? use.sum : -use.sum;
    v_x += c.share[k] * side_x(k) * v_at[k], v_y += c.share[k] * side_y(k) * v_at[k];
  }
  if (c.vertex >= 0) {
    const i64 vertex = c.view * a.pos_stride + 4 * c.vertex;
    TimesTangent<T> x = {a.grad_pos, 0}, y = {a.grad_pos, 0};
    cell_point_bwd(a, vertex, a.boost, 0.0, x), cell_point_bwd(a, vertex, 0.0, a.boost, y);
    v_x = x.sum, v_y = y.sum;
  }
  return shares_jvp(c.cell, v_at, v_x, v_y);
}

// The derivative of `out` along given motions of color and pos: grad_out and grad_pos hold these tangents,
// and out that of the output.
template <typename T>
struct TakeMotion {
  const WalkArgs<T>& a;

  DR_FN void operator()(const SharedCell<T>& c, int r, i64 p) {
    const Shares change = shares_motion(a, c.placed);
    const i64 own = p * a.channels;
    for (int m = 0; m < 4; ++m) {
      const i64 other = c.placed.pixel[m] * a.channels;
      for (i64 n = 0; n < a.channels; ++n)
        a.out[own + n] += (T)c.shares.of[r][m] * (a.grad_out[other + n] - a.grad_out[own + n]) +
                          (T)change.of[r][m] * (a.color[other + n] - a.color[own + n]);
    }
  }
  DR_FN void done(i64, PixelPlace) {}
};

template <typename T>
DR_FN void antialias_walk_jvp(const WalkArgs<T>& a, i64 i) {
  const i64 begin = i * a.run, end = dr_min(begin + a.run, a.count);
  for (i64 c = begin * a.channels; c < end * a.channels; ++c) a.out[c] = a.grad_out[c];
  TakeMotion<T> take = {a};
  take_cells(a, begin, end, take);
}

DR_KERNEL(antialias_walk_side, WalkArgs)
DR_KERNEL(antialias_walk_find, WalkArgs)
DR_KERNEL(antialias_walk_blend, WalkArgs)
DR_SCATTER(antialias_walk_bwd, WalkArgs)
DR_KERNEL(antialias_walk_jvp, WalkArgs)
