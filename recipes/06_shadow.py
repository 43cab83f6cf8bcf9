"""A light, and a body out of the image, from a shadow.

You will see in `shadow.png` two rows of three: what the camera saw, where the search started and what it found. The
camera looks at a ground on which a box casts a shadow; the box itself is out of the image. Above the box is known and
the lamp is sought, below the lamp is known and the place of the box is sought. All that tells is the shadow: its
gradient goes through the shadow map (Worchel and Alexa 2023, "Differentiable Shadow Mapping for Efficient Inverse
Graphics").

    python recipes/06_shadow.py --out out

An edge that lies far from where it should be gives no direction, so the penumbra starts wide and narrows.
"""

from collections.abc import Callable
from dataclasses import replace

import torch
from common import Descent, check, options

import diffrast.torch as dr
from diffrast.camera import Camera
from diffrast.io import save_image
from diffrast.mesh import Mesh, cube, plane
from diffrast.scene import AmbientLight, Lambert, PointLight, Scene, Shadow, render

CTX = dr.RasterizeContext()
LAMP, BOX = (2.0, 4.5, 1.2), (0.9, 1.4, 0.3)
BLUR = (0.04, 0.004)  # of the shadow map, at first and at last


def seen(lamp: torch.Tensor, box: torch.Tensor, blur: float, size: int) -> torch.Tensor:
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
) -> torch.Tensor:
    """From `start` [3] to the place for which `make(place, blur)` is the target."""
    place = start.clone().requires_grad_()
    descent = Descent(f"shadow: {name}", torch.optim.Adam([place], lr=0.06), steps, decay=0.05)
    for step in descent:
        blur = BLUR[0] * (BLUR[1] / BLUR[0]) ** (1.5 * step / steps)
        descent.step((make(place, blur) - target).square().mean())
    return place.detach()


def main(argv: list[str] | None = None) -> dict[str, float]:
    args = options(
        __doc__,
        argv,
        smoke={"steps": 40, "resolution": 48},
        steps=(250, "steps of each search"),
        resolution=(96, "side of the image in pixels"),
    )
    lamp, box = (torch.tensor(v, device=args.device) for v in (LAMP, BOX))
    size = args.resolution
    with torch.no_grad():
        target = seen(lamp, box, BLUR[1], size)
    searches = {
        "lamp": (lamp, lamp + lamp.new_tensor([0.6, -0.6, -1.0]), lambda p, blur: seen(p, box, blur, size)),
        "box": (box, box + box.new_tensor([-0.25, 0.3, 0.45]), lambda p, blur: seen(lamp, p, blur, size)),
    }
    figures, rows = {}, []
    for name, (truth, start, make) in searches.items():
        found = search(start, make, target, args.steps, name)
        with torch.no_grad():
            rows.append(torch.cat([target, make(start, BLUR[1]), make(found, BLUR[1])], dim=1))
            before, after = ((make(p, BLUR[1]) - target).square().mean().item() for p in (start, found))
        figures[f"{name} error"] = (found - truth).norm().item()
        print(f"{name}: off by {(start - truth).norm().item():.3f} at first, by {figures[f'{name} error']:.4f} at last")
        check(args.smoke, before, after, 0.2)
    scale = max(1, 256 // size)
    save_image(args.out / "shadow.png", torch.cat(rows[::-1]).repeat_interleave(scale, 0).repeat_interleave(scale, 1))
    return figures


if __name__ == "__main__":
    main()
