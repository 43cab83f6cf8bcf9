"""How far a gradient is from the truth."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Error:
    cosine: float  # of the angle between both
    relative: float  # |got - truth| / |truth|
    ratio: float  # |got| / |truth|


def error_of(got: Tensor, truth: Tensor) -> Error:
    """The three numbers for one gradient `[P]`; a zero gradient has cosine 0."""
    got, truth = got.double(), truth.double()
    size = truth.norm().clamp(min=1e-300)
    cosine = float(got @ truth / (got.norm() * size).clamp(min=1e-300))
    return Error(cosine, float((got - truth).norm() / size), float(got.norm() / size))


def summary_of(got: Sequence[Tensor], truth: Sequence[Tensor], labels: Sequence[str]) -> dict[str, Any]:
    """Medians and the worst over several gradients, and per component the signed bias and the ratio.

    bias: mean of (got - truth) over the root mean square of the truth; ratio: the slope of the line through the origin
    that fits got as a function of truth.
    """
    errors = [error_of(g, t) for g, t in zip(got, truth, strict=True)]
    columns = {name: sorted(asdict(e)[name] for e in errors) for name in ("cosine", "relative", "ratio")}
    g, t = torch.stack(list(got)).double(), torch.stack(list(truth)).double()
    power = t.square().sum(0).clamp(min=1e-300)
    bias, ratio = (g - t).mean(0) / (power / len(t)).sqrt(), (g * t).sum(0) / power
    return {
        **{name: median(column) for name, column in columns.items()},
        "mean_cosine": sum(columns["cosine"]) / len(errors),
        "worst_cosine": columns["cosine"][0],
        "worst_relative": columns["relative"][-1],
        "bias": dict(zip(labels, bias.tolist(), strict=True)),
        "component_ratio": dict(zip(labels, ratio.tolist(), strict=True)),
    }
