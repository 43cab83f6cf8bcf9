"""A mesh of which some tensors are optimized."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace

import torch

from ..mesh.mesh import Mesh
from .largesteps import LargeSteps

PARTS = ("vertices", "uv", "normal", "colors", "texture")


class MeshParameters(torch.nn.Module):
    """Tensors of a mesh as parameters; calling it gives the `Mesh`, with gradients to them.

    Args:
        mesh: the initial mesh; its other tensors become buffers, so that `.to(device)` moves everything.
        optimize: names among `PARTS`; the mesh must have them.
        smoothness: above 0, the vertices are parameterized by Large Steps (`LargeSteps`), whose lambda this is; the
            parameter is then called `smooth_vertices`. Use it with `AdamUniform`.
    """

    def __init__(self, mesh: Mesh, optimize: Sequence[str] = ("vertices",), *, smoothness: float = 0.0) -> None:
        super().__init__()
        unknown = set(optimize) - set(PARTS)
        if unknown:
            raise ValueError(f"MeshParameters(): optimize must name some of {', '.join(PARTS)}; got {sorted(unknown)}")
        self._steps: LargeSteps | None = None
        self._names: dict[str, str] = {}  # field of the mesh -> name here
        for f in fields(Mesh):
            value = getattr(mesh, f.name)
            if f.name in optimize and value is None:
                raise ValueError(f"MeshParameters(): the mesh has no {f.name} to optimize")
            if not isinstance(value, torch.Tensor):
                continue
            name = f.name
            value = value.detach().clone()
            if f.name == "vertices" and f.name in optimize and smoothness > 0:
                self._steps = LargeSteps(mesh.faces, len(value), smoothness)
                name, value = "smooth_vertices", self._steps.from_vertices(value)
            self._names[f.name] = name
            if f.name in optimize:
                self.register_parameter(name, torch.nn.Parameter(value))
            else:
                self.register_buffer(name, value)
        self._materials = list(mesh.materials)

    def forward(self) -> Mesh:
        """The mesh as it is now. Differentiable into the parameters."""
        now = {field: getattr(self, name) for field, name in self._names.items()}
        if self._steps is not None:
            now["vertices"] = self._steps.to_vertices(now["vertices"])
        return replace(Mesh(now["vertices"], now["faces"]), **now, materials=self._materials)
