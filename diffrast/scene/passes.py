"""From vertices to an image: the way to clip space, and one pass of the four operations."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

import diffrast.torch as dr

from ..camera.camera import Camera
from ..mesh.mesh import Mesh, vertex_normals
from ..ops.topology import Topology

# `rast` and `rast_db` `[B, H, W, 4]` to colors `[B, H, W, C]`; what it says of pixels without surface does not matter.
Shade = Callable[[Tensor, Tensor], Tensor]


def clip_planes(camera: Camera, box: Float[Tensor, "2 3"]) -> tuple[float, float]:
    """Distances of near and far planes that hold the box, with some room to move."""
    center, radius = box.double().mean(dim=0), 0.5 * (box[1] - box[0]).double().norm()
    distance = float((center - camera.center) @ camera.forward)
    far = max(distance + 1.1 * float(radius), 1e-6)
    return max(distance - 1.1 * float(radius), 1e-3 * far), far


def clip_matrices(cameras: Sequence[Camera], box: Float[Tensor, "2 3"]) -> Float[Tensor, "B 4 4"]:
    """World to clip space, float32, with near and far planes that hold the box."""
    matrices = [camera.clip_matrix(*clip_planes(camera, box)) for camera in cameras]
    return torch.stack(matrices).float().to(box.device)


def to_clip(vertices: Float[Tensor, "V 3"], matrices: Float[Tensor, "B 4 4"]) -> Float[Tensor, "B V 4"]:
    """Vertices to clip space. Differentiable."""
    homogeneous = torch.nn.functional.pad(vertices, (0, 1), value=1.0)
    return homogeneous @ matrices.transpose(1, 2)


def draw(
    ctx: dr.RasterizeContext,
    clip: Float[Tensor, "B V 4"],
    faces: Int[Tensor, "F 3"],
    resolution: Sequence[int],
    shade: Shade,
    background: float = 0.0,
    *,
    samples: int = 1,
    mode: str = "silhouette",
    topology: Topology | None = None,
    grad_db: bool = False,
) -> Float[Tensor, "B H W D"]:
    """One pass: rasterize, shade, lay over the background, antialias, and average `samples` x `samples` pixels.

    Args:
        ctx: a rasterizer context.
        clip: clip positions, differentiable.
        faces: triangles.
        resolution: height and width of the image.
        shade: colors `[B, H, W, C]` from `rast` and `rast_db`, of `samples` times the size: where it interpolates and
            looks up textures, and how it lights.
        background: the value of every channel where there is no surface.
        samples: pixels along both sides that are averaged to one.
        mode: of `antialias`; "none" leaves pixels as they are.
        topology: of `antialias_construct_topology_hash(faces)`, if there is one.
        grad_db: whether the derivatives on screen carry gradients, as for `rasterize`.

    Returns:
        The colors, and coverage as one more channel.
    """
    rast, rast_db = dr.rasterize(ctx, clip, faces, [samples * n for n in resolution], grad_db=grad_db)
    return finish(shade(rast, rast_db), rast, clip, faces, background, samples, mode, topology)


def finish(
    color: Float[Tensor, "B H W C"],
    rast: Float[Tensor, "B H W 4"],
    clip: Float[Tensor, "B V 4"],
    faces: Int[Tensor, "F 3"],
    background: float = 0.0,
    samples: int = 1,
    mode: str = "silhouette",
    topology: Topology | None = None,
) -> Float[Tensor, "B h w D"]:
    """What `draw` does with colors that are there already.

    Averaging finds the silhouettes of triangles that are too small for one pixel: the mode of antialias used here, the
    faster one, sees an edge only where its triangle owns a pixel's center.
    """
    hit = (rast[..., 3:] > 0).to(color)
    image = torch.cat([color * hit + background * (1 - hit), hit], dim=-1)
    if mode != "none":
        image = dr.antialias(image, rast, clip, faces, topology, mode=mode)
    return averaged(image, samples)


def averaged(image: Float[Tensor, "B H W C"], samples: int) -> Float[Tensor, "B h w C"]:
    """The mean of each `samples` x `samples` pixels."""
    if samples == 1:
        return image
    b, h, w, c = image.shape
    return image.reshape(b, h // samples, samples, w // samples, samples, c).mean(dim=(2, 4))


class Covered:
    """The M pixels of an image that show surface, for what is better computed of them alone.

    `rast` and `rast_db` `[1, 1, M, 4]` are these pixels as an image of one row: `interpolate` and `texture` work pixel
    by pixel. `index` int64 `[M]` says where they are in the flattened image.
    """

    def __init__(self, rast: Float[Tensor, "B H W 4"], rast_db: Float[Tensor, "B H W 4"]) -> None:
        self.shape = rast.shape[:3]
        flat = rast.flatten(0, 2)
        self.index = (flat.detach()[:, 3] > 0).nonzero()[:, 0]
        self.rast = flat.index_select(0, self.index)[None, None]
        self.rast_db = rast_db.flatten(0, 2).index_select(0, self.index)[None, None]

    def __len__(self) -> int:
        return len(self.index)

    @property
    def image(self) -> Int[Tensor, " M"]:
        """Which image of the batch each pixel belongs to."""
        return self.index // (self.shape[1] * self.shape[2])

    def pick(self, image: Float[Tensor, "B H W C"]) -> Float[Tensor, "M C"]:
        """An image's values at these pixels."""
        return image.flatten(0, 2).index_select(0, self.index)

    def put(
        self, values: Float[Tensor, "M C"], behind: Float[Tensor, "B H W C"] | None = None
    ) -> Float[Tensor, "B H W C"]:
        """An image with these values, and elsewhere what lies behind; None: zero."""
        if behind is None:
            behind = values.new_zeros(*self.shape, values.shape[-1])
        return behind.flatten(0, 2).index_copy(0, self.index, values).view(behind.shape)


def render_clay(
    ctx: dr.RasterizeContext,
    clip: Float[Tensor, "B V 4"],
    mesh: Mesh,
    camera: Camera,
    resolution: Sequence[int],
    samples: int = 2,
) -> Float[Tensor, "B H W 3"]:
    """The bare shape in display values, for people: gray, lit from beside the eye, over white."""
    normals = vertex_normals(mesh.vertices, mesh.faces)
    right, up, back = camera.world_to_camera[:3, :3].to(normals)
    key = torch.nn.functional.normalize(0.5 * right + 0.7 * up + back, dim=0)
    fill = torch.nn.functional.normalize(-0.8 * right + 0.2 * up + back, dim=0)

    def clay(rast: Tensor, _: Tensor) -> Tensor:
        normal = torch.nn.functional.normalize(dr.interpolate(normals, rast, mesh.faces)[0], dim=-1)
        light = 0.16 + 0.62 * (normal @ key).clamp_min(0) + 0.22 * (normal @ fill).clamp_min(0)
        return light[..., None] * light.new_tensor([0.93, 0.92, 0.9])

    return draw(ctx, clip, mesh.faces, resolution, clay, 1.0, samples=samples)[..., :3]
