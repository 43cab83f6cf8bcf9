"""The figures of a reconstruction, with their definitions beside them."""

from __future__ import annotations

import math
import platform
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy
import torch

import diffrast
import diffrast.torch as dr

from ..photos.data import View
from ..scene.passes import to_clip
from .appearance import Textured
from .targets import SAMPLES, over_white

try:
    import resource
except ImportError:  # Windows has none
    resource = None

DEFINITIONS = {
    "psnr": "PSNR in dB over the whole photograph composited over white, display (sRGB) values in 0..1, as "
    "NeRF-synthetic results are reported: 10 log10(1 / mean squared error). The mesh is rendered with 2x2 samples per "
    "pixel.",
    "psnr_object": "PSNR in dB over the pixels of the photograph's mask (coverage > 0.5) only.",
    "mask_iou": "Intersection over union of rendered coverage > 0.5 and mask > 0.5.",
    "doubt": "Where a mask comes from a threshold, its outline is placed to a fraction of a pixel and the pixels on "
    "it take the object's colour beside them; dark clefts of which the photograph does not tell whether they are "
    "background or shadow are not judged.",
    "held_out": "Views that the reconstruction never sees. Where principal points, poses or exposures of the others "
    "are refined, the same numbers of each held-out view are fitted to its own picture of the finished model before "
    "it is judged.",
    "mean": "Arithmetic mean over the views of the group.",
    "chamfer_percent": "Symmetric Chamfer distance: the mean of the two mean distances from points sampled evenly on "
    "one surface to the other surface, in percent of the reference's bounding-box diagonal.",
}


def resources(device: torch.device) -> dict[str, Any]:
    """What a run ran on and with, and the memory that it took at most, in MB of 10^6 bytes."""
    peak = {}
    if resource is not None:
        unit = 1 if sys.platform == "darwin" else 1024
        peak["process"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
    name = platform.processor() or platform.machine()
    if device.type == "cuda":
        peak["gpu"] = torch.cuda.max_memory_allocated(device) / 1e6
        name = torch.cuda.get_device_name(device)
    return {
        "device": {"type": device.type, "name": name, "threads": torch.get_num_threads()},
        "peak_memory_mb": {k: round(v) for k, v in peak.items()},
        "versions": {
            "diffrast": diffrast.__version__,
            "torch": torch.__version__,
            "numpy": np.__version__,
            "scipy": scipy.__version__,
            "python": platform.python_version(),
        },
    }


def psnr(mse: float) -> float:
    """10 log10(1 / mse); a perfect match counts as 100 dB so that means stay finite."""
    return 10 * math.log10(1 / max(mse, 1e-10))


def compare(image: torch.Tensor, target: torch.Tensor, doubt: torch.Tensor | None = None) -> dict[str, float]:
    """The figures of one view: both `[H, W, 4]`, colour over white in display values, and coverage. Pixels in
    `doubt` (bool `[H, W]`) are not judged."""
    known = torch.ones(target.shape[:2], dtype=torch.bool) if doubt is None else ~doubt
    image, target = image[known], target[known]
    error = (image[..., :3].clamp(0, 1) - target[..., :3]).square().mean(dim=-1)
    ours, theirs = image[..., 3] > 0.5, target[..., 3] > 0.5
    union = int((ours | theirs).sum())
    return {
        "psnr": psnr(float(error.mean())),
        "psnr_object": psnr(float(error[theirs].mean())) if bool(theirs.any()) else math.nan,
        "mask_iou": int((ours & theirs).sum()) / union if union else 1.0,
    }


def evaluate(
    ctx: dr.RasterizeContext,
    model: Textured,
    views: list[View],
    matrices: torch.Tensor,
    show: Callable[[int, View, torch.Tensor, dict[str, Any]], None] | None = None,
) -> list[dict[str, Any]]:
    """Figures of the renderings of views at full size, one at a time; `show(index, view, image [H, W, 4], figures)`
    gets to see each image, which is not kept."""
    figures = []
    for i, (view, matrix) in enumerate(zip(views, matrices, strict=True)):
        with torch.no_grad():
            clip = to_clip(model.vertices, matrix[None])
            size = (view.camera.height, view.camera.width)
            image = model.draw(ctx, clip, view.camera, size, SAMPLES)[0].cpu()
        figures.append({"view": view.name, **compare(image, over_white(view), view.load_doubt())})
        if show:
            show(i, view, image, figures[-1])
    return figures


def mean_figures(figures: list[dict]) -> dict[str, float]:
    """The mean of each figure over views; empty for no views."""
    if not figures:
        return {}
    return {key: float(np.mean([f[key] for f in figures])) for key in ("psnr", "psnr_object", "mask_iou")}


def chamfer(
    vertices: np.ndarray, faces: np.ndarray, reference: Any, samples: int = 50_000, seed: int = 0
) -> dict[str, float]:
    """The Chamfer distance of a mesh to `reference` (a trimesh): see `DEFINITIONS`, with its two halves.

    The distance of each of `samples` points is taken to the nearest of twenty times as many points on the other
    surface instead of to its triangles, which overstates small distances by a few hundredths of a percent.
    """
    import trimesh
    from scipy.spatial import cKDTree

    ours = trimesh.Trimesh(vertices, faces, process=False)
    dense = [trimesh.sample.sample_surface(m, 20 * samples, seed=seed + i)[0] for i, m in enumerate((ours, reference))]
    to_reference = cKDTree(dense[1]).query(dense[0][:samples], workers=-1)[0].mean()
    from_reference = cKDTree(dense[0]).query(dense[1][:samples], workers=-1)[0].mean()
    scale = 100 / float(np.linalg.norm(reference.extents))
    return {
        "chamfer_percent": float(0.5 * (to_reference + from_reference) * scale),
        "to_reference_percent": float(to_reference * scale),
        "from_reference_percent": float(from_reference * scale),
    }
