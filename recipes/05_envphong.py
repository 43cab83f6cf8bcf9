"""Surroundings and gloss of a known body, from images of it.

You will see in `envphong.png` four images: the body as it is, at the start, as found, and, at the right, mirrored in a
perfect ball, the true surroundings above the ones found. Shape and base color are known; the light from all around (a
lat-long map), the strength of the mirror and its exponent are not. The gradient reaches the map through the prefiltered
levels of the environment light.

    python recipes/05_envphong.py --out out

What is sharp in the surroundings can only be seen again as far as the body is a mirror: a lower exponent forgets more.
"""

import math

import torch
from common import Descent, check, ends, options, reduced
from torch.nn.functional import normalize, softplus

import diffrast.torch as dr
from diffrast.camera import Camera
from diffrast.io import save_image
from diffrast.mesh import sphere, torus
from diffrast.scene import BlinnPhong, EnvironmentLight, MetallicRoughness, Scene, latlong_directions, render

CTX = dr.RasterizeContext()
# The lamps of the room: where, of which color, how small.
LAMPS = [
    ((1.0, 0.6, 0.4), (5.0, 3.5, 2.0), 30),
    ((-0.8, 0.3, 0.7), (0.6, 1.8, 4.0), 20),
    ((0.1, -0.3, -1.0), (1.0, 2.5, 0.8), 12),
]
BASE, GLOSS, SHININESS = (0.25, 0.3, 0.4), (0.5, 0.45, 0.4), 150.0


def surroundings(rows: int) -> torch.Tensor:
    """A room to be found: [rows, 2 rows, 3], a gradient with three lamps of different colors."""
    d = latlong_directions(rows, 2 * rows)
    room = 0.25 + 0.2 * d[..., 1:2] * torch.tensor([0.6, 0.8, 1.0])
    for place, color, sharp in LAMPS:
        at = normalize(torch.tensor(place), dim=0)
        room = room + torch.tensor(color) * torch.exp(sharp * (d @ at - 1))[..., None]
    return room


def random_view(size: int, generator: torch.Generator) -> Camera:
    u, v = torch.rand(2, generator=generator).tolist()
    return Camera.orbit(2 * math.pi * u, math.asin(1.6 * v - 0.8), 4.5, fov_y=0.65, width=size, height=size)


def main(argv: list[str] | None = None) -> dict[str, float]:
    args = options(
        __doc__,
        argv,
        smoke={"steps": 60, "resolution": 48, "rows": 16},
        steps=(400, "steps, one image each"),
        resolution=(96, "side of the images in pixels"),
        rows=(32, "rows of the map of the surroundings"),
    )
    body, device = torus(1.0, 0.45).to(args.device), args.device
    truth = EnvironmentLight(surroundings(args.rows), size=max(8, args.rows)).to(device)
    target = Scene(body, BlinnPhong(BASE, GLOSS, SHININESS).to(device), [truth], truth)
    raw = torch.full((args.rows, 2 * args.rows, 3), -1.0, device=device, requires_grad=True)
    finish = BlinnPhong(BASE, (0.2, 0.2, 0.2), 20.0).to(device)
    finish.base_color.requires_grad_(False)

    def scene() -> Scene:
        # softplus: light is not negative
        light = EnvironmentLight(softplus(raw), size=max(8, args.rows)).to(device)
        return Scene(body, finish, [light], light)

    rates = [{"params": [raw], "lr": 0.08}, {"params": [finish.specular, finish.log_shininess], "lr": 0.02}]
    descent = Descent("envphong", torch.optim.Adam(rates), args.steps, decay=0.1)
    generator = torch.Generator().manual_seed(0)
    held_out = Camera.orbit(0.6, 0.7, 4.5, fov_y=0.65, width=2 * args.resolution, height=2 * args.resolution)

    def show(what: Scene) -> torch.Tensor:
        with torch.no_grad():
            return render(what, held_out, ctx=CTX, samples=2).image[0, ..., :3]

    start = show(scene())
    for _ in descent:
        camera = random_view(args.resolution, generator)
        with torch.no_grad():
            seen = render(target, camera, ctx=CTX).image
        now = render(scene(), camera, ctx=CTX).image
        # Bright lamps must not drown the rest.
        descent.step((torch.log1p(now[..., :3]) - torch.log1p(seen[..., :3]))[seen[..., 3] > 0].abs().mean())

    mirror = MetallicRoughness((1.0, 1.0, 1.0), (1.0, 0.0, 1.0)).to(device)
    found = EnvironmentLight(softplus(raw.detach()), size=max(8, args.rows)).to(device)
    balls = [reduced(show(Scene(sphere(1.6).to(device), mirror, [light])), 2) for light in (found, truth)]
    images = [show(target), start, show(scene())]
    save_image(args.out / "envphong.png", torch.cat([*images, torch.cat(balls)], dim=1))
    psnr = -10 * math.log10((images[2].clamp(0, 1) - images[0].clamp(0, 1)).square().mean().item())
    gloss = finish.specular.detach().tolist()
    shininess = finish.log_shininess.detach().exp().item()
    print(
        f"specular {[round(g, 3) for g in gloss]} (true {list(GLOSS)}), exponent {shininess:.0f} (true {SHININESS:.0f})"
    )
    print(f"a view that was not learned from: {psnr:.1f} dB")
    check(args.smoke, *ends(descent.losses), 0.5)
    return {"psnr": psnr, "shininess": shininess}


if __name__ == "__main__":
    main()
