// A cell is the square between four pixel centres, cut by what crosses its sides (docs/MATH.md, section 5).
//
// Corners 0 to 3 are counter-clockwise from the lower left, side k runs from corner k to k + 1. From a
// junction inside the cell one straight arm goes to every crossing: they divide the cell into sectors. A
// corner's pixel owns a quarter of the cell, and takes the colours of the sectors in it by their areas.
//
// At least two arms. Loops over the quarters have no branches, so that a CPU computes the four at once.
#pragma once
#include "common.h"

// A loop that is to stay one: its body is long, and copies of it would only take room (GPU: registers).
#if defined(__clang__) || defined(__CUDACC__)
#define DR_ROLLED _Pragma("unroll 1")
#elif defined(__GNUC__)
#define DR_ROLLED _Pragma("GCC unroll 1")
#else
#define DR_ROLLED
#endif

struct Cell {
  bool arm[4];   // whether side k is crossed,
  double at[4];  // and where, 0 at corner k and 1 at corner k + 1
  double x, y;   // the junction
};

DR_FN double side_x(int k) {
  return k == 0 ? 1 : k == 2 ? -1 : 0;
}
DR_FN double side_y(int k) {
  return k == 1 ? 1 : k == 3 ? -1 : 0;
}
DR_FN double crossing_x(int k, double at) {
  return k == 0 ? at : k == 1 ? 1 : k == 2 ? 1 - at : 0;
}
DR_FN double crossing_y(int k, double at) {
  return k == 0 ? 0 : k == 1 ? at : k == 2 ? 1 : 1 - at;
}

// Which sector each corner is in, corner 0 in sector 0.
struct Sectors {
  int of[4];
};
DR_FN Sectors sectors_of(const Cell& c) {
  const int one = c.arm[0], two = one + c.arm[1], three = two + c.arm[2], all = three + c.arm[3];
  return {{0, one == all ? 0 : one, two == all ? 0 : two, three == all ? 0 : three}};
}

// --- Arms ------------------------------------------------------------------------------------------------

// An arm goes from the junction (0) to its crossing (1): its part in the quarter of each corner, and how much
// of it passes beside the quarter, where it comes from a junction to the left or right of the cell.
struct Arm {
  double dx, dy, begin[4], end[4], beside[4];
};
DR_FN Arm arm_of(const Cell& c, int k) {
  const double all = 1 + 1e-12;  // what lies on the cell's right or upper side is inside
  const double left[4] = {0, 0.5, 0.5, 0}, right[4] = {0.5, all, all, 0.5};
  const double low[4] = {0, 0, 0.5, 0.5}, high[4] = {0.5, 0.5, all, all};
  const double dx = crossing_x(k, c.at[k]) - c.x, dy = crossing_y(k, c.at[k]) - c.y;
  // Large, not infinite: what lies on a border between quarters then is in the upper or right one.
  const double ix = dx != 0 ? 1 / dx : 1e300, iy = dy != 0 ? 1 / dy : 1e300;
  Arm arm;
  arm.dx = dx, arm.dy = dy;
  for (int q = 0; q < 4; ++q) {
    const double x0 = (left[q] - c.x) * ix, x1 = (right[q] - c.x) * ix;
    const double y0 = (low[q] - c.y) * iy, y1 = (high[q] - c.y) * iy;
    const double y_begin = dr_max(dr_min(y0, y1), 0.0), y_end = dr_min(dr_max(y0, y1), 1.0);
    const double begin = dr_max(y_begin, dr_min(x0, x1)), end = dr_min(y_end, dr_max(x0, x1));
    arm.begin[q] = begin, arm.end[q] = dr_max(begin, end);
    arm.beside[q] = dr_max(dr_min(begin, y_end) - y_begin, 0.0);
  }
  const double before = c.x < 0, behind = c.x > 1;
  arm.beside[0] *= before, arm.beside[1] *= behind, arm.beside[2] *= behind, arm.beside[3] *= before;
  return arm;
}

// --- Areas -----------------------------------------------------------------------------------------------

// of[q][m]: how much of the quarter of corner q takes the colour of corner m; the rest of 1/4 is its own.
struct Shares {
  double of[4][4];
};

// By sector: its area in the quarter of each corner.
struct Areas {
  double of[4][4];
};

// By how much the area of the sector of corner q + n, in the quarter of corner q, counts as the colour of
// that corner. A sector without corner q gives the colour of its corner next to q, or half each if it has
// both.
DR_FN double weight_of(const Cell& c, int q, int n) {
  const bool other = c.arm[(q + 1) & 3], another = c.arm[(q + 2) & 3];
  if (n == 2) return other && another;
  return !c.arm[n == 1 ? q : (q + 3) & 3] ? 0 : other || another ? 1 : 0.5;
}

// From areas not below `least`: less than nothing is rounding, or where an arm comes from beyond other sides.
DR_FN Shares weighted(const Cell& c, const Sectors& s, const Areas& area, double least) {
  Shares shares;
  for (int q = 0; q < 4; ++q) {
    shares.of[q][q] = 0;
    for (int n = 1; n < 4; ++n) {
      const int m = (q + n) & 3;
      shares.of[q][m] = weight_of(c, q, n) * dr_max(area.of[s.of[m]][q], least);
    }
  }
  return shares;
}

DR_FN void add_area(Areas& area, int sector, double sign, const double (&amount)[4]) {
  for (int q = 0; q < 4; ++q) area.of[sector][q] += sign * amount[q];
}

// What arm k has on its right is added to the sector on its left, and taken from that on its right.
DR_FN void add_arm(Areas& area, const Sectors& s, int k, const double (&amount)[4]) {
  add_area(area, s.of[(k + 1) & 3], 1, amount), add_area(area, s.of[k], -1, amount);
}

DR_FN Shares shares_of(const Cell& c) {
  const Sectors s = sectors_of(c);
  Areas area = {{{0, 0, 0, 0}, {0, 0, 0, 0}, {0, 0, 0, 0}, {0, 0, 0, 0}}};
  // Green's theorem: the integral of u dy around a region is the area of its part in a quarter, with u the
  // distance in x from the cell's vertical middle line, within the quarter's columns. First the cell's sides.
  const double low[4] = {0, 0, 0.5, 0.5}, is_left[4] = {1, 0, 0, 1}, is_right[4] = {0, 1, 1, 0};
  const double y1 = c.arm[1] ? c.at[1] : 0, y3 = c.arm[3] ? 1 - c.at[3] : 0;
  double left_below[4], left_above[4], right_below[4], right_above[4];
  for (int q = 0; q < 4; ++q) {
    const double left = 0.5 * dr_clamp(y3 - low[q], 0.0, 0.5), right = 0.5 * dr_clamp(y1 - low[q], 0.0, 0.5);
    left_below[q] = is_left[q] * left, left_above[q] = is_left[q] * (0.25 - left);
    right_below[q] = is_right[q] * right, right_above[q] = is_right[q] * (0.25 - right);
  }
  add_area(area, s.of[0], 1, left_below), add_area(area, s.of[3], 1, left_above);
  add_area(area, s.of[1], 1, right_below), add_area(area, s.of[2], 1, right_above);
  for (int k = 0; k < 4; ++k) {
    if (!c.arm[k]) continue;
    const Arm arm = arm_of(c, k);
    const double side[4] = {-0.5, 0.5, 0.5, -0.5};
    double green[4];
    for (int q = 0; q < 4; ++q) {
      const double mean = c.x - 0.5 + arm.dx * 0.5 * (arm.end[q] + arm.begin[q]);
      green[q] = arm.dy * ((arm.end[q] - arm.begin[q]) * mean + side[q] * arm.beside[q]);
    }
    add_arm(area, s, k, green);
  }
  return weighted(c, s, area, 0.0);
}

// --- Derivatives -----------------------------------------------------------------------------------------

// An area changes by the motion of the arms across themselves, integrated along their part in the quarter:
// with how much of it the motion of the crossing, and that of the junction, counts.
struct Sweep {
  double crossing[4], junction[4];
};
DR_FN Sweep sweep_of(const Arm& arm) {
  Sweep sweep;
  for (int q = 0; q < 4; ++q) {
    const double length = arm.end[q] - arm.begin[q];
    sweep.crossing[q] = 0.5 * length * (arm.end[q] + arm.begin[q]);
    sweep.junction[q] = length - sweep.crossing[q];
  }
  return sweep;
}

// Adjoint of shares_of, from the gradients of the shares: sets those of the places of the crossings and of
// the junction.
DR_FN void shares_bwd(const Cell& c, const Shares& g, double (&g_at)[4], double& g_x, double& g_y) {
  const Sectors s = sectors_of(c);
  Areas g_area = {{{0, 0, 0, 0}, {0, 0, 0, 0}, {0, 0, 0, 0}, {0, 0, 0, 0}}};
  for (int q = 0; q < 4; ++q)
    for (int n = 1; n < 4; ++n) {
      const int m = (q + n) & 3;
      g_area.of[s.of[m]][q] += weight_of(c, q, n) * g.of[q][m];
    }
  g_x = g_y = 0;
  for (int k = 0; k < 4; ++k) {
    g_at[k] = 0;
    if (!c.arm[k]) continue;
    const Arm arm = arm_of(c, k);
    const Sweep sweep = sweep_of(arm);
    double crossing = 0, junction = 0;
    for (int q = 0; q < 4; ++q) {
      const double gain = g_area.of[s.of[(k + 1) & 3]][q] - g_area.of[s.of[k]][q];
      crossing += gain * sweep.crossing[q], junction += gain * sweep.junction[q];
    }
    g_at[k] = crossing * (arm.dy * side_x(k) - arm.dx * side_y(k));
    g_x += junction * arm.dy, g_y -= junction * arm.dx;
  }
}

// Forward mode: how fast the shares change, from the motions of the crossings along their sides and of the
// junction.
DR_FN Shares shares_jvp(const Cell& c, const double (&v_at)[4], double v_x, double v_y) {
  const Sectors s = sectors_of(c);
  Areas area = {{{0, 0, 0, 0}, {0, 0, 0, 0}, {0, 0, 0, 0}, {0, 0, 0, 0}}};
  for (int k = 0; k < 4; ++k) {
    if (!c.arm[k]) continue;
    const Arm arm = arm_of(c, k);
    const Sweep sweep = sweep_of(arm);
    const double crossing = v_at[k] * (arm.dy * side_x(k) - arm.dx * side_y(k));
    const double junction = v_x * arm.dy - v_y * arm.dx;
    double change[4];
    for (int q = 0; q < 4; ++q) change[q] = crossing * sweep.crossing[q] + junction * sweep.junction[q];
    add_arm(area, s, k, change);
  }
  return weighted(c, s, area, -1e300);
}
