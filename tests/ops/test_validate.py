"""Bad input to rasterize and interpolate: each message names the op, the argument, the rule and what came."""

import logging

import numpy as np
import pytest
import torch

import diffrast.torch as dr
from diffrast.ops import context, validate

POS = torch.tensor([[[-1.0, -1, 0, 1], [3, -1, 0, 1], [-1, 3, 0, 1]]])
TRI = torch.tensor([[0, 1, 2]], dtype=torch.int32)
RANGES = torch.tensor([[0, 1]], dtype=torch.int32)


@pytest.mark.parametrize("device", [1, "cuda:1", torch.device("cuda", 1)], ids=str)
def test_a_context_of_another_gpu(device):
    class Pos:  # on a GPU that is not here
        device, dtype, shape = torch.device("cuda", 0), torch.float32, (1, 3, 4)

    message = (
        r"rasterize\(\): pos must be on cuda:1, which the context was made for; got .*; move it with .to\('cuda:1'\)"
    )
    with pytest.raises(ValueError, match=message):
        validate.context_device("rasterize", device, Pos())
    for fits in (None, 0, "cuda", "cuda:0", "cpu"):
        validate.context_device("rasterize", fits, Pos())
    validate.context_device("rasterize", device, POS)


def rasterize(**changes):
    arguments = {"ctx": dr.RasterizeContext(), "pos": POS, "tri": TRI, "resolution": (4, 4)}
    return dr.rasterize(**(arguments | changes))


def tri(*rows, dtype=torch.int32):
    return torch.tensor(rows, dtype=dtype)


POS_RULE = r"rasterize\(\): pos must be float32 or float64 \[B, V, 4\], or \[V, 4\] together with ranges; "

BAD_RASTERIZE = {
    "no context": ({"ctx": None}, TypeError, r"ctx must be a RasterizeContext; got NoneType None"),
    "pos no tensor": (
        {"pos": [[0, 0, 0, 1]]},
        TypeError,
        r"pos must be a tensor, float32 or float64 \[B, V, 4\], .*; got list",
    ),
    "pos rank": ({"pos": POS[0]}, ValueError, POS_RULE + r"got float32 \[3, 4\] on cpu"),
    "pos rank 4": ({"pos": POS[None]}, ValueError, POS_RULE + r"got float32 \[1, 1, 3, 4\] on cpu"),
    "pos columns": ({"pos": POS[..., :3]}, ValueError, POS_RULE + r"got float32 \[1, 3, 3\] on cpu"),
    "pos int": ({"pos": POS.int()}, ValueError, POS_RULE + r"got int32 \[1, 3, 4\] on cpu"),
    "pos numpy": ({"pos": POS.numpy()}, TypeError, r"pos must be a tensor, .*; got ndarray"),
    "range mode pos": (
        {"ranges": RANGES},
        ValueError,
        r"pos must be float32 or float64 \[V, 4\] when ranges are given; got float32 \[1, 3, 4\] on cpu",
    ),
    "tri no tensor": ({"tri": [[0, 1, 2]]}, TypeError, r"tri must be a tensor, int32 or int64 \[F, 3\]; got list"),
    "tri dtype": (
        {"tri": TRI.float()},
        ValueError,
        r"tri must be int32 or int64 \[F, 3\]; got float32 \[1, 3\] on cpu",
    ),
    "tri rank": ({"tri": TRI[0]}, ValueError, r"tri must be int32 or int64 \[F, 3\]; got int32 \[3\] on cpu"),
    "tri columns": (
        {"tri": tri([0, 1, 2, 0])},
        ValueError,
        r"tri must be int32 or int64 \[F, 3\]; got int32 \[1, 4\] on cpu",
    ),
    "tri device": ({"tri": TRI.to("meta")}, ValueError, r"tri must be on cpu like pos; got int32 \[1, 3\] on meta"),
    "index too large": (
        {"tri": tri([0, 1, 3])},
        ValueError,
        r"tri must hold vertex indices in \[0, 3\) \(from pos\); got indices in \[0, 3\]",
    ),
    "index negative": (
        {"tri": tri([0, -2, 2])},
        ValueError,
        r"tri must hold vertex indices in \[0, 3\) \(from pos\); got indices in \[-2, 2\]",
    ),
    "index beyond int32": (
        {"tri": tri([0, 1, 2**32 + 1], dtype=torch.int64)},
        ValueError,
        r"tri must hold vertex indices in \[0, 3\)",
    ),
    "index far below": (
        {"tri": tri([0, 1, -(2**32) + 1], dtype=torch.int64)},
        ValueError,
        r"tri must hold vertex indices in \[0, 3\)",
    ),
    "no vertices": (
        {"pos": torch.zeros(1, 0, 4)},
        ValueError,
        r"tri must hold vertex indices in \[0, 0\) \(from pos\); got",
    ),
    "resolution number": ({"resolution": 64}, ValueError, r"resolution must be \(height, width\); got int 64"),
    "resolution length": ({"resolution": (4, 4, 4)}, ValueError, r"resolution must be \(height, width\); got tuple"),
    "resolution text": ({"resolution": "4x4"}, ValueError, r"resolution must be \(height, width\); got str '4x4'"),
    "zero height": (
        {"resolution": (0, 4)},
        ValueError,
        r"resolution\[0\] \(height\) must be an integer in \[1, 1048576\]; got 0",
    ),
    "negative width": (
        {"resolution": (4, -1)},
        ValueError,
        r"resolution\[1\] \(width\) must be an integer in \[1, 1048576\]; got -1",
    ),
    "fractional width": (
        {"resolution": (4, 4.5)},
        TypeError,
        r"resolution\[1\] \(width\) must be an integer in \[1, 1048576\]; got float 4.5",
    ),
    "cull": ({"cull": "both"}, ValueError, r"cull must be one of 'none', 'back', 'front'; got 'both'"),
    "ranges no tensor": (
        {"pos": POS[0], "ranges": [[0, 1]]},
        TypeError,
        r"ranges must be a tensor, int32 or int64 \[B, 2\] = \(first triangle, count\); got list",
    ),
    "ranges shape": (
        {"pos": POS[0], "ranges": RANGES[0]},
        ValueError,
        r"ranges must be int32 or int64 \[B, 2\] = .*; got int32 \[2\] on cpu",
    ),
    "ranges dtype": (
        {"pos": POS[0], "ranges": RANGES.float()},
        ValueError,
        r"ranges must be int32 or int64 .*; got float32 \[1, 2\] on cpu",
    ),
    "ranges device": (
        {"pos": POS[0], "ranges": RANGES.to("meta")},
        ValueError,
        r"ranges must be on the CPU; got int32 \[1, 2\] on meta",
    ),
    "ranges beyond": (
        {"pos": POS[0], "ranges": tri([0, 2])},
        ValueError,
        r"ranges must lie within the 1 triangles of tri; got \[\[0, 2\]\]",
    ),
    "ranges negative": (
        {"pos": POS[0], "ranges": tri([-1, 1])},
        ValueError,
        r"ranges must lie within the 1 triangles of tri; got \[\[-1, 1\]\]",
    ),
    "ranges overflow": (
        {"pos": POS[0], "ranges": tri([2**31 - 1, 2**31 - 1])},
        ValueError,
        r"ranges must lie within the 1 triangles of tri",
    ),
}


@pytest.mark.parametrize("case", BAD_RASTERIZE)
@pytest.mark.parametrize("peel", [False, True], ids=["rasterize", "DepthPeeler"])
def test_bad_input_to_rasterize(case, peel):
    changes, error, message = BAD_RASTERIZE[case]
    with pytest.raises(error, match=r"rasterize\(\): " + message.removeprefix(r"rasterize\(\): ")):
        if not peel:
            rasterize(**changes)
        else:
            arguments = {"ctx": dr.RasterizeContext(), "pos": POS, "tri": TRI, "resolution": (4, 4)}
            with dr.DepthPeeler(**(arguments | changes)) as peeler:
                peeler.rasterize_next_layer()


RAST = torch.zeros(2, 4, 5, 4)
ATTR = torch.zeros(1, 3, 6)
ATTR_RULE = r"attr must be float32 \[V, C\] or \[B\|1, V, C\] with B=2 \(from rast\); "

BAD_INTERPOLATE = {
    "rast no tensor": ({"rast": None}, TypeError, r"rast must be a tensor, .* \[B, H, W, 4\]; got NoneType None"),
    "rast rank": ({"rast": RAST[0]}, ValueError, r"rast must be .* \[B, H, W, 4\]; got float32 \[4, 5, 4\] on cpu"),
    "rast channels": (
        {"rast": RAST[..., :3]},
        ValueError,
        r"rast must be .* \[B, H, W, 4\]; got float32 \[2, 4, 5, 3\] on cpu",
    ),
    "rast half": ({"rast": RAST.half()}, ValueError, r"rast must be float32 or float64 \[B, H, W, 4\]; got float16"),
    "attr no tensor": ({"attr": np.zeros((3, 6))}, TypeError, r"attr must be a tensor, float32 .*; got ndarray"),
    "attr dtype": ({"attr": ATTR.double()}, ValueError, ATTR_RULE + r"got float64 \[1, 3, 6\] on cpu"),
    "attr rank": ({"attr": ATTR[0, 0]}, ValueError, ATTR_RULE + r"got float32 \[6\] on cpu"),
    "attr rank 4": ({"attr": ATTR[None]}, ValueError, ATTR_RULE + r"got float32 \[1, 1, 3, 6\] on cpu"),
    "attr batch": ({"attr": ATTR.expand(3, -1, -1)}, ValueError, ATTR_RULE + r"got float32 \[3, 3, 6\] on cpu"),
    "attr device": (
        {"attr": ATTR.to("meta")},
        ValueError,
        r"attr must be on cpu like rast; got float32 \[1, 3, 6\] on meta",
    ),
    "tri dtype": ({"tri": TRI.bool()}, ValueError, r"tri must be int32 or int64 \[F, 3\]; got bool \[1, 3\] on cpu"),
    "tri device": ({"tri": TRI.to("meta")}, ValueError, r"tri must be on cpu like rast; got int32 \[1, 3\] on meta"),
    "index too large": (
        {"tri": tri([0, 1, 9])},
        ValueError,
        r"tri must hold vertex indices in \[0, 3\) \(from attr\); got indices in \[0, 9\]",
    ),
    "index negative": (
        {"tri": tri([-1, 1, 2])},
        ValueError,
        r"tri must hold vertex indices in \[0, 3\) \(from attr\); got indices in \[-1, 2\]",
    ),
    "no rast_db": ({"diff_attrs": "all"}, ValueError, r"rast_db must be given with diff_attrs; got None"),
    "rast_db shape": (
        {"diff_attrs": [0], "rast_db": RAST[:1]},
        ValueError,
        r"rast_db must be float32 \[2, 4, 5, 4\] like rast; got float32 \[1, 4, 5, 4\] on cpu",
    ),
    "rast_db of a context without it": (
        {"diff_attrs": [0], "rast_db": RAST[..., :0]},
        ValueError,
        r"rast_db must be .*; got float32 \[2, 4, 5, 0\] on cpu",
    ),
    "rast_db dtype": (
        {"diff_attrs": [0], "rast_db": RAST.double()},
        ValueError,
        r"rast_db must be float32 .* like rast; got float64",
    ),
    "diff_attrs text": (
        {"diff_attrs": "none", "rast_db": RAST},
        ValueError,
        r"diff_attrs must be one of 'all'; got 'none'",
    ),
    "diff_attrs too large": (
        {"diff_attrs": [0, 6], "rast_db": RAST},
        ValueError,
        r"diff_attrs must be an integer in \[-6, 5\]; got 6",
    ),
    "diff_attrs fraction": (
        {"diff_attrs": [0.5], "rast_db": RAST},
        TypeError,
        r"diff_attrs must be an integer in \[-6, 5\]; got float 0.5",
    ),
}


@pytest.mark.parametrize("case", BAD_INTERPOLATE)
def test_bad_input_to_interpolate(case):
    changes, error, message = BAD_INTERPOLATE[case]
    with pytest.raises(error, match=r"^interpolate\(\): " + message):
        dr.interpolate(**({"attr": ATTR, "rast": RAST, "tri": TRI} | changes))


# --- What is not an error ---------------------------------------------------------------------------------------------


def test_what_is_coerced_silently():
    """int64 indices, memory in any order, numbers that are integers by another name."""
    expected, _ = rasterize(resolution=(4, 6))
    transposed = POS.transpose(1, 2).contiguous().transpose(1, 2)
    assert not transposed.is_contiguous()
    for changes in (
        {"tri": TRI.long()},
        {"tri": TRI.t().contiguous().t()},
        {"pos": transposed},
        {"resolution": [np.int64(4), np.int32(6)]},
        {"resolution": torch.tensor([4, 6])},
        {"ranges": RANGES.long(), "pos": POS[0]},
    ):
        rast, _ = rasterize(**({"resolution": (4, 6)} | changes))
        assert torch.equal(rast, expected)


def test_empty_meshes_and_batches_are_empty_pictures():
    none = torch.zeros(0, 3, dtype=torch.int32)
    rast, rast_db = rasterize(tri=none)
    assert rast.shape == rast_db.shape == (1, 4, 4, 4)
    assert not rast.any()
    rast, _ = rasterize(tri=none, pos=torch.zeros(2, 0, 4))
    assert rast.shape == (2, 4, 4, 4)
    assert not rast.any()
    rast, _ = rasterize(pos=torch.zeros(0, 3, 4))
    assert rast.shape == (0, 4, 4, 4)
    out, _ = dr.interpolate(torch.zeros(3, 2), rast, TRI)
    assert out.shape == (0, 4, 4, 2)
    rast, _ = rasterize(pos=POS[0], ranges=torch.zeros(0, 2, dtype=torch.int32))
    assert rast.shape == (0, 4, 4, 4)


def test_positions_that_are_not_finite_are_reported_once_and_not_drawn(monkeypatch, caplog):
    monkeypatch.setattr(context, "_said", set())
    pos = torch.cat([POS, POS], 1)
    pos[0, 1, 0], pos[0, 2, 3] = float("nan"), float("inf")
    both = tri([0, 1, 2], [3, 4, 5])
    with caplog.at_level(logging.WARNING, logger="diffrast"):
        for _ in range(2):
            rast, _ = rasterize(pos=pos, tri=both)
    assert dr.triangle_id(rast).unique().tolist() == [1]
    messages = [r.getMessage() for r in caplog.records]
    assert messages == ["rasterize(): 2 of 6 positions are not finite; their triangles are not drawn"]


def test_a_foreign_rast_reads_no_memory_of_others():
    """Ids that are no triangle of this mesh, and those that are no numbers, count as background."""
    ids = [0.0, 1.0, 2.0, 7.0, -3.0, 1e9, 1e30, float("nan"), float("inf"), -float("inf"), 16777217.0, 0.5]
    rast = torch.zeros(1, 1, len(ids), 4)
    rast[..., 0], rast[0, 0, :, 3] = 1, torch.tensor(ids)
    for dtype in (torch.float32, torch.float64):
        attr = torch.full((3, 2), 5.0, dtype=dtype, requires_grad=True)
        there = rast.to(dtype)
        out, _ = dr.interpolate(attr, there, TRI)
        assert out[0, 0, :, 0].tolist() == [0, 5] + [0] * (len(ids) - 2)
        (gradient,) = torch.autograd.grad(out.sum(), attr)
        assert gradient.sum() == 2


def test_mixed_dtypes_are_never_converted():
    rast, _ = rasterize(pos=POS.double())
    with pytest.raises(ValueError, match=r"attr must be float64 .*; got float32"):
        dr.interpolate(ATTR, rast, TRI)
