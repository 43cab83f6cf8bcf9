"""antialias(mode="area"): exact areas, exact derivatives, what it sees that the published rule does not."""

import pytest
import torch
from helpers import scenes
from helpers.gradients import compare

import diffrast.torch as dr

AREA = {"mode": "area"}


def polygon(points, z=0.1):
    """A fan, at depth z, w different at every corner: pos [1, n, 4] and tri."""
    points = torch.tensor(points, dtype=torch.float64)
    n = len(points)
    w = torch.linspace(1, 1.6, n, dtype=torch.float64)[:, None]
    pos = torch.cat([points, torch.full((n, 1), z), torch.ones(n, 1)], 1) * w
    return pos[None], torch.tensor([[0, k, k + 1] for k in range(1, n - 1)], dtype=torch.int32)


def inside_area(polygon, low, high):
    """The area of a convex counter-clockwise polygon within a rectangle, by cutting it four times (Sutherland and
    Hodgman 1974)."""
    points = [tuple(map(float, p)) for p in polygon]
    for axis, limit, keep in ((0, low[0], 1), (0, high[0], -1), (1, low[1], 1), (1, high[1], -1)):
        cut = []
        for a, b in zip(points, points[1:] + points[:1], strict=True):
            da, db = keep * (a[axis] - limit), keep * (b[axis] - limit)
            if da >= 0:
                cut.append(a)
            if da * db < 0:
                s = da / (da - db)
                cut.append(tuple(a[k] + s * (b[k] - a[k]) for k in (0, 1)))
        points = cut
    turns = zip(points, points[1:] + points[:1], strict=True)
    return sum(a[0] * b[1] - b[0] * a[1] for a, b in turns) / 2


def coverage(points, height, width):
    """The exact part of each pixel that a convex polygon covers, [H, W]."""
    scale = torch.tensor([width / 2, height / 2], dtype=torch.float64)
    pixels = ((torch.tensor(points, dtype=torch.float64) + 1) * scale).tolist()
    return torch.tensor(
        [[inside_area(pixels, (x, y), (x + 1, y + 1)) for x in range(width)] for y in range(height)],
        dtype=torch.float64,
    )


# Edges of every slope. The corners of the first two are seen: the tips do not pass between two neighbouring centres.
POLYGONS = {
    "triangle": [(-0.74, -0.63), (0.83, -0.52), (0.02, 0.79)],
    "quad": [(-0.71, -0.66), (0.83, -0.52), (0.62, 0.75), (-0.66, 0.61)],
    "hexagon": [(-0.83, -0.11), (-0.42, -0.77), (0.31, -0.72), (0.79, 0.05), (0.41, 0.71), (-0.37, 0.69)],
    "beyond the image": [(-1.7, -0.31), (0.23, -1.81), (1.6, 0.27), (-0.21, 1.5)],
}


DERIVATIVE = {"triangle": 1e-7, "quad": 1e-7, "hexagon": 0.01, "beyond the image": 0.02}


def rendered(raster, points, size):
    pos, tri = polygon(points)
    pos, tri = pos.to(raster.device), tri.to(raster.device)
    rast, _ = dr.rasterize(raster.ctx, pos, tri, size)
    return pos, tri, rast, (rast[..., 3:] > 0).double()


@pytest.mark.parametrize("name", POLYGONS)
def test_coverage_of_a_polygon_is_exact(raster, name):
    size = (17, 22)
    pos, tri, rast, color = rendered(raster, POLYGONS[name], size)
    want = coverage(POLYGONS[name], *size).to(color)
    error = {}
    for mode in ("area", "silhouette"):
        error[mode] = (dr.antialias(color, rast, pos, tri, mode=mode)[0, ..., 0] - want).abs()
    # What is left: tips of corners between the pixel centres, and the outermost half pixel of an edge that leaves the
    # image, which is extended at a right angle.
    inner = error["area"][1:-1, 1:-1]
    assert (inner > 1e-9).sum() <= len(POLYGONS[name]) and inner.max() < 0.05
    assert error["area"].max() < 0.25
    assert error["area"].sum() < 0.75 * error["silhouette"].sum()


@pytest.mark.parametrize("name", POLYGONS)
def test_derivative_of_coverage_is_exact(raster, name):
    """Of a weighted sum of the pixels, against central differences of the exact areas."""
    size, step = (17, 22), 1e-5
    points = POLYGONS[name]
    pos, tri, rast, color = rendered(raster, points, size)
    y, x = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in size), indexing="ij")
    weight = torch.sin(0.4 * x) + torch.cos(0.31 * y)  # changes from pixel to pixel
    pos.requires_grad_()
    out = dr.antialias(color, rast, pos, tri, **AREA)[0, ..., 0]
    (grad,) = torch.autograd.grad((out * weight.to(out)).sum(), pos)
    got = grad[0, :, :2] * pos.detach()[0, :, 3:]  # with respect to x/w and y/w
    want = torch.zeros(len(points), 2)
    for i in range(len(points)):
        for k in range(2):
            sums = []
            for sign in (-step, step):
                moved = [list(p) for p in points]
                moved[i][k] += sign
                sums.append((coverage(moved, *size) * weight).sum())
            want[i, k] = (sums[1] - sums[0]) / (2 * step)
    agreement = compare(got, want)
    assert agreement.relative_l2 < DERIVATIVE[name]


SCENES = {"soup": scenes.soup, "near": scenes.near, "sheet": scenes.sheet, "ball": scenes.ball}


@pytest.mark.parametrize("cull", ["none", "back"])
@pytest.mark.parametrize("scene", SCENES)
def test_backward_is_the_derivative_of_forward(raster, scene, cull):
    """Along random directions; positions where a decision is on a knife's edge have no derivative, so a few may
    miss."""
    pos, tri = (t.to(raster.device) for t in SCENES[scene]())
    rast, _ = dr.rasterize(raster.ctx, pos, tri, (12, 15), cull=cull)
    color = scenes.random((*rast.shape[:3], 2), 3).to(pos)
    weight, step = scenes.random(color.shape, 4, -1, 1).to(pos), 1e-7

    def loss(color, pos):
        return dr.antialias(color, rast, pos, tri, cull=cull, **AREA).mul(weight).sum()

    pos.requires_grad_(), color.requires_grad_()
    grads = torch.autograd.grad(loss(color, pos), (color, pos))
    assert all(g.isfinite().all() and g.any() for g in grads)
    misses = []
    for k, (leaf, grad) in enumerate(zip((color, pos), grads, strict=True)):
        for seed in range(12):
            direction = scenes.random(leaf.shape, 20 + seed, -1, 1).to(pos)
            ends = []
            for sign in (-step, step):
                moved = [color.detach(), pos.detach()]
                moved[k] = moved[k] + sign * direction
                ends.append(loss(*moved))
            want, got = (ends[1] - ends[0]) / (2 * step), (grad * direction).sum()
            misses.append(abs(float(want - got)) > 1e-5 * (1 + abs(float(want))))
    assert sum(misses) <= 2, misses


def test_gradcheck(raster):
    pos, tri = (t.to(raster.device) for t in scenes.ball(1))
    rast, _ = dr.rasterize(raster.ctx, pos, tri, (9, 8))
    color = scenes.random((*rast.shape[:3], 2), 3).to(pos)
    pos.requires_grad_(), color.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda c, p: dr.antialias(c, rast, p, tri, **AREA), (color, pos), eps=1e-7, atol=1e-6
    )


@pytest.mark.parametrize("scene", SCENES)
def test_values_stay_within_what_is_blended(raster, scene):
    """Over many scenes: every channel of a pixel within the range of the nine around it, and constants unchanged."""
    for seed in range(40):
        pos, tri = SCENES[scene](1, seed=seed)
        pos, tri = pos.to(raster.device), tri.to(raster.device)
        rast, _ = dr.rasterize(raster.ctx, pos, tri, (11, 13))
        color = scenes.random((*rast.shape[:3], 2), seed, -1, 1).to(pos)
        out = dr.antialias(color, rast, pos, tri, **AREA)
        image = torch.nn.functional.pad(color.permute(0, 3, 1, 2), (1, 1, 1, 1), mode="replicate")
        highest = torch.nn.functional.max_pool2d(image, 3, 1).permute(0, 2, 3, 1)
        lowest = -torch.nn.functional.max_pool2d(-image, 3, 1).permute(0, 2, 3, 1)
        assert (out <= highest).all() and (out >= lowest).all()
        assert torch.equal(dr.antialias(torch.ones_like(color), rast, pos, tri, **AREA), torch.ones_like(color))


def test_an_interior_edge_and_another_layer_below_change_nothing(raster):
    pos, tri = (t.to(raster.device) for t in scenes.sheet(1))
    rast, _ = dr.rasterize(raster.ctx, pos, tri, (16, 16))
    color = scenes.random((*rast.shape[:3], 1), 3).to(pos)
    out = dr.antialias(color, rast, pos, tri, **AREA)
    covered = rast[..., 3] > 0
    # Pixels whose eight neighbours are covered too see only interior edges of the one sheet, if it does not fold.
    inner = torch.nn.functional.max_pool2d((~covered).double()[:, None], 3, 1, 1)[:, 0] == 0
    assert inner.sum() > 20 and torch.equal(out[inner], color[inner])
    assert not torch.equal(out, color)


def crossing_sheets(device):
    """Two quads through each other, beyond the image on all sides."""
    flat = torch.tensor([[-3.0, -3], [3, -3], [3, 3], [-3, 3]], dtype=torch.float64)
    depth = [0.13 * flat[:, :1] + 0.06 * flat[:, 1:], -0.17 * flat[:, :1] + 0.02]
    pos = torch.cat([torch.cat([flat, z, torch.ones(4, 1)], 1) for z in depth])[None]
    return pos.to(device), torch.tensor([[0, 1, 2], [0, 2, 3], [4, 5, 6], [4, 6, 7]], dtype=torch.int32, device=device)


def test_lines_of_intersection_have_the_derivative_of_the_areas(raster):
    """The sum over the image is an area whose boundary moves: x = (0.02 - 0.06 y) / 0.3 in the image from -1 to 1."""
    pos, tri = crossing_sheets(raster.device)
    rast, _ = dr.rasterize(raster.ctx, pos, tri, (24, 24))
    color = (rast[..., 3:] > 2.5).double()
    pos.requires_grad_()
    out = dr.antialias(color, rast, pos, tri, **AREA)
    want = 24 * 24 * (1 - 0.02 / 0.3) / 2  # the second sheet is the nearer one where -0.17 x + 0.02 < 0.13 x + 0.06 y
    assert abs(float(out.detach().sum()) - want) < 1e-6
    (grad,) = torch.autograd.grad(out.sum(), pos)
    # Lifting the second sheet by dz moves the line by dz / 0.3 in x, over the whole height of 24 pixels, 12 pixels per
    # unit.
    assert abs(float(grad[0, 4:, 2].sum()) + 24 * 12 / 0.3) < 1e-6
    assert abs(float(grad[0, :4, 2].sum()) - 24 * 12 / 0.3) < 1e-6
    out = dr.antialias(color, rast, pos, tri, mode="silhouette")
    assert not torch.autograd.grad(out.sum(), pos)[0].any()


def test_silhouettes_whose_triangles_own_no_pixel_centre(raster):
    """A disk with a rim of triangles far below a pixel: growing it grows the image's sum by its circumference."""
    n, radius, size = 400, 0.7, 20
    turn = torch.arange(n, dtype=torch.float64) * (2 * torch.pi / n)
    ring = torch.stack([turn.cos(), turn.sin()], 1)
    xy = torch.cat([torch.zeros(1, 2), 0.98 * radius * ring, radius * ring])
    pos = torch.cat([xy, torch.zeros(len(xy), 1), torch.ones(len(xy), 1)], 1)[None].to(raster.device).requires_grad_()
    a, b = torch.arange(n) + 1, (torch.arange(n) + 1) % n + 1
    fans = [torch.stack(t, 1) for t in ((0 * a, a, b), (a, a + n, b), (b, a + n, b + n))]
    tri = torch.cat(fans).int().to(raster.device)
    rast, _ = dr.rasterize(raster.ctx, pos.detach(), tri, (size, size))
    color = (rast[..., 3:] > 0).double()
    growth = {}
    for mode in ("area", "silhouette"):
        (grad,) = torch.autograd.grad(dr.antialias(color, rast, pos, tri, mode=mode).sum(), pos)
        growth[mode] = float((grad * pos.detach())[..., :2].sum() / radius)
    want = 2 * torch.pi * radius * (size / 2) ** 2
    assert abs(growth["area"] / want - 1) < 0.01
    assert growth["silhouette"] < 0.5 * want


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_repeats_bit_by_bit_and_takes_shapes_like_the_default(raster, dtype):
    pos, tri = scenes.ball(2)
    pos, tri = pos.to(raster.device, dtype).requires_grad_(), tri.to(raster.device)
    rast, _ = dr.rasterize(raster.ctx, pos.detach(), tri, (13, 9))
    color = scenes.random((*rast.shape[:3], 5), 3).to(pos).requires_grad_()
    runs = []
    for _ in range(2):
        out = dr.antialias(color, rast, pos, tri, **AREA)
        runs.append((out, *torch.autograd.grad(out.square().sum(), (color, pos))))
    assert runs[0][0].shape == color.shape and runs[0][0].dtype == dtype
    if raster.device.type == "cpu":
        assert all(torch.equal(x, y) for x, y in zip(*runs, strict=True))
    shared = dr.antialias(color[:1], rast[:1], pos[0], tri, **AREA)
    assert torch.equal(shared, runs[0][0][:1])
    boosted = dr.antialias(color, rast, pos, tri, pos_gradient_boost=2.0, **AREA)
    (twice,) = torch.autograd.grad(boosted.square().sum(), pos)
    torch.testing.assert_close(twice, 2 * runs[0][2])


def test_empty_and_tiny_images_and_unknown_modes(raster):
    pos, tri = (t.to(raster.device) for t in scenes.ball(1))
    for size in ((1, 1), (1, 9), (9, 1)):
        rast, _ = dr.rasterize(raster.ctx, pos, tri, size)
        color = scenes.random((*rast.shape[:3], 1), 3).to(pos).requires_grad_()
        out = dr.antialias(color, rast, pos, tri, **AREA)
        assert out.shape == color.shape and torch.autograd.grad(out.sum(), color)[0].isfinite().all()
    rast, _ = dr.rasterize(raster.ctx, pos, tri[:0], (6, 5))
    color = torch.rand(1, 6, 5, 3).to(pos)
    assert torch.equal(dr.antialias(color, rast, pos, tri[:0], **AREA), color)
    with pytest.raises(ValueError, match=r"antialias\(\): mode must be one of 'silhouette', 'area'; got 'walk'"):
        dr.antialias(color, rast, pos, tri[:0], mode="walk")


def test_positions_that_are_not_numbers_never_give_nan(raster):
    pos, tri = (t.to(raster.device) for t in scenes.ball(1))
    rast, _ = dr.rasterize(raster.ctx, pos, tri, (9, 8))
    color = scenes.random((*rast.shape[:3], 1), 3).to(pos).requires_grad_()
    for bad in (float("nan"), float("inf"), 0.0, 1e-320, 1e300):
        for vertex in range(0, pos.shape[1], 4):
            broken = pos.clone()
            broken[:, vertex] = bad
            broken.requires_grad_()
            out = dr.antialias(color, rast, broken, tri, **AREA)
            for value in (out, *torch.autograd.grad(out.square().sum(), (color, broken))):
                assert value.isfinite().all()


def test_registered_operators(raster):
    pos, tri = scenes.sheet()
    pos, tri = pos.to(raster.device), tri.to(raster.device)
    rast, _ = dr.rasterize(raster.ctx, pos, tri, (7, 8))
    color = scenes.random((2, 7, 8, 3), 1).to(raster.device).requires_grad_()
    ring = dr.antialias_construct_topology_hash(tri).ring
    args = (color, rast, pos.requires_grad_(), tri, ring, 1.0, "none")
    torch.library.opcheck(torch.ops.diffrast.antialias_area.default, args)
    out, *found = torch.ops.diffrast.antialias_area(*args)
    args = (torch.rand_like(out), color.detach(), rast, pos.detach(), tri, *found, 1.0, True, True)
    torch.library.opcheck(torch.ops.diffrast.antialias_area_backward.default, args)
