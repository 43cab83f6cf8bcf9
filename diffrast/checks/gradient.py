"""`diffrast.lens(loss)`: at which pixels and vertices the gradient of a loss comes in, and whether it is right."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

import diffrast.torch as dr

from ..io.image import linear_to_srgb, save_image
from ..mesh.mesh import vertex_normals
from ..ops.registration import saved
from ..scene.colormap import signed_colors

Node = Any  # torch's graph nodes have no common public type


def lens(loss: Tensor, *, image: Tensor | None = None, vertices: Tensor | None = None) -> Lens:
    """Looks at the gradient of a loss. Call it before `backward()`; the graph stays usable.

    Args:
        loss: a scalar made from a picture that went through `antialias`.
        image: the picture, a tensor on the way to the loss `[B, H, W, C]`; None: what the last `antialias` returned.
        vertices: the positions, a tensor on the way to the picture `[V, 3]`; None: the only leaf of this shape behind
            the picture, or, where there is none, the clip-space positions that antialias got.

    Returns:
        A `Lens`: `.image`, `.vertices`, `.pictures()`, `.save(path)`, `.compare(...)`.

    Raises:
        TypeError: not a tensor.
        ValueError: loss is not one number, no `antialias` lies on the way to it, or the graph has been freed.
    """
    if not isinstance(loss, Tensor):
        raise TypeError(f"lens(): loss must be a tensor; got {type(loss).__name__}")
    if loss.numel() != 1 or loss.grad_fn is None:
        raise ValueError(
            f"lens(): loss must be one number that requires a gradient; got {list(loss.shape)}, "
            f"requires_grad={loss.requires_grad}"
        )
    nodes = _behind((loss if image is None else image).grad_fn)
    drawn = next((n for n in nodes if "diffrast_antialias" in n.name()), None)
    if drawn is None:
        raise ValueError(
            "lens(): the picture must come from antialias(color, rast, pos, tri); found no such call behind it"
        )
    try:
        given = saved(drawn)
    except RuntimeError as error:
        raise ValueError("lens(): the graph has been freed; call lens before backward()") from error
    color, pos = given.color, given.pos
    points = vertices
    if points is None:
        leaves = [n.variable for n in nodes if hasattr(n, "variable")]
        fitting = [v for v in leaves if v.dim() == 2 and v.shape == (pos.shape[-2], 3)]
        points = fitting[0] if len(fitting) == 1 else pos
    elif points.shape != (pos.shape[-2], 3):
        raise ValueError(
            f"lens(): vertices must be [V, 3] with V={pos.shape[-2]} (from antialias's pos); got {list(points.shape)}"
        )
    # The gradient of the picture passes through the node that made it.
    kept: list[Tensor] = []
    hook = None if image is not None else drawn.register_prehook(lambda grads: kept.append(grads[0]))
    try:
        inputs = [t for t in (image, points, color) if t is not None and t.requires_grad]
        found = torch.autograd.grad(loss, inputs, retain_graph=True, allow_unused=True)
    finally:
        if hook is not None:
            hook.remove()
    gradient = {id(t): g for t, g in zip(inputs, found, strict=True) if g is not None}
    pixels = gradient[id(image)] if image is not None else kept[0]
    moved = gradient.get(id(points), torch.zeros_like(points))
    moved, at = (t.detach()[..., :3].reshape(-1, pos.shape[-2], 3) for t in (moved, points))
    shown = color if image is None else image
    return Lens(loss, pixels.detach(), moved.sum(0), shown.detach(), at[0], given.rast.detach(), given.tri)


def _behind(root: Node) -> list[Node]:
    """All nodes that a node depends on, the nearest first."""
    nodes, seen = [root], {root}
    for node in nodes:
        for source, _ in node.next_functions:
            if source is not None and source not in seen:
                seen.add(source)
                nodes.append(source)
    return nodes


@dataclass(frozen=True)
class Lens:
    """The gradient of a loss, by pixel and by vertex. Made by `diffrast.lens`.

    image: the derivative of the loss by each value of the picture.
    vertices: its derivative by each position, summed over the batch.
    picture: the values themselves (before antialiasing, unless `image` was given).
    points: the positions themselves. rast, tri: what was drawn.
    """

    loss: Tensor
    image: Float[Tensor, "B H W C"]
    vertices: Float[Tensor, "V 3"]
    picture: Float[Tensor, "B H W D"]
    points: Float[Tensor, "V 3"]
    rast: Float[Tensor, "B H W 4"]
    tri: Int[Tensor, "F 3"]

    def pictures(self, view: int = 0) -> dict[str, Float[Tensor, "H W 3"]]:
        """Signed colour maps of one image of the batch, `[H, W, 3]` in display values from 0 to 1, row 0 at the bottom.

        "image": the sum over the channels; red where more light raises the loss, blue where it lowers it. "vertices":
        along the surface's normal, interpolated over it; red where growing outwards raises the loss, so that descent
        pushes in.
        White: zero. The scale is the 99.5th percentile of the absolute values.
        """
        along = (self.vertices * vertex_normals(self.points, self.tri)).sum(-1, keepdim=True)
        corners = along[self.tri.long()].squeeze(-1)  # [F, 3]
        rast = self.rast[view]
        seen = corners[dr.triangle_id(rast).clamp(min=0)]
        u, v = rast[..., 0], rast[..., 1]
        surface = (seen * torch.stack([u, v, 1 - u - v], -1)).sum(-1) * (rast[..., 3] > 0)
        return {"image": signed_colors(self.image[view].sum(-1)), "vertices": signed_colors(surface)}

    def save(self, path: str | os.PathLike, view: int = 0) -> None:
        """Writes what was drawn, the gradient by pixel and the gradient by vertex side by side; makes the folder."""
        drawn = self.picture[view][..., :3].float()
        drawn = linear_to_srgb(drawn if drawn.shape[-1] == 3 else drawn[..., :1].expand(-1, -1, 3))
        parts = [drawn.clamp(0, 1), *(p.float() for p in self.pictures(view).values())]
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        save_image(path, torch.cat(parts, 1).cpu(), linear=False)

    def compare(
        self,
        function: Callable[[], Tensor],
        parameters: Mapping[str, Tensor],
        *,
        count: int = 8,
        step: float = 1e-3,
        elements: Mapping[str, Sequence[tuple[int, ...]]] | None = None,
        seed: int = 0,
    ) -> Comparison:
        """The gradient beside central differences: is it right?

        Args:
            function: draws again and returns the loss, with the parameters as they are then. A picture of one sample
                per pixel has steps; for the truth return the loss of one with many (`samples=8`, or drawn large and
                averaged).
            parameters: by name, the leaf tensors (they require gradients) to move. Their values are put back.
            count: how many elements of each: half of them those of the largest gradients, the others at random by
                `seed`.
            step: how far to move. Each difference is taken with the whole and with half of it; `noise` is what they
                differ by.
            elements: names to the indices of the elements to look at, instead of `count`.

        Returns:
            A `Comparison`; print it.
        """
        names, tensors = list(parameters), list(parameters.values())
        for name, tensor in parameters.items():
            if not (tensor.is_leaf and tensor.requires_grad):
                raise ValueError(f"lens.compare(): parameter {name!r} must be a leaf that requires a gradient")
        gradients = torch.autograd.grad(self.loss, tensors, retain_graph=True, allow_unused=True)
        rows = []
        for name, tensor, gradient in zip(names, tensors, gradients, strict=True):
            gradient = torch.zeros_like(tensor) if gradient is None else gradient
            for index in (elements or {}).get(name) or _chosen(gradient, count, seed):
                whole, half = (_difference(function, tensor, index, s) for s in (step, step / 2))
                label = f"{name}[{', '.join(map(str, index))}]" if index else name
                rows.append(ComparisonRow(name, label, float(gradient[index]), half, abs(whole - half)))
        return Comparison(rows)


@dataclass(frozen=True)
class ComparisonRow:
    """One element of a parameter: its gradient, the central difference, and how far two differences disagree."""

    parameter: str
    element: str
    gradient: float
    difference: float
    noise: float

    @property
    def ratio(self) -> float:
        return self.gradient / self.difference if self.difference else float("nan")


@dataclass(frozen=True)
class Comparison:
    """Gradients beside central differences; `str()` is the table."""

    rows: list[ComparisonRow]

    def _vectors(self, parameter: str | None) -> Tensor:
        rows = [r for r in self.rows if parameter in (None, r.parameter)]
        return torch.tensor([(r.gradient, r.difference, r.noise) for r in rows], dtype=torch.float64).T

    def cosine(self, parameter: str | None = None) -> float:
        """Of the angle between gradient and differences: of one parameter, or of all."""
        gradient, difference, _ = self._vectors(parameter)
        size = gradient.norm() * difference.norm()
        return float(gradient @ difference / size) if size > 0 else 0.0

    def relative(self, parameter: str | None = None) -> float:
        """|gradient - difference| / |difference|."""
        gradient, difference, _ = self._vectors(parameter)
        return float((gradient - difference).norm() / difference.norm().clamp(min=1e-300))

    def noise(self, parameter: str | None = None) -> float:
        """How far the differences disagree among themselves, relative: no error below it means anything."""
        _, difference, noise = self._vectors(parameter)
        return float(noise.norm() / difference.norm().clamp(min=1e-300))

    def __str__(self) -> str:
        width = max(len("parameter"), *(len(r.element) for r in self.rows))
        lines = [f"{'parameter':<{width}} {'gradient':>12} {'difference':>12} {'noise':>9} {'ratio':>7}"]
        for r in self.rows:
            lines.append(f"{r.element:<{width}} {r.gradient:12.4e} {r.difference:12.4e} {r.noise:9.1e} {r.ratio:7.3f}")
        for name in dict.fromkeys(r.parameter for r in self.rows):
            ratio = median([r.ratio for r in self.rows if r.parameter == name and r.difference] or [float("nan")])
            lines.append(
                f"{name}: cosine {self.cosine(name):.4f}, relative error {self.relative(name):.3f}, "
                f"noise {self.noise(name):.3f}, median ratio {ratio:.3f}"
            )
        return "\n".join(lines)


def _chosen(gradient: Tensor, count: int, seed: int) -> list[tuple[int, ...]]:
    flat = gradient.detach().abs().flatten().cpu()
    largest = flat.argsort(descending=True)[: (count + 1) // 2].tolist()
    order = torch.randperm(len(flat), generator=torch.Generator().manual_seed(seed)).tolist()
    others = [i for i in order if i not in set(largest)][: count - len(largest)]
    return [tuple(int(k) for k in torch.unravel_index(torch.tensor(i), gradient.shape)) for i in largest + others]


def _difference(function: Callable[[], Tensor], tensor: Tensor, index: tuple[int, ...], step: float) -> float:
    with torch.no_grad():
        value = tensor[index].clone()
        ends = []
        try:
            for sign in (-1, 1):
                tensor[index] = value + sign * step
                ends.append((float(function()), float(tensor[index])))
        finally:
            tensor[index] = value
    return (ends[1][0] - ends[0][0]) / (ends[1][1] - ends[0][1])
