"""Where the page looks from: a point to look at, two angles, a distance and a field of view."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from ..camera.camera import Camera, look_at

UPRIGHT = math.radians(89.5)  # straight up or down there is no horizon to keep level
DISTANCES = (1e-5, 1e8)  # from the target
UPS = {"y": (0.0, 1.0, 0.0), "z": (0.0, 0.0, 1.0)}


@dataclass(frozen=True)
class Pose:
    """A camera as the page holds it. `yaw` and `pitch` are the eye's direction as seen from `target`, in radians (pitch
    is the height above the horizon); `fov` is the full vertical angle in degrees.

    The page sends whole poses, never movements: one that is lost or late is made good by the next.
    """

    target: tuple[float, float, float] = (0.0, 0.0, 0.0)
    yaw: float = math.radians(35)
    pitch: float = math.radians(20)
    distance: float = 3.0
    fov: float = 35.0

    def eye_direction(self, up: str) -> tuple[float, float, float]:
        """Unit vector from the target to the eye. Yaw 0 looks along -z where y is up, along +y where z is."""
        flat, height = math.cos(self.pitch), math.sin(self.pitch)
        side, front = flat * math.sin(self.yaw), flat * math.cos(self.yaw)
        return (side, height, front) if up == "y" else (side, -front, height)

    def turned(self, right: float, up: float) -> Pose:
        """Around the target, by angles in radians."""
        return replace(self, yaw=self.yaw + right, pitch=min(max(self.pitch + up, -UPRIGHT), UPRIGHT))

    def moved(self, right: float, above: float, up: str = "y") -> Pose:
        """Eye and target together, across the view, by shares of the picture's height."""
        unit = 2 * self.distance * math.tan(math.radians(self.fov) / 2)
        axes = self.camera(2, 2, up).world_to_camera[:2, :3].tolist()
        x, y, z = (t + unit * (right * a + above * b) for t, a, b in zip(self.target, *axes, strict=True))
        return replace(self, target=(x, y, z))

    def zoomed(self, factor: float) -> Pose:
        """Nearer or farther, by a factor on the distance."""
        low, high = DISTANCES
        return replace(self, distance=min(max(self.distance * factor, low), high))

    def camera(self, width: int, height: int, up: str = "y") -> Camera:
        """The camera of a picture of that size."""
        away = self.eye_direction(up)
        eye = [t + self.distance * a for t, a in zip(self.target, away, strict=True)]
        return look_at(eye, self.target, UPS[up], fov_y=math.radians(self.fov), width=width, height=height)


def fitting(box: list[list[float]], fov: float = 35.0) -> Pose:
    """The pose that shows all of a box `[2, 3]`, from the front, a little from the side and above."""
    target = [0.5 * (a + b) for a, b in zip(*box, strict=True)]
    radius = 0.5 * math.dist(*box)
    distance = max(radius, 1e-6) / math.sin(math.radians(fov) / 2)
    return Pose(target=(target[0], target[1], target[2]), distance=distance, fov=fov)
