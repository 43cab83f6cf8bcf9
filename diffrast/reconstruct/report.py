"""`report.html`: one file, no links out, that shows what came out beside what went in. Its looks are in the template
`report.html.j2`; here is what it shows."""

from __future__ import annotations

import base64
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from jinja2 import Environment, FileSystemLoader, StrictUndefined

import diffrast.torch as dr

from ..fitting.appearance import Textured
from ..fitting.targets import over_white
from ..io.image import encode
from ..photos.views import View
from . import portraits

TEMPLATE = "report.html.j2"
MAPS = {
    "texture": "colour, display values",
    "orm": "occlusion in red, roughness in green, metalness in blue",
    "normals": "normal map",
    "light": "light from all around, brightest at white",
}
PAD = 12  # pixels around the object that are shown of a photograph


def write_html(
    ctx: dr.RasterizeContext,
    model: Textured,
    views: list[View],
    held: list[int],
    metrics: dict[str, Any],
    *,
    blocks: list[dict[str, Any]],
    film: Path | None,
    overlay: bytes,
    losses: list[tuple[str, float]],
    errors: list[tuple[str, float]],
    configuration: str,
) -> str:
    """The report of a finished run.

    Args:
        ctx: To draw with.
        model: What came out.
        views: What went in.
        held: Indices of the views that were kept out.
        metrics: What `metrics.json` holds.
        blocks: What `view_block` makes of the views that are shown.
        film: The turntable, mp4 or gif.
        overlay: A JPEG of masks and box over the photographs.
        losses: Of each step, with the name of its stage.
        errors: Mean squared errors of each step, with the name of its stage.
        configuration: The file that repeats the run.
    """
    templates = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    kinds = {".mp4": "video/mp4", ".gif": "image/gif"}
    return templates.get_template(TEMPLATE).render(
        metrics=metrics,
        film=_data(kinds[film.suffix], film.read_bytes()) if film else "",
        sides=_jpeg(portraits.six_sides(ctx, model, views)),
        side_names=portraits.SIDES,
        blocks=blocks,
        maps={title: _jpeg(image) for title, image in _maps(model, len(views) - len(held)).items()},
        rig=_rig(ctx, model, views, held),
        overlay=_data("image/jpeg", overlay) if overlay else "",
        loss=curve([(name, math.log10(max(x, 1e-8))) for name, x in losses], 1, "1e{}"),
        psnr=curve([(name, -10 * math.log10(max(e, 1e-10))) for name, e in errors], 5, "{}"),
        configuration=configuration,
    )


def views_to_show(count: int, held: list[int], others: int = 12) -> list[int]:
    """Indices of all held-out views, and of `others` of the rest."""
    rest = [i for i in range(count) if i not in held]
    return [*held, *(rest[int(k)] for k in np.linspace(0, len(rest) - 1, min(others, len(rest))))]


def view_block(view: View, rendering: Float[torch.Tensor, "H W 4"], figures: dict[str, Any], held: bool) -> dict:
    """Photograph, rendering and their difference, cropped to the object, with the view's figures."""
    target = over_white(view)
    rows, cols = (np.flatnonzero((target[..., 3] > 0.5).any(dim=d).numpy()) for d in (1, 0))
    window = (slice(max(rows[0] - PAD, 0), rows[-1] + PAD), slice(max(cols[0] - PAD, 0), cols[-1] + PAD))
    a, b = target[window][..., :3], rendering[window][..., :3].clamp(0, 1)
    images = {"photograph": a, "render": b, "difference": 1 - (4 * (a - b).abs()).clamp(0, 1)}
    images = {what: _jpeg(image) for what, image in images.items()}
    return {**figures, "name": view.name, "held": held, "images": images}


def curve(values: list[tuple[str, float]], step: int, label: str, width: int = 1000, height: int = 230) -> dict:
    """Values of each stage, smoothed, over the steps of the run, as the coordinates of a plot.

    Args:
        values: Of each step, with the name of its stage.
        step: Between ticks of the axis.
        label: Formats a tick.
        width: Of the plot.
        height: Of the plot.
    """
    if not values:
        return {}
    left, bottom = 60, 26
    raw = np.array([v for _, v in values])
    stages = {name: raw[[n == name for n, _ in values]] for name in dict.fromkeys(n for n, _ in values)}
    smooth = {name: _smooth(own) for name, own in stages.items()}
    low = math.floor(min(s.min() for s in smooth.values()) / step) * step
    high = max(math.ceil(max(s.max() for s in smooth.values()) / step) * step, low + 1)

    def y(value: float | np.ndarray) -> Any:
        return np.round(height - bottom - (height - bottom - 14) * (value - low) / (high - low), 1)

    lines, done = [], 0
    for name, own in smooth.items():
        count = len(stages[name])
        x = left + (width - left) * (done + np.linspace(0, count, len(own))) / len(values)
        points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y(own), strict=True))
        lines.append({"name": name, "steps": count, "x": round(x[0] + 4), "points": points})
        done += count
    ticks = [{"y": float(y(tick)), "name": label.format(tick)} for tick in range(low, high + 1, step)]
    return {"width": width, "height": height, "left": left, "ticks": ticks, "lines": lines}


def _smooth(values: np.ndarray, points: int = 250) -> np.ndarray:
    width = max(1, len(values) // 60)
    return np.convolve(values, np.ones(width) / width, mode="valid")[:: max(1, len(values) // points)]


def _maps(model: Textured, used: int) -> dict[str, torch.Tensor]:
    """Every map that the model has, and how many of the views used see its texels, by title."""
    maps = {title: _small(getattr(model, name)) for name, title in MAPS.items() if hasattr(model, name)}
    if model.seen is not None:
        unseen = 100 * float((model.seen[model.covered] == 0).float().mean())
        title = f"views per texel: red none ({unseen:.1f} % of the texels of charts), blue one, yellow a third or more"
        maps[title] = _small(portraits.coverage_image(model, used))
    return maps


def _small(image: torch.Tensor) -> torch.Tensor:
    """A map with at most 1024 texels a side; one that is brighter than white is scaled."""
    image = image[..., :3].detach().float().cpu()
    image = image / image.max().clamp_min(1)
    step = max(1, len(image) // 1024)
    return torch.nn.functional.avg_pool2d(image.permute(2, 0, 1)[None], step)[0].permute(1, 2, 0)


def _rig(ctx: dr.RasterizeContext, model: Textured, views: list[View], held: list[int]) -> dict[str, Any]:
    image, frustums = portraits.rig(ctx, model, views)
    cameras = [{"pyramid": p, "upper_edge": edge, "held": i in held} for i, (p, edge) in enumerate(frustums)]
    return {"image": _jpeg(image), "height": image.shape[0], "width": image.shape[1], "cameras": cameras}


def _data(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def _jpeg(image: torch.Tensor) -> str:
    return _data("image/jpeg", encode(image[..., :3], "JPEG", linear=False, quality=85))
