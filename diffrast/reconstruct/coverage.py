"""Which texels the photographs show, and colours for those that none does."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

import diffrast.torch as dr

from ..scene.passes import clip_matrices, to_clip
from .appearance import Textured, at_texels, fill_gaps
from .views import View

if TYPE_CHECKING:
    from .state import State


def count_views(state: State) -> None:
    """Ends a stage that made ``state.model``: counts the photographs that show each texel, and fills those that none does."""
    assert state.model is not None
    views = state.targets(0).calibration.apply(state.used)
    seen = views_of_texels(state.ctx, state.model, views, len(state.model.texture))
    model = replace(state.model, seen=seen)
    state.model = replace(model, texture=fill_unseen(state.ctx, model, model.texture))
    unseen = float((seen[model.covered] == 0).float().mean())
    if unseen > 0.002:
        state.notes.append(
            f"no photograph shows {unseen:.1%} of the texture; colours there are those around, smoothed"
        )


@torch.no_grad()
def views_of_texels(ctx, model: Textured, views: list[View], size: int) -> torch.Tensor:
    """How many of the views see each texel, int64 ``[size, size]``, zero between charts. A texel is seen where its point
    lies no deeper, by 1 %, than the deepest of what is drawn at its pixel and those around it."""
    flat = torch.cat(
        [2 * model.uv - 1, torch.zeros_like(model.uv[:, :1]), torch.ones_like(model.uv[:, :1])], dim=1
    )
    rast, _ = dr.rasterize(ctx, flat[None], model.uv_faces, (size, size))
    points, _ = dr.interpolate(model.vertices[model.source], rast, model.uv_faces)
    charts = rast[0, ..., 3] > 0
    points = points[0][charts]
    box = torch.stack([model.vertices.amin(0), model.vertices.amax(0)])
    count = torch.zeros(len(points), dtype=torch.long, device=points.device)
    matrices = clip_matrices([v.camera for v in views], box)
    for view, matrix in zip(views, matrices, strict=True):
        clip = to_clip(model.vertices, matrix[None])
        drawn, _ = dr.rasterize(ctx, clip, model.faces, view.camera.resolution)
        depth, _ = dr.interpolate(clip[0, :, 3:].contiguous(), drawn, model.faces)  # zero where nothing is
        deepest = torch.nn.functional.max_pool2d(depth[..., 0], 3, 1, 1)[0]
        there = to_clip(points, matrix[None])[0]
        h, w = view.camera.resolution
        xy = (there[:, :2] / there[:, 3:] + 1) / 2 * points.new_tensor([w, h])
        x, y = xy[:, 0].long().clamp(0, w - 1), xy[:, 1].long().clamp(0, h - 1)
        inside = ((xy >= 0) & (xy < points.new_tensor([w, h]))).all(dim=1) & (there[:, 3] > 0)
        count += inside & (there[:, 3] < 1.01 * deepest[y, x])
    whole = torch.zeros(size, size, dtype=torch.long, device=points.device)
    whole[charts] = count
    return whole


def fill_unseen(ctx, model: Textured, texture: torch.Tensor) -> torch.Tensor:
    """The texture ``[S, S, C]`` with the texels that no picture shows filled as smoothly as can be from those around on the
    surface (the harmonic function: each vertex is the mean of its neighbours), and with gaps between charts closed."""
    seen = model.covered if model.seen is None else model.seen > 0
    if bool(seen[model.covered].any()) and not bool(seen[model.covered].all()):
        known, values = _at_vertices(model, texture, seen[..., None].to(texture))
        values = _harmonic(model.faces, values, known)
        painted, _ = at_texels(ctx, model.uv, model.uv_faces, values[model.source], texture.shape[0])
        texture = torch.where(seen[..., None], texture, painted)
    return fill_gaps(texture, model.covered)


def _at_vertices(
    model: Textured, texture: torch.Tensor, seen: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Of a texture ``[S, S, C]`` whose texels count by ``seen`` ``[S, S, 1]``: which vertices are known, bool ``[V]``, and their
    values ``[V, C]``, the mean over the charts that they are in."""
    weighted = torch.cat([texture * seen, seen], dim=-1)
    found = dr.texture(weighted[None], model.uv[None, None], filter_mode="linear", boundary_mode="clamp")[
        0, 0
    ]
    total = torch.zeros(len(model.vertices), found.shape[-1], device=found.device)
    total.index_add_(0, model.source, found)
    return total[:, -1] > 0.25, total[:, :-1] / total[:, -1:].clamp_min(1e-6)


def _harmonic(faces: torch.Tensor, values: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """Values ``[V, C]`` of unknown vertices such that each is the mean of its neighbours; parts where nothing is known become the
    mean of everything."""
    import scipy.sparse as sp
    from scipy.sparse.linalg import splu

    if bool(known.all()) or not bool(known.any()):
        return values
    f, k = faces.long().cpu().numpy(), known.cpu().numpy()
    v = values.double().cpu().numpy()
    links = np.concatenate([f[:, [0, 1]], f[:, [1, 2]], f[:, [2, 0]]])
    n = len(v)
    adjacency = sp.coo_matrix(
        (np.ones(2 * len(links)), (links.T.ravel(), links[:, ::-1].T.ravel())), (n, n)
    ).tocsr()
    adjacency.data[:] = 1
    degree = np.asarray(adjacency.sum(1))[:, 0]
    # A faint pull to the mean keeps the system regular where a part has no known vertex.
    faint = 1e-6
    matrix = (sp.diags(degree + faint) - adjacency)[~k]
    right = faint * v[k].mean(axis=0) - matrix[:, k] @ v[k]
    v[~k] = splu(matrix[:, ~k].tocsc()).solve(right)
    return torch.from_numpy(v).to(values)
