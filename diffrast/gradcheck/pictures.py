"""Pictures of gradients: the derivative of every pixel by one parameter, beside the truth."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from ..io.image import linear_to_srgb, save_image
from ..scene.colormap import signed_colors
from .adapters import OURS, Adapter
from .case import Case
from .scenes import SCENES
from .truth import VARIANTS, samples_per_side, steps_of, supersampled

# What docs/images/gradients.png shows: scene, parameter, pixels along a side.
SHOWN = (
    ("bumpy 20k 64", "tx", 32),
    ("sheets strong", "tz", 32),
    ("cube 16", "rz", 16),
    ("slivers", "tx", 32),
    ("occlusion", "scale", 32),
)
GAP = 4


def true_derivative(scene: Case, theta: Tensor, parameter: int) -> Tensor:
    """Central differences of the supersampled image by one parameter, `[H, W, 3]`."""
    factor, change = samples_per_side(scene.size), torch.zeros_like(theta)
    found = []
    for scale, *shift in VARIANTS:
        change[parameter] = scale * steps_of(scene, theta)[parameter]
        ends = [supersampled(scene, theta + s * change, scene.size, factor, shift) for s in (-1, 1)]
        found.append((ends[1] - ends[0]) / (2 * change[parameter]))
    return torch.stack(found).mean(0)


def derivative(adapter: Adapter, scene: Case, theta: Tensor, parameter: int) -> Tensor:
    """The same by an adapter, the sum of the channels `[H, W]`: its gradient for one pixel after another."""
    adapter.prepare(scene)
    out = torch.zeros(scene.size, scene.size, dtype=torch.float64)
    for y in range(scene.size):
        for x in range(scene.size):
            cotangent = torch.zeros(scene.size, scene.size, 3, dtype=torch.float64)
            cotangent[y, x] = 1
            out[y, x] = adapter.gradient(theta, cotangent)[parameter]
    return out


def pictures(
    path: str | Path,
    shown: Sequence[tuple[str, str, int]] = SHOWN,
    adapters: Mapping[str, Adapter] | None = None,
    side: int = 160,
) -> list[float]:
    """Writes one row for each of `shown`: the image, its true derivative, and that of every adapter (default: ours,
    "area" first).

    shown: name of the scene, of the parameter, and pixels along a side (the scene's own number is the costliest). Red:
    grows, blue: shrinks, in one scale for the row. side: pixels of the picture for each image. Returns, row by row, the
    relative L2 error of each adapter's picture.
    """
    adapters = {name: OURS[name] for name in ("area", "silhouette")} if adapters is None else adapters
    rows, errors = [], []
    for name, label, size in shown:
        scene = replace(SCENES[name](1), size=size)
        theta, parameter = scene.starts[0], scene.labels.index(label)
        true = true_derivative(scene, theta, parameter).sum(-1)
        got = [derivative(adapter, scene, theta, parameter) for adapter in adapters.values()]
        errors += [float((g - true).norm() / true.norm()) for g in got]
        scale = float(true.abs().flatten().quantile(0.99))
        image = linear_to_srgb(supersampled(scene, theta, size, samples_per_side(size)))
        rows.append([image, *(signed_colors(t, scale) for t in (true, *got))])
    save_image(path, torch.cat([_framed(row, side) for row in reversed(rows)]).float(), linear=False)
    return errors


def _framed(row: Sequence[Tensor], side: int) -> Tensor:
    """Images of the same size side by side, every pixel as a block, with a gap around each."""
    index = torch.arange(side) * row[0].shape[0] // side
    blocks = [torch.nn.functional.pad(image[index][:, index], (0, 0, GAP, GAP, GAP, GAP), value=1.0) for image in row]
    return torch.cat(blocks, 1)
