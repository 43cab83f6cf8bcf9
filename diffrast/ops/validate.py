"""The one validator: every op states its arguments here, before any launch.

Messages name the op, the argument, the rule and what came:
`interpolate(): attr must be float32 [B|1, V, C] with B=2 (from rast); got float64 [4, 100] on cpu`.
"""

from collections.abc import Sequence
from typing import Any

import torch

SCALARS = (torch.float32, torch.float64)


def name_of(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def describe(value: Any) -> str:
    """What came, in words: `float64 [4, 100] on cpu`, or the type of what is no tensor."""
    if isinstance(value, torch.Tensor):
        return f"{name_of(value.dtype)} {list(value.shape)} on {value.device}"
    return (
        f"{type(value).__name__} {value!r}"
        if isinstance(value, int | float | str | None)
        else type(value).__name__
    )


def tensor(
    op: str,
    name: str,
    value: Any,
    shape: str,
    fits: bool | None = None,
    *,
    rank: int | Sequence[int] = (),
    dtype: torch.dtype | Sequence[torch.dtype] = SCALARS,
    like: tuple[str, torch.Tensor] | None = None,
) -> None:
    """Raises unless `value` is a tensor of one of the ranks and dtypes, on the device of `like`, and `fits`.

    shape: the rule in words, such as "[B|1, V, C] with B=2 (from rast)".
    fits: further conditions on the shape that the caller has evaluated (only looked at when the rank is right).
    like: name and tensor whose device (and dtype, when both are floating point) it must share.
    """
    dtypes = (dtype,) if isinstance(dtype, torch.dtype) else tuple(dtype)
    if like is not None and like[1].is_floating_point() and all(d.is_floating_point for d in dtypes):
        dtypes = (like[1].dtype,)
    wanted = " or ".join(name_of(d) for d in dtypes)
    if not isinstance(value, torch.Tensor):
        raise TypeError(f"{op}(): {name} must be a tensor, {wanted} {shape}; got {describe(value)}")
    ranks = (rank,) if isinstance(rank, int) else tuple(rank)
    ok = value.dtype in dtypes and (not ranks or value.dim() in ranks) and fits is not False
    if not ok:
        raise ValueError(f"{op}(): {name} must be {wanted} {shape}; got {describe(value)}")
    if like is not None and value.device != like[1].device:
        raise ValueError(f"{op}(): {name} must be on {like[1].device} like {like[0]}; got {describe(value)}")


def shape_is(value: Any, *sizes: int | tuple[int, ...] | None) -> bool:
    """Whether a tensor's shape matches: an int is exact, None is anything, a tuple lists the sizes allowed."""
    if not isinstance(value, torch.Tensor) or value.dim() != len(sizes):
        return False
    return all(
        want is None or (got in want if isinstance(want, tuple) else got == want)
        for got, want in zip(value.shape, sizes, strict=True)
    )


def triangles(op: str, tri: Any, like: tuple[str, torch.Tensor]) -> torch.Tensor:
    """Triangle indices as contiguous int32 [F, 3]; int64 is accepted when it fits."""
    tensor(
        op, "tri", tri, "[F, 3]", shape_is(tri, None, 3), rank=2, dtype=(torch.int32, torch.int64), like=like
    )
    if tri.dtype == torch.int64:
        # Narrowing would wrap around; what does not fit is out of any vertex range, and is made to stay so.
        tri = tri.clamp(-1, 2**31 - 1).to(torch.int32)
    return tri.contiguous()


def index_range(op: str, tri: torch.Tensor, vertices: int, source: str) -> None:
    """Raises when a vertex index is outside [0, vertices)."""
    if tri.numel() == 0:
        return
    low, high = (int(x) for x in torch.aminmax(tri))
    if low < 0 or high >= vertices:
        raise ValueError(
            f"{op}(): tri must hold vertex indices in [0, {vertices}) (from {source}); got indices in [{low}, {high}]"
        )


def integer(op: str, name: str, value: Any, low: int, high: int | None = None) -> int:
    """An int within [low, high]."""
    rule = f"an integer of at least {low}" if high is None else f"an integer in [{low}, {high}]"
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{op}(): {name} must be {rule}; got {describe(value)}")
    number = value.__index__()
    if number < low or (high is not None and number > high):
        raise ValueError(f"{op}(): {name} must be {rule}; got {number}")
    return number


def choice(op: str, name: str, value: Any, options: Sequence[str]) -> None:
    """Raises unless value is one of the options."""
    if value not in options:
        raise ValueError(f"{op}(): {name} must be one of {', '.join(map(repr, options))}; got {value!r}")
