"""Tensors of a module: parameters where they are leaves, kept as they are where they are computed from others."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

Value = float | int | Sequence[float | int] | Tensor  # of a field, such as a color


def own(module: torch.nn.Module, name: str, value: Value | None, shape: str, *sizes: tuple[int | None, ...]) -> None:
    """Give `module` the tensor `name`: a float32 (or float64) tensor of one of the shapes `sizes` (None: any size).

    Numbers and tensors without a history become a `torch.nn.Parameter` (None stays None). A tensor that is computed
    from others stays itself, so that gradients flow on to what it was made from.
    """
    if value is None:
        setattr(module, name, None)
        return
    tensor = torch.as_tensor(value)
    if not tensor.is_floating_point() or (tensor.dtype == torch.float64 and not isinstance(value, Tensor)):
        tensor = tensor.to(torch.get_default_dtype())
    fits = any(
        tensor.dim() == len(size) and all(want in (None, got) for want, got in zip(size, tensor.shape, strict=True))
        for size in sizes
    )
    if not fits:
        raise ValueError(f"{type(module).__name__}(): {name} must be {shape}; got {list(tensor.shape)}")
    if tensor.grad_fn is not None:
        setattr(module, name, tensor)
    elif isinstance(value, torch.nn.Parameter):
        module.register_parameter(name, value)
    elif tensor.requires_grad:
        setattr(module, name, tensor)  # the caller's own leaf: its gradient must arrive there
    else:
        module.register_parameter(name, torch.nn.Parameter(tensor.detach().clone()))
