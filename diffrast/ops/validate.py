"""The one validator: every op states its arguments here, before any launch.

Messages name the op, the argument, the rule and what came:
`interpolate(): attr must be float32 [B|1, V, C] with B=2 (from rast); got float64 [4, 100] on cpu`.
"""

from collections.abc import Sequence
from typing import Any

import torch

from .known import Known

SCALARS = (torch.float32, torch.float64)
HALVES = (torch.float16, torch.bfloat16)


def name_of(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def describe(value: Any) -> str:
    """What came, in words: `float64 [4, 100] on cpu`, or the type of what is no tensor."""
    if isinstance(value, torch.Tensor):
        return f"{name_of(value.dtype)} {list(value.shape)} on {value.device}"
    return (
        f"{type(value).__name__} {value!r}"
        if isinstance(value, (int, float, str, type(None)))
        else type(value).__name__
    )


def listed(value: Any) -> Any:
    """The numbers of a tensor as lists; anything else as it is."""
    anything: Any = value
    return anything.tolist() if isinstance(value, torch.Tensor) else value


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


def widened(*values: Any) -> tuple[Any, ...]:
    """Half-precision tensors (float16, bfloat16) as float32, in which everything is computed; anything else as it
    is."""
    return tuple(
        value.float() if isinstance(value, torch.Tensor) and value.dtype in HALVES else value for value in values
    )


def triangles(op: str, tri: Any, like: tuple[str, torch.Tensor]) -> torch.Tensor:
    """Triangle indices as contiguous int32 [F, 3]; int64 is accepted when it fits."""
    tensor(op, "tri", tri, "[F, 3]", shape_is(tri, None, 3), rank=2, dtype=(torch.int32, torch.int64), like=like)
    return tri if tri.dtype == torch.int32 and tri.is_contiguous() else _narrow(tri)


def _to_int32(tri: torch.Tensor) -> torch.Tensor:
    # Narrowing would wrap around; what does not fit is out of any vertex range, and is made to stay so.
    return tri.clamp(-1, 2**31 - 1).to(torch.int32).contiguous()


# Kept for the tensor that was passed, so that what is known of its copy is found again.
_narrow: Known[torch.Tensor] = Known(_to_int32)


def _limits(tri: torch.Tensor) -> tuple[int, int]:
    low, high = torch.aminmax(tri)
    return int(low), int(high)


# Reading the limits back from a GPU makes the CPU wait for it: once for each tensor of triangles. On the CPU they are
# cheap to find, and memory is at stake, so every call looks at them.
_limits_on_device: Known[tuple[int, int]] = Known(_limits)


def index_range(op: str, tri: torch.Tensor, vertices: int, source: str) -> None:
    """Raises when a vertex index is outside [0, vertices).

    On CUDA the indices of a tensor are read once, and remembered while it is not modified; a CUDA graph cannot do that.
    """
    if tri.numel() == 0:
        return
    if tri.device.type == "cpu":
        low, high = _limits(tri)
    elif not _limits_on_device.has(tri) and _capturing(tri):
        raise RuntimeError(
            f"{op}(): the indices of tri cannot be checked while a CUDA graph is captured; run the iteration once "
            "before, with "
            "the same tri, contiguous and int32"
        )
    else:
        low, high = _limits_on_device(tri)
    if low < 0 or high >= vertices:
        raise ValueError(
            f"{op}(): tri must hold vertex indices in [0, {vertices}) (from {source}); got indices in [{low}, {high}]"
        )


def _capturing(tensor: torch.Tensor) -> bool:
    return tensor.is_cuda and torch.cuda.is_current_stream_capturing()


def integer(op: str, name: str, value: Any, low: int, high: int | None = None) -> int:
    """An int within [low, high]."""
    rule = f"an integer of at least {low}" if high is None else f"an integer in [{low}, {high}]"
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{op}(): {name} must be {rule}; got {describe(value)}")
    number = value.__index__()
    if number < low or (high is not None and number > high):
        raise ValueError(f"{op}(): {name} must be {rule}; got {number}")
    return number


def context_device(op: str, device: Any, pos: torch.Tensor) -> None:
    """Raises when a context was made for one GPU and the positions are on another. CPU tensors are welcome in every
    context."""
    if device is None or pos.device.type != "cuda":
        return
    wanted = torch.device("cuda", device) if isinstance(device, int) else torch.device(device)
    if wanted.type == "cuda" and wanted.index not in (None, pos.device.index):
        raise ValueError(
            f"{op}(): pos must be on {wanted}, which the context was made for; got {describe(pos)}; move it with "
            f".to('{wanted}') "
            "or make the context without a device"
        )


def choice(op: str, name: str, value: Any, options: Sequence[str]) -> None:
    """Raises unless value is one of the options."""
    if value not in options:
        raise ValueError(f"{op}(): {name} must be one of {', '.join(map(repr, options))}; got {value!r}")
