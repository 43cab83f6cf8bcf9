"""Which texels the photographs show, and colours for those that none does."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

import diffrast.torch as dr

from .appearance import Textured, at_texels, fill_gaps
from .portraits import coverage

if TYPE_CHECKING:
    from .state import State


def count_views(state: State) -> None:
    """Ends a stage that made ``state.model``: counts the photographs that show each texel, and fills those that none does."""
    assert state.model is not None
    views = state.targets(0).calibration.apply(state.used)
    seen, _ = coverage(state.ctx, state.model, views, len(state.model.texture))
    model = replace(state.model, seen=seen)
    state.model = replace(model, texture=fill_unseen(state.ctx, model, model.texture))
    unseen = float((seen[model.covered] == 0).float().mean())
    if unseen > 0.002:
        state.notes.append(
            f"no photograph shows {unseen:.1%} of the texture; colours there are those around, smoothed"
        )


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
