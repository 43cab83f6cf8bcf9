// The triangles that share an edge, as rings of half-edges; once per mesh (docs/MATH.md, section 5).
//
// Half-edge 3 f + e is the edge of triangle f opposite to its corner e. It costs the same however many
// triangles share a vertex, and holds for edges of any number of triangles.
#include "common.h"

template <typename T>
struct TopologyArgs {
  const int* tri;    // [F, 3]
  const i64* key;    // [3 F] the edge of each half-edge, sorted
  const i64* order;  // [3 F] the half-edge (3 f + corner opposite to it) at each place of `key`
  int* ring;         // [F, 3] the next half-edge on the same edge, ~ of it where both run in the same direction
  i64 count;         // 3 F
};

// One element is one place in the sorted keys. The last half-edge of an edge closes the ring.
template <typename T>
DR_FN void topology_link(const TopologyArgs<T>& a, i64 i) {
  i64 to = i + 1;
  if (to == a.count || a.key[to] != a.key[i]) {
    to = i;
    while (to > 0 && a.key[to - 1] == a.key[i]) --to;
  }
  const i64 here = a.order[i], next = a.order[to];
  const int start = a.tri[here - here % 3 + (here + 1) % 3], next_start = a.tri[next - next % 3 + (next + 1) % 3];
  a.ring[here] = start == next_start ? ~(int)next : (int)next;
}

DR_KERNEL(topology_link, TopologyArgs)
