"""A cube from tiny pictures: its vertices and colours, recovered from views of 16x16, 8x8 or even 4x4 pixels.

You will see, from left to right, one of the pictures that the optimizer gets, the random start, two moments of the way,
the result, and the true cube. `cube.gif` shows the whole way: the picture, the same picture of the learned cube, and
that cube close.

    python recipes/cube.py --resolution 8 --out out

The experiment is that of Laine et al. 2020, "Modular Primitives for High-Performance Differentiable Rendering": the
triangles are known, the 8 positions start up to half a side away along each axis, the 24 colours (4 corners of 6 faces)
are random, and every step renders new random poses. The loss is ours. What moves vertices is the outline, through
`antialias`; an edge between two visible faces is point sampled and has no derivative, so a pixel whose centre is on the
wrong side of one has a large error that points nowhere. Errors far above the mean therefore count less and less (Geman
and McClure's function, with a scale that follows the mean error). `--outlier inf` is plain L2: as good at 16x16, but
1e-2 instead of 1e-5 at 4x4.
"""

import argparse
import math
from collections.abc import Callable
from pathlib import Path

import imageio
import torch
from torch.nn.functional import avg_pool2d, normalize, pad
from tqdm import tqdm

import diffrast.torch as dr
from diffrast.camera import look_at
from diffrast.io import save_image
from diffrast.io.atomic import atomic_path
from diffrast.io.image import to_uint8

CTX = dr.RasterizeContext()

# The cube: corners [8, 3]; the corners of its sides, counter-clockwise from outside; the sides' colours in linear RGB.
CORNERS = torch.tensor([[x, y, z] for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)])
SIDES = [[4, 6, 7, 5], [0, 1, 3, 2], [2, 3, 7, 6], [0, 4, 5, 1], [1, 5, 7, 3], [0, 2, 6, 4]]
RED, GREEN, BLUE = [0.85, 0.04, 0.04], [0.04, 0.5, 0.1], [0.02, 0.2, 0.85]
YELLOW, MAGENTA, CYAN = [0.9, 0.6, 0.02], [0.6, 0.06, 0.55], [0.02, 0.6, 0.65]
COLOURS = [RED, GREEN, BLUE, YELLOW, MAGENTA, CYAN]
SIDE_COLOURS = torch.tensor(COLOURS).repeat_interleave(4, 0)  # [24, 3] linear RGB, four corners a side
TRI = torch.tensor([t for a, b, c, d in SIDES for t in ((a, b, c), (a, c, d))], dtype=torch.int32)
COLOUR_TRI = torch.tensor([[i, i + j, i + j + 1] for i in range(0, 24, 4) for j in (1, 2)], dtype=torch.int32)


def random_rotations(count: int, generator: torch.Generator) -> torch.Tensor:
    """Uniform random rotations [count, 3, 3], from unit quaternions."""
    w, x, y, z = normalize(torch.randn(4, count, generator=generator), dim=0)
    rows = [
        1 - 2 * (y * y + z * z),
        2 * (x * y - w * z),
        2 * (x * z + w * y),
        2 * (x * y + w * z),
        1 - 2 * (x * x + z * z),
        2 * (y * z - w * x),
        2 * (x * z - w * y),
        2 * (y * z + w * x),
        1 - 2 * (x * x + y * y),
    ]
    return torch.stack(rows, -1).view(count, 3, 3)


def render(
    corners: torch.Tensor, colours: torch.Tensor, rotations: torch.Tensor, size: int, fov: float = 0.51
) -> torch.Tensor:
    """The cube `corners` [8, 3], `colours` [24, C] in every pose of `rotations` [B, 3, 3]: pictures [B, size, size,
    C]."""
    eye = look_at((0, 0, 3.5), (0, 0, 0), (0, 1, 0), fov_y=fov, width=size, height=size)
    clip = eye.clip_matrix(1, 10).to(corners)
    pos = pad(corners @ rotations.mT, (0, 1), value=1.0) @ clip.T  # [B, 8, 4]
    tri, colour_tri = TRI.to(pos.device), COLOUR_TRI.to(pos.device)
    rast, _ = dr.rasterize(CTX, pos, tri, (size, size))
    image, _ = dr.interpolate(colours, rast, colour_tri)
    return dr.antialias(image, rast, pos, tri)


def vertex_error(corners: torch.Tensor) -> float:
    """Mean distance of the vertices [8, 3] from those of the cube of side 1 around the origin."""
    return (corners.detach().abs() - 0.5).norm(dim=1).mean().item()


Watch = Callable[[int, torch.Tensor, torch.Tensor], None]


def fit(
    size: int,
    steps: int,
    seed: int,
    device: str = "cpu",
    batch: int = 32,
    outlier: float = 30.0,
    watch: Watch | None = None,
) -> tuple[torch.Tensor, torch.Tensor, list[float]]:
    """Learns the cube from pictures of size x size pixels.

    Returns the corners [8, 3], the colours [24, 3] and the mean squared error of every step.
    `watch(step, corners, colours)` is called before every step and after the last.
    """
    generator = torch.Generator().manual_seed(seed)
    corners = (CORNERS + torch.rand(8, 3, generator=generator) - 0.5).to(device).requires_grad_()
    colours = torch.rand(24, 3, generator=generator).to(device).requires_grad_()
    truth = CORNERS.to(device), SIDE_COLOURS.to(device)
    # Colours first: with wrong ones, the corners of a cube of few pixels tie themselves into knots.
    rates = [{"params": [corners], "lr": 0.02}, {"params": [colours], "lr": 0.06}]
    optimizer = torch.optim.Adam(rates)
    decay = [lambda i: 0.02 ** (i / steps) * min(1.0, 10 * (i + 1) / steps), lambda i: 0.02 ** (i / steps)]
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, decay)
    errors = []
    for step in (progress := tqdm(range(steps), desc=f"cube {size}x{size}")):
        if watch:
            watch(step, corners.detach(), colours.detach())
        rotations = random_rotations(batch, generator).to(device)
        with torch.no_grad():
            target = render(*truth, rotations, size)
        error = (render(corners, colours, rotations, size) - target).square()
        level = (outlier * error.detach().sqrt().mean()).square()
        loss = (error / (1 + error / level)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        errors.append(error.mean().item())
        if step % 20 == 0:
            progress.set_postfix_str(f"loss {errors[-1]:.1e}, vertices off by {vertex_error(corners):.1e}")
    if watch:
        watch(steps, corners.detach(), colours.detach())
    return corners.detach(), colours.detach(), errors


BACKDROP = 0.012  # linear gray


def turned(angle: float, device: str) -> torch.Tensor:
    """The cube turned about the vertical axis by `angle` and tilted towards the eye, [1, 3, 3]."""
    c, s, ct, st = math.cos(angle), math.sin(angle), math.cos(0.55), math.sin(0.55)
    about_y = torch.tensor([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    tilt = torch.tensor([[1, 0, 0], [0, ct, -st], [0, st, ct]])
    return (tilt @ about_y)[None].to(device)


def close_up(corners: torch.Tensor, colours: torch.Tensor, rotation: torch.Tensor, size: int) -> torch.Tensor:
    """A large smooth picture [size, size, 3] with some space around the cube: nine samples a pixel."""
    image = render(corners, pad(colours, (0, 1), value=1.0), rotation, 3 * size, fov=0.62)
    red, green, blue, cover = avg_pool2d(image.movedim(-1, 1), 3)[0]
    return torch.stack([red, green, blue], -1) + BACKDROP * (1 - cover[..., None])


def blocks(corners: torch.Tensor, colours: torch.Tensor, rotation: torch.Tensor, size: int, large: int) -> torch.Tensor:
    """The picture of size x size pixels that the optimizer sees, every pixel as a block, [large, large, 3]."""
    image = render(corners, pad(colours, (0, 1), value=1.0), rotation, size)[0]
    rows = torch.arange(large, device=corners.device) * size // large
    return (image[..., :3] + BACKDROP * (1 - image[..., 3:]))[rows][:, rows]


def main(argv: list[str] | None = None) -> dict[str, float]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--resolution", type=int, default=16, help="side of the pictures in pixels")
    parser.add_argument("--steps", type=int, default=2000, help="optimization steps")
    parser.add_argument("--seed", type=int, default=0, help="random start and poses")
    parser.add_argument("--outlier", type=float, default=30.0, help="in mean errors; inf: L2")
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for the pictures")
    parser.add_argument("--smoke", action="store_true", help="small, with a check that the loss went down")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    args = parser.parse_args(argv)
    large, frames = (64, 8) if args.smoke else (256, 72)
    steps = min(args.steps, 100) if args.smoke else args.steps
    torch.set_num_threads(1)  # pictures this small are not worth a second thread

    truth = CORNERS.to(args.device), SIDE_COLOURS.to(args.device)
    still = turned(0.6, args.device)
    # Frames are spread evenly on a logarithmic axis.
    shown = {0, *(round(steps ** (k / frames)) for k in range(frames + 1))}
    stops = [round(steps * k) for k in (0, 0.02, 0.04, 1)]
    moments: dict[int, torch.Tensor] = {}
    movie = []

    def watch(step: int, corners: torch.Tensor, colours: torch.Tensor) -> None:
        with torch.no_grad():
            if step in stops:
                moments[step] = close_up(corners, colours, still, large)
            if step in shown:
                pose = turned(0.6 + 2 * math.pi * len(movie) / len(shown), args.device)
                small = [blocks(*cube, pose, args.resolution, large) for cube in (truth, (corners, colours))]
                movie.append(torch.cat([*small, close_up(corners, colours, pose, large)], dim=1))

    size, seed, outlier = args.resolution, args.seed, args.outlier
    corners, _, errors = fit(size, steps, seed, args.device, outlier=outlier, watch=watch)
    args.out.mkdir(parents=True, exist_ok=True)
    seen, real = blocks(*truth, still, size, large), close_up(*truth, still, large)
    save_image(args.out / "cube.png", torch.cat([seen, *(moments[s] for s in stops), real], dim=1))
    with atomic_path(args.out / "cube.gif") as path:
        imageio.mimsave(path, [to_uint8(frame) for frame in movie + movie[-1:] * 12], duration=60, loop=0)
    off = vertex_error(corners)
    print(f"vertices off by {off:.2e} (side 1), loss {errors[0]:.2e} -> {errors[-1]:.2e}")
    if args.smoke and not errors[-1] < 0.5 * errors[0]:
        raise SystemExit(f"smoke: the loss did not go down: {errors[0]:.2e} -> {errors[-1]:.2e}")
    return {"vertex_error": off, "loss_first": errors[0], "loss_last": errors[-1]}


if __name__ == "__main__":
    main()
