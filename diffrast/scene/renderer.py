"""A scene and a camera to a picture, in the order that is easy to get wrong.

Visibility, interpolation, texturing and shading of the covered pixels only; over what lies behind; and antialias last,
once, over the finished colours with their alpha. With transparency, layers are peeled from front to back and composed
from back to front, each antialiased after it lies over the ones behind: its silhouette then blends with what is really
seen beside it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import pad

import diffrast.torch as dr

from ..camera.camera import Camera
from ..mesh.mesh import Mesh
from .environment import EnvironmentLight
from .light import Lamp, Surrounding
from .material import Lambert, Lighting, Material, MetallicRoughness
from .passes import Covered, averaged
from .shadow import ShadowMap, shadow_map
from .surface import Surface, points
from .vectors import unit


class Scene(torch.nn.Module):
    """What there is to see.

    Args:
        mesh: a `Mesh`, or a module that gives one when called (`MeshParameters`).
        materials: one for each id of `mesh.material_ids`, or a single one. None: from the mesh's own materials, its
            texture or its vertex colours.
        lights: any number of lamps and surroundings.
        background: None (black, with alpha 0), linear RGB `[3]` or a picture `[H, W, 3]` of the camera's size, or an
            `EnvironmentLight`, which is then seen behind everything. Alpha does not count it.
    """

    def __init__(
        self,
        mesh: Mesh | torch.nn.Module,
        materials: Sequence[Material] | Material | None = None,
        lights: Sequence[Lamp | Surrounding] = (),
        background: Tensor | Sequence[float] | EnvironmentLight | None = None,
    ) -> None:
        super().__init__()
        self.mesh = mesh
        if materials is None:
            materials = _own_materials(mesh() if isinstance(mesh, torch.nn.Module) else mesh)
        self.materials = torch.nn.ModuleList([materials] if isinstance(materials, Material) else materials)
        self.lights = torch.nn.ModuleList(lights)
        if not isinstance(background, EnvironmentLight | Tensor | None):
            background = torch.tensor(background, dtype=torch.get_default_dtype())
        self.background = background

    def geometry(self) -> Mesh:
        """The mesh as it is now."""
        return self.mesh() if isinstance(self.mesh, torch.nn.Module) else self.mesh

    def _apply(self, fn, recurse=True):
        # What is no module or parameter moves along: the mesh's tensors and the background's.
        super()._apply(fn, recurse)
        if isinstance(self.mesh, Mesh):
            now = {f.name: getattr(self.mesh, f.name) for f in fields(Mesh)}
            self.mesh = replace(self.mesh, **{n: fn(v) for n, v in now.items() if isinstance(v, Tensor)})
        if isinstance(self.background, Tensor):
            self.background = fn(self.background)
        return self


def _own_materials(mesh: Mesh) -> list[Material]:
    if mesh.materials:
        return [MetallicRoughness.from_data(data) for data in mesh.materials]
    return [Lambert(mesh.texture if mesh.texture is not None else (1.0, 1.0, 1.0))]


@dataclass
class Rendering:
    """A picture and the buffers that it was made from. B is the number of cameras, row 0 the bottom row.

    - `image` `[B, H, W, 4]`: linear RGB over the background, and alpha (the coverage), antialiased. Without a
      background RGB is premultiplied with alpha.
    - `channels`: the channels asked for, `[B, H, W, C]` over 0, antialiased along with the image.
    - `layers`: how many layers were peeled.

    Of the nearest surface, at `samples` times the size, as they are at the pixels' centres (no antialias, zero where
    nothing is seen): `depth` `[.., 1]` along the viewing direction in world units, `normal` `[.., 3]` towards the eye
    in world space, `uv` `[.., 2]`, `position` `[.., 3]`; `ids` int64 `[..]`, the triangle or -1; `mask` bool `[..]`.
    """

    image: Float[Tensor, "B h w 4"]
    depth: Float[Tensor, "B H W 1"]
    normal: Float[Tensor, "B H W 3"]
    position: Float[Tensor, "B H W 3"]
    uv: Float[Tensor, "B H W 2"] | None
    ids: Int[Tensor, "B H W"]
    mask: Bool[Tensor, "B H W"]
    rast: Float[Tensor, "B H W 4"]
    layers: int
    channels: dict[str, Tensor] = field(default_factory=dict)


def render(
    scene: Scene,
    camera: Camera | Sequence[Camera],
    *,
    ctx: dr.RasterizeContext | None = None,
    samples: int = 1,
    max_layers: int | str = "auto",
    channels: Mapping[str, Tensor] | None = None,
    cull: str = "none",
    antialias: str = "area",
) -> Rendering:
    """Draws a scene.

    Args:
        scene: its mesh has V vertices.
        camera: one, or several of one size (a batch). Near and far planes are fitted to the mesh.
        ctx: a rasterizer context; None: a new one (on the GPU keep one for all pictures).
        samples: pictures are drawn at so many times the size along both axes and averaged; it smooths highlights and
            shadows.
        max_layers: how many layers of surfaces may be seen through one another; "auto": until a layer is empty or
            nothing shines through. Opaque scenes take one.
        channels: further attributes of vertices `[V, C]` to draw, by name.
        cull: as for `dr.rasterize`.
        antialias: the `mode` of `dr.antialias`. "area" finds silhouettes of triangles smaller than a pixel and lines
            where surfaces intersect; "silhouette" is a little faster and misses both, and so does its gradient.

    Environment light is not occluded: surfaces do not shade or mirror one another, except by the shadows of lamps.

    Differentiable into the mesh's vertices, UVs, normals and colours, all parameters of materials and lights, the
    background and the camera's K and pose; through silhouettes (`dr.antialias`) and, with `Lamp.shadow`, shadows too.
    Which surface is nearest at a pixel, "MASK" alpha, and where reflections or shadows inside of the picture change
    abruptly have no derivative.

    Raises:
        ValueError: cameras of different sizes, a texture on a mesh without UVs, an id without a material, a bad
            `max_layers`.
    """
    cameras = [camera] if isinstance(camera, Camera) else list(camera)
    mesh = scene.geometry()
    limit = _check(scene, mesh, cameras, samples, max_layers, channels)
    ctx = dr.RasterizeContext() if ctx is None else ctx
    height, width = cameras[0].height * samples, cameras[0].width * samples
    clip = torch.stack([_clip_matrix(c, mesh) for c in cameras]).to(mesh.vertices)
    pos = pad(mesh.vertices, (0, 1), value=1.0) @ clip.mT
    lighting, maps = _prepare(ctx, scene, mesh)
    eyes = torch.stack([_eye(c) for c in cameras]).to(mesh.vertices)
    extra = dict(channels or {})

    layers: list[_Layer] = []
    passed = None
    with dr.DepthPeeler(ctx, pos, mesh.faces, (height, width), cull=cull) as peeler:
        while limit is None or len(layers) < limit:
            rast, rast_db = peeler.rasterize_next_layer()
            if layers and not bool((rast[..., 3] > 0).any()):
                break
            layer = _shade(scene, mesh, lighting, maps, rast, rast_db, eyes, extra)
            layers.append(layer)
            if layer.alpha is None:
                break
            with torch.no_grad():
                through = 1 - layer.pixels.put(layer.alpha)
                passed = through if passed is None else passed * through
                if not bool((passed[rast[..., 3] > 0] > 1e-4).any()):
                    break

    picture = _backdrop(scene, cameras, samples, lighting, pos, extra)
    for layer in reversed(layers):
        picture = dr.antialias(layer.over(picture), layer.rast, pos, mesh.faces, cull=cull, mode=antialias)
    image, *rest = averaged(picture, samples).split([4, *(v.shape[-1] for v in extra.values())], dim=-1)
    return _finished(layers, image, dict(zip(extra, rest, strict=True)), cameras)


# --- One layer --------------------------------------------------------------------------------------------------------


@dataclass
class _Layer:
    """One layer: what is seen at its covered pixels."""

    rast: Tensor  # [B, H, W, 4]
    pixels: Covered
    color: Tensor  # [M, 3 + 1 + C]: RGB, 1, further channels
    alpha: Tensor | None  # [M, 1], None: opaque
    surface: Surface

    def over(self, behind: Tensor) -> Tensor:
        """The layer over an image `[B, H, W, 3 + 1 + C]`."""
        front = self.color
        if self.alpha is not None:
            front = torch.lerp(self.pixels.pick(behind), front, self.alpha)
        return self.pixels.put(front, behind)


def _shade(scene, mesh, lighting, maps, rast, rast_db, eyes, extra) -> _Layer:
    pixels = Covered(rast, rast_db)
    which = pixels.image if len(eyes) > 1 else None
    tangents = any(m.wants_tangents for m in scene.materials)
    surface = points(mesh, pixels.rast[0, 0], pixels.rast_db[0, 0], eyes, which, tangents)
    lit = [None if m is None else m.visibility(surface.position) for m in maps]
    color, alpha = _by_material(scene, mesh, surface, pixels, Lighting(lighting.lamps, lit, lighting.surroundings))
    parts = [color, torch.ones_like(color[:, :1])]
    parts += [dr.interpolate(v, pixels.rast, mesh.faces)[0][0, 0] for v in extra.values()]
    return _Layer(rast, pixels, torch.cat(parts, dim=-1), alpha, surface)


def _by_material(scene, mesh, surface, pixels, lights) -> tuple[Tensor, Tensor | None]:
    """Colours `[M, 3]` and alpha `[M, 1]` or None: each material shades the points that are its own."""
    if len(scene.materials) == 1:
        color, alpha = scene.materials[0].shade(surface, lights)
        return color.expand(len(surface), 3), None if alpha is None else alpha.expand(len(surface), 1)
    ids = mesh.material_ids[dr.triangle_id(pixels.rast)[0, 0]]
    order, colors, alphas = [], [], []
    for i, material in enumerate(scene.materials):
        mine = (ids == i).nonzero()[:, 0]
        if len(mine) == 0:
            continue
        color, alpha = material.shade(surface.pick(mine), lights.pick(mine))
        order.append(mine)
        colors.append(color.expand(len(mine), 3))
        alphas.append(None if alpha is None else alpha.expand(len(mine), 1))
    if not order:
        return surface.position, None
    back = torch.cat(order).argsort()
    color = torch.cat(colors).index_select(0, back)
    if all(a is None for a in alphas):
        return color, None
    full = [torch.ones_like(c[:, :1]) if a is None else a for a, c in zip(alphas, colors, strict=True)]
    return color, torch.cat(full).index_select(0, back)


# --- Before and after -------------------------------------------------------------------------------------------------


def _check(scene, mesh, cameras, samples, max_layers, channels) -> int | None:
    if not cameras or any((c.width, c.height) != (cameras[0].width, cameras[0].height) for c in cameras):
        raise ValueError("render(): camera must be one or several cameras of one size")
    if isinstance(samples, bool) or not isinstance(samples, int) or samples < 1:
        raise ValueError(f"render(): samples must be an integer of at least 1; got {samples!r}")
    if max_layers != "auto" and (not isinstance(max_layers, int) or max_layers < 1):
        raise ValueError(f'render(): max_layers must be "auto" or an integer of at least 1; got {max_layers!r}')
    count = len(scene.materials)
    if count != 1:
        ids = mesh.material_ids
        last = -1 if ids is None or len(ids) == 0 else int(ids.max())
        if ids is None or last >= count or int(ids.min()) < 0:
            raise ValueError(
                f"render(): the mesh must have material_ids in [0, {count}) for {count} materials; "
                + ("got none" if ids is None else f"got ids up to {last}")
            )
    for name, value in (channels or {}).items():
        if value.dim() != 2 or len(value) != len(mesh.vertices):
            raise ValueError(
                f"render(): channel {name!r} must be [V, C] with V={len(mesh.vertices)}; got {list(value.shape)}"
            )
    return None if max_layers == "auto" else max_layers


def _clip_matrix(camera: Camera, mesh: Mesh) -> Tensor:
    """World to clip space with near and far planes that hold the mesh."""
    with torch.no_grad():
        view = camera.world_to_camera
        depth = -(mesh.vertices.to(view) @ view[2, :3] + view[2, 3])
        near, far = (float(depth.min()), float(depth.max())) if len(depth) else (1.0, 1.0)
    if not math.isfinite(far - near):
        mesh.validate("render(): mesh")
    room = 1e-3 * max(abs(near), abs(far), 1e-6) + 1e-3 * (far - near)
    near, far = near - room, far + room
    if not camera.parallel:
        far = max(far, 1e-6)
        near = max(near, 1e-3 * far)
    return camera.clip_matrix(near, far)


def _eye(camera: Camera) -> Tensor:
    """The eye's position and 1, or for a parallel projection the direction to it and 0: `[4]`."""
    point = -camera.forward if camera.parallel else camera.center
    return torch.cat([point, point.new_full((1,), 0.0 if camera.parallel else 1.0)])


def _prepare(ctx, scene, mesh) -> tuple[Lighting, list[ShadowMap | None]]:
    lighting, maps = Lighting(), []
    for light in scene.lights:
        if isinstance(light, Lamp):
            lighting.lamps.append(light)
            maps.append(None if light.shadow is None else shadow_map(ctx, light, mesh.vertices, mesh.faces))
        else:
            lighting.surroundings.append(light.prepare())
    return lighting, maps


def _backdrop(scene, cameras, samples, lighting, pos, extra) -> Tensor:
    """What is behind everything, `[B, H, W, 4 + C]`, alpha and channels zero."""
    height, width = cameras[0].height * samples, cameras[0].width * samples
    count = 1 + sum(v.shape[-1] for v in extra.values())
    background = scene.background
    if background is None:
        return pos.new_zeros(len(cameras), height, width, 3 + count)
    if isinstance(background, EnvironmentLight):
        directions = torch.cat([_rays(c, samples).to(pos) for c in cameras])
        rough = torch.zeros_like(directions[:, :1])
        color = background.prepare().radiance(directions, rough).view(len(cameras), height, width, 3)
    elif background.dim() == 3:
        if background.shape[:2] != (cameras[0].height, cameras[0].width):
            raise ValueError(
                f"render(): the background must have the camera's size [{cameras[0].height}, {cameras[0].width}, 3]; "
                f"got {list(background.shape)}"
            )
        color = background.repeat_interleave(samples, 0).repeat_interleave(samples, 1)
    else:
        color = background
    color = color.to(pos).expand(len(cameras), height, width, 3)
    return pad(color, (0, count))


def _rays(camera: Camera, samples: int) -> Tensor:
    """Directions in the world through all pixels, `[H W, 3]`."""
    h, w = camera.height * samples, camera.width * samples
    y, x = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
    pixels = ((torch.stack([x, y], -1) + 0.5) / samples).reshape(-1, 2).to(camera.K)
    if camera.parallel:
        return camera.forward.expand(len(pixels), 3)
    ray = pad(pixels, (0, 1), value=1.0) @ torch.linalg.inv(camera.K).T
    ray = torch.cat([ray[:, :2], -ray[:, 2:]], dim=-1)
    return unit(ray @ camera.world_to_camera[:3, :3].to(ray))


def _finished(layers: list[_Layer], image, channels, cameras) -> Rendering:
    first, s = layers[0], layers[0].surface
    rows = torch.stack([c.world_to_camera[2] for c in cameras]).to(s.position)
    row = rows[first.pixels.image] if len(rows) > 1 else rows
    depth = -((s.position * row[:, :3]).sum(-1, keepdim=True) + row[:, 3:])
    ids, put = dr.triangle_id(first.rast), first.pixels.put
    uv = None if s.uv is None else put(s.uv)
    buffers = put(depth), put(s.normal), put(s.position), uv, ids, ids >= 0, first.rast
    return Rendering(image, *buffers, len(layers), channels)
