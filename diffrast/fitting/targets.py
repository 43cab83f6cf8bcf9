"""What the optimization compares with: photographs over white, cropped to the object, at a chosen resolution."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from ..camera.camera import Camera
from ..photos.agreement import mask_rectangle
from ..photos.calibration import Calibration
from ..photos.views import View
from ..scene.passes import clip_planes, to_clip

SAMPLES = 2  # per pixel and axis, when an image is judged or shown
BACKGROUND = 1.0  # white, as the NeRF-synthetic benchmark composites


def over_white(view: View) -> torch.Tensor:
    """`[H, W, 4]`: the photograph over white, display values (blended like the benchmark does), and its mask."""
    pixels = view.load()
    assert pixels.alpha is not None
    alpha = pixels.alpha[..., None]
    return torch.cat([pixels.rgb * alpha + BACKGROUND * (1 - alpha), alpha], dim=-1)


def texture_side(views: list[View]) -> int:
    """Texels along a texture's side for about two texels a pixel of the object: a power of two, 256 to 2048."""
    pixels = float(np.mean([int((v.load_mask() > 0.5).sum()) for v in views]))
    return int(2 ** np.clip(math.ceil(math.log2(math.sqrt(8 * pixels))), 8, 11))


@dataclass
class Targets:
    """N windows of one size: `images` float16 `[N, H, W, 4]` (colour over white, mask); `weights` `[N, H, W,
    1]` in 0..1, zero where the mask is in doubt (None: one everywhere); `cameras` of the windows, their `view`
    `[N, 4, 4]` (world to camera) and `projection` `[N, 4, 4]` matrices; `unit`: pixels of the photograph per
    pixel;
    `calibration`: corrections of the cameras, refined together with the shape."""

    images: torch.Tensor
    weights: torch.Tensor | None
    cameras: list[Camera]
    view: torch.Tensor
    projection: torch.Tensor
    unit: int
    calibration: Calibration

    @property
    def resolution(self) -> tuple[int, int]:
        return self.images.shape[1], self.images.shape[2]

    def view_matrices(self, index: torch.Tensor) -> torch.Tensor:
        """World to camera `[B, 4, 4]` of an index batch, corrected. Differentiable into the calibration."""
        view = self.view[index]
        return self.calibration.motion(view, index) @ view

    def eye(self, i: int) -> torch.Tensor:
        """Where the i-th camera stands, `[3]`, corrected."""
        view = self.view_matrices(torch.tensor([i], device=self.view.device))[0]
        return -view[:3, :3].T @ view[:3, 3]

    def clip(self, vertices: torch.Tensor, index: torch.Tensor, offset: torch.Tensor | float = 0.0) -> torch.Tensor:
        """Vertices `[V, 3]` in the clip space of an index batch, `[B, V, 4]`. Differentiable, into the calibration
        too. `offset` `[B, 2]`, in pixels of the targets: moves the images, so that pixels are sampled elsewhere than in
        their middle."""
        c, projection = self.calibration, self.projection[index]
        focal = torch.nn.functional.pad(c.focal.exp().expand(2, 2), (0, 2, 0, 2), value=1.0)
        height, width = self.resolution
        shift = (c.shift[index] / self.unit + offset) * c.shift.new_tensor([2 / width, 2 / height])
        matrices = projection * focal @ self.view_matrices(index)
        clip = to_clip(vertices, matrices)
        return torch.cat([clip[..., :2] + shift[:, None] * clip[..., 3:], clip[..., 2:]], dim=-1)

    def residual(self, rendered: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        """Weighted differences `[B, H, W, 4]` of rendered images to the targets of an index batch."""
        difference = self.calibration.expose(rendered, index, BACKGROUND) - self.images[index]
        return difference if self.weights is None else difference * self.weights[index]

    def loss(self, rendered: torch.Tensor, index: torch.Tensor, squared: bool) -> tuple[torch.Tensor, torch.Tensor]:
        """The mean of the absolute, or squared, weighted differences of an index batch, and the mean square of those of
        colour, which is not differentiable. Where the mask has nothing of the object only coverage is compared: a
        surface that has yet to leave, or lies in a shadow that the mask lacks, does not turn white."""
        shown = self.calibration.expose(rendered, index, BACKGROUND)
        weights = None if self.weights is None else self.weights[index]
        return _Mean.apply(shown, self.images[index], weights, squared)  # type: ignore[return-value]


class _Mean(torch.autograd.Function):
    """See `Targets.loss`. A step's time is the traffic of images through memory: this takes half of what autograd
    would."""

    @staticmethod
    def forward(ctx, rendered, images, weights, squared):
        difference, scale = rendered - images, 1 / rendered.numel()
        if weights is not None:
            difference *= weights
        difference[..., :3] *= images[..., 3:] > 0
        error = difference[..., :3].square().mean()
        if squared:
            loss, gradient = difference.square().sum() * scale, difference.mul_(2 * scale)
        else:
            loss, gradient = difference.abs().sum() * scale, difference.sign_().mul_(scale)
        if weights is not None:
            gradient *= weights
        ctx.save_for_backward(gradient)
        ctx.mark_non_differentiable(error)
        return loss, error

    @staticmethod
    def backward(ctx, *gradients):
        return gradients[0] * ctx.saved_tensors[0], None, None, None


def make_targets(
    views: list[View], box: np.ndarray, level: int, device: torch.device, calibration: Calibration | None = None
) -> Targets:
    """Windows around the object in every view, all of the largest needed size; `level` halves the resolution.

    Windows stay inside their photographs: beyond its border nothing is known.
    """
    height, width = views[0].shape
    unit = 1 << level
    left, bottom, right, top = np.array([mask_rectangle(v) for v in views]).T
    margin = 6 + 0.05 * max((right - left).max(), (top - bottom).max())
    w = _window((right - left).max() + 2 * margin, width, unit)
    h = _window((top - bottom).max() + 2 * margin, height, unit)
    small = (len(views), h // unit, w // unit)
    # Half precision, 11 bits, keeps what 8-bit photographs hold; all views together are what takes the memory.
    images = torch.empty(*small, 4, dtype=torch.float16, device=device)
    sure = all(v.load_doubt() is None for v in views)
    weights = None if sure else torch.empty(*small, 1, dtype=torch.float16, device=device)
    cameras = []
    for i, (view, x, y) in enumerate(zip(views, (left + right - w) // 2, (bottom + top - h) // 2, strict=True)):
        x, y = int(np.clip(x, 0, width - w)), int(np.clip(y, 0, height - h))
        doubt = view.load_doubt()
        weight = torch.ones(height, width) if doubt is None else 1 - doubt.float()
        window = torch.cat([over_white(view), weight[..., None]], dim=-1)[y : y + h, x : x + w]
        pooled = torch.nn.functional.avg_pool2d(window.permute(2, 0, 1)[None], unit)[0].permute(1, 2, 0)
        images[i] = pooled[..., :4].to(device)
        if weights is not None:
            weights[i] = pooled[..., 4:].to(device)
        cameras.append(view.camera.crop(x, y, w, h).resized(w // unit, h // unit))
    space = torch.from_numpy(box + 0.25 * (box - box.mean(axis=0)))  # cameras and shape may move
    projections = [c.projection(*clip_planes(c, space)) for c in cameras]
    return Targets(
        images,
        weights,
        cameras,
        torch.stack([c.world_to_camera for c in cameras]).float().to(device),
        torch.stack(projections).float().to(device),
        unit,
        Calibration.none(len(views), torch.from_numpy(box), device) if calibration is None else calibration,
    )


def _window(wanted: float, available: int, unit: int) -> int:
    return int(min(np.ceil(wanted / unit), available // unit)) * unit
