"""Fit a linear shape model to one image: the pattern behind fitting faces and bodies, on heads that are made up here.

You will see a row for each of 4 heads: the image to explain, the start (the mean head), the head that was found, and,
from the side that the image did not show, the true head and the one that was found.

    python recipes/08_morph.py --out out

A head is the mean plus ten displacements (long, wide, nose, jaw, ...), each times a number that is normally distributed
over people, and a color of its skin. Ten numbers, three of color and six of pose are found at once from 96x96 pixels:
the outline speaks through `antialias`, the inside through shading. What the image does not tell, as whether a head is
large or near, the prior decides: numbers cost their square, as normally distributed ones should (compare Blanz and
Vetter 1999, "A Morphable Model for the Synthesis of 3D Faces").
"""

import math
from dataclasses import dataclass

import torch
from common import Descent, check, options, reduced
from torch.nn.functional import normalize

import diffrast.torch as dr
from diffrast.camera import Camera, so3_log
from diffrast.io import save_image
from diffrast.mesh import sphere, vertex_normals
from diffrast.optimize import CameraParameters

CTX = dr.RasterizeContext()
BACKGROUND = torch.tensor([0.08, 0.09, 0.12])
NAMES = ["long", "wide", "nose length", "nose tip", "jaw", "chin", "brow", "cheeks", "ears", "smile"]


# --- The model --------------------------------------------------------------------------------------------------------


@dataclass
class Model:
    """vertices = mean + sum of coefficients times shapes; colors = the features plus the skin where it shows."""

    mean: torch.Tensor  # [V, 3]
    shapes: torch.Tensor  # [K, V, 3], each times one standard deviation
    skin: torch.Tensor  # [V] how much of the skin's color shows
    features: torch.Tensor  # [V, 3] colors of what covers it: eyes, lips, hair
    faces: torch.Tensor  # [F, 3]

    def vertices(self, coefficients: torch.Tensor) -> torch.Tensor:
        return self.mean + torch.einsum("k,kvc->vc", coefficients, self.shapes)

    def colors(self, skin: torch.Tensor) -> torch.Tensor:
        return self.features + self.skin[:, None] * skin

    def to(self, device: str) -> "Model":
        return Model(*(t.to(device) for t in (self.mean, self.shapes, self.skin, self.features, self.faces)))


def heads() -> Model:
    """A head that looks along +z, and ten ways in which heads differ."""
    mesh = sphere(segments=96, rings=72)
    n = mesh.vertices  # directions from the middle
    x, y, z = n.unbind(1)
    side = x.sign()

    def bump(cx: float, cy: float, width: float) -> torch.Tensor:
        """Near the point of the face at (cx, cy), on both sides alike."""
        center = torch.tensor([cx, cy, math.sqrt(max(1 - cx * cx - cy * cy, 0.0))])
        mirrored = torch.stack([x.abs(), y, z], dim=1)
        return (-(mirrored - center).square().sum(1) / (2 * width**2)).exp()

    def along(weight: torch.Tensor, dx=0.0, dy=0.0, dz=0.0) -> torch.Tensor:
        return weight[:, None] * torch.stack([dx * side, torch.full_like(x, dy), torch.full_like(x, dz)], dim=1)

    nose, tip, eyes, mouth = (bump(0, -0.02, 0.1), bump(0, -0.12, 0.08), bump(0.3, 0.17, 0.1), bump(0, -0.42, 0.13))
    corners, chin, brow = bump(0.2, -0.4, 0.09), bump(0, -0.75, 0.2), bump(0.28, 0.33, 0.13)
    ears = (-((x.abs() - 1).square() + (y - 0.05).square() + z.square()) / 0.02).exp()
    mean = n * torch.tensor([0.78, 1.05, 0.92])
    mean = mean + along(nose, dz=0.1) + along(tip, dz=0.16) + along(eyes, dz=-0.07) + along(brow, dz=0.05)
    mean = mean + along(mouth, dz=0.03) + along(chin, dz=0.06) + along(ears, dx=0.12)
    o, face = torch.zeros_like(x), (z > 0) * z
    shapes = torch.stack(
        [
            torch.stack([o, 0.09 * y, o], dim=1),  # long
            torch.stack([0.07 * x, o, o], dim=1),  # wide
            along(nose + tip, dz=0.05),  # nose length
            along(tip, dy=0.05),  # nose tip
            along(bump(0.6, -0.5, 0.25), dx=0.08),  # jaw
            along(chin, dy=-0.04, dz=0.07),  # chin
            along(brow, dz=0.05),  # brow
            along(bump(0.5, -0.12, 0.16), dx=0.05, dz=0.03),  # cheeks
            along(ears, dx=0.06),  # ears
            along(corners, dx=0.03, dy=0.05) + along(mouth, dy=-0.02),  # smile
        ]
    )
    pupil, white = bump(0.3, 0.17, 0.045), bump(0.3, 0.17, 0.08)
    lips = (-((y + 0.42) / 0.06).square() - (x / 0.22).square()).exp() * (face > 0)
    hair = torch.sigmoid((y - 0.62 + 0.55 * (0.25 - z).clamp_min(-0.4)) / 0.04)
    skin, features = torch.ones_like(x), torch.zeros_like(n)
    for weight, color in (
        (white, (0.8, 0.8, 0.8)),
        (pupil, (0.02, 0.05, 0.1)),
        (lips, (0.5, 0.1, 0.1)),
        (hair, (0.08, 0.05, 0.03)),
    ):
        w = (1.3 * weight).clamp_max(1)
        skin, features = skin * (1 - w), features * (1 - w[:, None]) + w[:, None] * torch.tensor(color)
    return Model(mean, shapes, skin, features, mesh.faces)


# --- Images and the fit -----------------------------------------------------------------------------------------------


def render(
    model: Model, coefficients: torch.Tensor, skin: torch.Tensor, camera: Camera, sharper: int = 1
) -> torch.Tensor:
    """[H, W, 3]: the head in the light of a lamp beside the camera's first place, antialiased."""
    vertices, tri = model.vertices(coefficients), model.faces
    seen = camera.resized(sharper * camera.width, sharper * camera.height)
    pos = seen.to_clip(vertices)[None]
    lamp = normalize(torch.tensor([0.6, 0.5, 0.9]), dim=0).to(vertices)
    light = 0.25 + 0.85 * (vertex_normals(vertices, tri) @ lamp).clamp_min(0)
    rast, _ = dr.rasterize(CTX, pos, tri, seen.resolution)
    color, _ = dr.interpolate(model.colors(skin) * light[:, None], rast, tri)
    image = torch.where(rast[..., 3:] > 0, color, BACKGROUND.to(color))
    return reduced(dr.antialias(image, rast, pos, tri)[0], sharper)


def person(generator: torch.Generator, size: int) -> tuple[torch.Tensor, torch.Tensor, CameraParameters]:
    """Random coefficients [K], skin [3], and a camera turned and shifted by chance."""
    coefficients = torch.randn(len(NAMES), generator=generator).clamp(-2, 2)
    skin = torch.tensor([0.65, 0.42, 0.3]) * (0.55 + 0.6 * torch.rand(1, generator=generator))
    skin = skin * (1 + 0.05 * torch.randn(3, generator=generator))
    camera = CameraParameters(first_camera(size), ("pose",), pivot=(0, 0, 0))
    with torch.no_grad():
        camera.pose[:3] = torch.randn(3, generator=generator) * torch.tensor([0.12, 0.25, 0.08])
        camera.pose[3:] = 0.08 * torch.randn(3, generator=generator)
    return coefficients, skin, camera


def first_camera(size: int) -> Camera:
    return Camera.look_at((0, 0, 4.6), fov_y=0.62, width=size, height=size)


def fit(model: Model, target: torch.Tensor, steps: int, prior: float, name: str):
    """Coefficients, skin and camera that explain the image [H, W, 3]; also the first and last mean squared error."""
    device = target.device
    coefficients = torch.zeros(len(model.shapes), device=device, requires_grad=True)
    skin = torch.full((3,), 0.45, device=device, requires_grad=True)
    camera = CameraParameters(first_camera(target.shape[0]), ("pose",), pivot=(0, 0, 0)).to(device)
    groups = [{"params": [coefficients], "lr": 0.08}, {"params": [skin, *camera.parameters()], "lr": 0.02}]
    descent = Descent(f"morph {name}", torch.optim.Adam(groups), steps, decay=0.03)
    for step in descent:
        error = (render(model, coefficients, skin, camera()) - target).square().mean()
        # Pose and color first: a wrong pose would be explained by a wrong shape.
        weight = prior * (1 + 100 * math.exp(-8 * step / steps))
        descent.step(error + weight * coefficients.square().mean(), shown=error)
    return coefficients.detach(), skin.detach(), camera, descent.losses[0], descent.losses[-1]


def main(argv: list[str] | None = None) -> dict[str, float]:
    args = options(
        __doc__,
        argv,
        smoke={"heads": 1, "resolution": 48, "steps": 80},
        heads=(4, "how many images"),
        resolution=(96, "side of the images in pixels"),
        steps=(300, "optimization steps for each head"),
        prior=(1e-5, "weight of the squared coefficients"),
        seed=(0, "random heads and cameras"),
    )
    large = 96 if args.smoke else 200

    generator = torch.Generator().manual_seed(args.seed)
    model = heads().to(args.device)
    beside = Camera.orbit(1.1, 0.1, 4.6, fov_y=0.62, width=large, height=large)
    rows, table, first, last = [], [], 0.0, 0.0
    for i in range(args.heads):
        coefficients, skin, camera = person(generator, args.resolution)
        coefficients, skin = coefficients.to(args.device), skin.to(args.device)
        with torch.no_grad():
            target = render(model, coefficients, skin, camera(), sharper=2)
        found, color, pose, before, after = fit(model, target, args.steps, args.prior, f"{i + 1} of {args.heads}")
        first, last = first + before / args.heads, last + after / args.heads
        with torch.no_grad():
            true, mean, got = (model.vertices(c) for c in (coefficients, 0 * found, found))
            turn = so3_log(camera().world_to_camera[:3, :3] @ pose().world_to_camera[:3, :3].cpu().T)
            table.append(
                [100 * (v - true).norm(dim=1).mean().item() / 2.1 for v in (mean, got)]
                + [(coefficients - found).abs().mean().item(), torch.rad2deg(turn.norm()).item()]
            )
            now, start = pose().resized(large, large), first_camera(large)
            shots = [
                (coefficients, skin, camera().resized(large, large)),
                (0 * found, 0 * color + 0.45, start),
                (found, color, now),
                (coefficients, skin, beside),
                (found, color, beside),
            ]
            rows.append(torch.cat([render(model, *shot, sharper=2).cpu() for shot in shots], dim=1))
    save_image(args.out / "morph.png", torch.cat(rows[::-1]))

    print("    head   mean error of vertices, % of the height   of coefficients, deviations   pose off, degrees")
    for i, (start, end, off, angle) in enumerate(table):
        print(f"{i + 1:8} {start:16.2f} -> {end:5.2f} {off:34.2f} {angle:25.2f}")
    check(args.smoke, first, last, 0.05)
    columns = list(zip(*table, strict=True))
    names = ("mean_head_percent", "vertex_percent", "coefficients", "degrees")
    return {n: max(c) for n, c in zip(names, columns, strict=True)}


if __name__ == "__main__":
    main()
