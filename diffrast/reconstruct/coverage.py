"""Which texels the photographs show, and colours for those that none does."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

import diffrast.torch as dr

from .appearance import MIP_LEVELS, Textured, at_texels, fill_gaps
from .targets import Targets

if TYPE_CHECKING:
    from .state import State


def count_views(state: State) -> None:
    """Ends a stage that made ``state.model``: counts the photographs that show each texel, and fills those that none does."""
    assert state.model is not None
    model = replace(state.model, seen=views_of_texels(state.ctx, state.model, state.targets(0)))
    state.model = replace(model, texture=fill_unseen(state.ctx, model, model.texture))
    unseen = float((model.seen[model.covered] == 0).float().mean())
    if unseen > 0.002:
        state.notes.append(
            f"no photograph shows {unseen:.1%} of the texture; colours there are those around, smoothed"
        )


def views_of_texels(ctx, model: Textured, targets: Targets) -> torch.Tensor:
    """In how many pictures each texel has a part, int32 ``[S, S]``: the gradient of a picture to its texture is the texels'
    weights in it. Pixels outside of the mask show something else."""
    size = model.texture.shape[0]
    count = torch.zeros(size, size, dtype=torch.int32, device=model.texture.device)
    for i in range(len(targets.images)):
        index = torch.tensor([i], device=count.device)
        with torch.no_grad():
            rast, rast_db = dr.rasterize(
                ctx, targets.clip(model.vertices, index), model.faces, targets.resolution
            )
            uv, uv_da = dr.interpolate(model.uv, rast, model.uv_faces, rast_db=rast_db, diff_attrs="all")
            shown = ((rast[..., 3:] > 0) & (targets.images[index][..., 3:] > 0.5)).float()
        texels = torch.zeros(1, size, size, 1, device=count.device, requires_grad=True)
        color = dr.texture(texels, uv, uv_da, filter_mode="linear-mipmap-linear", boundary_mode="clamp",
                           max_mip_level=MIP_LEVELS)  # fmt: skip
        (weights,) = torch.autograd.grad((color * shown).sum(), texels)
        count += (weights[0, ..., 0] > 1e-3).int()
    return count


def fill_unseen(ctx, model: Textured, texture: torch.Tensor) -> torch.Tensor:
    """The texture ``[S, S, C]`` with the texels that no picture shows filled as smoothly as can be from those around on the
    surface (the harmonic function: each vertex is the mean of its neighbours), and with gaps between charts closed."""
    seen = model.seen > 0
    if bool(seen[model.covered].any()) and not bool(seen[model.covered].all()):
        known, values = _at_vertices(model, torch.cat([texture, seen[..., None].to(texture)], dim=-1))
        values = _harmonic(model.faces, values, known)
        painted, _ = at_texels(ctx, model.uv, model.uv_faces, values[model.source], texture.shape[0])
        texture = torch.where(seen[..., None], texture, painted)
    return fill_gaps(texture, model.covered)


def _at_vertices(model: Textured, texture: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Of a texture ``[S, S, C + 1]`` with a last channel that is 1 where it is known: which vertices are known, bool ``[V]``, and
    their values ``[V, C]``, the mean over the charts that they are in."""
    found = dr.texture(texture[None], model.uv[None, None], filter_mode="linear", boundary_mode="clamp")[0, 0]
    weight = (found[:, -1:] > 0.5).to(found)
    total = torch.zeros(len(model.vertices), texture.shape[-1], device=found.device)
    total.index_add_(0, model.source, torch.cat([found[:, :-1] * weight, weight], dim=1))
    return total[:, -1] > 0, total[:, :-1] / total[:, -1:].clamp_min(1)


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
