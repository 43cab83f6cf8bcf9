"""What there is to see: a mesh, a picture, photographs with their cameras. Replaced as a whole, never changed."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

import diffrast.torch as dr

from ..mesh.mesh import Mesh
from ..scene.colormap import heat, signed_colors
from .channels import BACKGROUNDS, Choice, ViewOptions, draw
from .channels import CHANNELS as SURFACES
from .drawable import Drawable, Environment, copy_mesh, prepared
from .orbit import Pose, fitting
from .photographs import InputView, checked_image, input_view, inside, letterbox

PICTURES = {
    "image": Choice("Image", "image", image=True),
    "pixels": Choice(
        "Pixel gradient",
        "image_gradient",
        "Made brighter, red raises the loss, blue lowers it. Full colour: {scale:.2g}.",
        image=True,
    ),
    "error": Choice(
        "Error heat map",
        "views",
        "The difference to the photograph looked through: none is black, one half or more white.",
    ),
}
CHANNELS: dict[str, Choice] = {**SURFACES, **PICTURES}


@dataclass(frozen=True)
class Shown:
    """`version` grows with each change. `image` holds display values `[H, W, C]`; `gradient` `[V, 3]` is that of a loss
    by the mesh's vertices, `image_gradient` `[H, W, 1]` by a picture's brightness, `coverage` `[Ht, Wt]` the weight
    with which each texel has been learned, `environment` what lights the object."""

    mesh: Mesh | None = None
    image: Tensor | None = None
    views: tuple[InputView, ...] = ()
    gradient: Tensor | None = None
    image_gradient: Tensor | None = None
    coverage: Tensor | None = None
    environment: Environment | None = None
    scales: dict[str, float] = field(default_factory=dict)  # what gets the full colour of a gradient
    version: int = 0
    up: str = "y"
    up_given: bool = True  # otherwise photographs decide: they are mostly taken upright
    _cache: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def changed(self, mesh: Mesh | None = None, **values: Any) -> Shown:
        """A scene with copies of what is given, by the names above, and the rest as it was. What belonged to another
        mesh goes with it."""
        given = {name: value for name, value in {"mesh": mesh, **values}.items() if value is not None}
        new: dict[str, Any] = {"version": self.version + 1, "_cache": {}}
        if mesh is not None:
            own = new["mesh"] = copy_mesh(mesh)
            if self.mesh is not None and own.texture is None and own.uv is not None and not own.materials:
                own.texture = self.mesh.texture
            new |= {"gradient": None, "coverage": None}
        elif given.keys() <= {"image", "image_gradient", "views"}:
            new["_cache"] = self._cache
        if "gradient" in given:
            new["gradient"] = _checked_gradient(given["gradient"], new.get("mesh", self.mesh))
        new |= {name: check(given[name]) for name, check in CHECKS.items() if name in given}
        new["scales"] = self.scales | {name: typical(new[name].norm(dim=-1)) for name in GRADIENTS & given.keys()}
        if "views" in given and not self.up_given and new["views"]:
            ups = torch.stack([v.camera.world_to_camera[1, :3] for v in new["views"]]).mean(dim=0)
            new["up"] = "z" if abs(float(ups[2])) > abs(float(ups[1])) else "y"
        return replace(self, **new)

    def channels(self, promised: Collection[str] = ()) -> list[list[str]]:
        """Name, label and legend of what there is to choose; `promised` are fields that will be there when asked
        for."""
        return [
            [name, c.label, c.legend.format(scale=self.scales.get(c.needs, 0.0))]
            for name, c in CHANNELS.items()
            if not c.needs or c.needs in promised or self._has(c.needs)
        ]

    def _has(self, name: str) -> bool:
        value = getattr(self, name)
        return value is not None and len(value) > 0

    @property
    def drawable(self) -> Drawable | None:
        """Prepared when first asked for, on the thread that draws."""
        if self.mesh is not None and "drawable" not in self._cache:
            self._cache["drawable"] = Drawable(
                self.mesh, self.gradient, self.coverage, self.environment, self.scales.get("gradient", 0.0)
            )
        return self._cache.get("drawable")

    def fitting_pose(self) -> Pose:
        if self.mesh is None:
            return Pose()
        v = self.mesh.vertices[self.mesh.vertices.isfinite().all(dim=1)]
        return fitting([v.amin(0).tolist(), v.amax(0).tolist()]) if len(v) else Pose()

    def picture(
        self, ctx: dr.RasterizeContext, pose: Pose, options: ViewOptions, width: int, height: int, smooth: bool = True
    ) -> Tensor:
        """Display values `[height, width, 3]`, row 0 at the bottom: what a page with these settings shows."""
        around = BACKGROUNDS[options.theme]
        if self.image is not None and (options.channel == "image" or self.drawable is None):
            return letterbox(self.image, width, height, around)
        if self.image_gradient is not None and options.channel == "pixels":
            picture = signed_colors(self.image_gradient[..., 0], self.scales["image_gradient"], 0.5)
            return letterbox(picture, width, height, around)
        if self.drawable is None:
            return torch.tensor(around).expand(height, width, 3)
        if options.view < 0 or options.view >= len(self.views):
            camera = pose.camera(width, height, self.up)
            return draw(ctx, self.drawable, camera, self._surface(options), self.up, smooth)
        return self._through(ctx, self.views[options.view], options, width, height, smooth)

    def _surface(self, options: ViewOptions) -> ViewOptions:
        """A channel that the mesh can show: matcap where the chosen one's values are not there yet."""
        channel = SURFACES.get(options.channel)
        if channel is None:
            return replace(options, channel="shaded")
        return options if not channel.needs or self._has(channel.needs) else replace(options, channel="matcap")

    def _through(self, ctx, view: InputView, options: ViewOptions, width: int, height: int, smooth: bool) -> Tensor:
        """The scene as an input view sees it, with its photograph over it or the difference of the two."""
        assert self.drawable is not None
        w, h = inside(view.camera.width, view.camera.height, width, height)
        picture = draw(ctx, self.drawable, view.camera.resized(w, h), self._surface(options), self.up, smooth)
        around = BACKGROUNDS[options.theme]
        if options.opacity or options.channel == "error":
            photograph = letterbox(self._loaded(view).to(picture.device), w, h, around)
            if options.channel == "error":
                picture = heat(picture, photograph)
            picture = torch.lerp(picture, photograph, options.opacity)
        return letterbox(picture, width, height, around)

    def _loaded(self, view: InputView) -> Tensor:
        """The picture of the view that was looked through last is kept."""
        if self._cache.get("view") is not view:
            self._cache.update(view=view, photograph=view.load())
        return self._cache["photograph"]


def _checked_gradient(gradient: Tensor, mesh: Mesh | None) -> Tensor:
    if mesh is None or not isinstance(gradient, Tensor) or gradient.shape != mesh.vertices.shape:
        wanted = "a mesh to belong to" if mesh is None else f"to be [V, 3] with V={len(mesh.vertices)} (from mesh)"
        raise ValueError(f"Viewer: gradient needs {wanted}; got {_shape(gradient)}")
    return _copied(gradient)


def _checked_image_gradient(gradient: Tensor) -> Tensor:
    """The sum over channels, `[H, W, 1]`; of several pictures side by side."""
    shape = _shape(gradient)
    if isinstance(gradient, Tensor) and gradient.ndim == 4 and len(gradient):
        gradient = torch.cat(list(gradient), dim=1)
    if not isinstance(gradient, Tensor) or gradient.ndim != 3 or 0 in gradient.shape:
        raise ValueError(f"Viewer: image_gradient must be [H, W, C] or [B, H, W, C]; got {shape}")
    return _copied(gradient).sum(-1, keepdim=True)


def _checked_coverage(coverage: Tensor) -> Tensor:
    if not isinstance(coverage, Tensor) or coverage.ndim != 2 or 0 in coverage.shape:
        raise ValueError(f"Viewer: coverage must be [H, W], a weight for each texel; got {_shape(coverage)}")
    return _copied(coverage).clamp_min(0)


def _checked_environment(picture: Tensor) -> Environment:
    if not isinstance(picture, Tensor) or picture.ndim != 3 or picture.shape[2] != 3 or 0 in picture.shape:
        raise ValueError(f"Viewer: environment must be linear [H, W, 3], longitude by latitude; got {_shape(picture)}")
    return prepared(_copied(picture).clamp_min(0))


def typical(values: Tensor) -> float:
    """Three times the root mean square of the values that are not 0; 0 if there are none."""
    values = values[values != 0]
    return 3 * float(values.square().mean().sqrt()) if len(values) else 0.0


def _copied(x: Tensor) -> Tensor:
    return x.detach().to(torch.float32, copy=True).nan_to_num(0.0, 0.0, 0.0)


def _shape(x: Any) -> str:
    return str(list(x.shape)) if isinstance(x, Tensor) else type(x).__name__


GRADIENTS = {"gradient", "image_gradient"}
CHECKS: dict[str, Callable[[Any], Any]] = {
    "image": checked_image,
    "views": lambda views: tuple(map(input_view, views)),
    "image_gradient": _checked_image_gradient,
    "coverage": _checked_coverage,
    "environment": _checked_environment,
}
