"""A camera whose pose and intrinsics are optimized."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ..camera.camera import Camera
from ..camera.conventions import Vector, rigid
from ..camera.lie import se3_exp

PARTS = ("pose", "focal", "principal")


class CameraParameters(torch.nn.Module):
    """Parameters of a camera; calling it gives the `Camera`, with gradients to them.

    - `pose` `[6]`: a twist (rotation vector in radians, then world units) that moves the world before the camera, about
      `pivot`. Turning about the middle of what is seen is far better conditioned than about the eye.
    - `focal` `[2]` (`[1]` with `square_pixels`): the logarithm of the focal lengths over the initial ones.
    - `principal` `[2]`: shift of the principal point, in units of the longer side of the image.

    All are zero at the initial camera and of comparable effect near it, so that one learning rate serves them. What is
    not in `optimize` does not require a gradient. The initial camera is part of `state_dict`; `near`, `far` and the
    size are not.

    Args:
        camera: the initial camera; its dtype (float64 unless converted) is that of the parameters.
        optimize: names among `PARTS`.
        pivot: world point `[3]` to turn about; None: the eye.
        square_pixels: keep the ratio of the two focal lengths.
    """

    def __init__(
        self,
        camera: Camera,
        optimize: Sequence[str] = PARTS,
        *,
        pivot: Vector | None = None,
        square_pixels: bool = True,
    ) -> None:
        super().__init__()
        unknown = set(optimize) - set(PARTS)
        if unknown:
            raise ValueError(
                f"CameraParameters(): optimize must name some of {', '.join(PARTS)}; got {sorted(unknown)}"
            )
        K, view = camera.K.detach().clone(), camera.world_to_camera.detach().clone()
        turn = torch.zeros_like(view[:3, 3])
        if pivot is not None:
            turn = view[:3, :3] @ torch.as_tensor(pivot).to(view) + view[:3, 3]
        self.pose: torch.nn.Parameter
        self.focal: torch.nn.Parameter
        self.principal: torch.nn.Parameter
        self.initial_K: torch.Tensor
        self.initial_view: torch.Tensor
        self.pivot: torch.Tensor  # in camera space
        for name, value in (("initial_K", K), ("initial_view", view), ("pivot", turn)):
            self.register_buffer(name, value)
        zeros = {"pose": 6, "focal": 1 if square_pixels else 2, "principal": 2}
        for name, count in zeros.items():
            self.register_parameter(name, torch.nn.Parameter(K.new_zeros(count), requires_grad=name in optimize))
        self._frame = camera

    def forward(self) -> Camera:
        """The camera as it is now. Differentiable into the parameters."""
        side = max(self._frame.size)
        scale = torch.cat([self.focal.exp().expand(2), self.focal.new_ones(1)])
        # Scaling the rows of K would move the principal point as well: take it apart.
        K = torch.cat([self.initial_K[:2, :2] * scale[:2, None], self.initial_K[:2, 2:]], dim=1)
        shift = torch.nn.functional.pad(side * self.principal[:, None], (2, 0))
        K = torch.cat([K + shift, self.initial_K[2:]])
        eye = torch.eye(3, dtype=K.dtype, device=K.device)
        there, back = rigid(eye, self.pivot), rigid(eye, -self.pivot)
        view = there @ se3_exp(self.pose) @ back @ self.initial_view
        f = self._frame
        return Camera(K, view, f.width, f.height, f.near, f.far, f.parallel)

    @torch.no_grad()
    def rebase(self) -> None:
        """Make the current camera the initial one and the parameters zero; an optimizer's moments stay as they are."""
        camera = self()
        pivot_world = self.initial_view[:3, :3].T @ (self.pivot - self.initial_view[:3, 3])
        self.initial_K.copy_(camera.K)
        self.initial_view.copy_(camera.world_to_camera)
        if bool(self.pivot.any()):
            self.pivot.copy_(self.initial_view[:3, :3] @ pivot_world + self.initial_view[:3, 3])
        for p in self.parameters():
            p.zero_()
