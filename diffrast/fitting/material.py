"""Albedo, gloss and light apart: a metallic-roughness material and the surroundings that explain the photographs.

The shape and the cameras stay as they are, so what every pixel shows is found once: a list of points with their
colours, from which each step shades some (as Munkberg et al. 2022, "Extracting Triangular 3D Models, Materials, and
Lighting From Images", but for the shape). A colour of light and the same albedo look alike, and so do a shadow and a
dark albedo. What tells them apart: albedo changes abruptly and seldom, light is about white (ibid., section 3.4 and
appendix), and a point that other parts hide from the sky is dark whatever its albedo (`occlusion`).
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, replace

import torch

import diffrast.torch as dr

from ..camera.camera import Camera
from ..io.image import linear_to_srgb, srgb_to_linear
from ..mesh.bake_textures import fill_gaps
from ..mesh.material_data import MaterialData
from ..mesh.mesh import Mesh, vertex_normals
from ..scene.environment import EnvironmentLight, latlong_directions
from ..scene.light import Surrounding
from ..scene.material import Lighting, MetallicRoughness
from ..scene.passes import Covered, draw
from ..scene.surface import Surface, points
from .appearance import Textured, at_texels
from .coverage import fill_unseen
from .loop import Run, descend, optimize
from .targets import BACKGROUND, Targets

MOST = 3_000_000  # points kept of all photographs: about 100 bytes each
ROWS = 32  # of the lat-long map of light
CUBE = 32  # texels along a face of the cube map that it becomes
PRIORS = {"base": 0.6, "gloss": 0.05, "metal": 0.02, "light": 0.002, "white": 0.001, "normals": 0.5}


@dataclass(kw_only=True)
class Material(Textured):
    """A shape with a material and light. `texture` `[S, S, 3]` is the base colour in display values; `orm` `[S, S, 3]`
    occlusion, roughness, metalness; `normals` `[S, S, 3]` the normal map as files hold it; `light` `[H, 2 H, 3]`
    radiance (`diffrast.scene.environment.latlong_directions`)."""

    orm: torch.Tensor
    normals: torch.Tensor
    light: torch.Tensor

    def mesh(self) -> Mesh:
        """With glTF's material, for files."""
        data = MaterialData(
            base_color_texture=srgb_to_linear(self.texture),
            metallic_roughness_texture=self.orm,
            has_occlusion=True,
            normal_texture=self.normals if bool((self.normals != FLAT.to(self.normals)).any()) else None,
        )
        return Mesh(self.vertices, self.faces, self.uv, uv_faces=self.uv_faces, materials=[data])

    def draw(
        self,
        ctx: dr.RasterizeContext,
        clip: torch.Tensor,
        camera: Camera,
        resolution: tuple[int, int],
        samples: int = 1,
    ) -> torch.Tensor:
        mesh = Mesh(self.vertices, self.faces, self.uv, uv_faces=self.uv_faces)
        eye = torch.nn.functional.pad(camera.center.to(clip), (0, 1), value=1.0)[None]
        base, light = srgb_to_linear(self.texture), _kept(self.light)

        def shaded(rast: torch.Tensor, rast_db: torch.Tensor) -> torch.Tensor:
            pixels = Covered(rast, rast_db)
            surface = points(mesh, pixels.rast[0, 0], pixels.rast_db[0, 0], eye, None, True)
            return pixels.put(shade(surface, base, self.orm, self.normals, light))

        return draw(ctx, clip, self.faces, resolution, shaded, BACKGROUND, samples=samples, grad_db=True)


def prepared(light: torch.Tensor) -> Surrounding:
    """A lat-long map `[H, 2 H, 3]`, ready to be looked up. Differentiable."""
    return EnvironmentLight(light, size=CUBE).requires_grad_(False).prepare()  # but for a map that wants gradients


# For pictures of a finished material, whose light does not change any more: many are drawn with the same.
_kept = functools.lru_cache(maxsize=1)(prepared)


def shade(
    surface: Surface, base: torch.Tensor, orm: torch.Tensor, normals: torch.Tensor | None, light: Surrounding
) -> torch.Tensor:
    """Display values `[N, 3]` of points. Differentiable into all maps."""
    material = MetallicRoughness(base, orm, normals).requires_grad_(False)  # but for what is computed from others
    color, _ = material.shade(surface, Lighting(surroundings=[light]))
    return linear_to_srgb(color.clamp(1e-4, 1))


FLAT = torch.tensor([0.5, 0.5, 1.0])  # the normal map of a smooth surface


@dataclass
class Points:
    """What the photographs show: `surface` of N points, `color` `[N, 3]` in display values, `view` `[N]`."""

    surface: Surface
    color: torch.Tensor
    view: torch.Tensor


@torch.no_grad()
def seen_points(
    ctx: dr.RasterizeContext, model: Textured, targets: Targets, generator: torch.Generator, bumps: bool
) -> Points:
    """The points that the targets' pixels show: those that the mask and the mesh cover entirely, no nearer to an
    outline than a pixel. At most `MOST`, chosen at random."""
    mesh = Mesh(model.vertices, model.faces, model.uv, uv_faces=model.uv_faces)
    most = MOST // len(targets.images)
    found, colors, views = [], [], []
    for i in range(len(targets.images)):
        index = torch.tensor([i], device=model.vertices.device)
        rast, rast_db = dr.rasterize(ctx, targets.clip(model.vertices, index), model.faces, targets.resolution)
        inside = (rast[0, ..., 3] > 0) & (targets.images[i, ..., 3] > 0.999)
        if targets.weights is not None:
            inside &= targets.weights[i, ..., 0] > 0.999
        # One pixel in from every outline: max_pool of what is outside.
        inside = torch.nn.functional.max_pool2d(1 - inside.float()[None, None], 3, 1, 1)[0, 0] == 0
        pick = inside.flatten().nonzero()[:, 0]
        if len(pick) > most:
            pick = pick[torch.randperm(len(pick), generator=generator)[:most].to(pick.device)]
        eye = torch.nn.functional.pad(targets.eye(i), (0, 1), value=1.0)[None]
        flat, flat_db = rast.flatten(0, 2)[pick], rast_db.flatten(0, 2)[pick]
        found.append(points(mesh, flat, flat_db, eye, None, bumps))
        colors.append(targets.images[i].flatten(0, 1)[pick, :3].float())
        views.append(torch.full_like(pick, i))
    together = {
        name: torch.cat([getattr(s, name) for s in found])
        for name, value in vars(found[0]).items()
        if value is not None
    }
    return Points(Surface(**together), torch.cat(colors), torch.cat(views))


def occlusion(
    ctx: dr.RasterizeContext, vertices: torch.Tensor, faces: torch.Tensor, directions: int = 96, size: int = 160
) -> torch.Tensor:
    """`[V]`: the share of the light of a white sky that reaches each vertex, others than itself in the way. By depth
    maps from `directions` evenly spread directions, `size` pixels wide."""
    normal = vertex_normals(vertices, faces)
    center = 0.5 * (vertices.amin(0) + vertices.amax(0))
    radius = float((vertices - center).norm(dim=1).max())
    i = torch.arange(directions, device=vertices.device, dtype=vertices.dtype) + 0.5
    y, turn = 1 - 2 * i / directions, i * math.pi * (3 - math.sqrt(5))  # a spiral of equal areas
    flat = (1 - y * y).sqrt()
    toward = torch.stack([flat * turn.cos(), y, flat * turn.sin()], dim=1)
    bias = 2.5 / size  # of the depth, in radii: a pixel's slope
    arriving, all_of_it = torch.zeros_like(vertices[:, 0]), torch.zeros_like(vertices[:, 0])
    for d in toward:
        helper = torch.eye(3, device=d.device, dtype=d.dtype)[int(d.abs().argmin())]
        x = torch.nn.functional.normalize(torch.linalg.cross(helper, d), dim=0)
        axes = torch.stack([x, torch.linalg.cross(d, x), -d])
        place = (vertices - center) @ axes.T / (1.02 * radius)
        clip = torch.nn.functional.pad(place, (0, 1), value=1.0)[None]
        rast, _ = dr.rasterize(ctx, clip, faces, (size, size), grad_db=False)
        depth = torch.where(rast[..., 3] > 0, rast[..., 2], 1.0)[:, None]
        # The farthest of the neighbours: a vertex on an outline must not hide itself.
        nearest = torch.nn.functional.grid_sample(depth, place[None, None, :, :2], mode="nearest", align_corners=False)
        free = (place[:, 2] <= nearest[0, 0, 0] + bias).to(depth)
        cosine_here = (normal @ d).clamp_min(0)
        arriving += free * cosine_here
        all_of_it += cosine_here
    return arriving / all_of_it.clamp_min(1e-6)


def start_material(ctx: dr.RasterizeContext, model: Textured) -> Material:
    """White light, no metal, and one albedo everywhere: what shading explains, the light is to explain first."""
    size, device = model.texture.shape[0], model.texture.device
    hidden = occlusion(ctx, model.vertices, model.faces)[:, None]
    hidden, _ = at_texels(ctx, model.uv, model.uv_faces, hidden[model.source], size)
    orm = torch.cat([hidden, torch.full_like(hidden, 0.6), torch.zeros_like(hidden)], dim=-1)
    middle = model.texture[model.covered].median(dim=0).values
    return Material(
        **{name: value for name, value in vars(model).items() if name != "texture"},
        texture=middle.expand(size, size, 3).contiguous(),
        orm=orm,
        normals=FLAT.to(device).expand(size, size, 3).contiguous(),
        light=torch.ones(ROWS, 2 * ROWS, 3, device=device),
    )


def _difference(x: torch.Tensor) -> torch.Tensor:
    """Mean absolute difference of neighbours in `[H, W, C]`."""
    return (x[1:] - x[:-1]).abs().mean() + (x[:, 1:] - x[:, :-1]).abs().mean()


def fit_material(
    ctx: dr.RasterizeContext,
    run: Run,
    model: Material,
    targets: Targets,
    *,
    steps: int,
    seconds: float = math.inf,
    bumps: bool = False,
    batch: int = 16384,
) -> tuple[Material, float]:
    """Fit base colour, roughness, metalness, light and, with `bumps`, the normal map to the targets' colours. Returns
    what `normalized` makes of them."""
    seen = seen_points(ctx, model, targets, torch.Generator().manual_seed(0), bumps)
    start = {
        "base": model.texture,
        "gloss": model.orm[..., 1:],
        "normals": model.normals,
        "light": model.light.clamp_min(1e-3).log(),
    }
    found = {name: value.clone().requires_grad_() for name, value in start.items()}
    rates = {"base": 0.02, "gloss": 0.01, "normals": 0.003 * bumps, "light": 0.04}
    optimizer = torch.optim.Adam(
        [{"params": [found[name]], "rate": rate} for name, rate in rates.items()], lr=1.0, betas=(0.9, 0.99)
    )
    sharp = model.texture.shape[0] / 256  # an edge takes a smaller share of a larger texture
    hidden = model.orm[..., :1]

    def step(t: float) -> torch.Tensor:
        index = torch.randint(len(seen.color), (batch,), generator=run.generator).to(seen.color.device)
        orm = torch.cat([hidden, found["gloss"].clamp(0, 1)], dim=-1)
        base, normals = srgb_to_linear(found["base"].clamp(0, 1)), found["normals"] if bumps else None
        color = shade(seen.surface.pick(index), base, orm, normals, prepared(found["light"].exp()))
        image = torch.cat([color, torch.ones_like(color[:, :1])], dim=-1)
        image = targets.calibration.expose(image[:, None, None], seen.view[index], 0.0)[:, 0, 0, :3]
        difference = image - seen.color[index]
        error = difference.abs().mean()
        run.errors.append((run.stage, float(difference.detach().square().mean())))
        gray = found["light"] - found["light"].mean(dim=-1, keepdim=True)
        prior = (
            PRIORS["base"] * sharp * _difference(found["base"])
            + PRIORS["gloss"] * sharp * _difference(found["gloss"])
            + PRIORS["metal"] * found["gloss"][..., 1].clamp_min(0).mean()
            + PRIORS["light"] * _difference(found["light"])
            + PRIORS["white"] * gray.abs().mean()
            + PRIORS["normals"] * (found["normals"] - FLAT.to(found["normals"])).square().mean()
        )
        descend(optimizer, error + prior, t)
        return error.detach()

    optimize(run, step, {**found, "optimizer": optimizer}, steps, seconds)
    base, gloss, normals, light = (found[name].detach() for name in start)
    return normalized(
        replace(
            model,
            texture=fill_unseen(ctx, model, base.clamp(0, 1)),
            orm=fill_unseen(ctx, model, torch.cat([hidden, gloss.clamp(0, 1)], dim=-1)),
            normals=fill_gaps(normals.clamp(0, 1), model.covered),
            light=light.exp(),
        )
    )


def normalized(model: Material, brightest: float = 0.9) -> tuple[Material, float]:
    """Light of a mean radiance of 1, and albedo as much brighter as it was: only their product shows in photographs.
    Where a surface would then reflect more than `brightest` (all but a hundredth of its texels), albedo of that and the
    light that goes with it. Returns the factor on albedo, too."""
    latitude = latlong_directions(*model.light.shape[:2])[..., 1].to(model.light)
    weight = (1 - latitude.square()).sqrt()[..., None]
    mean = float((model.light * weight).sum() / (3 * weight.sum()))
    base = srgb_to_linear(model.texture)
    top = float(torch.quantile(base[model.covered].amax(dim=-1)[:1_000_000], 0.99))
    factor = min(mean, brightest / max(top, 1e-6))
    texture = linear_to_srgb((base * factor).clamp(0, 1))
    return replace(model, texture=texture, light=model.light / factor), factor
