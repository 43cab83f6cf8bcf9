"""What a photograph leaves open beside the object: where it was taken, and how it was exposed."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch
from jaxtyping import Float, Int

from ..camera.camera import Camera
from ..camera.lie import se3_exp
from .views import View

TOE = 0.055  # of the sRGB curve: display + TOE is a power of linear light
POWER = 2.4

POSES = {"turn": 1.0, "move": 1.0, "focal": 1.0}  # what is known from outlines alone, and its rate's factor
EVERYTHING = {**POSES, "shift": 1.0, "gain": 1.0}


@dataclass
class Calibration:
    """Corrections of N cameras, all zero at the cameras as given, each of about the same effect per unit.

    Attributes:
        turn: Rotation of the world before the camera, about `center`; with `move` a twist (`se3_exp`). Radians.
        move: Translation of the world before the camera, in units of `radius`.
        focal: Logarithm of a factor on all focal lengths.
        shift: Of the principal point, in pixels of the photograph.
        gain: Logarithm of a factor on linear RGB: exposure and white balance. What all have in common is the object's
            own and is taken out of them.
        center: A point of the world; None: each camera's eye.
        radius: In units of the world.
    """

    turn: Float[torch.Tensor, "N 3"]
    move: Float[torch.Tensor, "N 3"]
    focal: Float[torch.Tensor, " 1"]
    shift: Float[torch.Tensor, "N 2"]
    gain: Float[torch.Tensor, "N 3"]
    center: Float[torch.Tensor, " 3"] | None = None
    radius: float = 1.0

    @staticmethod
    def none(count: int, box: Float[torch.Tensor, "2 3"], device: torch.device | str = "cpu") -> Calibration:
        """No corrections, about the middle of the box."""
        shapes = ((count, 3), (count, 3), (1,), (count, 2), (count, 3))
        turn, move, focal, shift, gain = (torch.zeros(shape, device=device) for shape in shapes)
        box = box.detach().float().to(device)
        radius = 0.5 * float((box[1] - box[0]).norm())
        return Calibration(turn, move, focal, shift, gain, box.mean(dim=0), radius)

    def parts(self) -> dict[str, torch.Tensor]:
        """What can be optimized, by name."""
        return {f.name: getattr(self, f.name) for f in fields(self)[:5]}

    def motion(
        self, views: Float[torch.Tensor, "B 4 4"], index: Int[torch.Tensor, " B"] | slice
    ) -> Float[torch.Tensor, "B 4 4"]:
        """What to multiply the view matrices of an index batch with, from the left."""
        twist = torch.cat([self.turn[index], self.radius * self.move[index]], dim=1).to(views)
        if self.center is None:
            return se3_exp(twist)
        pivot = views[:, :3, :3] @ self.center.to(views) + views[:, :3, 3]
        there = torch.eye(4, dtype=views.dtype, device=views.device).repeat(len(views), 1, 1)
        back = there.clone()
        there[:, :3, 3], back[:, :3, 3] = pivot, -pivot
        return there @ se3_exp(twist) @ back

    def expose(
        self, images: Float[torch.Tensor, "B H W 4"], index: Int[torch.Tensor, " B"], background: float
    ) -> Float[torch.Tensor, "B H W 4"]:
        """Images (display values over a background, and coverage) as the photographs' exposures show them.

        Display values are `1.055 x^(1 / 2.4) - 0.055` of linear light x (IEC 61966-2-1) but in the darkest twentieth:
        a factor on light is one on display + 0.055.
        """
        if not (self.gain.requires_grad or bool(self.gain.any())):
            return images
        factor = ((self.gain[index] - self.gain.mean(dim=0)) / POWER).exp()[:, None, None]
        color, coverage = images[..., :3], images[..., 3:]
        behind = background * (1 - coverage)
        toe = TOE * coverage
        return torch.cat([factor * (color - behind + toe) - toe + behind, coverage], dim=-1)

    def camera(self, camera: Camera, i: int) -> Camera:
        """The i-th camera, corrected."""
        K, view = camera.K.clone(), camera.world_to_camera
        K[:2, :2] *= self.focal.detach().double().exp().cpu()
        K[:2, 2] += self.shift[i].detach().double().cpu()
        motion = self.motion(view[None].to(self.turn.device), slice(i, i + 1))[0].detach()
        return replace(camera, K=K, world_to_camera=motion.to(view) @ view)

    def apply(self, views: list[View]) -> list[View]:
        """The views with their cameras corrected."""
        return [replace(v, camera=self.camera(v.camera, i)) for i, v in enumerate(views)]


def correct_cameras(views: list[View], held: list[int], found: Calibration) -> list[View]:
    """Views with the corrections of the N that are not held out. A view held out, which is not looked at
    here, has the mean shift of those that are turned like it, and its pose as given."""
    used = [i for i in range(len(views)) if i not in held]
    rows = {i: k for k, i in enumerate(used)}
    parts = {name: part.new_zeros(len(views), *part.shape[1:]) for name, part in found.parts().items()}
    parts["focal"] = found.focal
    for i, view in enumerate(views):
        alike = [k for j, k in rows.items() if views[j].turn == view.turn] or list(rows.values())
        parts["shift"][i] = found.shift[rows[i]] if i in rows else found.shift[alike].mean(dim=0)
        for name in ("turn", "move", "gain"):
            if i in rows:
                parts[name][i] = getattr(found, name)[rows[i]]
    return replace(found, **parts).apply(views)
