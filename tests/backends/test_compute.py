"""The GPU's search for visible triangles against the CPU's: the same triangles at every pixel, bit by bit.

It runs here on the CPU (emulation.py). Triangles of all sizes take all of its ways: a thread, a warp, all blocks.
"""

import pytest
import torch

import diffrast.torch as dr
from diffrast.backends import compute


def soup(seed: int, images: int, count: int, spread: float, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """Random triangles `[B, 3 F, 4]` of very different sizes, some through the near plane or behind the eye."""
    g = torch.Generator().manual_seed(seed)
    centre = torch.rand(images, count, 1, 2, generator=g, dtype=dtype) * 2.4 - 1.2
    size = 10 ** (torch.rand(images, count, 1, 1, generator=g, dtype=dtype) * 3 - 2.5) * spread
    xy = centre + size * torch.randn(images, count, 3, 2, generator=g, dtype=dtype)
    z = torch.rand(images, count, 3, 1, generator=g, dtype=dtype) * 2.2 - 1.1
    w = torch.rand(images, count, 3, 1, generator=g, dtype=dtype) * 1.5 + 0.3
    w[:, ::17, 0] *= -1
    pos = torch.cat([xy * w, z * w, w], -1).reshape(images, 3 * count, 4)
    return pos, torch.arange(3 * count, dtype=torch.int32).reshape(count, 3)


CPU, EMULATED = dr.RasterizeContext(backend="cpu"), dr.RasterizeContext(backend="emulated")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("height", "width", "spread"), [(1, 1, 1.0), (37, 61, 1.0), (300, 200, 1.0), (257, 513, 0.1)])
def test_sees_what_the_cpu_sees(height, width, spread, dtype):
    pos, tri = soup(height, 2, 400, spread, dtype)
    for ours, theirs in zip(
        dr.rasterize(EMULATED, pos, tri, (height, width)), dr.rasterize(CPU, pos, tri, (height, width)), strict=True
    ):
        assert torch.equal(ours, theirs)


def test_every_way_is_taken():
    """The scene above has triangles for threads, warps and blocks, so what it proves covers all three."""
    pos, _ = soup(300, 2, 400, 1.0, torch.float32)
    ndc = (pos[..., :2] / pos[..., 3:]).reshape(2, 400, 3, 2)[:, 1::17]  # none behind the eye
    low, high = (((x.clamp(-1, 1) + 1) / 2 * torch.tensor([200, 300])) for x in (ndc.amin(2), ndc.amax(2)))
    pixels = (high - low).prod(-1)
    assert bool((pixels < 16).any())
    assert bool(((pixels > 32) & (pixels < 4000)).any())
    assert bool((pixels > 5000).any())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equal_depths_go_to_the_lower_index(dtype):
    pos, tri = soup(5, 1, 50, 1.0, dtype)
    pos[..., 2] = 0.25 * pos[..., 3]
    rast, _ = dr.rasterize(EMULATED, pos, tri.repeat(3, 1), (64, 64))
    assert torch.equal(rast, dr.rasterize(CPU, pos, tri.repeat(3, 1), (64, 64))[0])
    assert int(rast[..., 3].max()) <= 50


@pytest.mark.parametrize("images", [1, 3, 200])
def test_ranges_of_many_images(images):
    """More images than the arguments of one launch hold, empty ranges among them."""
    pos, tri = soup(7, 1, 300, 0.3, torch.float32)
    g = torch.Generator().manual_seed(1)
    first = torch.randint(0, 300, (images,), generator=g)
    count = (torch.rand(images, generator=g) * (300 - first)).long() * (torch.arange(images) % 3 != 1)
    ranges = torch.stack([first, count], 1).int()
    ours, theirs = (dr.rasterize(ctx, pos[0], tri, (20, 30), ranges)[0] for ctx in (EMULATED, CPU))
    assert torch.equal(ours, theirs)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_layers(dtype):
    pos, tri = soup(11, 2, 60, 2.0, dtype)
    with dr.DepthPeeler(CPU, pos, tri, (40, 50)) as cpu, dr.DepthPeeler(EMULATED, pos, tri, (40, 50)) as ours:
        for _ in range(6):
            assert torch.equal(ours.rasterize_next_layer()[0], cpu.rasterize_next_layer()[0])


@pytest.mark.parametrize("cull", ["back", "front"])
def test_culling(cull):
    pos, tri = soup(13, 1, 200, 1.0, torch.float32)
    ours, theirs = (dr.rasterize(ctx, pos, tri, (64, 64), cull=cull)[0] for ctx in (EMULATED, CPU))
    assert torch.equal(ours, theirs)


def test_launches_are_split_where_the_queue_cannot_count_further(monkeypatch):
    pos, tri = soup(17, 5, 100, 1.0, torch.float32)
    whole = dr.rasterize(EMULATED, pos, tri, (32, 32))[0]
    monkeypatch.setattr(compute, "MOST_ITEMS", 250)  # two images at a time
    assert torch.equal(dr.rasterize(EMULATED, pos, tri, (32, 32))[0], whole)
    ranges = torch.tensor([[0, 100], [10, 80], [0, 0], [50, 50]], dtype=torch.int32)
    ours, theirs = (dr.rasterize(ctx, pos[0], tri, (32, 32), ranges)[0] for ctx in (EMULATED, CPU))
    assert torch.equal(ours, theirs)
