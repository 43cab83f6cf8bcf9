"""Oracle of antialias(mode="area") (docs/MATH.md, section 5): a walk over a table of edges, and polygons that are
clipped.

In Python, pixel by pixel, for small images of meshes with w > 0 whose edges have at most two triangles. Differentiable
by autograd into color and pos.
"""

from collections import defaultdict
from itertools import product

import torch

from .rasterize import CULLED_SIGN, pixel_centres

CORNERS = torch.tensor(
    [[0, 0], [1, 0], [1, 1], [0, 1]], dtype=torch.float64
)  # of a cell; side k: from corner k to k + 1


def _det(a, b, c):
    return a[0] * (b[1] * c[3] - b[3] * c[1]) + a[1] * (b[3] * c[0] - b[0] * c[3]) + a[3] * (b[0] * c[1] - b[1] * c[0])


class _Mesh:
    """One view's vertices as lists of numbers, and which triangles share an edge."""

    def __init__(self, pos, tri, cull):
        self.pos, self.tri = pos, tri.tolist()
        self.q = pos.detach().double().tolist()
        self.sides = [self._side(t, cull) for t in range(len(self.tri))]
        self.owners = defaultdict(list)
        for t, corners in enumerate(self.tri):
            for k in range(3):
                self.owners[frozenset((corners[k - 2], corners[k - 1]))].append(t)

    def _side(self, t, cull):
        det = _det(*(self.q[v] for v in self.tri[t]))
        sign = (det > 0) - (det < 0)
        return 0 if sign == CULLED_SIGN[cull] else sign

    def beyond(self, t, edge):
        """The triangle on the other side of an edge (i, j) of t; None: a silhouette."""
        (apex,) = (v for v in self.tri[t] if v not in edge)
        here = _det(self.q[apex], *(self.q[v] for v in edge))
        for u in self.owners[frozenset(edge)]:
            others = [v for v in self.tri[u] if v not in edge]
            if u != t and self.sides[u] and _det(self.q[others[0]], *(self.q[v] for v in edge)) * here < 0:
                return u
        return None

    def walk(self, t, target, axis, at, direction, goal):
        """From t along the row (axis 0) or column (axis 1) `at`: ("smooth" | "silhouette" | "covers", edge,
        triangle)."""
        for _ in range(1024):
            if not self.sides[t]:
                return "covers", None, None
            exits = []
            for k in range(3):
                i, j = (self.tri[t][n] for n in ((k + 1) % 3, (k + 2) % 3))
                si, sj = (self.q[v][1 - axis] - at * self.q[v][3] for v in (i, j))
                if (si >= 0) != (sj >= 0):
                    along, w = (self.q[i][n] * sj - self.q[j][n] * si for n in (axis, 3))
                    exits.append((direction * along / w, (i, j)))
            if not exits:
                return "covers", None, None
            place, edge = max(exits)
            if place >= direction * goal:
                return "covers", None, t
            u = self.beyond(t, edge)
            if u is None:
                return "silhouette", (t, edge), t
            if u == target:
                return "smooth", None, u
            t = u
        return "covers", None, None

    # Functions of a pixel centre whose zero is what crosses.
    def edge_value(self, edge, X, Y):
        p, q = (self.pos[v] for v in edge)
        return (p[0] - X * p[3]) * (q[1] - Y * q[3]) - (q[0] - X * q[3]) * (p[1] - Y * p[3])

    def depth(self, t, X, Y):
        """z/w of the plane of t at a centre."""
        corners = [self.pos[v] for v in self.tri[t]]
        areas = [self.edge_value((self.tri[t][(k + 1) % 3], self.tri[t][(k + 2) % 3]), X, Y) for k in range(3)]
        z, w = (torch.stack(areas) @ torch.stack([c[n] for c in corners]) for n in (2, 3))
        return z / w

    def value(self, owner, X, Y):
        kind, what = owner
        return self.edge_value(what, X, Y) if kind == "edge" else self.depth(what[0], X, Y) - self.depth(what[1], X, Y)

    def place(self, owner, p, q):
        """From centre p (0) to q (1), or None."""
        fp, fq = self.value(owner, *p), self.value(owner, *q)
        place = fp / (fp - fq)
        return place if -1e-6 <= float(place.detach()) <= 1 + 1e-6 else None

    def owner(self, t, axis, p, q):
        """What crosses between centres p and q, where triangles t[0] and t[1], or None, are seen.

        ("edge", (i, j)), ("planes", (t, u)) or None.
        """
        ends = []
        for n, direction in ((0, 1), (1, -1)):
            goal = (q, p)[n][axis]
            end = ("covers", None, None)
            if t[n] is not None:
                end = self.walk(t[n], t[1 - n], axis, p[1 - axis], direction, goal)
            if end[0] == "smooth":
                return None
            ends.append(end)
        edges = [end[1][1] for end in ends if end[0] == "silhouette"]
        if len(edges) == 2:

            def depth(edge):
                (a, b), at = (self.q[v] for v in edge), p[1 - axis]
                sa, sb = a[1 - axis] - at * a[3], b[1 - axis] - at * b[3]
                return (a[2] * sb - b[2] * sa) / (a[3] * sb - b[3] * sa)

            return "edge", edges[1] if depth(edges[1]) < depth(edges[0]) else edges[0]
        if edges:
            return "edge", edges[0]
        if None in t:
            return None
        found = "planes", tuple(t)
        for _ in range(2):
            place = self.place(found, p, q)
            if place is None:
                break
            goal = p[axis] + min(max(float(place.detach()), 0.0), 1.0) * (q[axis] - p[axis])
            reached = [self.walk(t[n], None, axis, p[1 - axis], d, goal)[2] for n, d in ((0, 1), (1, -1))]
            if None in reached or reached[0] == reached[1]:
                break
            found = "planes", tuple(reached)
        return found


# --- Areas ------------------------------------------------------------------------------------------------------------


def _area_inside(polygon, low, high):
    """The signed area of a polygon of tensors within a square (Sutherland and Hodgman 1974)."""
    for axis, limit, keep in ((0, low[0], 1), (0, high[0], -1), (1, low[1], 1), (1, high[1], -1)):
        cut = []
        for a, b in zip(polygon, polygon[1:] + polygon[:1], strict=True):
            da, db = keep * (a[axis] - limit), keep * (b[axis] - limit)
            if da >= 0:
                cut.append(a)
            if (da >= 0) != (db >= 0):
                cut.append(a + da / (da - db) * (b - a))
        polygon = cut
    if not polygon:
        return torch.zeros((), dtype=torch.float64)
    turns = zip(polygon, polygon[1:] + polygon[:1], strict=True)
    return torch.stack([a[0] * b[1] - b[0] * a[1] for a, b in turns]).sum() / 2


def _inward(k, point):
    return (point[1], 1 - point[0], 1 - point[1], point[0])[k]


def _arms(mesh, crossings, screen):
    """Places of the arms by side, and the junction: crossings {side: (place, owner, grazing)}; None: no line."""
    if len(crossings) != 2:
        crossings = {k: c for k, c in crossings.items() if not c[2]}
    if not crossings:
        return None
    along = CORNERS.roll(-1, 0) - CORNERS

    def point(k):
        return CORNERS[k] + crossings[k][0] * along[k]

    junction = torch.stack([point(k) for k in crossings]).mean(0)
    if len(crossings) == 2:
        (k, first), (m, second) = crossings.items()
        shared = set(first[1][1]) & set(second[1][1]) if first[1][0] == second[1][0] == "edge" else set()
        if len(shared) == 1:
            vertex = screen(next(iter(shared)))
            if _inward(k, vertex) > 0 and _inward(m, vertex) > 0:
                return {k: point(k), m: point(m)}, vertex
        same = first[1][0] == second[1][0] == "planes" and first[1][1] == second[1][1]
        if len(shared) != 2 and not same:
            kept = {}
            for k, c in crossings.items():
                chord = junction.detach() - point(k).detach()
                towards, across = chord @ along[k], chord[0] * along[k][1] - chord[1] * along[k][0]
                if not (c[2] and across**2 > towards**2):
                    kept[k] = c
            crossings = kept
    if not crossings:
        return None
    if len(crossings) == 1:
        (k,) = crossings
        middle = CORNERS[(k + 2) % 4] + 0.5 * along[(k + 2) % 4]
        return {k: point(k), (k + 2) % 4: middle}, torch.full((2,), 0.5, dtype=torch.float64)
    return {k: point(k) for k in crossings}, junction


def _flows(arms, junction):
    """(receiving corner, giving corner, share) of one cell."""
    sides = sorted(arms)
    sectors = []  # the corners of a sector in order, and its polygon
    for n, k in enumerate(sides):
        last = sides[(n + 1) % len(sides)]
        corners = [(k + 1 + m) % 4 for m in range((last - k - 1) % 4 + 1)]
        middle = [CORNERS[c] for c in corners]
        sectors.append((corners, [junction, arms[k], *middle, arms[last]]))
    for i, (x, y) in enumerate(CORNERS.tolist()):
        low, high = (x / 2, y / 2), (x / 2 + 0.5, y / 2 + 0.5)
        for corners, polygon in sectors:
            if i in corners:
                continue
            area = _area_inside(polygon, low, high).clamp(min=0)
            beside = [c for c in corners if (c - i) % 2 == 1] or corners
            for c in beside:
                yield i, c, area / len(beside)


def antialias_area(color, rast, pos, tri, cull="none"):
    """`[B, H, W, C]`, float64; arguments as for `antialias`, pos `[B, V, 4]`."""
    batch, height, width = rast.shape[:3]
    X, Y = (c.tolist() for c in pixel_centres((height, width)))
    out = color.double()
    for b in range(batch):
        mesh = _Mesh(pos[b].double(), tri, cull)
        seen = [[None if v == 0 else int(v) - 1 for v in row] for row in rast[b, ..., 3].tolist()]
        found = {}  # (iy, ix, axis) -> place, owner, grazing
        for iy, ix, axis in product(range(height), range(width), (0, 1)):
            jy, jx = iy + axis, ix + 1 - axis
            if jy >= height or jx >= width or seen[iy][ix] == seen[jy][jx]:
                continue
            p, q = (X[ix], Y[iy]), (X[jx], Y[jy])
            owner = mesh.owner((seen[iy][ix], seen[jy][jx]), axis, p, q)
            place = None if owner is None else mesh.place(owner, p, q)
            if owner is None or place is None:
                continue
            beside = (p[0], p[1] + 2 / height) if axis == 0 else (p[0] + 2 / width, p[1])
            at = [float(mesh.value(owner, *c).detach()) for c in (p, q, beside)]
            found[iy, ix, axis] = place.clamp(0, 1), owner, abs(at[2] - at[0]) > abs(at[1] - at[0])
        out = _blended(mesh, color, out, found, b)
    return out


def _blended(mesh, color, out, found, b):
    height, width = color.shape[1:3]
    changes = []
    for cy, cx in product(range(-1, height), range(-1, width)):
        x, y = (max(cx, 0), min(cx + 1, width - 1)), (max(cy, 0), min(cy + 1, height - 1))
        crossings = {}
        for k, (iy, ix, axis) in enumerate(((y[0], x[0], 0), (y[0], x[1], 1), (y[1], x[0], 0), (y[0], x[0], 1))):
            inner = x[0] < x[1] if axis == 0 else y[0] < y[1]
            if inner and (iy, ix, axis) in found:
                place, owner, grazing = found[iy, ix, axis]
                crossings[k] = (place if k < 2 else 1 - place, owner, grazing)

        def screen(vertex, cx=cx, cy=cy):
            p = mesh.pos[vertex]
            return torch.stack([(p[0] / p[3] + 1) / 2 * width - cx - 0.5, (p[1] / p[3] + 1) / 2 * height - cy - 0.5])

        arms = _arms(mesh, crossings, screen)
        if arms is None:
            continue
        pixel = [(y[0], x[0]), (y[0], x[1]), (y[1], x[1]), (y[1], x[0])]
        for i, c, share in _flows(*arms):
            iy, ix = cy + (i >= 2), cx + (i in (1, 2))
            if 0 <= iy < height and 0 <= ix < width:
                changes.append(((b, iy, ix), share * (color[(b, *pixel[c])] - color[b, iy, ix])))
    if not changes:
        return out
    index = tuple(torch.tensor(n) for n in zip(*(at for at, _ in changes), strict=True))
    return out.index_put(index, torch.stack([change for _, change in changes]), accumulate=True)
