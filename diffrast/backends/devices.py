"""Devices by their names."""

from __future__ import annotations

import torch


def device_of(name: str) -> torch.device:
    """The device `name`, if torch has it here. Raises `ValueError` for anything but cpu and cuda."""
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise ValueError(f"device must be cpu or cuda; got {name}")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device {name}: torch sees no CUDA device here")
    return device
