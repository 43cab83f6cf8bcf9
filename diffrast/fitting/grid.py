"""A start whose topology is optimized: a deformable grid of tetrahedra (Shen et al. 2021, "Deep Marching Tetrahedra").

Each point of a coarse lattice has a value, positive inside, an offset of less than half a cell, and a colour; marching
tetrahedra makes the mesh, and its image is compared with the photographs. Surfaces that meet join, thin ones tear, so
that handles and holes come and go as the photographs ask (section 3.1). Values of neighbours with different signs cost
their binary cross entropy (Munkberg et al. 2022, "Extracting Triangular 3D Models, Materials, and Lighting From
Images", eq. 2), and all values what they differ from the mean of their neighbours: without that, values where no
image pulls wander about zero, and the surface fills with holes.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

import diffrast.torch as dr

from ..mesh.mesh import Mesh
from ..mesh.tets import marching_tets, tet_lattice
from ..scene.passes import finish
from .geometry import Shape
from .loop import Batches, Run, cosine, optimize
from .targets import BACKGROUND, Targets

# Learning rates of Adam at the start, all of which fall to a tenth: of values, which are about -1 .. 1, of offsets in
# cells, and of colours in display values.
RATES = {"values": 0.03, "offsets": 0.02, "colors": 0.05}
# Weights: of the cross entropy, of values that change unevenly, and of values that cover background.
COHERENCE, ROUGHNESS, CARVE = 0.02, 1.0, 1.0


class Grid:
    """The lattice over `box` `[2, 3]` with `resolution` cells along its longest side, and one ring of cells
    around it where all values stay negative, so that every surface is closed."""

    def __init__(self, box: np.ndarray, resolution: int) -> None:
        self.step = float((box[1] - box[0]).max()) / resolution
        cells = np.ceil((box[1] - box[0]) / self.step - 1e-6).astype(int) + 2
        self.shape: tuple[int, int, int] = tuple(int(n) + 1 for n in cells)  # type: ignore[assignment]
        index, self.tets = tet_lattice(self.shape)
        origin = torch.from_numpy(box.mean(axis=0) - 0.5 * self.step * cells)
        self.points = (origin + self.step * index).float()
        self.rim = ((index == 0) | (index == torch.tensor(self.shape) - 1)).any(dim=1)
        pairs = torch.cat([self.tets[:, [a, b]] for a, b in ((0, 1), (1, 2), (2, 3), (0, 2), (1, 3), (0, 3))])
        key = torch.unique(pairs.amin(1) * len(index) + pairs.amax(1))
        self.edges = torch.stack([key // len(index), key % len(index)], dim=1)
        self.degree = torch.bincount(self.edges.reshape(-1), minlength=len(index))

    def to(self, device: torch.device) -> Grid:
        """The same, with its tensors on `device`."""
        for name in ("tets", "points", "rim", "edges", "degree"):
            setattr(self, name, getattr(self, name).to(device))
        return self

    def surface(self, values: torch.Tensor, offsets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """`vertices`, `faces` and, between which points they lie, `ends`, of values `[N]` and offsets `[N, 3]` of any
        size: they are bounded to 0.35 cells, half the least height of a tetrahedron, so that none turns inside out."""
        moved = self.points + 0.35 / 3**0.5 * self.step * torch.tanh(offsets)
        return marching_tets(moved, torch.where(self.rim, -1.0, values), self.tets)

    def coherence(self, values: torch.Tensor) -> torch.Tensor:
        """The mean cross entropy of each value's logistic with the sign of its neighbour, over edges whose signs
        differ."""
        a, b = values[self.edges].unbind(1)
        differ = (a > 0) != (b > 0)
        a, b = a[differ], b[differ]
        total = binary_cross_entropy_with_logits(a, (b > 0).to(a), reduction="sum")
        total = total + binary_cross_entropy_with_logits(b, (a > 0).to(b), reduction="sum")
        return total / max(int(differ.sum()), 1)

    def roughness(self, values: torch.Tensor) -> torch.Tensor:
        """The mean squared difference of values to the mean of their neighbours': zero where they change evenly."""
        a, b = self.edges.unbind(1)
        total = torch.zeros_like(values).index_add(0, a, values[b]).index_add(0, b, values[a])
        return (values - total / self.degree).square().mean()


def fit_grid(
    ctx: dr.RasterizeContext,
    run: Run,
    grid: Grid,
    targets: Targets,
    values: torch.Tensor,
    *,
    steps: int,
    seconds: float = math.inf,
    batch: int = 4,
) -> Shape:
    """The surface of the grid, fitted from `values` `[N]` on to the targets."""
    values = values.clone().requires_grad_()
    offsets = torch.zeros_like(grid.points, requires_grad=True)
    colors = torch.full_like(grid.points, 0.5, requires_grad=True)
    groups = [{"params": [p], "first": rate} for p, rate in zip((values, offsets, colors), RATES.values(), strict=True)]
    optimizer = torch.optim.Adam(groups, betas=(0.9, 0.99), eps=1e-6)
    batches = Batches(len(targets.images), batch, run.generator)

    def step(t: float) -> torch.Tensor:
        for group in optimizer.param_groups:
            group["lr"] = group["first"] * cosine(t, 1.0, 0.1)
        index = next(batches)
        v, f, ends = grid.surface(values, offsets)
        if len(f) == 0:
            raise ValueError("init grid: the photographs left nothing of the grid; do poses and masks fit together?")
        at_vertices = torch.cat([colors[ends].mean(dim=1), values[ends].amax(dim=1, keepdim=True)], dim=1)
        clip, faces = targets.clip(v, index), f.to(torch.int32)
        rast, _ = dr.rasterize(ctx, clip, faces, targets.resolution, grad_db=False)
        attributes, _ = dr.interpolate(at_vertices, rast, faces)
        image = finish(attributes[..., :3], rast, clip, faces, BACKGROUND)
        residual = targets.residual(image, index)
        # Away from outlines coverage has no gradient: where background is covered, the values inside behind it are to
        # fall.
        wrong = (residual[..., 3].detach() > 0.95) & (rast[..., 3] > 0)
        loss = 4 * residual.abs().mean()
        loss = loss + CARVE * (wrong * attributes[..., 3]).mean()
        loss = loss + COHERENCE * grid.coherence(values) + ROUGHNESS * grid.roughness(values)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            values.clamp_(-1, 1)
        if run.viewer:
            run.viewer.step(
                loss=float(loss.detach()), mesh=lambda: Mesh(v.detach(), faces), until=lambda: run.stop.requested
            )
        return loss.detach()

    optimize(run, step, {}, steps, seconds)
    with torch.no_grad():
        v, f, ends = grid.surface(values, offsets)
        return Shape(v, f.to(torch.int32), colors[ends].mean(dim=1).clamp(0, 1))
