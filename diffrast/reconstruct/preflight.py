"""What is known about photographs before any work is spent on them: whether poses, masks, exposure and sizes make
sense, what is assumed, and an image of it for people: outlines and the object's box over the photographs."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np
import torch
from jaxtyping import Float
from scipy import ndimage

from ..camera.overlay import overlay
from ..io.image import encode, srgb_to_linear
from ..photos.agreement import mask_rectangle
from ..photos.views import View

NAME = "preflight.jpg"
TILES, SIZE = 12, 320  # of the overlay: how many, and pixels of the longer side of each
GREEN, ORANGE = (0.1, 0.9, 0.2), (1.0, 0.5, 0.0)
ASSUMED = {"alpha": "straight alpha is the mask", "files": "bright in a mask is object"}  # else a plain background


@dataclass(frozen=True)
class Preflight:
    """What was found: `facts` by name, `warnings` of what is odd, and `overlay`, a JPEG of masks and box."""

    facts: dict[str, str]
    warnings: list[str]
    overlay: bytes


# --- What there is ----------------------------------------------------------------------------------------------------


def preflight(
    views: list[View], held: list[int], box: Float[np.ndarray, "2 3"], mask_source: str, factor: int
) -> Preflight:
    """Says what was found and what is assumed, and warns of what is odd.

    Args:
        views: With masks.
        held: Indices of those that are kept out; they are not warned of.
        box: The object's, in units of the world.
        mask_source: Where masks come from, see `add_masks`.
        factor: What the photographs were reduced by.
    """
    facts = dict(examine(views, len(held), box, mask_source, factor))
    warnings = list(odd([v for i, v in enumerate(views) if i not in held], box))
    return Preflight(facts, warnings, encode(contact_sheet(views, box), "JPEG", linear=False, quality=85))


def examine(
    views: list[View], held: int, box: Float[np.ndarray, "2 3"], mask_source: str, factor: int
) -> Iterator[tuple[str, str]]:
    """Names and sentences of what there is; see `preflight`."""
    height, width = views[0].shape
    reduced = f", reduced by {factor} from {width * factor}x{height * factor}" if factor > 1 else ""
    yield "views", f"{len(views)} photographs of {width}x{height}{reduced}; {held} are held out"
    cover = [100 * float((v.load_mask() > 0.5).float().mean()) for v in views]
    cut = sum(_touches_border(v) for v in views)
    crop = f", and {cut} photographs crop it" if cut else ""
    yield "masks", f"from {mask_source}; the object fills {min(cover):.0f} to {max(cover):.0f} % of a photograph{crop}"
    away = _away(views, box)
    distance = away.norm(dim=1)
    focal = torch.tensor([float(v.camera.K[0, 0]) for v in views])
    fov = [math.degrees(2 * math.atan(0.5 * v.camera.width / float(f))) for v, f in zip(views, focal, strict=True)]
    yield (
        "poses",
        f"cameras {float(distance.min()):.3g} to {float(distance.max()):.3g} units from the object's middle, fields of "
        f"view {min(fov):.0f} to {max(fov):.0f} degrees; from no direction is the nearest camera more than "
        f"{_gap(away):.0f} degrees off",
    )
    sides = " x ".join(f"{s:.3g}" for s in box[1] - box[0])
    pixel = float((distance / focal).median()) / float(np.linalg.norm(box[1] - box[0]))
    yield "scale", f"the object's box is {sides} units; a pixel sees {100 * pixel:.2g} % of its diagonal"
    stops = np.ptp(np.log2(brightness(views)))
    yield "exposure", f"the object's mean brightness varies by {stops:.1f} stops (factors of 2) over the views"
    mask = ASSUMED.get(mask_source, "a plain background that is darker or brighter than the object")
    yield "assumed", f"sRGB colours, {mask}, a rigid object that is lit alike in all views"


def odd(views: list[View], box: Float[np.ndarray, "2 3"]) -> Iterator[str]:
    """Sentences about what may spoil the result."""
    away = _away(views, box)
    gap = _gap(away)
    if gap > 75:
        yield f"no camera looks within {gap:.0f} degrees of some direction: the surface there is a guess"
    levels = brightness(views)
    for view, stops in zip(views, np.log2(levels / np.median(levels)), strict=True):
        if abs(stops) > 1.5:
            more = "brighter" if stops > 0 else "darker"
            yield f"{view.path} is {abs(stops):.1f} stops {more} than the median photograph"
    sizes = np.array([_apparent(v, float(d)) for v, d in zip(views, away.norm(dim=1), strict=True)])
    sizes /= np.median(sizes)
    for view, size in zip(views, sizes, strict=True):
        if (size > 2.5 or size < 1 / 2.5) and not _touches_border(view):
            yield (
                f"the mask of {view.path} is {size:.1f} times as large as its camera's distance suggests: is the pose, "
                "or the mask, of this photograph?"
            )


def brightness(views: list[View]) -> Float[np.ndarray, " N"]:
    """Mean linear luminance (Rec. 709) of the object in each view."""
    weights, means = torch.tensor([0.2126, 0.7152, 0.0722]), []
    for view in views:
        on = view.load_mask() > 0.5
        means.append(float((srgb_to_linear(view.load().rgb[on]) @ weights).mean()))
    return np.maximum(means, 1e-5)


def _away(views: list[View], box: np.ndarray) -> torch.Tensor:
    """From the middle of the box to the eyes, `[N, 3]`."""
    return torch.stack([v.camera.center for v in views]) - torch.from_numpy(box.mean(axis=0))


def _apparent(view: View, distance: float) -> float:
    """The object's size in world units as the mask has it."""
    return math.sqrt(float((view.load_mask() > 0.5).sum())) * distance / float(view.camera.K[0, 0])


def _touches_border(view: View) -> bool:
    left, bottom, right, top = mask_rectangle(view)
    height, width = view.shape
    return left == 0 or bottom == 0 or right == width or top == height


def _gap(away: torch.Tensor) -> float:
    """The largest angle in degrees between a direction and the nearest of `away` `[N, 3]`, over directions all
    around."""
    i = torch.arange(500, dtype=torch.float64) + 0.5
    z, turn = 1 - 2 * i / 500, math.pi * (1 + math.sqrt(5)) * i  # a Fibonacci lattice on the sphere
    r = (1 - z * z).sqrt()
    sphere = torch.stack([r * turn.cos(), r * turn.sin(), z], dim=1)
    near = (sphere @ torch.nn.functional.normalize(away, dim=1).T).amax(dim=1)
    return math.degrees(math.acos(float(near.min().clamp(-1, 1))))


# --- The overlay ------------------------------------------------------------------------------------------------------


def contact_sheet(
    views: list[View], box: Float[np.ndarray, "2 3"], count: int = TILES, size: int = SIZE
) -> Float[torch.Tensor, "H W 3"]:
    """Some of the photographs, evenly chosen, with the mask's outline (green) and the object's box (orange)."""
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
    pixels = view.load()
    assert pixels.alpha is not None
    scale = size / max(view.camera.width, view.camera.height)
    camera = view.camera.resized(round(view.camera.width * scale), round(view.camera.height * scale))
    stack = torch.cat([pixels.rgb, pixels.alpha[..., None]], dim=-1).permute(2, 0, 1)[None]
    small = torch.nn.functional.interpolate(stack, camera.resolution, mode="bilinear", antialias=True)[0]
    small = small.permute(1, 2, 0)
    inside = small[..., 3].numpy() > 0.5
    tile = small[..., :3] * (0.35 + 0.65 * small[..., 3:])  # the background is dimmed
    tile[torch.from_numpy(inside & ~ndimage.binary_erosion(inside))] = torch.tensor(GREEN)
    return overlay(camera, _box_edges(box), tile, color=ORANGE, radius=0.8)


def _box_edges(box: np.ndarray, steps: int = 200) -> torch.Tensor:
    """Points along the twelve edges of a box `[2, 3]`."""
    corners = np.array([[box[k][axis] for axis, k in enumerate(ends)] for ends in product((0, 1), repeat=3)])
    edges = [(a, b) for a, b in combinations(corners, 2) if np.count_nonzero(a != b) == 1]
    t = np.linspace(0, 1, steps)[:, None]
    return torch.from_numpy(np.concatenate([a + t * (b - a) for a, b in edges]))
