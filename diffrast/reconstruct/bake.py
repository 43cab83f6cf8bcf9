"""Photographs onto a mesh that is known: its texture, and nothing else, is fitted.

An image of a textured mesh is a linear function of its texels, p = A t. What its backward pass computes, A^T, lays
pixels onto texels: A^T photographs / A^T 1 is the mean of what the photographs show of each texel, weighted by how much
of a pixel it fills (grazing views count little), and A^T 1 = 0 says that no photograph shows it. Gradient descent on
|A t - photographs|^2 from that mean then sharpens it: pixels that see several texels are shared out among them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from scipy.spatial import cKDTree

import diffrast.torch as dr

from ..fitting.appearance import Textured, render_textured
from ..fitting.loop import Batches, Progress, Run, Stop, descend, optimize
from ..fitting.metrics import evaluate
from ..fitting.targets import Targets, make_targets, texture_side
from ..io.image import srgb_to_linear
from ..mesh.bake_textures import atlas, fill_gaps
from ..mesh.mesh import Mesh
from ..mesh.unwrap import unwrap
from ..photos.data import View
from ..scene.passes import clip_matrices
from .orient import undo_turns

BATCH = 4
FAINT = 0.02  # of the median weight of the texels that are seen: below it a texel counts as unseen


@dataclass
class Baked:
    """`mesh` with its texture; `figures` of every view as `metrics.compare` gives them; `seen`: the share of the
    surface's texels that a photograph shows; `interrupted`: stopped with Ctrl-C before the last step."""

    mesh: Mesh
    figures: list[dict]
    seen: float
    interrupted: bool


def bake(
    mesh: Mesh,
    views: list[View],
    *,
    size: int | None = None,
    steps: int = 100,
    new_uv: bool = False,
    seed: int = 0,
    device: str | torch.device = "cpu",
    progress: bool = False,
) -> Baked:
    """Bake posed photographs, whose masks are known (`masks.add_masks`), onto a mesh.

    UVs are kept if the mesh has any and at most one material, else made by `scene.unwrap`. Texels that no photograph
    shows take the mean of the nearest seen ones on the surface, those outside of charts the nearest texel in the
    texture. The photographs' light stays in the texture, as in `reconstruct`. Mesh and cameras do not move.

    Args:
        views: at least one; all of one size.
        size: texels along the texture's side; None: about two per pixel.
        steps: of gradient descent, 4 views each; 0: the weighted mean alone.
        new_uv: make new UVs even if there are some.
        seed: of the order of the views.

    Raises `ValueError` if UVs repeat the texture many times (`new_uv` makes others), or if no photograph shows the
    mesh.
    """
    views = undo_turns(views)
    side = size or texture_side(views)
    shown = Progress({"unwrap": 1, "gather": 1, "texture": 8, "judge": 1}, progress)
    try:
        with Stop() as stop:
            shown.begin("unwrap")
            mesh = _with_uv(mesh, side, new_uv).to(device)
            model, places = _textured(mesh, side)
            targets = _targets(views, mesh)
            shown.begin("gather")
            model, seen = _mean(model, places, targets)
            shown.begin("texture")
            run = Run(shown, stop, torch.Generator().manual_seed(seed))
            texture = _descend(model, targets, steps, run)
            model = replace(model, texture=_fill(texture, model, places, seen))
            shown.begin("judge")
            matrices = clip_matrices([v.camera for v in views], mesh.bounds())
            figures = evaluate(dr.RasterizeContext(), model, views, matrices)
    finally:
        shown.close()
    baked = replace(mesh, texture=srgb_to_linear(model.texture).cpu(), materials=[], material_ids=None, colors=None)
    share = float((seen & model.covered).sum() / model.covered.sum())
    return Baked(baked.to("cpu"), figures, share, stop.requested)


def _with_uv(mesh: Mesh, size: int, new: bool) -> Mesh:
    """The mesh with UVs that one texture can serve."""
    mesh = mesh.welded()
    if mesh.uv is None or new or len(mesh.materials) > 1:
        return unwrap(mesh, size=size, padding=4)
    return mesh


def _textured(mesh: Mesh, size: int) -> tuple[Textured, torch.Tensor]:
    """The mesh as `appearance` draws it, gray, and the place on the surface behind each texel `[S, S, 3]`."""
    covered, places = atlas(mesh, (size, size))
    uv, index = mesh.require_uv(), mesh.uv_index.int().contiguous()
    source = torch.zeros(len(uv), dtype=torch.long, device=uv.device)
    source[index.long()] = mesh.faces.long()
    texture = torch.full((size, size, 3), 0.5, device=uv.device)
    return Textured(mesh.vertices, mesh.faces, uv, index, source, texture, covered, boundary="wrap"), places


def _targets(views: list[View], mesh: Mesh) -> Targets:
    """The photographs, judged only a pixel inside of their masks: outlines hold background as well."""
    targets = make_targets(views, mesh.bounds().cpu().numpy(), 0, mesh.vertices.device)
    mask = targets.images[..., 3].float()
    inside = 1 - torch.nn.functional.max_pool2d(1 - mask[:, None], 3, stride=1, padding=1)[:, 0, ..., None]
    sure = (inside > 0.99).float()
    return replace(targets, weights=sure if targets.weights is None else sure * targets.weights)


def _mean(model: Textured, places: torch.Tensor, targets: Targets) -> tuple[Textured, torch.Tensor]:
    """The weighted mean of what the photographs show, and which texels they show, bool `[S, S]`."""
    ctx, weights = dr.RasterizeContext(), targets.weights
    assert weights is not None
    total, weight = torch.zeros_like(model.texture), torch.zeros_like(model.texture)
    for i in range(len(targets.images)):
        one = torch.tensor([i])
        clip, texture = targets.clip(model.vertices, one), model.texture.clone().requires_grad_()
        image = render_textured(ctx, model, clip, texture, targets.resolution)[..., :3]
        photograph = targets.images[one][..., :3]
        total += torch.autograd.grad(image, texture, weights[one] * photograph, retain_graph=True)[0]
        weight += torch.autograd.grad(image, texture, weights[one].expand_as(photograph))[0]
    weight = weight.mean(dim=-1)
    if not bool((weight > 0).any()):
        raise ValueError("no photograph shows the mesh: camera poses, masks and mesh do not fit together")
    seen = model.covered & (weight > FAINT * weight[weight > 0].median())
    mean = total / weight.clamp_min(1e-12)[..., None]
    return replace(model, texture=_fill(mean, model, places, seen)), seen


def _fill(
    texture: torch.Tensor, model: Textured, places: torch.Tensor, seen: torch.Tensor, near: int = 8
) -> torch.Tensor:
    """Unseen texels from the `near` seen ones that are nearest on the surface, then those outside of charts."""
    texture, blank = texture.clamp(0, 1), model.covered & ~seen
    if bool(blank.any()):
        tree = cKDTree(places[seen].cpu().numpy())
        count = min(near, tree.n)
        _, index = tree.query(places[blank].cpu().numpy(), k=count)
        index = torch.from_numpy(index).to(texture.device).view(-1, count)
        texture[blank] = texture[seen][index].mean(dim=1)
    return fill_gaps(texture, model.covered)


def _descend(model: Textured, targets: Targets, steps: int, run: Run) -> torch.Tensor:
    """The texture `[S, S, 3]` that explains the photographs best, in the mean square; earlier if stopped."""
    ctx, texture = dr.RasterizeContext(), model.texture.clone().requires_grad_()
    optimizer = torch.optim.Adam([{"params": [texture], "rate": 0.01}], betas=(0.9, 0.99), fused=True)
    batches = Batches(len(targets.images), BATCH, run.generator)

    def step(t: float) -> torch.Tensor:
        index = next(batches)
        image = render_textured(ctx, model, targets.clip(model.vertices, index), texture, targets.resolution)
        loss = targets.residual(image, index)[..., :3].square().mean()
        descend(optimizer, loss, t)
        return loss.detach()

    optimize(run, step, {}, steps)
    return texture.detach()
