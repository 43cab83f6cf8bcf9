// Exact signs of edge functions, for the few pixels that floating point cannot decide.
//
// A sum of products of floating-point numbers is held as an expansion: a list of doubles of increasing
// magnitude that do not overlap, whose sum is the exact value (Priest 1991; Shewchuk 1997, "Adaptive
// Precision Floating-Point Arithmetic", section 2). The sign of the expansion is the sign of its last
// non-zero component. Slow, and called rarely.
#pragma once
#include "common.h"

struct Expansion {
  double part[48];
  int size = 0;

  // Adds one double (Grow-Expansion with the Two-Sum of Knuth).
  DR_RARE void add(double b) {
    if (b == 0) return;
    int kept = 0;
    for (int i = 0; i < size; ++i) {
      const double a = part[i], sum = a + b, bb = sum - a, error = (a - (sum - bb)) + (b - bb);
      if (error != 0) part[kept++] = error;
      b = sum;
    }
    if (b != 0) part[kept++] = b;
    size = kept;
  }

  // Adds the product of three numbers; `n` is an integer small enough that it is exact in double.
  DR_RARE void add_product(double a, double b, double n) {
    const double hi = a * b, lo = fma(a, b, -hi);
    const double halves[2] = {lo, hi};
    for (double h : halves) {
      const double p = h * n, e = fma(h, n, -p);
      add(e), add(p);
    }
  }

  DR_RARE int sign() const {
    const double top = size ? part[size - 1] : 0;
    return (top > 0) - (top < 0);
  }
};

struct Homogeneous {  // (x, y, w) of a vertex
  double x, y, w;
};

// Sign of det[(nx / W, ny / H, 1), p, q], with nx, ny integers: the edge function at a pixel centre, times W
// H.
static DR_RARE int exact_edge_sign(const Homogeneous& p, const Homogeneous& q, double nx, double ny, double W,
                                   double H) {
  Expansion e;
  e.add_product(p.y, q.w, nx * H), e.add_product(-p.w, q.y, nx * H);
  e.add_product(p.w, q.x, ny * W), e.add_product(-p.x, q.w, ny * W);
  e.add_product(p.x, q.y, W * H), e.add_product(-p.y, q.x, W * H);
  return e.sign();
}

// Sign of a d - b c.
static DR_RARE int exact_cross_sign(double a, double b, double c, double d) {
  Expansion e;
  e.add_product(a, d, 1), e.add_product(-b, c, 1);
  return e.sign();
}

// Sign of det[p, q, r]: the orientation of a triangle on screen.
static DR_RARE int exact_orientation(const Homogeneous& p, const Homogeneous& q, const Homogeneous& r) {
  Expansion e;
  e.add_product(q.x, r.y, p.w), e.add_product(-q.y, r.x, p.w);
  e.add_product(r.x, p.y, q.w), e.add_product(-r.y, p.x, q.w);
  e.add_product(p.x, q.y, r.w), e.add_product(-p.y, q.x, r.w);
  return e.sign();
}
