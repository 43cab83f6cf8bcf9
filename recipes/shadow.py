"""A light, and a body out of the picture, from a shadow.

You will see in `shadow.png` two rows of three: what the camera saw, where the search started and what it found. The
camera looks at a ground on which a box casts a shadow; the box itself is out of the picture. Above the box is known and
the lamp is sought, below the lamp is known and the place of the box is sought. All that tells is the shadow: its
gradient goes through the shadow map (Worchel and Alexa 2023, "Differentiable Shadow Mapping for Efficient Inverse
Graphics").

    python recipes/shadow.py --out out

An edge that lies far from where it should be gives no direction, so the penumbra starts wide and narrows.
"""

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from tqdm import tqdm

import diffrast.torch as dr
from diffrast.camera import Camera
from diffrast.io import save_image
from diffrast.mesh import Mesh, cube, plane
from diffrast.scene.light import AmbientLight, PointLight
from diffrast.scene.material import Lambert
from diffrast.scene.renderer import Scene, render
from diffrast.scene.shadow import Shadow

CTX = dr.RasterizeContext()
LAMP, BOX = (2.0, 4.5, 1.2), (0.9, 1.4, 0.3)
BLUR = (0.04, 0.004)  # of the shadow map, at first and at last


def picture(lamp: torch.Tensor, box: torch.Tensor, blur: float, size: int) -> torch.Tensor:
    """What the camera sees of the ground, [size, size, 3], under a lamp at `lamp` [3] with the box at `box` [3]."""
    ground, body = plane(4.4).to(lamp.device), cube(0.7).to(lamp.device)
    mesh = Mesh(
        torch.cat([ground.vertices, body.vertices + box]), torch.cat([ground.faces, body.faces + len(ground.vertices)])
    )
    shadow = Shadow(384, max(blur, BLUR[1]))
    lights = [PointLight(lamp, (45.0, 42.0, 36.0), shadow=shadow), AmbientLight((0.06, 0.08, 0.12))]
    scene = Scene(mesh, Lambert((0.8, 0.8, 0.75)), lights).to(lamp.device)
    camera = Camera.look_at((-0.6, 3.0, 0.9), (-0.6, 0, -0.1), fov_y=0.62, width=size, height=size)
    return render(scene, replace(camera, far=20.0), ctx=CTX).image[0, ..., :3]


def search(
    start: torch.Tensor,
    make: Callable[[torch.Tensor, float], torch.Tensor],
    target: torch.Tensor,
    steps: int,
    name: str,
) -> tuple[torch.Tensor, list[float]]:
    """From `start` [3] to what makes `make(place, blur)` the target; also the losses."""
    place = start.clone().requires_grad_()
    optimizer, losses = torch.optim.Adam([place], lr=0.05), []
    for step in (progress := tqdm(range(steps), desc=f"shadow: {name}")):
        blur = BLUR[0] * (BLUR[1] / BLUR[0]) ** (1.5 * step / steps)
        optimizer.param_groups[0]["lr"] = 0.06 * 0.05 ** (step / steps)
        optimizer.zero_grad()
        loss = (make(place, blur) - target).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        progress.set_postfix_str(f"loss {losses[-1]:.1e}")
    return place.detach(), losses


def main(argv: list[str] | None = None) -> dict[str, float]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=250, help="steps of each search")
    parser.add_argument("--resolution", type=int, default=96, help="side of the picture in pixels")
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for the picture")
    parser.add_argument("--smoke", action="store_true", help="small, with a check that the loss went down")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    args = parser.parse_args(argv)
    if args.smoke:
        args.steps, args.resolution = min(args.steps, 40), 48

    lamp, box = (torch.tensor(v, device=args.device) for v in (LAMP, BOX))
    with torch.no_grad():
        target = picture(lamp, box, BLUR[1], args.resolution)
    searches = {
        "lamp": (
            lamp,
            lamp + lamp.new_tensor([0.6, -0.6, -1.0]),
            lambda p, blur: picture(p, box, blur, args.resolution),
        ),
        "box": (box, box + box.new_tensor([-0.25, 0.3, 0.45]), lambda p, blur: picture(lamp, p, blur, args.resolution)),
    }
    figures, rows = {}, []
    for name, (truth, start, make) in searches.items():
        found, _ = search(start, make, target, args.steps, name)
        with torch.no_grad():
            rows.append(torch.cat([target, make(start, BLUR[1]), make(found, BLUR[1])], dim=1))
            before, after = ((make(p, BLUR[1]) - target).square().mean().item() for p in (start, found))
        figures[f"{name} error"] = (found - truth).norm().item()
        print(f"{name}: off by {(start - truth).norm().item():.3f} at first, by {figures[f'{name} error']:.4f} at last")
        if args.smoke and not after < 0.2 * before:
            raise SystemExit(f"smoke: the loss did not go down: {before:.2e} -> {after:.2e}")
    args.out.mkdir(parents=True, exist_ok=True)
    scale = max(1, 256 // args.resolution)
    save_image(args.out / "shadow.png", torch.cat(rows[::-1]).repeat_interleave(scale, 0).repeat_interleave(scale, 1))
    return figures


if __name__ == "__main__":
    main()
