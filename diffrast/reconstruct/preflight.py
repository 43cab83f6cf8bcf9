"""What is known about photographs before any work is spent on them: whether poses, masks, exposure and sizes make
sense, what is assumed, and a picture of it for people: outlines and the object's box over the photographs."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np
import torch
from scipy import ndimage

from ..camera.overlay import overlay
from ..io.image import encode, srgb_to_linear
from ..photos.agreement import mask_rectangle
from ..photos.views import View

NAME = "preflight.jpg"
PICTURES, SIZE = 12, 320  # of the overlay: how many, and pixels of the longer side of each
GREEN, ORANGE = (0.1, 0.9, 0.2), (1.0, 0.5, 0.0)


@dataclass(frozen=True)
class Preflight:
    """What was found: `facts` by name, `warnings` of what is odd, and `overlay`, a JPEG of masks and box."""

    facts: dict[str, str]
    warnings: list[str]
    overlay: bytes


# --- What there is ----------------------------------------------------------------------------------------------------


def preflight(views: list[View], held: list[int], box: np.ndarray, mask_source: str, factor: int) -> Preflight:
    """Says what was found and what is assumed, and warns of what is odd. `held`: indices of views that are kept out,
    which are not warned of; `factor`: what the photographs were reduced by."""
    facts = dict(examine(views, len(held), box, mask_source, factor))
    warnings = list(odd([v for i, v in enumerate(views) if i not in held], box))
    return Preflight(facts, warnings, encode(contact_sheet(views, box), "JPEG", linear=False, quality=85))


def examine(views: list[View], held: int, box: np.ndarray, mask_source: str, factor: int) -> Iterator[tuple[str, str]]:
    """Names and sentences of what there is; see `preflight`."""
    height, width = views[0].shape
    reduced = f", reduced by {factor} from {width * factor}x{height * factor}" if factor > 1 else ""
    yield "views", f"{len(views)} photographs of {width}x{height}{reduced}; {held} are held out"
    cover = [100 * float((v.alpha > 0.5).float().mean()) for v in views if v.alpha is not None]
    cut = sum(_touches_border(v) for v in views)
    yield (
        "masks",
        f"from {mask_source}; the object fills {min(cover):.0f} to {max(cover):.0f} % of a picture"
        + (f", and {cut} pictures crop it" if cut else ""),
    )
    center = torch.from_numpy(box.mean(axis=0))
    away = torch.stack([v.camera.center - center for v in views])
    distance = away.norm(dim=1)
    focal = torch.tensor([float(v.camera.K[0, 0]) for v in views])
    fov = [math.degrees(2 * math.atan(0.5 * v.camera.width / float(f))) for v, f in zip(views, focal, strict=True)]
    near, far = float(distance.min()), float(distance.max())
    yield (
        "poses",
        f"cameras {near:.3g} to {far:.3g} units from the object's middle, fields of view {min(fov):.0f} to "
        f"{max(fov):.0f} degrees; "
        f"from no direction is the nearest camera more than {_gap(away):.0f} degrees off",
    )
    sides = " x ".join(f"{s:.3g}" for s in box[1] - box[0])
    pixel = float((distance / focal).median()) / float(np.linalg.norm(box[1] - box[0]))
    yield "scale", f"the object's box is {sides} units; a pixel sees {100 * pixel:.2g} % of its diagonal"
    stops = np.log2(brightness(views))
    yield (
        "exposure",
        f"the object's mean brightness varies by {np.ptp(stops):.1f} stops (factors of 2) over the views",
    )
    masks = {"alpha": "straight alpha is the mask", "files": "bright in a mask is object"}
    mask = masks.get(mask_source, "a plain background that is darker or brighter than the object")
    yield "assumed", f"sRGB colours, {mask}, a rigid object that is lit alike in all views"


def odd(views: list[View], box: np.ndarray) -> Iterator[str]:
    """Sentences about what may spoil the result."""
    center = torch.from_numpy(box.mean(axis=0))
    gap = _gap(torch.stack([v.camera.center - center for v in views]))
    if gap > 75:
        yield f"no camera looks within {gap:.0f} degrees of some direction: the surface there is a guess"
    levels = brightness(views)
    middle = float(np.median(levels))
    for view, level in zip(views, levels, strict=True):
        stops = math.log2(level / middle)
        if abs(stops) > 1.5:
            more = "brighter" if stops > 0 else "darker"
            yield f"{view.path} is {abs(stops):.1f} stops {more} than the median photograph"
    sizes = np.array([_apparent(v, center) for v in views])
    for i in np.flatnonzero((sizes > 2.5 * np.median(sizes)) | (sizes < np.median(sizes) / 2.5)):
        if not _touches_border(views[i]):
            yield (
                f"the mask of {views[i].path} is {sizes[i] / np.median(sizes):.1f} times as large as its camera's "
                "distance "
                "suggests: is the pose, or the mask, of this photograph?"
            )


def brightness(views: list[View]) -> np.ndarray:
    """Mean linear luminance (Rec. 709) of the object in each view."""
    weights = torch.tensor([0.2126, 0.7152, 0.0722])
    means = []
    for view in views:
        assert view.alpha is not None
        means.append(float((srgb_to_linear(view.rgb[view.alpha > 0.5]) @ weights).mean()))
    return np.maximum(means, 1e-5)


def _apparent(view: View, center: torch.Tensor) -> float:
    """The object's size in world units as the mask has it."""
    assert view.alpha is not None
    pixels = math.sqrt(float((view.alpha > 0.5).sum()))
    return pixels * float((view.camera.center - center).norm()) / float(view.camera.K[0, 0])


def _touches_border(view: View) -> bool:
    left, bottom, right, top = mask_rectangle(view)
    height, width = view.shape
    return left == 0 or bottom == 0 or right == width or top == height


def _gap(away: torch.Tensor) -> float:
    """The largest angle in degrees between a direction and the nearest of ``away`` ``[N, 3]``, over directions all
    around."""
    i = torch.arange(500, dtype=torch.float64) + 0.5
    z, turn = 1 - 2 * i / 500, math.pi * (1 + math.sqrt(5)) * i  # a Fibonacci lattice on the sphere
    r = (1 - z * z).sqrt()
    sphere = torch.stack([r * turn.cos(), r * turn.sin(), z], dim=1)
    near = (sphere @ torch.nn.functional.normalize(away, dim=1).T).amax(dim=1)
    return math.degrees(math.acos(float(near.min().clamp(-1, 1))))


# --- The picture ------------------------------------------------------------------------------------------------------


def contact_sheet(views: list[View], box: np.ndarray, count: int = PICTURES, size: int = SIZE) -> torch.Tensor:
    """``[H, W, 3]``: some of the photographs, evenly chosen, with the mask's outline (green) and the object's box
    (orange)."""
    chosen = [views[int(i)] for i in np.linspace(0, len(views) - 1, min(count, len(views)))]
    tiles = [_tile(v, box, size) for v in chosen]
    height, width = (max(t.shape[d] for t in tiles) for d in (0, 1))
    columns = math.ceil(math.sqrt(len(tiles)))
    rows = math.ceil(len(tiles) / columns)
    sheet = torch.ones(rows * (height + 4), columns * (width + 4), 3)
    for i, tile in enumerate(tiles):
        y, x = (rows - 1 - i // columns) * (height + 4), i % columns * (width + 4)
        sheet[y : y + tile.shape[0], x : x + tile.shape[1]] = tile
    return sheet


def _tile(view: View, box: np.ndarray, size: int) -> torch.Tensor:
    assert view.alpha is not None
    scale = size / max(view.camera.width, view.camera.height)
    camera = view.camera.resized(round(view.camera.width * scale), round(view.camera.height * scale))
    stack = torch.cat([view.rgb, view.alpha[..., None]], dim=-1).permute(2, 0, 1)[None]
    small = torch.nn.functional.interpolate(stack, camera.resolution, mode="bilinear", antialias=True)[0].permute(
        1, 2, 0
    )
    inside = small[..., 3].numpy() > 0.5
    tile = small[..., :3] * (0.35 + 0.65 * small[..., 3:])  # the background is dimmed
    tile[torch.from_numpy(inside & ~ndimage.binary_erosion(inside))] = torch.tensor(GREEN)
    return overlay(camera, _box_edges(box), tile, color=ORANGE, radius=0.8)


def _box_edges(box: np.ndarray, steps: int = 200) -> torch.Tensor:
    """Points along the twelve edges of a box ``[2, 3]``."""
    corners = np.array([[box[k][axis] for axis, k in enumerate(ends)] for ends in product((0, 1), repeat=3)])
    edges = [(a, b) for a, b in combinations(corners, 2) if np.count_nonzero(a != b) == 1]
    t = np.linspace(0, 1, steps)[:, None]
    return torch.from_numpy(np.concatenate([a + t * (b - a) for a, b in edges]))
