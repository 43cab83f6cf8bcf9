"""What there is to see: a mesh, a picture, photographs with their cameras. Replaced as a whole, never changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

import diffrast.torch as dr

from ..scene.camera import Camera
from ..scene.mesh import Mesh
from .camera import Pose, fitting
from .channels import BACKGROUNDS, CHANNELS, Options, draw
from .model import Model, copy_mesh


@dataclass(frozen=True)
class Photograph:
    """An input view: its camera and what it should show, display values ``[H, W, 3]`` or ``[H, W, 4]`` with coverage."""

    camera: Camera
    image: torch.Tensor
    name: str = ""


@dataclass(frozen=True)
class Scene:
    """``version`` grows with each change; ``image`` holds display values ``[H, W, C]``."""

    mesh: Mesh | None = None
    image: torch.Tensor | None = None
    views: tuple[Photograph, ...] = ()
    version: int = 0
    up: str = "y"
    up_given: bool = True  # otherwise photographs decide: they are mostly taken upright
    _cache: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def changed(self, mesh: Mesh | None = None, image: torch.Tensor | None = None,
                views: Sequence[Any] | None = None) -> Scene:  # fmt: skip
        """A scene with copies of what is given, and the rest as it was."""
        new: dict[str, Any] = {"version": self.version + 1, "_cache": {}}
        if mesh is not None:
            new["mesh"] = copy_mesh(mesh)
            if self.mesh is not None and mesh.texture is None and mesh.uv is not None:
                new["mesh"].texture = self.mesh.texture
        else:
            new["_cache"] = self._cache
        if image is not None:
            new["image"] = _checked_image(image)
        if views is not None:
            new["views"] = tuple(_photograph(v) for v in views)
            if not self.up_given and views:
                ups = torch.stack([v.camera.world_to_camera[1, :3] for v in new["views"]]).mean(dim=0)
                new["up"] = "z" if abs(float(ups[2])) > abs(float(ups[1])) else "y"
        return replace(self, **new)

    @property
    def model(self) -> Model | None:
        """Prepared when first asked for, on the thread that draws."""
        if self.mesh is not None and "model" not in self._cache:
            self._cache["model"] = Model(self.mesh)
        return self._cache.get("model")

    def fitting_pose(self) -> Pose:
        if self.mesh is None:
            return Pose()
        v = self.mesh.vertices[self.mesh.vertices.isfinite().all(dim=1)]
        return fitting([v.amin(0).tolist(), v.amax(0).tolist()]) if len(v) else Pose()

    def picture(self, ctx: dr.RasterizeContext, pose: Pose, options: Options, width: int, height: int,
                smooth: bool = True) -> torch.Tensor:  # fmt: skip
        """Display values ``[height, width, 3]``, row 0 at the bottom: what a page with these settings shows."""
        around = BACKGROUNDS[options.theme]
        if self.image is not None and (options.channel == "image" or self.model is None):
            return letterbox(self.image, width, height, around)
        if self.model is None:
            return torch.tensor(around).expand(height, width, 3)
        if options.view < 0 or options.view >= len(self.views):
            look = options if options.channel in CHANNELS else replace(options, channel="shaded")
            return draw(ctx, self.model, pose.camera(width, height, self.up), look, self.up, smooth)
        return self._through(ctx, self.views[options.view], options, width, height, smooth)

    def _through(
        self, ctx, view: Photograph, options: Options, width: int, height: int, smooth: bool
    ) -> torch.Tensor:
        """The scene as an input view sees it, with its photograph over it or the difference of the two."""
        assert self.model is not None
        w, h = _inside(view.camera.width, view.camera.height, width, height)
        look = options if options.channel in CHANNELS else replace(options, channel="shaded")
        picture = draw(ctx, self.model, view.camera.resized(w, h), look, self.up, smooth)
        around = BACKGROUNDS[options.theme]
        photograph = letterbox(view.image.to(picture.device), w, h, around)
        if options.channel == "error":
            picture = heat(picture, photograph)
        picture = torch.lerp(picture, photograph, options.opacity)
        return letterbox(picture, width, height, around)


def heat(picture: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """The mean absolute difference of two pictures ``[H, W, 3]`` as a colour: black at 0, red, yellow, white from 0.5."""
    error = 2 * (picture.clamp(0, 1) - target).abs().mean(dim=-1, keepdim=True)
    return (3 * error - error.new_tensor([0.0, 1.0, 2.0])).clamp(0, 1)


def _inside(width: int, height: int, room_width: int, room_height: int) -> tuple[int, int]:
    """The largest size of the same shape that fits into the room."""
    scale = min(room_width / width, room_height / height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def letterbox(image: torch.Tensor, width: int, height: int, around: Sequence[float]) -> torch.Tensor:
    """``[H, W, 1|3|4]`` scaled to fit into ``[height, width, 3]``; alpha shows what is around."""
    background = image.new_tensor(around)
    color = image[..., :3].expand(-1, -1, 3)
    if image.shape[-1] == 4:
        color = torch.lerp(background.expand_as(color), color, image[..., 3:])
    w, h = _inside(image.shape[1], image.shape[0], width, height)
    if (h, w) != tuple(color.shape[:2]):
        nchw, shrink = color.permute(2, 0, 1)[None], h < color.shape[0]
        color = torch.nn.functional.interpolate(nchw, (h, w), mode="bilinear", antialias=shrink)[0].permute(
            1, 2, 0
        )
    picture = background.expand(height, width, 3).clone()
    y, x = (height - h) // 2, (width - w) // 2
    picture[y : y + h, x : x + w] = color
    return picture


def _photograph(view: Any) -> Photograph:
    """A photograph of our own, or a view of a data set: ``rgb`` ``[H, W, 3]`` and perhaps ``alpha`` ``[H, W]``."""
    if not isinstance(view, Photograph):
        image = view.rgb if view.alpha is None else torch.cat([view.rgb, view.alpha[..., None]], dim=-1)
        view = Photograph(view.camera, image, view.name)
    return replace(view, image=_checked_image(view.image))


def _checked_image(image: torch.Tensor) -> torch.Tensor:
    if not isinstance(image, torch.Tensor):
        raise TypeError(f"Viewer: image must be a tensor; got {type(image).__name__}")
    image = image.detach()
    if image.ndim == 4 and image.shape[0] == 1:
        image = image[0]
    if image.ndim == 2:
        image = image[..., None]
    if image.ndim != 3 or image.shape[2] not in (1, 3, 4) or 0 in image.shape:
        raise ValueError(f"Viewer: image must be [H, W, C] with C = 1, 3 or 4; got {list(image.shape)}")
    return image.to(torch.float32, copy=True).nan_to_num(0.0).clamp(0, 1)
