"""Where the error of held-out photographs lies, and what no texture could have mended.

python benchmarks/error_budget.py [DATASET]        by default templeRing

Reconstructs with defaults, four photographs held out, and divides the mean squared error over each one's mask into:
pixels that the mesh leaves out; the three pixels beside the outline; and inside, where a Gaussian of 4 pixels tells
light (the difference, smoothed) from detail (the rest). Beside it stands the error inside when the two nearest
photographs that were used are laid over the held-out one through the mesh, blended by how well they correlate with it,
and the same with the depth of each pixel chosen, within 1.5 % of the object's size, so that they correlate best. No
texture has that
choice: where even this is far off, the photographs contradict each other.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage
from torch.nn.functional import avg_pool2d, grid_sample, normalize

import diffrast.torch as dr
from diffrast.fitting import Textured, evaluate, over_white
from diffrast.photos.shaded_parts import local_mean
from diffrast.photos.views import View
from diffrast.reconstruct import STAGES, Job, Options, Photos, Stage, reconstruct
from diffrast.scene import clip_matrices, to_clip

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("DIFFRAST_DATA", ROOT.parent / "shared" / "data"))
RIM, SMOOTH, WINDOW = 3, 4.0, 3  # pixels
REACH, DEPTHS = 0.015, 41  # of depths, in the object's size


def judged(view: View) -> torch.Tensor:
    """Bool ``[H, W]``: in the mask, and not in doubt."""
    on = over_white(view)[..., 3] > 0.5
    doubt = view.load_doubt()
    return on if doubt is None else on & ~doubt


def inner(view: View, coverage: torch.Tensor) -> torch.Tensor:
    """Bool ``[H, W]``: more than ``RIM`` pixels inside of both outlines, and not in doubt."""
    return torch.from_numpy(ndimage.distance_transform_edt((judged(view) & (coverage > 0.5)).numpy()) > RIM)


def budget(view: View, picture: torch.Tensor) -> dict[str, float]:
    """Parts of the mean squared error over a photograph's mask; they add up to it."""
    on = judged(view)
    difference = (picture[..., :3].clamp(0, 1) - over_white(view)[..., :3]) * on[..., None]
    error = difference.square().mean(-1)
    missed, inside = on & (picture[..., 3] <= 0.5), inner(view, picture[..., 3])
    smooth = np.stack([local_mean(c, inside.numpy(), SMOOTH) for c in difference.permute(2, 0, 1).numpy()], axis=-1)
    light = torch.from_numpy(smooth)[inside].square().mean(-1).sum()
    parts = {
        "missed": error[missed].sum(),
        "rim": error[on & ~missed & ~inside].sum(),
        "light": light,
        "detail": error[inside].sum() - light,
    }
    return {name: float(part / on.sum()) for name, part in parts.items()}


def correlation(a: torch.Tensor, b: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Normalized correlation ``[H, W]`` of windows of two gray pictures, where the mask ``[H, W]`` is."""

    def mean(x: torch.Tensor) -> torch.Tensor:
        return avg_pool2d(x[None, None], 2 * WINDOW + 1, 1, WINDOW, count_include_pad=False)[0, 0]

    n = mean(mask).clamp_min(1e-6)
    ma, mb = mean(a * mask) / n, mean(b * mask) / n
    va, vb = ((mean(x * x * mask) / n - m * m).clamp_min(0) + 4e-4 for x, m in ((a, ma), (b, mb)))
    return (mean(a * b * mask) / n - ma * mb) / (va * vb).sqrt() * mask


def laid_over(job: Job, photos: Photos, model: Textured, i: int, matrices: torch.Tensor, reach: float) -> float:
    """The mean squared error inside of view ``i`` of its two nearest used photographs, laid over it through the mesh:
    see above."""
    view = photos.views[i]
    clip = to_clip(model.vertices, matrices[i : i + 1])
    rast, _ = dr.rasterize(job.ctx, clip, model.faces, view.shape, grad_db=False)
    place = dr.interpolate(model.vertices[None], rast, model.faces)[0][0]
    ray = normalize(place - view.camera.center.float(), dim=-1)
    photograph, inside = over_white(view), inner(view, rast[0, ..., 3])
    middle = model.vertices.mean(dim=0)
    way = normalize(torch.stack([v.camera.center for v in photos.views]).float() - middle, dim=1)
    order = (way @ way[i]).argsort(descending=True).tolist()
    nearest = [j for j in order if j not in photos.held][:2]
    size = float((model.vertices.amax(0) - model.vertices.amin(0)).norm())
    best, result = torch.full(view.shape, -2.0), torch.zeros(*view.shape, 3)
    for depth in torch.linspace(-reach, reach, DEPTHS if reach else 1) * size:
        point = to_clip((place + ray * depth).reshape(-1, 3), matrices[nearest]).reshape(2, *view.shape, 4)
        weights, pictures = [], []
        for j, where in zip(nearest, point, strict=True):
            source = over_white(photos.views[j]).permute(2, 0, 1)[None]
            found = grid_sample(source, (where[..., :2] / where[..., 3:])[None], align_corners=False)[0]
            mask = (found[3] > 0.5).float() * (rast[0, ..., 3] > 0) * (photograph[..., 3] > 0.5)
            weights.append(correlation(photograph[..., :3].mean(-1), found[:3].mean(0), mask))
            pictures.append(found[:3].permute(1, 2, 0))
        weight = torch.stack(weights)
        share = weight.clamp_min(0) ** 8 + 1e-6
        blend = (torch.stack(pictures) * share[..., None]).sum(0) / share.sum(0)[..., None]
        better = weight.amax(0) > best
        best = torch.where(better, weight.amax(0), best)
        result = torch.where(better[..., None], blend, result)
    return float((result - photograph[..., :3])[inside].square().mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", type=Path, default=DATA / "templeRing")
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "error_budget")
    parser.add_argument("--json", type=Path, default=ROOT / "benchmarks" / "results" / "error_budget.json")
    args = parser.parse_args()
    kept: list[tuple[Job, Photos, Textured]] = []

    def keep(job: Job, photos: Photos, model: Textured) -> None:
        kept.append((job, photos, model))

    options = Options(holdout=4, overwrite=True, frames=0)
    reconstruct(args.data, args.out, options, stages=(*STAGES, Stage("keep", keep, again=True)))
    job, photos, model = kept[0]
    matrices, pictures = clip_matrices([v.camera for v in photos.views], torch.from_numpy(photos.box)), {}
    evaluate(job.ctx, model, photos.views, matrices, lambda i, view, picture, figures: pictures.update({i: picture}))
    rows = []
    for i in photos.held:
        view, picture = photos.views[i], pictures[i]
        parts, inside = budget(view, picture), inner(view, picture[..., 3])
        difference = picture[..., :3].clamp(0, 1) - over_white(view)[..., :3]
        rows.append(
            {
                "view": view.name,
                "psnr_object": -10 * float(np.log10(sum(parts.values()))),
                **parts,
                "inside": float(difference[inside].square().mean()),
                "photographs": laid_over(job, photos, model, i, matrices, 0.0),
                "photographs, best depth": laid_over(job, photos, model, i, matrices, REACH),
            }
        )
    used = [budget(v, pictures[i]) for i, v in enumerate(photos.views) if i not in photos.held]
    columns = list(rows[0])[1:]
    print(f"{'view':<16}" + "".join(f"{c:>26}" for c in columns) + "   (mean squared errors)")
    for row in rows:
        print(f"{row['view']:<16}" + "".join(f"{row[c]:>26.5f}" for c in columns))
    mean = {name: float(np.mean([parts[name] for parts in used])) for name in used[0]}
    print("views used, mean:", {name: round(value, 5) for name, value in mean.items()})
    args.json.write_text(
        json.dumps({"data": args.data.name, "held_out": rows, "used": mean}, indent=1) + "\n", encoding="utf-8"
    )
    print(f"wrote {args.json}")


if __name__ == "__main__":
    main()
