"""Runs renderers over the scenes and compares their gradients with the truth."""

import time
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from .adapters import OURS, Adapter
from .metrics import summary_of
from .report import Progress, machine
from .scenes import SCENES
from .truth import samples_per_side, truth_of

SAMPLES = 12


def gradients(
    scenes: Sequence[str] | None = None,
    adapters: Mapping[str, Adapter] | None = None,
    samples: int = SAMPLES,
    progress: Progress | None = None,
) -> list[dict[str, Any]]:
    """The gradient of an L2 loss, by every adapter on every scene, against central differences of a supersampled
    render.

    Args:
        scenes: names of `SCENES`, or how several begin: "cube" is all cubes; None: all.
        adapters: renderers by name; None: ours, one for each mode of `antialias`.
        samples: how many parameter vectors per scene; the seeds are fixed.
        progress: called with each row as soon as it is there.

    Returns:
        One row per scene and adapter: cosine, relative (L2 error over the truth's length), ratio of the lengths
        (medians over the samples), mean_cosine, worst_cosine, worst_relative, bias and component_ratio by component,
        psnr_db (median, of the image against the supersampled one), floor (median noise floor of the truth, relative),
        ms (of one gradient).

    Raises:
        ValueError: an unknown scene.
    """
    rows = []
    for name in scenes_named(scenes):
        scene = SCENES[name](samples)
        truths = [truth_of(scene, k) for k in range(samples)]
        for label, adapter in (OURS if adapters is None else adapters).items():
            adapter.prepare(scene)
            got, psnr, seconds = [], [], []
            for theta, truth in zip(scene.starts, truths, strict=True):
                image = adapter.render(theta).double().cpu()
                error = (image - truth.image).square().mean().clamp(min=1e-12)
                psnr.append(-10 * float(error.log10()))
                cotangent = 2 / image.numel() * (image - truth.target)
                start = time.perf_counter()
                got.append(adapter.gradient(theta, cotangent).double().cpu())
                seconds.append(time.perf_counter() - start)
            row = {"scene": name, "adapter": label, **summary_of(got, [t.gradient for t in truths], scene.labels)}
            row |= {"psnr_db": median(psnr), "floor": median(t.floor for t in truths)}
            row |= {"ms": 1e3 * median(seconds), "samples": samples, "machine": machine(), "group": scene.group}
            row |= {"size": scene.size, "supersampling": samples_per_side(scene.size)}
            rows.append(row)
            if progress:
                progress(row)
    return rows


def scenes_named(words: Sequence[str] | None) -> list[str]:
    """The scenes of these names, or whose names begin with them; None: all."""
    if words is None:
        return list(SCENES)
    groups = {wanted: [n for n in SCENES if n == wanted or n.startswith(wanted + " ")] for wanted in words}
    unknown = [wanted for wanted, found in groups.items() if not found]
    if unknown:
        raise ValueError(f"gradients(): scenes must be among {', '.join(SCENES)}; got {', '.join(unknown)}")
    return [name for found in groups.values() for name in found]
