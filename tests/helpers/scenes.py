"""Small scenes for tests: pos float64 [B, V, 4], values that float32 holds exactly, and tri int32 [F, 3]."""

import torch


def generator(seed):
    return torch.Generator().manual_seed(seed)


def random(shape, seed, low=0.0, high=1.0):
    return torch.rand(shape, dtype=torch.float64, generator=generator(seed)) * (high - low) + low


def through_float32(pos):
    return pos.float().double()


def soup(batch=2, count=24, seed=0):
    """Separate triangles of all sizes and depths, no slivers, all in front of the eye."""
    pos = []
    for b in range(batch):
        screen = random((8 * count, 3, 2), seed + b, -1.2, 1.2)
        centre = screen.mean(1, keepdim=True)
        screen = centre + (screen - centre) * random((8 * count, 1, 1), seed + 50 + b, 0.3, 1.3)
        side = screen.roll(1, 1) - screen
        area = (side[:, 0, 0] * side[:, 1, 1] - side[:, 0, 1] * side[:, 1, 0]).abs()
        screen = screen[area > 0.4 * side.square().sum(-1).amax(-1)][:count]
        w = random((count, 3, 1), seed + 100 + b, 0.6, 2.5)
        z = random((count, 3, 1), seed + 150 + b, -0.9, 0.9)
        pos.append((torch.cat([screen, z, torch.ones_like(z)], -1) * w).flatten(0, 1))
    return through_float32(torch.stack(pos)), torch.arange(3 * count, dtype=torch.int32).view(-1, 3)


def near(batch=2, count=16, seed=7):
    """Triangles through the near plane and behind the eye: w of both signs."""
    pos = random((batch, 3 * count, 4), seed, -1, 1) * torch.tensor([1.5, 1.5, 0.6, 1.0])
    pos[..., 3] += 0.4
    return through_float32(pos), torch.arange(3 * count, dtype=torch.int32).view(-1, 3)


def grid(rows, columns):
    """Triangles of a grid of (rows + 1) x (columns + 1) vertices, diagonals in both directions."""
    tri = []
    for r in range(rows):
        for c in range(columns):
            a, b = r * (columns + 1) + c, (r + 1) * (columns + 1) + c
            quad = (a, a + 1, b + 1, b)
            s = (r + c) % 2
            tri += [(quad[s], quad[s + 1], quad[s + 2]), (quad[s], quad[s + 2], quad[(s + 3) % 4])]
    return torch.tensor(tri, dtype=torch.int32)


def lattice(resolution):
    """A grid with every vertex exactly on a pixel centre, and a copy in the same plane: ties everywhere.

    resolution: powers of two, so that no rounding is left anywhere.
    """
    H, W = resolution
    iy, ix = torch.meshgrid(torch.arange(1, H, 3), torch.arange(0, W, 3), indexing="ij")
    x, y = (2 * ix.double() + 1 - W) / W, (2 * iy.double() + 1 - H) / H
    pos = torch.stack([x, y, torch.full_like(x, 0.25), torch.ones_like(x)], -1).flatten(0, 1)
    tri = grid(ix.shape[0] - 1, ix.shape[1] - 1)
    turn = torch.arange(len(tri)) % 2 == 0
    tri[turn] = tri[turn].flip(-1)  # both orientations
    return torch.stack([pos, pos]), torch.cat([tri, tri.flip(0)])


def sheet(batch=2, seed=20, rows=5, columns=6):
    """A bumpy open mesh in perspective, edges shared."""
    r, c = torch.meshgrid(torch.arange(rows + 1), torch.arange(columns + 1), indexing="ij")
    flat = torch.stack([2 * c / columns - 1, 2 * r / rows - 1], -1).double().flatten(0, 1)
    pos = []
    for b in range(batch):
        xy = flat * 0.8 + random(flat.shape, seed + b, -0.07, 0.07)
        w = 1.5 + 0.5 * flat[:, :1] + random((len(flat), 1), seed + 10 + b, -0.1, 0.1)
        pos.append(torch.cat([xy * w, w * random((len(flat), 1), seed + 20 + b, -0.5, 0.5), w], -1))
    return through_float32(torch.stack(pos)), grid(rows, columns)


def ball(batch=2, seed=30):
    """A closed mesh of 48 triangles, seen in perspective."""
    rings, segments = 3, 8
    vertices = [(0.0, 0.0, 1.0)]
    for r in range(1, rings + 1):
        polar = torch.tensor(torch.pi * r / (rings + 1))
        for s in range(segments):
            turn = torch.tensor(2 * torch.pi * s / segments + 0.3 * r)
            vertices.append((float(polar.sin() * turn.cos()), float(polar.sin() * turn.sin()), float(polar.cos())))
    vertices.append((0.0, 0.0, -1.0))
    tri = []
    last = len(vertices) - 1
    for s in range(segments):
        t = (s + 1) % segments
        tri.append((0, 1 + s, 1 + t))
        for r in range(rings - 1):
            a, b = 1 + r * segments, 1 + (r + 1) * segments
            tri += [(a + s, b + s, b + t), (a + s, b + t, a + t)]
        tri.append((1 + (rings - 1) * segments + s, last, 1 + (rings - 1) * segments + t))
    points = torch.tensor(vertices, dtype=torch.float64)
    pos = []
    for b in range(batch):
        turn, _ = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64, generator=generator(seed + b)))
        turn = turn * turn.det().sign()
        x, y, z = (points @ turn * 0.8 + random(points.shape, seed + 9 + b, -0.05, 0.05)).unbind(-1)
        w = 2.5 - z  # the eye on the z axis, near plane 1, far plane 4
        pos.append(torch.stack([2.2 * x, 2.2 * y, (5 * w - 8) / 3, w], -1))
    return through_float32(torch.stack(pos)), torch.tensor(tri, dtype=torch.int32)


RESOLUTION = (16, 32)


def broken():
    """Good triangles and some that cover nothing: not finite, of no area, off the screen, behind the eye."""
    pos, tri = soup(2, 14, seed=3)
    pos[:, 4, 0] = torch.nan
    pos[:, 9, 3] = torch.inf
    pos[:, 14] = pos[:, 13]
    pos[:, 17] = 2 * pos[:, 15]
    pos[:, 18:21, 0] += 40
    pos[:, 21:24] *= -1
    pos[:, 24:27] = 0
    return pos, tri


SCENES = {
    "soup": soup,
    "near": near,
    "sheet": sheet,
    "ball": ball,
    "lattice": lambda: lattice(RESOLUTION),
    "broken": broken,
}


def grid_mesh(rows, columns):
    """Indices of a triangulated grid of (rows + 1) x (columns + 1) vertices, diagonals alternating."""
    faces = []
    for r in range(rows):
        for c in range(columns):
            a = r * (columns + 1) + c
            b, d, e = a + 1, a + columns + 1, a + columns + 2
            faces += [(a, b, e), (a, e, d)] if (r + c) % 2 else [(a, b, d), (b, e, d)]
    return torch.tensor(faces, dtype=torch.int32)


def grid_positions(rows, columns, low=-1.5, high=1.5):
    y, x = torch.meshgrid(torch.linspace(low, high, rows + 1), torch.linspace(low, high, columns + 1), indexing="ij")
    return torch.stack([x, y, torch.zeros_like(x), torch.ones_like(x)], -1).reshape(-1, 4)
