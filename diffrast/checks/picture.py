"""`diffrast.diagnose(...)`: why a picture is blank or odd, in words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

import diffrast.torch as dr

from .findings import Finding, Findings


@dataclass
class _Case:
    """What there is to look at; positions and colours without gradients, on the CPU."""

    pos: Tensor  # [B, V, 4] float64
    tri: Tensor  # [F, 3] int64, indices in range
    resolution: tuple[int, int] | None
    cull: str
    colors: dict[str, Tensor]
    image: Tensor | None
    target: Tensor | None
    matrix: Tensor | None
    findings: Findings = field(default_factory=Findings)

    def say(self, code: str, message: str) -> None:
        self.findings.append(Finding(code, message))


def diagnose(
    pos: Any = None,
    tri: Any = None,
    resolution: Sequence[int] | None = None,
    *,
    cull: str = "none",
    color: Tensor | None = None,
    texture: Tensor | None = None,
    image: Tensor | None = None,
    target: Tensor | None = None,
    matrix: Tensor | None = None,
) -> Findings:
    """Says in words why a picture is blank or odd. Everything is optional but the geometry; more input finds more.

    Args:
        pos, tri: what `rasterize` gets, `[B, V, 4]` or `[V, 4]` and `[F, 3]`; or a mesh (with `vertices` and `faces`)
            and a camera (with `clip_matrix`), whose size is then the resolution.
        resolution: (height, width); with it the picture is drawn and looked at.
        cull: as passed to `rasterize`.
        color, texture: vertex colours and texture, of any shape.
        image: the picture that looks odd, `[B, H, W, C]` or `[H, W, C]`, row 0 at the bottom.
        target: the picture it should look like, of the same shape.
        matrix: the matrix from world to clip space `[4, 4]`, if `pos` is given.

    Returns:
        The findings, the likeliest cause first. Codes: no-triangles, index-range, not-finite, behind, w-not-positive,
        outside-left,
        -right, -below, -above, -near, -far, outside, nothing-covered, winding, degenerate, duplicated-vertices,
        color-range, blank-image, flipped-y, mirrored.
    """
    if hasattr(pos, "vertices") and hasattr(pos, "faces"):
        mesh, camera = pos, tri
        if not hasattr(camera, "clip_matrix"):
            raise TypeError(f"diagnose(): after a mesh a camera must follow; got {type(camera).__name__}")
        matrix = clip = camera.clip_matrix().detach()
        resolution = resolution or (camera.height, camera.width)
        pos, tri = _homogeneous(mesh.vertices) @ clip.double().cpu().T, mesh.faces
        color = mesh.colors if color is None and hasattr(mesh, "colors") else color
        texture = mesh.texture if texture is None and hasattr(mesh, "texture") else texture
    if not isinstance(pos, Tensor) or not isinstance(tri, Tensor):
        raise TypeError("diagnose(): needs pos and tri as tensors, or a mesh and a camera")
    if pos.ndim not in (2, 3) or pos.shape[-1] != 4 or tri.ndim != 2 or tri.shape[1] != 3:
        raise ValueError(
            f"diagnose(): expected pos [B, V, 4] or [V, 4] and tri [F, 3] but got {list(pos.shape)} and "
            f"{list(tri.shape)}"
        )
    pos, tri = pos.detach().double().cpu(), tri.detach().long().cpu()
    given = {"color": color, "texture": texture, "image": image}
    case = _Case(
        pos[None] if pos.ndim == 2 else pos,
        tri,
        None if resolution is None else (int(resolution[0]), int(resolution[1])),
        cull,
        {k: v.detach().cpu() for k, v in given.items() if v is not None},
        None if image is None else image.detach().double().cpu(),
        None if target is None else target.detach().double().cpu(),
        None if matrix is None else matrix.detach().double().cpu(),
    )
    for check in CHECKS:
        if not check(case):
            break
    for check in PICTURE_CHECKS:
        check(case)
    return case.findings


def _homogeneous(v: Tensor) -> Tensor:
    return torch.nn.functional.pad(v.detach().double().cpu(), (0, 1), value=1.0)


# --- The geometry: each check says whether the next ones make sense ---------------------------------------------------


def _indices(case: _Case) -> bool:
    count = case.pos.shape[1]
    if len(case.tri) == 0 or len(case.pos) == 0:
        case.say("no-triangles", f"there is nothing to draw: {len(case.pos)} images of {len(case.tri)} triangles")
        return False
    low, high = int(case.tri.min()), int(case.tri.max())
    if low < 0 or high >= count:
        case.say("index-range", f"tri must lie in 0..{count - 1}, the positions; it has {low}..{high}")
        return False
    return True


def _finite(case: _Case) -> bool:
    bad = (~torch.isfinite(case.pos)).any(-1)
    if bool(bad.any()):
        b, v = bad.nonzero()[0].tolist()
        case.say(
            "not-finite",
            f"{int(bad.sum())} of {bad.numel()} positions are NaN or infinite (first: image {b}, vertex {v}); "
            "triangles with one of them are not drawn. Look for a division by zero, a square root at zero, or a "
            "learning rate that is too high",
        )
    # What is finite can still be looked at.
    fine = ~bad.any(0)
    case.tri = case.tri[fine[case.tri].all(1)]
    return len(case.tri) > 0


def _in_front(case: _Case) -> bool:
    w = case.pos[:, case.tri.unique(), 3]
    behind = w <= 0
    images = behind.all(1)
    if bool(images.any()):
        case.say(
            "behind",
            f"{_images(images)}everything lies behind the camera: all w are <= 0 "
            f"(from {float(w.min()):.4g} to {float(w.max()):.4g}). The camera looks along its own -z "
            "here; poses of OpenCV and COLMAP look along +z: see Camera.from_opencv",
        )
    elif bool(behind.any()):
        case.say(
            "w-not-positive",
            f"{int(behind.sum())} of {behind.numel()} vertices have w <= 0: they lie behind the eye. rasterize cuts "
            "their triangles correctly, but x / w of them means nothing: do not divide by w yourself, and look "
            "whether the camera is inside of the object",
        )
    return not bool(images.all())


# Clip-space planes: the sign of the coordinate, its index, and what it means when everything lies beyond.
PLANES = {
    "outside-left": (-1, 0, "left of the picture (x < -w)"),
    "outside-right": (1, 0, "right of the picture (x > w)"),
    "outside-below": (-1, 1, "below the picture (y < -w)"),
    "outside-above": (1, 1, "above the picture (y > w)"),
    "outside-near": (-1, 2, "nearer than the near plane (z < -w): decrease near"),
    "outside-far": (1, 2, "beyond the far plane (z > w): increase far"),
}


def _inside_frustum(case: _Case) -> bool:
    corner = case.pos[:, case.tri]  # [B, F, 3, 4]
    w = corner[..., 3]
    in_front = (w > 0).any(-1)
    beyond = {code: (sign * corner[..., axis] > w).all(-1) | ~in_front for code, (sign, axis, _) in PLANES.items()}
    anywhere = torch.stack(list(beyond.values())).any(0)
    blank = anywhere.all(1) & in_front.any(1)
    if not bool(blank.any()):
        return True
    hint = ""
    if bool((w == 1).all()) and case.matrix is None:
        hint = ". All w are 1: are these world or pixel coordinates instead of clip space?"
    codes = [code for code, out in beyond.items() if bool(out[blank].all())]
    for code in codes:
        case.say(code, f"{_images(blank)}everything lies {PLANES[code][2]}{hint}")
    if not codes:
        case.say("outside", f"{_images(blank)}every triangle lies outside of the view, to several sides of it{hint}")
    return not bool(blank.all())


def _images(which: Tensor) -> str:
    """The images concerned, as the beginning of a sentence; nothing if it is all of them."""
    if bool(which.all()):
        return ""
    rows = which.nonzero()[:, 0].tolist()
    return f"in {len(rows)} of {len(which)} images (first: {rows[0]}) "


MINORS = ([0, 1, 2], [0, 1, 3], [0, 2, 3], [1, 2, 3])


def _shape(case: _Case) -> bool:
    corner = case.pos[:, case.tri]
    # Three points on a line stay on one under every camera: their homogeneous coordinates span a plane only. The area
    # on screen would not do: triangles seen edge-on are no fault.
    minors = torch.stack([torch.linalg.det(corner[..., columns]) for columns in MINORS]).norm(dim=0)
    flat = (minors <= 1e-14 * corner.norm(dim=-1).prod(-1)).all(0)
    repeated = (case.tri == case.tri.roll(1, 1)).any(1)
    if bool((flat | repeated).any()):
        case.say(
            "degenerate",
            f"{int((flat | repeated).sum())} of {len(case.tri)} triangles have no area "
            f"({int(repeated.sum())} name a vertex twice): they cover nothing and get no gradient",
        )
    return True


def _signed_area(case: _Case) -> Tensor:
    """Twice the screen area of each triangle times its w's, `[B, F]`: positive if counter-clockwise."""
    return torch.linalg.det(case.pos[:, case.tri][..., [0, 1, 3]])


def _seams(case: _Case) -> bool:
    """Edges that only look like borders, because their vertices are there twice."""
    _, same = torch.unique(case.pos.movedim(0, 1).flatten(1), dim=0, return_inverse=True)
    before, after = _single_edges(case.tri), _single_edges(same[case.tri])
    used = case.tri.unique()
    twice = len(used) - len(same[used].unique())
    if twice and after < before:
        case.say(
            "duplicated-vertices",
            f"{twice} of {len(used)} vertices are at the place of another, so that {before - after} edges have one "
            "triangle "
            "only and antialias takes them for silhouettes. Give positions indices of their own: Mesh.welded()",
        )
    return True


def _single_edges(tri: Tensor) -> int:
    half = torch.stack([tri, tri.roll(-1, 1)], dim=-1).sort(dim=-1).values.view(-1, 2)
    _, count = torch.unique(half[half[:, 0] != half[:, 1]], dim=0, return_counts=True)
    return int((count == 1).sum())


def _drawn(case: _Case) -> bool:
    """Draws without culling, and looks at what is nearest to the eye."""
    if case.resolution is None:
        return True
    rast, _ = dr.rasterize(dr.RasterizeContext(backend="cpu"), case.pos, case.tri, case.resolution, grad_db=False)
    ids = dr.triangle_id(rast)
    hit = ids >= 0
    if not bool(hit.any()):
        height, width = case.resolution
        ndc = case.pos[..., :2] / case.pos[..., 3:]
        extent = (ndc.amax(1) - ndc.amin(1)) * ndc.new_tensor([width, height]) / 2
        case.say(
            "nothing-covered",
            f"triangles lie in the view but none covers the centre of a pixel: everything is "
            f"{float(extent[..., 0].max()):.3g} x "
            f"{float(extent[..., 1].max()):.3g} pixels. Move the camera nearer, or draw more pixels",
        )
        return False
    if case.cull != "none":
        area = _signed_area(case).gather(1, ids.clamp_min(0).flatten(1)).view(ids.shape)
        culled = (area < 0 if case.cull == "back" else area > 0) & hit
        share = float(culled.sum() / hit.sum())
        if share > 0.5:
            other = "front" if case.cull == "back" else "back"
            case.say(
                "winding",
                f"cull={case.cull!r} drops the nearest surface in {share:.0%} of the covered pixels: the triangles are "
                f"wound the other way. Swap two columns of tri, tri[:, [0, 2, 1]], or pass cull={other!r}",
            )
    return True


CHECKS: tuple[Callable[[_Case], bool], ...] = (_indices, _finite, _shape, _seams, _in_front, _inside_frustum, _drawn)


# --- Colours, pictures, matrices --------------------------------------------------------------------------------------


def _color_range(case: _Case) -> None:
    for name, values in case.colors.items():
        if not values.is_floating_point():
            case.say("color-range", f"{name} is {values.dtype}: divide by 255 and undo sRGB (load_image does both)")
            continue
        bad = int((~torch.isfinite(values)).sum())
        if bad:
            case.say("not-finite", f"{bad} of {values.numel()} values of {name} are NaN or infinite")
        fine = values[torch.isfinite(values)]
        if fine.numel() == 0 or not 8 < float(fine.max()) <= 255:
            continue
        whole = float((fine == fine.round()).double().mean())
        if whole > 0.9 or float(fine.double().mean()) > 8:
            case.say(
                "color-range",
                f"{name} goes up to {float(fine.max()):.4g}: it looks like 0..255, where 1 is white. Divide by 255, "
                "then undo sRGB (srgb_to_linear)",
            )


def _against_target(case: _Case) -> None:
    image = case.image
    if image is None:
        return
    if float(image.max() - image.min()) == 0:
        case.say("blank-image", f"image has one colour everywhere, {float(image.max()):.4g}: nothing is drawn")
        return
    if case.target is None:
        return
    if case.target.shape != image.shape:
        raise ValueError(
            f"diagnose(): target must have the shape of image, {list(image.shape)}; got {list(case.target.shape)}"
        )
    rows = image.ndim - 3
    upright = float((image - case.target).square().mean())
    turned = float((image.flip(rows) - case.target).square().mean())
    if turned < 0.5 * upright:
        case.say(
            "flipped-y",
            f"image is upside down: turned over it fits target {upright / max(turned, 1e-30):.3g} times better. "
            "Row 0 is the bottom row here; read and write pictures with load_image and save_image, which turn them "
            "over once",
        )


def _handedness(case: _Case) -> None:
    if case.matrix is None or case.matrix.shape[-2:] != (4, 4):
        return
    m = case.matrix.reshape(-1, 4, 4)
    # Rows x, y and w of a camera along -z have a negative determinant (of an orthographic one: x, y and z).
    rows = [0, 1, 3] if bool((m[:, 3, :3] != 0).any()) else [0, 1, 2]
    mirrored = torch.linalg.det(m[:, rows][..., :3]) > 0
    if bool(mirrored.any()):
        case.say(
            "mirrored",
            f"{_images(mirrored)}the matrix mirrors the picture: one axis too many is turned over, most often y "
            "(Direct3D, "
            "Vulkan and OpenCV count rows downwards). Clip space has +y up here: do not negate its second row",
        )


PICTURE_CHECKS: tuple[Callable[[_Case], None], ...] = (_color_range, _against_target, _handedness)
