"""The first picture: one triangle, three colours, smooth edges. Then the way back: the triangle is found again from its
picture.

You will see `triangle.png`, and in `triangle_fit.png` a start, the result after 200 steps of gradient descent, and the
target.

    python recipes/triangle.py --out out
"""

import argparse
from pathlib import Path

import torch
from tqdm import tqdm

import diffrast.torch as dr
from diffrast.io import save_image

CTX = dr.RasterizeContext()
# x and y from -1 (left, bottom) to 1 (right, top), and the corners' colours: linear RGB and coverage.
CORNERS = torch.tensor([[-0.85, -0.7], [0.85, -0.7], [0.0, 0.85]])
COLOURS = torch.tensor([[1.0, 0.0, 0.0, 1.0], [0.0, 1.0, 0.0, 1.0], [0.0, 0.0, 1.0, 1.0]])
START = torch.tensor([[-0.2, -0.9], [0.3, 0.1], [-0.6, 0.5]])


def draw(corners: torch.Tensor, size: int) -> torch.Tensor:
    """The triangle with `corners` [3, 2] as a picture [size, size, 4], transparent where there is nothing."""
    tri = torch.tensor([[0, 1, 2]], dtype=torch.int32, device=corners.device)
    z_and_w = torch.tensor([0.0, 1.0], device=corners.device).expand(3, 2)
    pos = torch.cat([corners, z_and_w], dim=1)[None]  # clip space, [views, vertices, 4]
    rast, _ = dr.rasterize(CTX, pos, tri, (size, size))  # which triangle, and where in it
    image, _ = dr.interpolate(COLOURS.to(pos), rast, tri)  # the corners' colours, blended over the triangle
    return dr.antialias(image, rast, pos, tri)[0]  # a smooth outline, and gradients through it


def on_white(picture: torch.Tensor) -> torch.Tensor:
    """RGB times coverage and coverage [H, W, 4], on white paper: [H, W, 3]."""
    return picture[..., :3] + 1 - picture[..., 3:]


def fit(target: torch.Tensor, start: torch.Tensor, steps: int) -> tuple[torch.Tensor, list[float]]:
    """Moves the corners `start` [3, 2] until they draw `target` [size, size, 4]; also the loss of every step."""
    corners = start.clone().requires_grad_()
    optimizer = torch.optim.Adam([corners], lr=0.03)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.01 ** (1 / steps))
    losses = []
    for _ in (progress := tqdm(range(steps), desc="triangle")):
        loss = (draw(corners, target.shape[0]) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        progress.set_postfix_str(f"loss {losses[-1]:.1e}")
    return corners.detach(), losses


def main(argv: list[str] | None = None) -> dict[str, float]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=200, help="steps of the way back")
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for the pictures")
    parser.add_argument("--smoke", action="store_true", help="small, with a check that the loss went down")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    args = parser.parse_args(argv)
    size, steps = (256 if args.smoke else 512), args.steps

    with torch.no_grad():
        picture = draw(CORNERS.to(args.device), size)
    fit_size = size // 4  # a quarter of the size is plenty for six numbers
    with torch.no_grad():
        target = draw(CORNERS.to(args.device), fit_size)
    found, losses = fit(target, START.to(args.device), steps)
    error = (found - CORNERS.to(found)).norm(dim=1).mean().item() * fit_size / 2

    args.out.mkdir(parents=True, exist_ok=True)
    with torch.no_grad():
        row = torch.cat([draw(START.to(args.device), size), draw(found, size), picture], dim=1)
    save_image(args.out / "triangle.png", on_white(picture))
    save_image(args.out / "triangle_fit.png", on_white(row))
    print(f"corners off by {error:.2g} pixels on average, loss {losses[0]:.2g} -> {losses[-1]:.2g}")
    if args.smoke and not losses[-1] < 0.1 * losses[0]:
        raise SystemExit(f"smoke: the loss did not go down: {losses[0]:.2g} -> {losses[-1]:.2g}")
    return {"corner_error_pixels": error, "loss_first": losses[0], "loss_last": losses[-1]}


if __name__ == "__main__":
    main()
