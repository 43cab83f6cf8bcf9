"""``report.html``: one file, no links out, that shows what came out beside what went in."""

from __future__ import annotations

import base64
import html
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch

import diffrast.torch as dr

from ..fitting.appearance import Textured
from ..fitting.metrics import DEFINITIONS
from ..fitting.targets import over_white
from ..io.image import encode
from ..photos.views import View
from . import portraits

STYLE = """
:root { color-scheme: light dark; --line: #8884; --card: #8881 }
* { box-sizing: border-box }
body { font: 15px/1.55 system-ui, sans-serif; max-width: 1120px; margin: 2rem auto 5rem; padding: 0 1.2rem }
h1 { margin: 0; font-size: 2rem; letter-spacing: -.02em }
h2 { margin: 2.8rem 0 .6rem; font-size: 1.25rem }
h2 small, .dim, figcaption { opacity: .65; font-weight: 400 }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: .7rem; margin: 1.2rem 0 }
.card { background: var(--card); border-radius: 10px; padding: .7rem 1rem }
.card b { display: block; font-size: 1.55rem; letter-spacing: -.02em }
table { border-collapse: collapse }
td, th { padding: .3rem 1.4rem .3rem 0; text-align: right; font-variant-numeric: tabular-nums }
td:first-child, th:first-child, .text td { text-align: left; vertical-align: top }
tr + tr td { border-top: 1px solid var(--line) }
img, video, svg { max-width: 100%; border-radius: 8px; display: block }
.white { background: #fff }
.wide { width: 100% }
.two { display: grid; grid-template-columns: 1fr 1fr; gap: 1rem }
.two figure { margin: 0 }
.view { display: grid; grid-template-columns: repeat(3, 1fr); gap: 6px; margin: .3rem 0 1.3rem }
.view img { width: 100% }
.sides { display: grid; grid-template-columns: repeat(6, 1fr); text-align: center }
.flag { background: #b45309; color: #fff; border-radius: 4px; padding: 0 .45em; font-size: .8em }
.notes { border-left: 4px solid #b45309; background: var(--card); padding: .6rem 1rem; margin: 1rem 0 }
.notes p { margin: .2rem 0 }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .3rem 1.2rem }
dt { font-weight: 600 }
dd { margin: 0 }
pre { background: var(--card); border-radius: 8px; padding: .8rem 1rem; overflow: auto }
summary { cursor: pointer }
svg text { font: 12px system-ui, sans-serif; fill: currentColor }
svg .grid { stroke: currentColor; stroke-opacity: .15 }
@media (max-width: 640px) { .two { grid-template-columns: 1fr } }
"""
COLORS = ("#0284c7", "#d97706", "#16a34a", "#9333ea", "#dc2626", "#0d9488")


# --- Pieces -----------------------------------------------------------------------------------------------------------


def _data(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def _jpeg(picture: torch.Tensor, quality: int = 85) -> str:
    return _data("image/jpeg", encode(picture[..., :3], "JPEG", linear=False, quality=quality))


def _image(source: str, alt: str, style: str = "wide") -> str:
    return f'<img class="{style}" alt="{html.escape(alt)}" src="{source}">'


def _rows(rows: Iterable[Iterable[Any]], head: Iterable[str] = (), style: str = "") -> str:
    """A table; floats with two digits after the point."""
    first = "".join(f"<th>{html.escape(h)}</th>" for h in head)
    body = "".join(
        "<tr>"
        + "".join(f"<td>{f'{x:.2f}' if isinstance(x, float) else html.escape(str(x))}</td>" for x in row)
        + "</tr>"
        for row in rows
    )
    return f'<table class="{style}">{f"<tr>{first}</tr>" if first else ""}{body}</table>'


def views_to_show(count: int, held: list[int], others: int = 12) -> list[int]:
    """Indices of all held-out views, and of ``others`` of the rest."""
    rest = [i for i in range(count) if i not in held]
    return [*held, *(rest[int(k)] for k in np.linspace(0, len(rest) - 1, min(others, len(rest))))]


def view_block(view: View, picture: torch.Tensor, figures: dict, held: bool) -> str:
    """Photograph, rendering ``[H, W, 4]`` and their difference, cropped to the object."""
    target = over_white(view)
    rows, cols = (np.flatnonzero((target[..., 3] > 0.5).any(dim=d).numpy()) for d in (1, 0))
    pad = 12  # show the object, not the empty surroundings
    window = (slice(max(rows[0] - pad, 0), rows[-1] + pad), slice(max(cols[0] - pad, 0), cols[-1] + pad))
    a, b = target[window][..., :3], picture[window][..., :3].clamp(0, 1)
    difference = 1 - (4 * (a - b).abs()).clamp(0, 1)
    flag = ' <span class="flag">held out</span>' if held else ""
    images = "".join(
        _image(_jpeg(p), f"{what} of view {view.name}", "white")
        for what, p in (("photograph", a), ("render", b), ("difference", difference))
    )
    return (
        f"<div><b>{html.escape(view.name)}</b>{flag} <span class=dim>PSNR {figures['psnr']:.2f} dB, on the object "
        f"{figures['psnr_object']:.2f} dB, mask IoU {figures['mask_iou']:.4f}</span></div>"
        f'<div class="view">{images}</div>'
    )


def curve(values: list[tuple[str, float]], label: str, logarithmic: bool) -> str:
    """Values of each stage, smoothed, over the steps of the run, as an inline SVG with axes."""
    if not values:
        return ""
    w, h, left, bottom = 1000, 230, 60, 26
    raw = np.array([v for _, v in values])
    raw = np.log10(np.maximum(raw, 1e-8)) if logarithmic else raw
    stages = list(dict.fromkeys(name for name, _ in values))
    own = {name: _smooth(raw[[n == name for n, _ in values]]) for name in stages}
    low, high = min(s.min() for s in own.values()), max(s.max() for s in own.values())
    low, high = (
        (math.floor(low), math.ceil(high)) if logarithmic else (math.floor(low / 5) * 5, math.ceil(high / 5) * 5)
    )
    high = max(high, low + 1)

    def y(value: float | np.ndarray) -> Any:
        return h - bottom - (h - bottom - 14) * (value - low) / (high - low)

    parts, done = [], 0
    for tick in range(low, high + 1, 1 if logarithmic else 5):
        name = f"1e{tick}" if logarithmic else str(tick)
        parts.append(f'<line class="grid" x1="{left}" x2="{w}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>')
        parts.append(f'<text x="{left - 8}" y="{y(tick) + 4:.1f}" text-anchor="end">{name}</text>')
    for k, name in enumerate(stages):
        count = sum(n == name for n, _ in values)
        x = left + (w - left) * (done + np.linspace(0, count, len(own[name]))) / len(values)
        points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y(own[name]), strict=True))
        color = COLORS[k % len(COLORS)]
        parts.append(f'<polyline fill="none" stroke="{color}" stroke-width="2" points="{points}"/>')
        parts.append(
            f'<text x="{x[0] + 4:.0f}" y="{h - 6}" style="fill:{color}">{html.escape(name)}, {count} steps</text>'
        )
        done += count
    return (
        f'<svg class="wide" viewBox="0 0 {w} {h}" role="img" aria-label="{html.escape(label)}">{"".join(parts)}</svg>'
    )


def _smooth(values: np.ndarray, points: int = 250) -> np.ndarray:
    width = max(1, len(values) // 60)
    return np.convolve(values, np.ones(width) / width, mode="valid")[:: max(1, len(values) // points)]


# --- The page ---------------------------------------------------------------------------------------------------------


def write_html(
    ctx: dr.RasterizeContext,
    model: Textured,
    views: list[View],
    held: list[int],
    metrics: dict[str, Any],
    *,
    blocks: list[str],
    film: Path | None,
    overlay: bytes,
    losses: list[tuple[str, float]],
    errors: list[tuple[str, float]],
    configuration: str,
) -> str:
    """The report of a finished run as HTML; `overlay`: a JPEG of masks and box over the photographs; `blocks`: what
    `view_block` makes of the views that are shown; `losses` and `errors` of each step, with the name of its stage;
    `configuration`: the file that repeats the run."""
    definitions = "".join(f"<dt>{k}</dt><dd>{html.escape(v)}</dd>" for k, v in DEFINITIONS.items())
    sections = {
        "Figures": _figures(metrics),
        "What was found out": _rows(metrics["findings"].items(), style="text") if metrics["findings"] else "",
        "Turntable": _movie(film),
        "Six sides": _sides(ctx, views, model),
        "Views <small>photograph, render, difference (four times, white is none)</small>": _views(blocks, len(held)),
        "Texture, and how many photographs see it": _maps(model, len(views) - len(held)),
        "Cameras": _rig(ctx, views, held, model),
        "Before the work <small>masks in green, the object's box in orange</small>": _preflight(
            metrics["preflight"], overlay
        ),
        "Loss <small>of each step, smoothed</small>": curve(losses, "loss", True),
        "PSNR <small>in dB, of each step's views in their windows around the object, smoothed</small>": curve(
            [(name, -10 * math.log10(max(e, 1e-10))) for name, e in errors], "PSNR", False
        ),
        "Time and memory": _cost(metrics),
        "Definitions": f"<dl class=dim>{definitions}</dl>",
        "Configuration": f"<details><summary>the file that repeats this run, as <code>--config</code></summary><pre>"
        f"{html.escape(configuration)}</pre></details>",
    }
    body = "".join(f"<section><h2>{title}</h2>{part}</section>" for title, part in sections.items() if part)
    notes = [f"<p>{html.escape(note)}</p>" for note in metrics["notes"]]
    if metrics["interrupted"]:
        notes.insert(0, "<p><b>Stopped early:</b> this is the state at Ctrl-C.</p>")
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{html.escape(metrics["dataset"])}: reconstruction</title><style>{STYLE}</style>
<h1>{html.escape(metrics["dataset"])}</h1>
<div class="dim">{len(metrics["views"])} photographs, masks from {html.escape(metrics["masks"])}; diffrast
{metrics["versions"]["diffrast"]}, torch {metrics["versions"]["torch"]}
on {html.escape(metrics["device"]["name"])}</div>
{f'<div class="notes">{"".join(notes)}</div>' if notes else ""}
{body}
</html>
"""


def _figures(metrics: dict) -> str:
    best = metrics["held_out"] if metrics["held_out"].get("count") else metrics["used"]
    mesh = metrics["mesh"]
    of = "held-out views" if best is metrics["held_out"] else "views used"
    cards = {
        f"PSNR, {of}": f"{best['psnr']:.2f} dB",
        "PSNR on the object": f"{best['psnr_object']:.2f} dB",
        "mask IoU": f"{best['mask_iou']:.4f}",
        "triangles": f"{mesh['faces']:,}",
        "texels": f"{mesh['texture']} x {mesh['texture']}",
    }
    shown = "".join(f'<div class="card"><b>{value}</b>{html.escape(name)}</div>' for name, value in cards.items())
    groups = (("Held-out views", metrics["held_out"]), ("Views used", metrics["used"]))
    table = _rows(
        (
            (name, g["count"], g["psnr"], g["psnr_object"], f"{g['mask_iou']:.4f}")
            for name, g in groups
            if g.get("count")
        ),
        ("", "views", "PSNR (dB)", "on the object (dB)", "mask IoU"),
    )
    facts = _rows([(k.replace("_", " "), v) for k, v in mesh.items()], ("mesh", ""), "text")
    numbers = f"<details><summary class=dim>the mesh in numbers</summary>{facts}</details>"
    return f'<div class="cards">{shown}</div>{table}{numbers}'


def _movie(film: Path | None) -> str:
    if film is None:
        return ""
    if film.suffix == ".mp4":
        source = _data("video/mp4", film.read_bytes())
        return f'<video class="wide white" autoplay loop muted playsinline controls src="{source}"></video>'
    return _image(_data("image/gif", film.read_bytes()), "turntable", "wide white")


def _sides(ctx: dr.RasterizeContext, views: list[View], model: Textured) -> str:
    picture = portraits.six_sides(ctx, model, views)
    names = "".join(f"<figcaption>{name}</figcaption>" for name in portraits.SIDES)
    return f'{_image(_jpeg(picture), "the mesh from six sides", "wide white")}<div class="sides">{names}</div>'


def _views(blocks: list[str], held: int) -> str:
    """The held-out views, which come first; those that were used where somebody asks for them, or where none was held
    out."""
    used = "".join(blocks[held:])
    return "".join(blocks[:held]) + (
        f"<details><summary class=dim>views used</summary>{used}</details>" if held else used
    )


MAPS = {
    "texture": "colour, display values",
    "orm": "occlusion in red, roughness in green, metalness in blue",
    "normals": "normal map",
    "light": "light from all around, brightest at white",
}


def _maps(model: Textured, used: int) -> str:
    """Every map that the model has, and how many of the views `used` see its texels."""
    pictures = {title: _small(getattr(model, name)) for name, title in MAPS.items() if hasattr(model, name)}
    if model.seen is not None:
        unseen = float((model.seen[model.covered] == 0).float().mean())
        none = f"{100 * unseen:.1f} % of the texels of charts"
        title = f"views per texel: red none ({none}), blue one, yellow a third or more"
        pictures[title] = _small(portraits.coverage_picture(model, used))
    figures = (
        f"<figure>{_image(_jpeg(picture), title)}<figcaption>{title}</figcaption></figure>"
        for title, picture in pictures.items()
    )
    return f'<div class="two">{"".join(figures)}</div>'


def _small(picture: torch.Tensor) -> torch.Tensor:
    """A map with at most 1024 texels a side; one that is brighter than white is scaled."""
    picture = picture[..., :3].detach().float().cpu()
    picture = picture / picture.max().clamp_min(1)
    step = max(1, len(picture) // 1024)
    return torch.nn.functional.avg_pool2d(picture.permute(2, 0, 1)[None], step)[0].permute(1, 2, 0)


def _rig(ctx: dr.RasterizeContext, views: list[View], held: list[int], model: Textured) -> str:
    shape, lines = portraits.rig(ctx, model, views, held)
    height, width = shape.shape[:2]
    picture = f'<image href="{_jpeg(shape)}" width="{width}" height="{height}"/>'
    orange = ", those held out in orange" if held else ""
    return (
        f'<svg class="wide white" viewBox="0 0 {width} {height}" role="img" aria-label="camera '
        f'rig">{picture}{lines}</svg>'
        f"<figcaption>{len(views)} cameras, upper edges thick{orange}</figcaption>"
    )


def _preflight(facts: dict[str, str], overlay: bytes) -> str:
    picture = _image(_data("image/jpeg", overlay), "masks and box over photographs") if overlay else ""
    return picture + _rows(facts.items(), style="text")


def _cost(metrics: dict) -> str:
    rows = [(name, f"{seconds:.1f} s") for name, seconds in metrics["seconds"].items()]
    rows += [(f"peak memory, {name}", f"{mb / 1000:.2f} GB") for name, mb in metrics["peak_memory_mb"].items()]
    return _rows(rows)
