"""Surroundings and gloss of a known body, from pictures of it.

You will see in `envphong.png` four pictures: the body as it is, at the start, as found, and, at the right, mirrored in
a perfect ball, the true surroundings above the ones found. Shape and base colour are known; the light from all around
(a lat-long map), the strength of the mirror and its exponent are not. The gradient reaches the map through the
prefiltered levels of the environment light.

    python recipes/envphong.py --out out

What is sharp in the surroundings can only be seen again as far as the body is a mirror: a lower exponent forgets more.
"""

import argparse
import math
from pathlib import Path

import torch
from torch.nn.functional import avg_pool2d, softplus
from tqdm import tqdm

import diffrast.torch as dr
from diffrast.camera import Camera
from diffrast.io import save_image
from diffrast.mesh import sphere, torus
from diffrast.scene.environment import EnvironmentLight, latlong_directions
from diffrast.scene.light import Surrounding
from diffrast.scene.material import BlinnPhong, MetallicRoughness
from diffrast.scene.renderer import Scene, render

CTX = dr.RasterizeContext()
# The lamps of the room: where, of which colour, how small.
LAMPS = [
    ((1.0, 0.6, 0.4), (5.0, 3.5, 2.0), 30),
    ((-0.8, 0.3, 0.7), (0.6, 1.8, 4.0), 20),
    ((0.1, -0.3, -1.0), (1.0, 2.5, 0.8), 12),
]
BASE, GLOSS, SHININESS = (0.25, 0.3, 0.4), (0.5, 0.45, 0.4), 150.0


def surroundings(rows: int) -> torch.Tensor:
    """A room to be found: [rows, 2 rows, 3], a gradient with three lamps of different colours."""
    d = latlong_directions(rows, 2 * rows)
    room = 0.25 + 0.2 * d[..., 1:2] * torch.tensor([0.6, 0.8, 1.0])
    for place, colour, sharp in LAMPS:
        at = torch.nn.functional.normalize(torch.tensor(place), dim=0)
        room = room + torch.tensor(colour) * torch.exp(sharp * (d @ at - 1))[..., None]
    return room


def random_view(size: int, generator: torch.Generator) -> Camera:
    u, v = torch.rand(2, generator=generator).tolist()
    return Camera.orbit(2 * math.pi * u, math.asin(1.6 * v - 0.8), 4.5, fov_y=0.65, width=size, height=size)


def main(argv: list[str] | None = None) -> dict[str, float]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=400, help="steps, one picture each")
    parser.add_argument("--resolution", type=int, default=96, help="side of the pictures in pixels")
    parser.add_argument("--rows", type=int, default=32, help="rows of the map of the surroundings")
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for the picture")
    parser.add_argument("--smoke", action="store_true", help="small, with a check that the loss went down")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    args = parser.parse_args(argv)
    if args.smoke:
        args.steps, args.resolution, args.rows = min(args.steps, 60), 48, 16

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

    optimizer = torch.optim.Adam(
        [{"params": [raw], "lr": 0.08}, {"params": [finish.specular, finish.log_shininess], "lr": 0.02}]
    )
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.1 ** (1 / args.steps))
    generator, losses = torch.Generator().manual_seed(0), []
    held_out = Camera.orbit(0.6, 0.7, 4.5, fov_y=0.65, width=2 * args.resolution, height=2 * args.resolution)

    def show(what: Scene) -> torch.Tensor:
        with torch.no_grad():
            return render(what, held_out, ctx=CTX, samples=2).image[0, ..., :3]

    start = show(scene())
    for _ in (progress := tqdm(range(args.steps), desc="envphong")):
        camera = random_view(args.resolution, generator)
        with torch.no_grad():
            seen = render(target, camera, ctx=CTX).image
        now = render(scene(), camera, ctx=CTX).image
        # Bright lamps must not drown the rest.
        loss = (torch.log1p(now[..., :3]) - torch.log1p(seen[..., :3]))[seen[..., 3] > 0].abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        progress.set_postfix_str(f"loss {losses[-1]:.1e}")

    balls = []
    mirror = MetallicRoughness((1.0, 1.0, 1.0), (1.0, 0.0, 1.0)).to(device)
    found: list[Surrounding] = [EnvironmentLight(softplus(raw.detach()), size=max(8, args.rows)).to(device), truth]
    for light in found:
        shown = show(Scene(sphere(1.6).to(device), mirror, [light]))
        balls.append(avg_pool2d(shown.permute(2, 0, 1)[None], 2)[0].permute(1, 2, 0))
    pictures = [show(target), start, show(scene())]
    args.out.mkdir(parents=True, exist_ok=True)
    save_image(args.out / "envphong.png", torch.cat([*pictures, torch.cat(balls)], dim=1))
    psnr = -10 * math.log10((pictures[2].clamp(0, 1) - pictures[0].clamp(0, 1)).square().mean().item())
    gloss = finish.specular.detach().tolist()
    shininess = finish.log_shininess.detach().exp().item()
    print(
        f"specular {[round(g, 3) for g in gloss]} (true {list(GLOSS)}), exponent {shininess:.0f} (true {SHININESS:.0f})"
    )
    print(f"a view that was not learned from: {psnr:.1f} dB")
    first, last = (sum(part) / len(part) for part in (losses[:5], losses[-10:]))
    if args.smoke and not last < 0.5 * first:
        raise SystemExit(f"smoke: the loss did not go down: {first:.2e} -> {last:.2e}")
    return {"psnr": psnr, "shininess": shininess}


if __name__ == "__main__":
    main()
