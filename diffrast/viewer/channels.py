"""The pictures that one can choose: each a small function from what is visible to display values `[N, 3]` of the pixels
that show surface."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from PIL import Image, ImageDraw
from torch import Tensor

import diffrast.torch as dr

from ..camera.camera import Camera
from ..io.image import from_pil, linear_to_srgb
from ..scene.colormap import signed_colors
from ..scene.environment import PreparedEnvironment
from .drawable import Drawable
from .orbit import UPS
from .surface import Surface

VARNISH = 0.35  # roughness
PITCH = 22  # pixels from arrow to arrow
REACH = 2 * PITCH  # of the longest, as seen from the side
INK = (0.92, 0.37, 0.04)
BACKGROUNDS = {"dark": (0.105, 0.115, 0.135), "light": (0.945, 0.95, 0.96)}


@dataclass(frozen=True, kw_only=True)
class ViewOptions:
    """What the page's controls say. `light` turns the lamp around the object and `turn` the surroundings, in degrees;
    `view` is the input view that is looked through, -1 for none; `opacity` is that of its photograph."""

    channel: str = "shaded"
    wireframe: bool = False
    flat: bool = False
    light: float = 0.0
    turn: float = 0.0
    theme: str = "dark"
    view: int = -1
    opacity: float = 0.0
    frusta: bool = False


def shaded(s: Surface, options: ViewOptions, up: str) -> Tensor:
    """Base colour under a sky, a lamp that goes along with the camera, and a weak light from the eye."""
    right, _, back = s.camera.world_to_camera[:3, :3].to(s.normal)
    sky = s.normal.new_tensor(UPS[up])
    angle = math.radians(options.light)
    lamp = math.sin(angle + 0.6) * right + math.cos(angle + 0.6) * back + 0.9 * sky
    lamp = torch.nn.functional.normalize(lamp, dim=0)
    # Three dot products as one matrix product: this is the picture that must keep up with the mouse.
    along = s.normal @ torch.stack([sky, lamp, back], dim=1)
    lit = 0.36 + 0.16 * along[:, 0] + 0.72 * along[:, 1].clamp_min(0) + 0.14 * along[:, 2].clamp_min(0)
    return linear_to_srgb(s.albedo * lit[:, None])


def surroundings(s: Surface, options: ViewOptions, up: str) -> Tensor:
    """Base colour under a picture of the surroundings, with a varnish (Schlick's Fresnel term, 4 % at normal
    incidence)."""
    levels, irradiance = s.drawable.environment
    light = PreparedEnvironment(
        levels, irradiance, s.normal.new_tensor(math.radians(options.turn)), s.normal.new_ones(())
    )
    cosine = (s.normal * s.toward_eye).sum(-1, keepdim=True)
    mirrored = 2 * cosine * s.normal - s.toward_eye
    gloss = 0.04 + 0.5 * (1 - cosine.clamp(0, 1)) ** 5
    diffuse, glossy = (
        light.irradiance(upright(s.normal, up)),
        light.radiance(upright(mirrored, up), torch.full_like(cosine, VARNISH)),
    )
    return linear_to_srgb(s.albedo * diffuse + gloss * glossy)


def upright(vectors: Tensor, up: str) -> Tensor:
    """Vectors `[N, 3]` with y up, as lights have them, from those of a world where `up` is."""
    if up == "y":
        return vectors
    x, y, z = vectors.unbind(-1)
    return torch.stack([x, z, -y], dim=-1)


def albedo(s: Surface, _: ViewOptions, __: str) -> Tensor:
    return linear_to_srgb(s.albedo)


def normal(s: Surface, _: ViewOptions, __: str) -> Tensor:
    """World normals, -1..1 as 0..1 in red, green and blue."""
    return 0.5 * s.normal + 0.5


def depth(s: Surface, _: ViewOptions, __: str) -> Tensor:
    """Near is bright, far is dark."""
    return (1 - 0.85 * s.depth.clamp(0, 1)).expand(-1, 3)


def checker(s: Surface, _: ViewOptions, __: str) -> Tensor:
    """16 squares along each side of the texture, red along u and green along v; gray where the mesh has no UVs."""
    if s.uv is None:
        return torch.full_like(s.normal, 0.5)
    odd = (s.uv * 16).floor().sum(-1, keepdim=True) % 2
    tint = torch.cat([s.uv - s.uv.floor(), torch.full_like(odd, 0.45)], dim=-1)
    return (0.25 + 0.65 * tint) * (0.55 + 0.45 * odd)


def triangle_id(s: Surface, _: ViewOptions, __: str) -> Tensor:
    """A colour for each triangle, from its number by multiples of irrational numbers."""
    steps = torch.tensor([0.7548776662, 0.5698402910, 0.8191725134], dtype=torch.float64)
    steps = steps.to(s.triangle.device)
    return 0.2 + 0.75 * (s.triangle[:, None] * steps % 1).float()


def mask(s: Surface, _: ViewOptions, __: str) -> Tensor:
    """White where there is surface."""
    return s.rast.new_ones(len(s.pixels), 3)


def matcap(s: Surface, _: ViewOptions, __: str) -> Tensor:
    """Clay, lit by the direction of the normal in camera space alone: it shows the shape whatever the texture."""
    n = s.normal @ s.camera.world_to_camera[:3, :3].T.to(s.normal)
    x, y, z = n.unbind(-1)
    key = (0.45 * x + 0.6 * y + 0.66 * z).clamp_min(0)
    rim = (1 - z.clamp(0, 1)) ** 3
    shade = (0.12 + 0.62 * key + 0.25 * key**24 + 0.25 * rim * (0.5 + 0.5 * y))[..., None]
    return linear_to_srgb(shade * shade.new_tensor([0.92, 0.80, 0.70]))


def gradient(s: Surface, _: ViewOptions, __: str) -> Tensor:
    """The loss's derivative by moving the surface along its outward normal."""
    return signed_colors(s.gradient[:, 0], s.drawable.gradient_scale, 0.5) * (
        0.45 + 0.55 * (s.normal * s.toward_eye).sum(-1, keepdim=True).abs()
    )


def pale(s: Surface, _: ViewOptions, __: str) -> Tensor:
    """What arrows stand out from."""
    return (0.42 + 0.4 * (s.normal * s.toward_eye).sum(-1, keepdim=True).abs()).expand(-1, 3)


def arrows(s: Surface) -> tuple[Tensor, Tensor]:
    """Tails and tips `[M, 2]` on screen, x to the right and y upwards, one for each cell of a grid whose middle shows
    surface."""
    width = s.image.shape[2]
    row, column = s.pixels.index // width, s.pixels.index % width
    at = ((row % PITCH == PITCH // 2) & (column % PITCH == PITCH // 2)).nonzero()[:, 0]
    tail = s.place[at]
    step = -s.vertex_gradient[at] / (s.drawable.gradient_scale or 1.0)
    step = step / step.norm(dim=-1, keepdim=True).clamp_min(1.0)
    screen, depth = s.camera.project(tail)
    pixel = depth[:, None] / s.camera.K[1, 1]  # its size in the world, there
    return screen, s.camera.project(tail + REACH * pixel.to(step) * step)[0]


def with_arrows(picture: Tensor, s: Surface) -> Tensor:
    """Display values `[H, W, 3]` with the arrows over them."""
    height, width = picture.shape[:2]
    tail, tip = (x.double().cpu() for x in arrows(s))
    along = tip - tail
    head = 0.3 * along
    side = 0.5 * torch.stack([-head[:, 1], head[:, 0]], dim=1)
    image = Image.new("L", (width, height))
    pen = ImageDraw.Draw(image)
    for ends in torch.stack([tail, tip, tip - head + side, tip - head - side], dim=1)[along.norm(dim=1) > 2]:
        a, b, c, d = ((x, height - y) for x, y in ends.tolist())  # a file's first row is the top one
        pen.line([a, b], 255, 2)
        pen.polygon([b, c, d], 255)
    return torch.lerp(picture, picture.new_tensor(INK), from_pil(image, linear=False).to(picture))


def coverage(s: Surface, _: ViewOptions, __: str) -> Tensor:
    """How much has been learned of each texel: nothing is magenta; then from dark blue to yellow, by the logarithm."""
    seen = s.coverage
    t = (1 + (seen / s.drawable.coverage_scale).clamp_min(1e-12).log10() / 2).clamp(0, 1)
    ramp = torch.lerp(t.new_tensor([0.10, 0.14, 0.36]), t.new_tensor([0.97, 0.90, 0.30]), t)
    never = ramp.new_tensor([0.95, 0.10, 0.75])
    return torch.where(seen > 0, ramp, never) * (0.55 + 0.45 * (s.normal * s.toward_eye).sum(-1, keepdim=True).abs())


@dataclass(frozen=True)
class Choice:
    """A picture to choose: how it is labelled, which of the scene's fields it needs, and how to read it, with `{scale}`
    for the number behind its full colour."""

    label: str
    needs: str = ""
    legend: str = ""
    image: bool = False  # that is shown as it is, whatever the camera


@dataclass(frozen=True, kw_only=True)
class Channel(Choice):
    """One of the mesh's: how it is drawn, what stands around the object (None: the page's own colour), and what is
    drawn over the picture."""

    draw: Callable[[Surface, ViewOptions, str], Tensor]
    around: float | None = None
    over: Callable[[Tensor, Surface], Tensor] | None = None


CHANNELS = {
    "shaded": Channel("Shaded", draw=shaded),
    "surroundings": Channel("Surroundings", draw=surroundings),
    "albedo": Channel("Albedo", draw=albedo),
    "normal": Channel("Normal", draw=normal),
    "depth": Channel("Depth", draw=depth),
    "uv": Channel("UV checker", draw=checker),
    "id": Channel("Triangle id", draw=triangle_id),
    "mask": Channel("Mask", draw=mask, around=0.0),
    "matcap": Channel("Matcap", draw=matcap),
    "gradient": Channel(
        "Vertex gradient",
        "gradient",
        "Moved outwards, red raises the loss, blue lowers it. Full colour: {scale:.2g}.",
        draw=gradient,
    ),
    "arrows": Channel(
        "Gradient arrows",
        "gradient",
        "Where a step against the gradient moves the surface. The longest: {scale:.2g} or more.",
        draw=pale,
        over=with_arrows,
    ),
    "coverage": Channel(
        "Texel coverage",
        "coverage",
        "Magenta texels never had a gradient; the others from little, dark, to much, yellow.",
        draw=coverage,
    ),
}


@torch.no_grad()
def draw(
    ctx: dr.RasterizeContext,
    drawable: Drawable,
    camera: Camera,
    options: ViewOptions,
    up: str = "y",
    smooth: bool = True,
) -> Float[Tensor, "H W 3"]:
    """The image of a mesh in display values, row 0 at the bottom; `smooth` antialiases silhouettes."""
    surface = Surface(ctx, drawable, camera, options.flat)
    channel = CHANNELS[options.channel]
    color = channel.draw(surface, options, up)
    if options.wireframe:
        ink = (1.2 - surface.edge_distance).clamp(0, 1) * 0.75
        color = torch.lerp(color, color.new_tensor([0.02, 0.03, 0.05]), ink)
    around = BACKGROUNDS[options.theme] if channel.around is None else (channel.around,) * 3
    picture = surface.scatter(color, around, smooth)
    return channel.over(picture, surface) if channel.over else picture
