"""Pinhole cameras: intrinsics in pixels, pose, and the matrix into clip space."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch


@dataclass(frozen=True)
class Camera:
    """A pinhole camera that looks along its own -z axis with +y up (OpenGL axes).

    ``K`` is float64 ``[3, 3]``, ``[[fx, skew, cx], [0, fy, cy], [0, 0, 1]]``, in pixels with the origin at the
    *bottom left corner* of the image, y up, pixel centres at +0.5: a point ``(X, Y, Z)`` in camera space lands at
    ``K @ (X, Y, -Z) / -Z``. (The skew of a turned camera sits in the other corner.) ``world_to_camera`` is float64
    ``[4, 4]``.
    """

    K: torch.Tensor
    world_to_camera: torch.Tensor
    width: int
    height: int

    @property
    def center(self) -> torch.Tensor:
        """Position of the eye in the world, ``[3]``."""
        return -self.world_to_camera[:3, :3].T @ self.world_to_camera[:3, 3]

    @property
    def forward(self) -> torch.Tensor:
        """Unit viewing direction in the world, ``[3]``."""
        return -self.world_to_camera[2, :3]

    def project(self, points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """World points ``[..., 3]`` to pixel coordinates ``[..., 2]`` and depths ``[...]`` (positive in front).

        Differentiable into ``points``.
        """
        view = self.world_to_camera.to(points)
        p = points @ view[:3, :3].T + view[:3, 3]
        depth = -p[..., 2]
        q = torch.stack([p[..., 0], p[..., 1], depth], dim=-1) @ self.K.to(points).T
        return q[..., :2] / q[..., 2:], depth

    def projection(self, near: float, far: float) -> torch.Tensor:
        """Camera space to clip space, float64 ``[4, 4]``; depths ``near..far`` map to ``z/w`` in -1..1."""
        w, h = self.width, self.height
        p = torch.zeros(4, 4, dtype=torch.float64)
        p[0, 0] = 2 * self.K[0, 0] / w
        p[0, 1] = 2 * self.K[0, 1] / w
        p[0, 2] = 1 - 2 * self.K[0, 2] / w
        p[1, 0] = 2 * self.K[1, 0] / h
        p[1, 1] = 2 * self.K[1, 1] / h
        p[1, 2] = 1 - 2 * self.K[1, 2] / h
        p[2, 2] = -(far + near) / (far - near)
        p[2, 3] = -2 * far * near / (far - near)
        p[3, 2] = -1
        return p

    def clip_matrix(self, near: float, far: float) -> torch.Tensor:
        """World to clip space, float64 ``[4, 4]``: ``clip = matrix @ (x, y, z, 1)``."""
        return self.projection(near, far) @ self.world_to_camera

    def crop(self, x: int, y: int, width: int, height: int) -> Camera:
        """The camera of the window whose bottom left corner is pixel ``(x, y)``; it may reach outside the image."""
        K = self.K.clone()
        K[0, 2] -= x
        K[1, 2] -= y
        return replace(self, K=K, width=width, height=height)

    def turned(self, ccw: bool) -> Camera:
        """The camera of the image turned by a quarter, counter-clockwise or clockwise."""
        s = 1.0 if ccw else -1.0
        turn = torch.tensor([[0, -s, 0], [s, 0, 0], [0, 0, 1]], dtype=torch.float64)
        shift = torch.zeros(3, 3, dtype=torch.float64)
        shift[:2, 2] = torch.tensor([self.height, 0.0] if ccw else [0.0, self.width], dtype=torch.float64)
        view = self.world_to_camera.clone()
        view[:3] = turn @ view[:3]
        # pixels' = turn * pixels + shift, and turn * K * X = (turn K turn^-1) * (turn X)
        return Camera((turn @ self.K + shift) @ turn.T, view, self.height, self.width)

    def resized(self, width: int, height: int) -> Camera:
        """The same view with another number of pixels."""
        K = self.K.clone()
        K[0] *= width / self.width
        K[1] *= height / self.height
        return replace(self, K=K, width=width, height=height)


def look_at(eye, target, up, *, fov_y: float, width: int, height: int) -> Camera:
    """A camera at ``eye`` that looks at ``target``; ``fov_y`` is the full vertical angle in radians."""
    eye, target, up = (torch.as_tensor(v, dtype=torch.float64) for v in (eye, target, up))
    back = torch.nn.functional.normalize(eye - target, dim=0)
    right = torch.linalg.cross(up, back)
    if not right.norm() > 1e-12 * up.norm():
        raise ValueError("look_at(): up must not be parallel to the viewing direction")
    right = right / right.norm()
    view = torch.eye(4, dtype=torch.float64)
    view[:3, :3] = torch.stack([right, torch.linalg.cross(back, right), back])
    view[:3, 3] = -view[:3, :3] @ eye
    focal = 0.5 * height / torch.tan(torch.tensor(fov_y / 2, dtype=torch.float64)).item()
    K = torch.tensor([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]], dtype=torch.float64)
    return Camera(K, view, width, height)
