"""Cameras: intrinsics in pixels, pose, and the matrix into clip space; from and to the conventions of other
programs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ..mesh.rotation import quaternion_to_rotation
from . import conventions as cv
from .conventions import Numbers, Size, Vector
from .lie import so3_exp, so3_log

Scalar = float | Float[Tensor, ""]
Pose = Float[Tensor, "4 4"]


@dataclass(frozen=True)
class Camera:
    """A camera that looks along its own -z axis with +y up (OpenGL axes).

    `K` is float64 `[3, 3]`, `[[fx, skew, cx], [0, fy, cy], [0, 0, 1]]`, in pixels with the origin at the *bottom left
    corner* of the image, y up, pixel centres at +0.5: a point `(X, Y, Z)` in camera space lands at `K @ (X, Y, -Z) /
    -Z`. (The skew of a turned camera sits in the other corner.) `world_to_camera` is float64 `[4, 4]`, a rigid motion.
    With `parallel` (an orthographic camera) the point lands at `K @ (X, Y, 1)` and fx, fy are pixels per world unit.
    `near` and `far` are the distances that `clip_matrix()` takes if none are given to it.

    Everything is differentiable into `K` and `world_to_camera`; `CameraParameters` makes them trainable.
    """

    K: Float[Tensor, "3 3"]
    world_to_camera: Float[Tensor, "4 4"]
    width: int
    height: int
    near: float = 0.01
    far: float = 1000.0
    parallel: bool = False

    # --- What it computes ---------------------------------------------------------------------------------------------

    @property
    def size(self) -> tuple[int, int]:
        """`(width, height)`. What `rasterize` wants is `resolution`."""
        return self.width, self.height

    @property
    def resolution(self) -> tuple[int, int]:
        """`(height, width)`, as `rasterize` takes it."""
        return self.height, self.width

    @property
    def center(self) -> Float[Tensor, " 3"]:
        """Position of the eye in the world, `[3]`."""
        return -self.world_to_camera[:3, :3].T @ self.world_to_camera[:3, 3]

    @property
    def forward(self) -> Float[Tensor, " 3"]:
        """Unit viewing direction in the world, `[3]`."""
        return -self.world_to_camera[2, :3]

    @property
    def camera_to_world(self) -> Float[Tensor, "4 4"]:
        """The pose, `[4, 4]`."""
        return cv.inverse_rigid(self.world_to_camera)

    def project(self, points: Float[Tensor, "*batch 3"]) -> tuple[Float[Tensor, "*batch 2"], Float[Tensor, "*batch"]]:
        """World points `[..., 3]` to pixel coordinates `[..., 2]` and depths `[...]` (positive in front).

        Differentiable into `points` and the camera.
        """
        view = self.world_to_camera.to(points)
        p = points @ view[:3, :3].T + view[:3, 3]
        depth = -p[..., 2]
        last = torch.ones_like(depth) if self.parallel else depth
        q = torch.stack([p[..., 0], p[..., 1], last], dim=-1) @ self.K.to(points).T
        return q[..., :2] / q[..., 2:], depth

    def unproject(
        self, pixels: Float[Tensor, "*batch 2"], depth: Float[Tensor, "*#batch"]
    ) -> Float[Tensor, "*batch 3"]:
        """Pixel coordinates `[..., 2]` at depths `[...]` to world points `[..., 3]`, the inverse of `project`."""
        one = torch.ones_like(pixels[..., :1])
        ray = torch.cat([pixels, one], dim=-1) @ torch.linalg.inv(self.K.to(pixels)).T
        flat = ray[..., :2] / ray[..., 2:]
        flat = flat if self.parallel else flat * depth[..., None]
        pose = self.camera_to_world.to(pixels)
        return torch.cat([flat, -depth[..., None]], dim=-1) @ pose[:3, :3].T + pose[:3, 3]

    def projection(self, near: float, far: float) -> Float[Tensor, "4 4"]:
        """Camera space to clip space `[4, 4]`, dtype of `K`; depths `near..far` map to `z/w` in -1..1."""
        if not far > near or (near <= 0 and not self.parallel):
            rule = "near < far" if self.parallel else "0 < near < far"
            raise ValueError(f"Camera.projection(): expected {rule} but got near={near}, far={far}")
        # Pixels to clip space: x * 2 / width - 1, homogeneous in the last row of K.
        scale = self.K.new_tensor([[2 / self.width], [2 / self.height]])
        (a, b, c), (d, e, f) = self.K[:2] * scale
        o, i = torch.zeros_like(a), torch.ones_like(a)
        if self.parallel:
            z = (-2 / (far - near) * i, -(far + near) / (far - near) * i)
            rows = [a, b, o, c - 1, d, e, o, f - 1, o, o, z[0], z[1], o, o, o, i]
        else:
            z = (-(far + near) / (far - near) * i, -2 * far * near / (far - near) * i)
            rows = [a, b, 1 - c, o, d, e, 1 - f, o, o, o, z[0], z[1], o, o, -i, o]
        return torch.stack(rows).view(4, 4)

    def clip_matrix(self, near: float | None = None, far: float | None = None) -> Float[Tensor, "4 4"]:
        """World to clip space `[4, 4]`: `clip = matrix @ (x, y, z, 1)`. Differentiable into K and the pose."""
        planes = self.near if near is None else near, self.far if far is None else far
        return self.projection(*planes) @ self.world_to_camera.to(self.K)

    def to_clip(self, points: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 4"]:
        """World points `[..., 3]` to clip positions `[..., 4]` of the same dtype. Differentiable into both."""
        return torch.nn.functional.pad(points, (0, 1), value=1.0) @ self.clip_matrix().to(points).T

    # --- Other cameras from it ----------------------------------------------------------------------------------------

    def to(self, *args: Any, **kwargs: Any) -> Camera:
        """The same camera on another device or in another dtype, arguments as for `Tensor.to`."""
        return replace(self, K=self.K.to(*args, **kwargs), world_to_camera=self.world_to_camera.to(*args, **kwargs))

    def crop(self, x: int, y: int, width: int, height: int) -> Camera:
        """The camera of the window whose bottom left corner is pixel `(x, y)`; it may reach outside the image."""
        K = self.K.clone()
        K[0, 2] -= x
        K[1, 2] -= y
        return replace(self, K=K, width=width, height=height)

    def turned(self, ccw: bool) -> Camera:
        """The camera of the image turned by a quarter, counter-clockwise or clockwise."""
        s = 1.0 if ccw else -1.0
        turn = self.K.new_tensor([[0, -s, 0], [s, 0, 0], [0, 0, 1]])
        shift = self.K.new_zeros(3, 3)
        shift[:2, 2] = self.K.new_tensor([self.height, 0.0] if ccw else [0.0, self.width])
        view = self.world_to_camera.clone()
        view[:3] = turn.to(view) @ self.world_to_camera[:3]
        # pixels' = turn * pixels + shift, and turn * K * X = (turn K turn^-1) * (turn X)
        K = (turn @ self.K + shift) @ turn.T
        return replace(self, K=K, world_to_camera=view, width=self.height, height=self.width)

    def resized(self, width: int, height: int) -> Camera:
        """The same view with another number of pixels."""
        K = self.K.clone()
        K[0] *= width / self.width
        K[1] *= height / self.height
        return replace(self, K=K, width=width, height=height)

    # --- From scratch -------------------------------------------------------------------------------------------------

    @classmethod
    def perspective(
        cls, *, fov_y: Scalar, width: int, height: int, world_to_camera: Pose | None = None, **rest: Any
    ) -> Camera:
        """Square pixels, principal point in the middle; `fov_y` is the full vertical angle in radians."""
        if not 0 < _number(fov_y) < math.pi:
            raise ValueError(f"Camera.perspective(): fov_y must lie between 0 and pi radians; got {fov_y}")
        focal = 0.5 * height / torch.tan(torch.as_tensor(fov_y, dtype=torch.float64) / 2)
        K = cv.intrinsics(focal, focal, width / 2, height / 2)
        return cls(K, _pose(world_to_camera), width, height, **rest)

    @classmethod
    def orthographic(
        cls, *, view_height: Scalar, width: int, height: int, world_to_camera: Pose | None = None, **rest: Any
    ) -> Camera:
        """Parallel projection, square pixels; the image is `view_height` world units high."""
        if not _number(view_height) > 0:
            raise ValueError(f"Camera.orthographic(): view_height must be positive; got {view_height}")
        scale = height / torch.as_tensor(view_height, dtype=torch.float64)
        K = cv.intrinsics(scale, scale, width / 2, height / 2)
        return cls(K, _pose(world_to_camera), width, height, parallel=True, **rest)

    @classmethod
    def look_at(
        cls,
        eye: Vector,
        target: Vector = (0, 0, 0),
        up: Vector = (0, 1, 0),
        *,
        fov_y: Scalar,
        width: int,
        height: int,
        **rest: Any,
    ) -> Camera:
        """A camera at `eye` that looks at `target`. Differentiable into `eye` and `target`."""
        view = look_at_pose(eye, target, up)
        return cls.perspective(fov_y=fov_y, width=width, height=height, world_to_camera=view, **rest)

    @classmethod
    def orbit(
        cls,
        azimuth: Scalar,
        elevation: Scalar,
        distance: Scalar,
        target: Vector = (0, 0, 0),
        *,
        fov_y: Scalar,
        width: int,
        height: int,
        **rest: Any,
    ) -> Camera:
        """A camera at `distance` around `target`, +y up; `azimuth` (0 looks along -z, positive moves the eye towards
        +x) and `elevation` in radians. Differentiable into all three."""
        a, e, r = (torch.as_tensor(v, dtype=torch.float64) for v in (azimuth, elevation, distance))
        middle = torch.as_tensor(target, dtype=torch.float64)
        away = torch.stack([e.cos() * a.sin(), e.sin(), e.cos() * a.cos()])
        return cls.look_at(middle + r * away, middle, fov_y=fov_y, width=width, height=height, **rest)

    # --- From and to other conventions --------------------------------------------------------------------------------

    @classmethod
    def from_opencv(
        cls, K: Numbers, R: Numbers, t: Numbers, size: Sequence[int], *, first_pixel: float = 0.0, **rest: Any
    ) -> Camera:
        """OpenCV: `x = K @ (R @ X + t)`, x right, y down, z ahead; `size` is `(width, height)`.

        `first_pixel`: coordinate of the centre of the top left pixel, 0 in OpenCV; 0.5 where pixels are counted from
        the corner. `R` may be a rotation vector `[3]`. Lens distortion: see `diffrast.camera.distortion`.
        Differentiable into K, R and t.
        """
        op = "Camera.from_opencv"
        width, height = cv.size_of(size, op=op)
        lens, turn = cv.tensor("K", K, 3, 3, op=op), torch.as_tensor(R)
        if not bool((lens.detach().diagonal() > 0).all()):
            raise ValueError(f"{op}(): K must have positive focal lengths; got {lens.detach().tolist()}")
        if turn.numel() == 3:
            turn = so3_exp(cv.tensor("R", turn, 3, op=op))
        view = cv.turn_axes(cv.CV_AXES, cv.rotation("R", turn, op=op), cv.tensor("t", t, 3, op=op))
        return cls(cv.turn_pixels(lens / lens[2, 2], height, first_pixel), view, width, height, **rest)

    def to_opencv(
        self, *, first_pixel: float = 0.0
    ) -> tuple[Float[Tensor, "3 3"], Float[Tensor, "3 3"], Float[Tensor, " 3"], Size]:
        """`(K, R, t, (width, height))` for OpenCV."""
        self._pinhole_only("to_opencv")
        view = cv.turn_axes(cv.CV_AXES, self.world_to_camera[:3, :3], self.world_to_camera[:3, 3])
        return cv.unturn_pixels(self.K, self.height, first_pixel), view[:3, :3], view[:3, 3], self.size

    @classmethod
    def from_colmap(
        cls,
        model: str,
        params: Sequence[float],
        qvec: Numbers,
        tvec: Numbers,
        size: Sequence[int],
        *,
        undistorted: bool = False,
        **rest: Any,
    ) -> Camera:
        """COLMAP: a line of `cameras.txt` (`model`, `params`, size) and one of `images.txt` (`qvec` = w, x, y, z;
        `tvec`).

        Models whose parameters distort are refused unless `undistorted` says that the image is or will be undistorted,
        which `distortion.load_undistorted` does.
        """
        op = "Camera.from_colmap"
        K, bent = cv.colmap_intrinsics(model, params)
        if any(bent) and not undistorted:
            raise ValueError(
                f"{op}(): {model} distorts the picture (k1, k2, p1, p2 = {bent}): undistort it with "
                "diffrast.camera.distortion.load_undistorted() and pass undistorted=True"
            )
        q = cv.tensor("qvec", qvec, 4, op=op)
        if not float(q.detach().norm()) > 0:
            raise ValueError(f"{op}(): qvec must not be zero")
        return cls.from_opencv(K, quaternion_to_rotation(q), tvec, size, first_pixel=0.5, **rest)

    def to_colmap(self) -> tuple[str, list[float], Float[Tensor, " 4"], Float[Tensor, " 3"], Size]:
        """`("PINHOLE", [fx, fy, cx, cy], qvec [4], tvec [3], (width, height))`; not differentiable."""
        K, R, t, size = self.to_opencv(first_pixel=0.5)
        if K[0, 1].abs() + K[1, 0].abs() > 1e-9 * K[0, 0].abs():
            raise ValueError("Camera.to_colmap(): COLMAP's cameras have no skew; this one has")
        w = so3_log(R)
        half = w.norm() / 2
        q = torch.cat([half.cos()[None], torch.sinc(half / math.pi) * w / 2])
        return "PINHOLE", [float(K[i, j]) for i, j in ((0, 0), (1, 1), (0, 2), (1, 2))], q, t.detach(), size

    @classmethod
    def from_opengl(
        cls,
        camera_to_world: Numbers,
        size: Sequence[int],
        *,
        fov_x: Scalar | None = None,
        focal: Numbers | float | None = None,
        principal: Numbers | None = None,
        **rest: Any,
    ) -> Camera:
        """OpenGL, Blender, NeRF-synthetic: a camera-to-world matrix `[4, 4]` or `[3, 4]`, and either `fov_x`
        (`camera_angle_x`, radians) or `focal` (one number or fx, fy in pixels); `principal` (cx, cy) is counted from
        the top left corner (instant-ngp), the middle if None."""
        op = "Camera.from_opengl"
        width, height = cv.size_of(size, op=op)
        if (fov_x is None) == (focal is None):
            raise ValueError(f"{op}(): give either fov_x or focal")
        if focal is None:
            if fov_x is None or not 0 < _number(fov_x) < math.pi:
                raise ValueError(f"{op}(): fov_x must lie between 0 and pi radians; got {fov_x}")
            focal = 0.5 * width / torch.tan(torch.as_tensor(fov_x, dtype=torch.float64) / 2)
        fx, fy = torch.as_tensor(focal, dtype=torch.float64).expand(2)
        cx, cy = cv.tensor("principal", (width / 2, height / 2) if principal is None else principal, 2, op=op)
        pose = torch.as_tensor(camera_to_world)
        pose = cv.tensor("camera_to_world", pose, *((3, 4) if pose.shape[-2:] == (3, 4) else (4, 4)), op=op)
        R = cv.rotation("the rotation of camera_to_world", pose[:3, :3], op=op).T
        return cls(cv.intrinsics(fx, fy, cx, height - cy), cv.rigid(R, -R @ pose[:3, 3]), width, height, **rest)

    def to_opengl(self) -> tuple[Float[Tensor, "4 4"], Float[Tensor, " 2"], Float[Tensor, " 2"]]:
        """`(camera_to_world [4, 4], focal [2], principal [2])`, the principal point from the top left corner."""
        self._pinhole_only("to_opengl")
        principal = torch.stack([self.K[0, 2], self.height - self.K[1, 2]])
        return self.camera_to_world, torch.stack([self.K[0, 0], self.K[1, 1]]), principal

    @classmethod
    def from_pytorch3d(
        cls,
        R: Numbers,
        T: Numbers,
        focal_length: Numbers | float,
        principal_point: Numbers,
        size: Sequence[int],
        *,
        in_ndc: bool = True,
        **rest: Any,
    ) -> Camera:
        """PyTorch3D's `PerspectiveCameras`: `x @ R + T`, focal length (one number or two) and principal point in NDC
        or, with `in_ndc=False`, in screen pixels."""
        op = "Camera.from_pytorch3d"
        width, height = cv.size_of(size, op=op)
        focal = torch.as_tensor(focal_length, dtype=torch.float64).reshape(-1).expand(2)
        principal = cv.tensor("principal_point", principal_point, 2, op=op)
        if in_ndc:
            focal, principal = cv.pytorch3d_ndc_to_screen(focal, principal, (width, height))
        (fx, fy), (cx, cy) = focal, principal
        view = cv.turn_axes(cv.P3D_AXES, cv.rotation("R", R, op=op).T, cv.tensor("T", T, 3, op=op))
        return cls(cv.intrinsics(fx, fy, cx, height - cy), view, width, height, **rest)

    def to_pytorch3d(
        self, *, in_ndc: bool = True
    ) -> tuple[Float[Tensor, "3 3"], Float[Tensor, " 3"], Float[Tensor, " 2"], Float[Tensor, " 2"]]:
        """`(R, T, focal_length [2], principal_point [2])` for PyTorch3D."""
        self._pinhole_only("to_pytorch3d")
        view = cv.turn_axes(cv.P3D_AXES, self.world_to_camera[:3, :3], self.world_to_camera[:3, 3])
        _, focal, principal = self.to_opengl()
        if in_ndc:
            focal, principal = cv.pytorch3d_screen_to_ndc(focal, principal, self.size)
        return view[:3, :3].T, view[:3, 3], focal, principal

    def _pinhole_only(self, method: str) -> None:
        if self.parallel:
            raise ValueError(f"Camera.{method}(): an orthographic camera has no pinhole form")


def look_at_pose(eye: Vector, target: Vector, up: Vector = (0, 1, 0)) -> Float[Tensor, "4 4"]:
    """World-to-camera matrix of an eye that looks at a target. Differentiable into all three."""
    e, at, above = (torch.as_tensor(v, dtype=torch.float64) for v in (eye, target, up))
    back = torch.nn.functional.normalize(e - at, dim=0)
    right = torch.linalg.cross(above, back)
    if not right.norm() > 1e-12 * above.norm():
        raise ValueError("look_at(): up must not be parallel to the viewing direction")
    right = right / right.norm()
    R = torch.stack([right, torch.linalg.cross(back, right), back])
    return cv.rigid(R, -R @ e)


look_at = Camera.look_at


def _pose(world_to_camera: Tensor | None) -> Tensor:
    return torch.eye(4, dtype=torch.float64) if world_to_camera is None else world_to_camera.double()


def _number(x: float | Tensor) -> float:
    return float(torch.as_tensor(x).detach())
