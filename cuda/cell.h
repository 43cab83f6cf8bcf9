// A cell is the square between four pixel centres, cut by what crosses its sides (docs/MATH.md, section 5).
//
// Corners 0 to 3 are counter-clockwise from the lower left, side k runs from corner k to k + 1. From a
// junction inside the cell one straight arm goes to every crossing: they divide the cell into sectors. A
// corner's pixel owns a quarter of the cell, and takes the colours of the sectors in it by their areas.
#pragma once
#include "common.h"

// For loops over the corners: what a corner's number decides is then decided by the compiler. Not on a GPU,
// where it would take twice the registers.
#if defined(__CUDACC_RTC__)
#define DR_UNROLL _Pragma("unroll 1")
#elif defined(__GNUC__) && !defined(__clang__)
#define DR_UNROLL _Pragma("GCC unroll 4")
#elif defined(__clang__)
#define DR_UNROLL _Pragma("unroll")
#else
#define DR_UNROLL
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

// The cell turned so that corner r is corner 0.
DR_FN Cell turned(const Cell& c, int r) {
  Cell to;
  for (int k = 0; k < 4; ++k) {
    to.arm[k] = r == 0   ? c.arm[k]
                : r == 1 ? c.arm[(k + 1) % 4]
                : r == 2 ? c.arm[(k + 2) % 4]
                         : c.arm[(k + 3) % 4];
    to.at[k] = r == 0 ? c.at[k] : r == 1 ? c.at[(k + 1) % 4] : r == 2 ? c.at[(k + 2) % 4] : c.at[(k + 3) % 4];
  }
  to.x = r == 0 ? c.x : r == 1 ? c.y : r == 2 ? 1 - c.x : 1 - c.y;
  to.y = r == 0 ? c.y : r == 1 ? 1 - c.x : r == 2 ? 1 - c.y : c.x;
  return to;
}

// Which sector each corner is in, corner 0 in sector 0.
struct Sectors {
  int of[4];
};
DR_FN Sectors sectors_of(const Cell& c) {
  Sectors s;
  s.of[0] = 0;
  for (int k = 1; k < 4; ++k) s.of[k] = s.of[k - 1] + c.arm[k - 1];
  const int last = s.of[3];
  if (!c.arm[3])
    for (int k = 1; k < 4; ++k) s.of[k] = s.of[k] == last ? 0 : s.of[k];
  return s;
}

// The part of an arm, from junction (0) to crossing (1), that is in the quarter of corner 0; and how much of
// it passes beside the quarter at x < 0, where it goes to a junction outside of the cell.
struct ArmPart {
  double begin, end, beside, dx, dy;
};
DR_FN ArmPart arm_part(const Cell& c, int k) {
  ArmPart p = {0, 1, 0, crossing_x(k, c.at[k]) - c.x, crossing_y(k, c.at[k]) - c.y};
  for (int axis = 1; axis >= 0; --axis) {
    const double start = axis ? c.y : c.x, step = axis ? p.dy : p.dx, low = -start, high = 0.5 - start;
    const double before = p.begin, inverse = 1 / step;
    if (step > 0)
      p.begin = dr_max(p.begin, low * inverse), p.end = dr_min(p.end, high * inverse);
    else if (step < 0)
      p.begin = dr_max(p.begin, high * inverse), p.end = dr_min(p.end, low * inverse);
    else if (low > 0 || high < 0)
      p.end = p.begin;
    if (axis == 0 && start < 0) p.beside = dr_max(dr_min(p.begin, p.end) - before, 0.0);
  }
  p.end = dr_max(p.begin, p.end);
  return p;
}

// How much of the quarter of corner 0 takes the colour of corners 1, 2, 3; the rest of 1/4 is its own. A
// sector without corner 0 gives the colour of its corner next to corner 0, or half each if it has both.
struct Shares {
  double of[4];
};
DR_FN Shares quarter_shares(const Cell& c) {
  const Sectors s = sectors_of(c);
  double area[4] = {0, 0, 0, 0};  // by corner: of the part of its sector that is in the quarter
  for (int k = 0; k < 4; ++k) {
    if (!c.arm[k]) continue;
    // Beyond the quarter with both ends.
    if (dr_min(c.x, crossing_x(k, c.at[k])) >= 0.5 || dr_min(c.y, crossing_y(k, c.at[k])) >= 0.5) continue;
    // Green's theorem: the integral of (clamp(x, 0, 1/2) - 1/2) dy over 0 < y < 1/2 around a region is the
    // area of its part in the quarter.
    const ArmPart p = arm_part(c, k);
    const double mean = c.x - 0.5 + p.dx * 0.5 * (p.end + p.begin);
    const double green = p.dy * ((p.end - p.begin) * mean - 0.5 * p.beside);
    for (int m = 1; m < 4; ++m) {
      area[m] += s.of[m] == s.of[(k + 1) % 4] ? green : 0;
      area[m] -= s.of[m] == s.of[k] ? green : 0;
    }
  }
  const double low = 1 - c.at[3];  // the crossing on the quarter's border at x = 0
  if (c.arm[3] && low < 0.5)
    for (int m = 1; m < 4; ++m) area[m] += s.of[m] == s.of[3] ? 0.5 * (0.5 - low) : 0;
  const double half = s.of[1] == s.of[3] ? 0.5 : 1;
  Shares shares = {{0, 0, 0, 0}};
  if (s.of[1] != 0) shares.of[1] = dr_max(half * area[1], 0.0);
  if (s.of[3] != 0) shares.of[3] = dr_max(half * area[3], 0.0);
  if (s.of[2] != 0 && s.of[2] != s.of[1] && s.of[2] != s.of[3]) shares.of[2] = dr_max(area[2], 0.0);
  return shares;
}

// Adjoint: adds to the gradients of the places of the crossings and of the junction. An area changes by the
// motion of the arms across themselves, integrated along their part in the quarter.
DR_FN void quarter_shares_bwd(const Cell& c, const Shares& g, double (&g_at)[4], double& g_x, double& g_y) {
  const Sectors s = sectors_of(c);
  double g_area[4] = {0, 0, 0, 0};  // by corner: of the area of its sector
  for (int m = 1; m < 4; ++m) {
    if (s.of[m] == 0) continue;
    const bool next = s.of[m] == s.of[1], last = s.of[m] == s.of[3];
    g_area[m] = next && last ? 0.5 * (g.of[1] + g.of[3]) : next ? g.of[1] : last ? g.of[3] : g.of[2];
  }
  for (int k = 0; k < 4; ++k) {
    if (!c.arm[k]) continue;
    const double gain = g_area[(k + 1) % 4] - g_area[k];
    const ArmPart p = arm_part(c, k);
    const double outer = 0.5 * (p.end * p.end - p.begin * p.begin), inner = p.end - p.begin - outer;
    g_at[k] += gain * outer * (p.dy * side_x(k) - p.dx * side_y(k));
    g_x += gain * inner * p.dy, g_y -= gain * inner * p.dx;
  }
}

// The adjoint of `turned`: the gradients of a turned cell's crossings and junction, added to those of the
// cell.
DR_FN void turned_bwd(int r, const double (&g_at_turned)[4], double gx, double gy, double (&g_at)[4],
                      double& g_x, double& g_y) {
  for (int k = 0; k < 4; ++k)
    g_at[k] += r == 0   ? g_at_turned[k]
               : r == 1 ? g_at_turned[(k + 3) % 4]
               : r == 2 ? g_at_turned[(k + 2) % 4]
                        : g_at_turned[(k + 1) % 4];
  g_x += r == 0 ? gx : r == 1 ? -gy : r == 2 ? -gx : gy;
  g_y += r == 0 ? gy : r == 1 ? gx : r == 2 ? -gy : -gx;
}
