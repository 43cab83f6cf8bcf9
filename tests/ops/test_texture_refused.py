"""Arguments that `texture` refuses, and what it says."""

import pytest
import torch

import diffrast.torch as dr


def arguments(cube=False, **changes):
    shape = (1, 6, 4, 4, 3) if cube else (1, 4, 8, 3)
    axes = 3 if cube else 2
    given = {"tex": torch.rand(shape), "uv": torch.rand(2, 3, 5, axes), "uv_da": torch.rand(2, 3, 5, 2 * axes)}
    if cube:
        given["boundary_mode"] = "cube"
    return given | changes


REFUSED = [
    (
        {"tex": torch.rand(4, 8, 3)},
        r"texture\(\): tex must be float32 \[B\|1, Ht, Wt, C\] with B=2 .*; got float32 \[4, 8, 3\]",
    ),
    ({"tex": torch.rand(3, 4, 8, 3)}, r"tex must be .* with B=2 \(from uv\); got float32 \[3, 4, 8, 3\]"),
    ({"tex": torch.rand(1, 4, 8, 3).double()}, r"tex must be float32 .*; got float64 \[1, 4, 8, 3\]"),
    ({"tex": torch.rand(1, 4, 8, 3, device="meta")}, r"tex must be on cpu like uv; got float32 \[1, 4, 8, 3\] on meta"),
    (
        {"tex": torch.rand(1, 0, 8, 3)},
        r"tex must have 1 to 16777215 texels along each axis; got float32 \[1, 0, 8, 3\]",
    ),
    ({"uv": torch.rand(2, 3, 5, 3)}, r"uv must be float32 or float64 \[B, H, W, 2\]; got float32 \[2, 3, 5, 3\]"),
    ({"uv": torch.rand(3, 5, 2)}, r"uv must be .* \[B, H, W, 2\]; got float32 \[3, 5, 2\]"),
    ({"uv": torch.ones(2, 3, 5, 2).int()}, r"uv must be float32 or float64 .*; got int32"),
    ({"uv_da": torch.rand(2, 3, 5, 2)}, r"uv_da must be float32 \[2, 3, 5, 4\]; got float32 \[2, 3, 5, 2\]"),
    ({"uv_da": torch.rand(1, 3, 5, 4)}, r"uv_da must be float32 \[2, 3, 5, 4\]; got float32 \[1, 3, 5, 4\]"),
    (
        {"mip_level_bias": torch.rand(2, 3, 5, 1)},
        r"mip_level_bias must be float32 \[2, 3, 5\]; got float32 \[2, 3, 5, 1\]",
    ),
    ({"filter_mode": "cubic"}, r"filter_mode must be one of 'auto', 'nearest', .*; got 'cubic'"),
    ({"boundary_mode": "mirror"}, r"boundary_mode must be one of 'wrap', 'clamp', 'zero', 'cube'; got 'mirror'"),
    ({"max_mip_level": -1}, r"max_mip_level must be an integer of at least 0; got -1"),
    (
        {"uv_da": None, "filter_mode": "linear-mipmap-linear"},
        r"'linear-mipmap-linear' needs uv_da or mip_level_bias; got None",
    ),
    (
        {"mip": [torch.rand(1, 2, 2, 3)]},
        r"mip\[0\] must be float32 \[1, 2, 4, 3\] \(level 1 of tex \[1, 4, 8, 3\]\); got",
    ),
    ({"mip": [torch.rand(1, 2, 4, 3), torch.rand(1, 1, 2, 1)]}, r"mip\[1\] must be float32 \[1, 1, 2, 3\] \(level 2"),
    ({"mip": [torch.rand(1, 2, 4, 3).double()]}, r"mip\[0\] must be float32 .*; got float64"),
    ({"mip": [torch.rand(1, 1, 1, 3)] * 4}, r"mip must have at most 3 levels above tex \[1, 4, 8, 3\]; got 4"),
    ({"mip": dr.texture_construct_mip(torch.rand(1, 8, 8, 3))}, r"mip must be made from a texture of the shape of tex"),
]
REFUSED_CUBE = [
    (
        {"tex": torch.rand(1, 5, 4, 4, 3)},
        r"tex must be float32 \[B\|1, 6, S, S, C\] .* cube map; got float32 \[1, 5, 4, 4, 3\]",
    ),
    ({"tex": torch.rand(1, 6, 4, 3, 3)}, r"tex must be float32 \[B\|1, 6, S, S, C\] .*; got float32 \[1, 6, 4, 3, 3\]"),
    ({"tex": torch.rand(1, 4, 4, 3)}, r"tex must be float32 \[B\|1, 6, S, S, C\] .*; got float32 \[1, 4, 4, 3\]"),
    (
        {"uv": torch.rand(2, 3, 5, 2)},
        r"uv must be .* \[B, H, W, 3\] \(directions\) for a cube map; got float32 \[2, 3, 5, 2\]",
    ),
    ({"uv_da": torch.rand(2, 3, 5, 4)}, r"uv_da must be float32 \[2, 3, 5, 6\]; got float32 \[2, 3, 5, 4\]"),
]


@pytest.mark.parametrize("cube, changes, message", [(False, *r) for r in REFUSED] + [(True, *r) for r in REFUSED_CUBE])
def test_refused_with_a_message(cube, changes, message):
    with pytest.raises(ValueError, match=message):
        dr.texture(**arguments(cube, **changes))


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"tex": [1.0]}, r"texture\(\): tex must be a tensor, float32 .*; got list"),
        ({"uv": None}, r"uv must be a tensor, float32 or float64 \[B, H, W, 2\]; got NoneType None"),
        ({"uv_da": 2.0}, r"uv_da must be a tensor, .*; got float 2.0"),
        ({"mip": 3}, r"mip must be made by texture_construct_mip, or be a list of tensors; got int 3"),
        ({"mip": [None]}, r"mip\[0\] must be a tensor, float32 \[1, 2, 4, 3\] .*; got NoneType None"),
        ({"max_mip_level": 1.5}, r"max_mip_level must be an integer of at least 0; got float 1.5"),
    ],
)
def test_wrong_types_are_refused_with_a_message(changes, message):
    with pytest.raises(TypeError, match=message):
        dr.texture(**arguments(**changes))
