"""Which texels the photographs show, and colours for those that none does."""

from __future__ import annotations

from dataclasses import replace

import scipy.sparse as sp
import torch
from scipy.sparse.linalg import splu

import diffrast.torch as dr

from ..mesh.bake_textures import fill_gaps
from ..mesh.mesh import vertex_normals
from ..mesh.topology import laplacian
from .appearance import Textured, at_texels
from .targets import Targets


def count_views(ctx: dr.RasterizeContext, model: Textured, targets: Targets) -> tuple[Textured, list[str]]:
    """The model with the number of photographs that show each texel, and colours where none does; and notes."""
    seen = views_of_texels(ctx, model, targets)
    model, unseen = replace(model, seen=seen), float((seen[model.covered] == 0).float().mean())
    note = f"no photograph shows {unseen:.1%} of the texture; colours there are those around, smoothed"
    return replace(model, texture=fill_unseen(ctx, model, model.texture)), [note] if unseen > 0.002 else []


@torch.no_grad()
def views_of_texels(ctx: dr.RasterizeContext, model: Textured, targets: Targets) -> torch.Tensor:
    """How many photographs show the middle of each texel, int32 `[S, S]`: it faces the eye, nothing lies before it, and
    the mask has it."""
    size, device = model.texture.shape[0], model.texture.device
    normals = vertex_normals(model.vertices, model.faces)
    places = torch.cat([model.vertices, normals], dim=1)[model.source]
    places, _ = at_texels(ctx, model.uv, model.uv_faces, places, size)
    position, normal = places[model.covered].split(3, dim=1)
    count = torch.zeros(len(position), dtype=torch.int32, device=device)
    for i in range(len(targets.images)):
        index = torch.tensor([i], device=device)
        rast, _ = dr.rasterize(ctx, targets.clip(model.vertices, index), model.faces, targets.resolution, grad_db=False)
        depth = torch.where(rast[..., 3] > 0, rast[..., 2], -torch.inf)[:, None]
        # The farthest around: beside an outline, and on a slope, a texel must not hide itself.
        depth = torch.nn.functional.max_pool2d(depth, 3, 1, 1)
        clip = targets.clip(position, index)[0]
        there = clip[:, :3] / clip[:, 3:]
        both = torch.cat([depth, targets.images[index][..., 3:].float().permute(0, 3, 1, 2)], dim=1)
        nearest, mask = torch.nn.functional.grid_sample(
            both, there[None, None, :, :2], mode="nearest", align_corners=False
        )[0, :, 0]
        toward = torch.nn.functional.normalize(targets.eye(i) - position, dim=1)
        count += ((there[:, 2] <= nearest + 0.01) & (mask > 0.5) & ((toward * normal).sum(1) > 0.05)).int()
    seen = torch.zeros(size, size, dtype=torch.int32, device=device)
    seen[model.covered] = count
    return seen


def fill_unseen(ctx: dr.RasterizeContext, model: Textured, texture: torch.Tensor) -> torch.Tensor:
    """The texture `[S, S, C]` with the texels that no photograph shows filled as smoothly as can be from those around
    on the surface (the harmonic function: each vertex is the mean of its neighbours), and with gaps between charts
    closed."""
    seen = model.covered if model.seen is None else model.seen > 0
    if bool(seen[model.covered].any()) and not bool(seen[model.covered].all()):
        known, values = _at_vertices(model, texture, seen[..., None].to(texture))
        values = _harmonic(model.faces, values, known)
        smooth, _ = at_texels(ctx, model.uv, model.uv_faces, values[model.source], texture.shape[0])
        texture = torch.where(seen[..., None], texture, smooth)
    return fill_gaps(texture, model.covered)


def _at_vertices(model: Textured, texture: torch.Tensor, seen: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Of a texture `[S, S, C]` whose texels count by `seen` `[S, S, 1]`: which vertices are known, bool `[V]`,
    and their values `[V, C]`, the mean over the charts that they are in."""
    weighted = torch.cat([texture * seen, seen], dim=-1)
    found = dr.texture(weighted[None], model.uv[None, None], filter_mode="linear", boundary_mode="clamp")[0, 0]
    total = torch.zeros(len(model.vertices), found.shape[-1], device=found.device)
    total.index_add_(0, model.source, found)
    return total[:, -1] > 0.25, total[:, :-1] / total[:, -1:].clamp_min(1e-6)


def _harmonic(faces: torch.Tensor, values: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """Values `[V, C]` of unknown vertices such that each is the mean of its neighbours; parts where nothing is known
    become the mean of everything."""
    if bool(known.all()) or not bool(known.any()):
        return values
    f, k = faces.long().cpu().numpy(), known.cpu().numpy()
    v = values.double().cpu().numpy()
    # A faint pull to the mean keeps the system regular where a part has no known vertex.
    faint = 1e-6
    matrix = (laplacian(f, len(v)) + faint * sp.identity(len(v))).tocsr()[~k]
    right = faint * v[k].mean(axis=0) - matrix[:, k] @ v[k]
    v[~k] = splu(matrix[:, ~k].tocsc()).solve(right)
    return torch.from_numpy(v).to(values)
