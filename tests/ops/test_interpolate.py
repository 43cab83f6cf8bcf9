"""Interpolation of attributes and their pixel derivatives (docs/MATH.md, section 3), on every backend."""

import pytest
import torch

import diffrast.torch as dr


def scene(device, batch=2, vertices=12, faces=10, size=(5, 6), seed=0):
    """A perspective triangle soup: rast and rast_db as leaves, and its triangles."""
    g = torch.Generator().manual_seed(seed)
    pos = torch.rand(batch, vertices, 4, generator=g, dtype=torch.float64) * 2 - 1
    pos[..., 3] = 0.8 + 0.4 * pos[..., 3].abs()
    tri = torch.randint(0, vertices, (faces, 3), generator=g).int()
    rast, rast_db = dr.rasterize(dr.RasterizeContext(backend="cpu"), pos, tri, size)
    assert 0.2 < (rast[..., 3] > 0).double().mean() < 1
    leaves = [t.to(device).requires_grad_() for t in (rast, rast_db)]
    return pos.to(device), tri.to(device), *leaves


def attributes(device, *shape, seed=3):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=g, dtype=torch.float64).to(device).requires_grad_()


@pytest.mark.parametrize("shape", [(2, 12, 3), (1, 12, 3), (12, 3)], ids=["batch", "broadcast", "shared"])
@pytest.mark.parametrize("diff_attrs", [None, [2, 0], "all", [-1]], ids=str)
def test_gradcheck(raster, shape, diff_attrs):
    _, tri, rast, rast_db = scene(raster.device)
    attr = attributes(raster.device, *shape)

    def run(attr, rast_uv, rast_db):
        # z/w and the id are labels: finite differences must not touch them.
        full = torch.cat([rast_uv, rast[..., 2:].detach()], -1)
        out = dr.interpolate(attr, full, tri, rast_db, diff_attrs)
        return out if diff_attrs is not None else out[0]

    inputs = (attr, rast[..., :2].detach().requires_grad_(), rast_db)
    assert torch.autograd.gradcheck(run, inputs, atol=1e-6)


def test_positions_interpolate_to_pixel_centres(raster):
    pos, tri, rast, _ = scene(raster.device)
    out, _ = dr.interpolate(pos, rast, tri)
    hit = rast[..., 3] > 0
    height, width = rast.shape[1:3]
    x = (2 * torch.arange(width, device=raster.device) + 1 - width) / width
    y = (2 * torch.arange(height, device=raster.device) + 1 - height) / height
    centres = (
        torch.stack([x.expand(height, width), y[:, None].expand(height, width)], -1).double().expand(2, -1, -1, -1)
    )
    projected = out[..., :2] / out[..., 3:]
    assert torch.allclose(projected[hit], centres[hit], atol=1e-12)
    assert not out[~hit].any()


def test_derivatives_are_those_of_the_picture(raster):
    """Render at offsets of a small fraction of a pixel and compare with the differences."""
    device, size, step = raster.device, (8, 8), 1e-4
    pos = torch.tensor([[[-6, -5, 0, 1.5], [9, -5, 0, 2.5], [0.5, 8, 0, 1.0]]], dtype=torch.float64, device=device)
    tri = torch.tensor([[0, 1, 2]], device=device)
    attr = attributes(device, 3, 2).detach()

    def picture(dx, dy):  # moving the mesh by minus an offset looks at the image there
        shift = torch.tensor([-2 * dx / size[1], -2 * dy / size[0]], dtype=torch.float64, device=device)
        moved = torch.cat([pos[..., :2] + shift * pos[..., 3:], pos[..., 2:]], -1)
        rast, rast_db = dr.rasterize(raster.ctx, moved, tri, size)
        assert (rast[..., 3] == 1).all()
        return dr.interpolate(attr, rast, tri, rast_db, "all")

    _, da = picture(0, 0)
    dx = (picture(step, 0)[0] - picture(-step, 0)[0]) / (2 * step)
    dy = (picture(0, step)[0] - picture(0, -step)[0]) / (2 * step)
    want = torch.stack([dx[..., 0], dy[..., 0], dx[..., 1], dy[..., 1]], -1)
    assert torch.allclose(da, want, atol=1e-6)


def test_output_shapes_and_dtype(raster):
    _, tri, rast, rast_db = scene(raster.device)
    rast, rast_db = rast.detach().float(), rast_db.detach().float()
    attr = torch.rand(12, 5, device=raster.device)
    out, da = dr.interpolate(attr, rast, tri)
    assert out.shape == (2, 5, 6, 5) and da.shape == (2, 5, 6, 0) and out.dtype == torch.float32
    out, da = dr.interpolate(attr, rast, tri, rast_db, [0, 3])
    assert da.shape == (2, 5, 6, 4)
    out, da = dr.interpolate(attr, rast, tri, rast_db)  # derivatives given, none asked for
    assert da.shape == (2, 5, 6, 0)
    out, da = dr.interpolate(attr[:, :0], rast, tri, rast_db, "all")
    assert out.shape == (2, 5, 6, 0) and da.shape == (2, 5, 6, 0)


def test_other_indices_than_the_positions(raster):
    """UVs with indices of their own, as at texture seams."""
    _, tri, rast, _ = scene(raster.device)
    own = torch.arange(3 * tri.shape[0], device=raster.device).reshape(-1, 3)
    attr = attributes(raster.device, 12, 2).detach()
    split = attr[tri.long().reshape(-1)]
    assert torch.equal(dr.interpolate(split, rast, own)[0], dr.interpolate(attr, rast, tri)[0])


def test_non_contiguous_inputs_and_long_indices(raster):
    _, tri, rast, rast_db = scene(raster.device)
    attr = attributes(raster.device, 12, 4).detach()
    strided = attr.t().contiguous().t()
    assert not strided.is_contiguous()
    flipped = rast.flip(2).flip(2)
    want = dr.interpolate(attr, rast, tri, rast_db, "all")
    got = dr.interpolate(strided, flipped, tri.long(), rast_db, "all")
    assert torch.equal(got[0], want[0]) and torch.equal(got[1], want[1])


def test_gradients_repeat_bit_for_bit(raster):
    _, tri, rast, rast_db = scene(raster.device, size=(120, 130))
    rast, rast_db = rast.detach().float(), rast_db.detach().float()

    def gradients():
        attr = attributes(raster.device, 2, 12, 3).detach().float().requires_grad_()
        out, da = dr.interpolate(attr, rast, tri, rast_db, "all")
        return torch.autograd.grad((out**2).sum() + (da**2).sum(), attr)[0]

    first = gradients()
    assert first.any()
    for _ in range(3):
        assert torch.equal(gradients(), first)


def test_registered_operator(raster):
    _, tri, rast, rast_db = scene(raster.device)
    attr = attributes(raster.device, 1, 12, 3)
    torch.library.opcheck(torch.ops.diffrast.interpolate, (attr, rast, tri, rast_db, [0, 2]))
    torch.library.opcheck(torch.ops.diffrast.interpolate, (attr, rast, tri, None, []))


def test_backward_on_several_threads_without_a_gradient_for_attr():
    """Each thread moves its own copy of the gradient; where there is none, nothing may move."""
    pos = torch.tensor([[[-1.0, -1, 0, 1], [3, -1, 0, 1], [-1, 3, 0, 1]]], dtype=torch.float64)
    pos.requires_grad_()
    tri, attr = torch.tensor([[0, 1, 2]], dtype=torch.int32), torch.rand(1, 3, 2, dtype=torch.float64)
    before = torch.get_num_threads()
    gradients = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            rast, _ = dr.rasterize(dr.RasterizeContext(backend="cpu"), pos, tri, (128, 128))
            out, _ = dr.interpolate(attr, rast, tri)
            gradients.append(torch.autograd.grad(out.square().sum(), pos)[0])
    finally:
        torch.set_num_threads(before)
    assert float(gradients[0].abs().max()) > 0
    torch.testing.assert_close(gradients[1], gradients[0])
