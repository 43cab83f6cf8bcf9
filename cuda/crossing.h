// Where the segment between two neighbouring pixel centres crosses an edge, with adjoints.
// docs/MATH.md, section 5.
//
// In homogeneous coordinates, so that an end behind the eye needs no special case. In double: the edge
// function of a long edge cancels to almost nothing at a pixel next to it.
#pragma once
#include "common.h"

struct PixelCentre {  // of a pixel, in normalized device coordinates
  double X, Y;
};

// The edge function of the edge from p to q at a pixel centre: the cross product of the two ends
// as seen from there.
template <typename T>
DR_FN double edge_function(const T* p, const T* q, PixelCentre c) {
  const double px = p[0] - c.X * p[3], py = p[1] - c.Y * p[3], qx = q[0] - c.X * q[3], qy = q[1] - c.Y * q[3];
  return px * qy - qx * py;
}

// Adjoint: adds to the gradients of both ends.
template <typename T>
DR_FN void edge_function_bwd(const T* p, const T* q, PixelCentre c, double g, double (&gp)[3], double (&gq)[3]) {
  const double px = p[0] - c.X * p[3], py = p[1] - c.Y * p[3], qx = q[0] - c.X * q[3], qy = q[1] - c.Y * q[3];
  gp[0] += g * qy, gp[1] -= g * qx, gp[2] -= g * (c.X * qy - c.Y * qx);
  gq[0] -= g * py, gq[1] += g * px, gq[2] += g * (c.X * py - c.Y * px);
}

// Where the way from the near to the far centre crosses the edge, 0 at the near one and 1 at the far one,
// from the edge functions at both, far != 0. The near centre is inside up to rounding, the far one outside,
// which tells how the edge is oriented.
struct Crossing {
  double alpha, inverse;  // inverse = 1 / (|near| + |far|)
};

DR_FN Crossing crossing_of(double near, double far) {
  if (far > 0) near = -near, far = -far;
  near = dr_max(near, 0.0);
  const double inverse = 1 / (near - far);
  return {near * inverse, inverse};
}

// Adjoint: d(alpha)/d(near, far), the clamp taken as the identity.
DR_FN void crossing_bwd(double far, Crossing c, double g, double& g_near, double& g_far) {
  const double r = far > 0 ? -c.inverse : c.inverse;
  g_near = g * r * (1 - c.alpha), g_far = g * r * c.alpha;
}
