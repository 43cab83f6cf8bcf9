"""``report.html``: one file, no links out, that shows what came out beside what went in."""

from __future__ import annotations

import base64
import html
from pathlib import Path

import numpy as np
import torch

from ..scene.image import encode
from .data import View
from .metrics import DEFINITIONS
from .targets import over_white

STYLE = """
:root{color-scheme:light dark}
body{font:15px/1.5 system-ui,sans-serif;max-width:1080px;margin:2rem auto;padding:0 1rem}
h1{margin-bottom:.2rem} h2{margin-top:2.2rem} .dim{opacity:.7}
table{border-collapse:collapse} td,th{padding:.25rem .8rem .25rem 0;text-align:right;font-variant-numeric:tabular-nums}
td:first-child,th:first-child{text-align:left}
video,.film{width:100%;border-radius:6px;background:#fff}
.view{display:grid;grid-template-columns:repeat(3,1fr);gap:6px;margin:.3rem 0 1.2rem}
.view img{width:100%;border-radius:4px;background:#fff;display:block}
.flag{background:#b45309;color:#fff;border-radius:3px;padding:0 .4em;font-size:.8em}
svg{width:100%;height:150px} dt{font-weight:600} dd{margin:0 0 .5rem}
"""


def _data(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def _jpeg(picture: torch.Tensor, quality: int = 85) -> str:
    return _data("image/jpeg", encode(picture[..., :3], "JPEG", linear=False, quality=quality))


def view_block(view: View, picture: torch.Tensor, figures: dict, held: bool) -> str:
    target = over_white(view)
    rows, cols = (np.flatnonzero((target[..., 3] > 0.5).any(dim=d).numpy()) for d in (1, 0))
    pad = 12  # show the object, not the empty surroundings
    window = (slice(max(rows[0] - pad, 0), rows[-1] + pad), slice(max(cols[0] - pad, 0), cols[-1] + pad))
    a, b = target[window][..., :3], picture[window][..., :3].clamp(0, 1)
    difference = 1 - (4 * (a - b).abs()).clamp(0, 1)
    flag = ' <span class="flag">held out</span>' if held else ""
    images = "".join(
        f'<img alt="{what} of view {html.escape(view.name)}" src="{_jpeg(p)}">'
        for what, p in (("photograph", a), ("render", b), ("difference", difference))
    )
    return (
        f"<div><b>{html.escape(view.name)}</b>{flag} <span class=dim>PSNR {figures['psnr']:.2f} dB, on the object "
        f"{figures['psnr_object']:.2f} dB, mask IoU {figures['mask_iou']:.4f}</span></div>"
        f'<div class="view">{images}</div>'
    )


def _curve(losses: list[tuple[str, float]]) -> str:
    """The loss of each stage, smoothed, on a logarithmic scale, as an inline SVG."""
    parts, x0 = [], 0
    if not losses:
        return ""
    values = np.log10(np.maximum([v for _, v in losses], 1e-8))
    low, high = values.min(), max(values.max(), values.min() + 1e-6)
    names = list(dict.fromkeys(name for name, _ in losses))
    for k, name in enumerate(names):
        own = values[[n == name for n, _ in losses]]
        width = max(1, len(own) // 60)
        smooth = np.convolve(own, np.ones(width) / width, mode="valid")[:: max(1, len(own) // 200)]
        xs = 1000 * (x0 + np.linspace(0, len(own), len(smooth))) / len(values)
        ys = 130 - 120 * (smooth - low) / (high - low)
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(xs, ys, strict=True))
        color = ("#0369a1", "#b45309", "#15803d", "#7e22ce")[k % 4]
        parts.append(f'<polyline fill="none" stroke="{color}" stroke-width="2" points="{points}"/>')
        parts.append(
            f'<text x="{xs[0] + 4:.0f}" y="148" font-size="13" fill="{color}">{html.escape(name)}</text>'
        )
        x0 += len(own)
    return f'<svg viewBox="0 0 1000 150" preserveAspectRatio="none">{"".join(parts)}</svg>'


def views_to_show(count: int, held: list[int], others: int = 12) -> list[int]:
    """Indices of all held-out views, and of ``others`` of the rest."""
    rest = [i for i in range(count) if i not in held]
    return [*held, *(rest[int(k)] for k in np.linspace(0, len(rest) - 1, min(others, len(rest))))]


def write_html(metrics: dict, blocks: list[str], film: Path | None, losses: list[tuple[str, float]]) -> str:
    """The report as HTML; ``blocks``: what :func:`view_block` makes of the views that are shown."""
    groups = [("Held-out views", metrics["held_out"]), ("Views used", metrics["used"])]
    rows = "".join(
        f"<tr><td>{name}</td><td>{g['count']}</td><td>{g['psnr']:.2f}</td><td>{g['psnr_object']:.2f}</td>"
        f"<td>{g['mask_iou']:.4f}</td></tr>"
        for name, g in groups
        if g.get("count")
    )
    seconds = "".join(
        f"<tr><td>{html.escape(k)}</td><td>{v:.1f}</td></tr>" for k, v in metrics["seconds"].items()
    )
    movie = ""
    if film is not None and film.suffix == ".mp4":
        movie = f'<video autoplay loop muted playsinline controls src="{_data("video/mp4", film.read_bytes())}"></video>'
    elif film is not None:
        movie = f'<img class=film alt="turntable" src="{_data("image/gif", film.read_bytes())}">'
    definitions = "".join(
        f"<dt>{k}</dt><dd>{html.escape(v)}</dd>" for k, v in DEFINITIONS.items() if k != "chamfer_percent"
    )
    note = "<p><b>Stopped early:</b> this is the state at Ctrl-C.</p>" if metrics["interrupted"] else ""
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{html.escape(metrics["dataset"])}: reconstruction</title><style>{STYLE}</style>
<h1>{html.escape(metrics["dataset"])}</h1>
<div class="dim">{len(metrics["views"])} photographs, masks from
{metrics["masks"]}; {metrics["mesh"]["faces"]} triangles, {metrics["mesh"]["texture"]}x{metrics["mesh"]["texture"]} texels;
diffrast {metrics["versions"]["diffrast"]}</div>{note}
{movie}
<h2>Figures</h2>
<table><tr><th></th><th>views</th><th>PSNR (dB)</th><th>on the object (dB)</th><th>mask IoU</th></tr>{rows}</table>
<dl class="dim">{definitions}</dl>
<h2>Views <span class="dim">photograph, render, difference (four times, white is none)</span></h2>
{"".join(blocks)}
<h2>Loss <span class="dim">logarithmic</span></h2>{_curve(losses)}
<h2>Seconds</h2><table>{seconds}</table>
</html>
"""
