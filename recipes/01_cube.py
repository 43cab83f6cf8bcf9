"""A cube from tiny images: its vertices and colors, recovered from views of 16x16, 8x8 or even 4x4 pixels.

You will see, from left to right, one of the images that the optimizer gets, the random start, two moments on the way,
the result, and the true cube. `cube.gif` shows the whole way: the image, the same image of the learned cube, and that
cube close.

    python recipes/01_cube.py --resolution 8 --out out

The experiment is that of Laine et al. 2020, "Modular Primitives for High-Performance Differentiable Rendering": the
triangles are known, the 8 positions start up to half a side away along each axis, the 24 colors (4 corners of 6 faces)
are random, and every step renders new random poses. The loss is ours. What moves vertices is the outline, through
`antialias`; an edge between two visible faces is point sampled and has no derivative, so a pixel whose center is on the
wrong side of one has a large error that points nowhere. Errors far above the mean therefore count less and less (Geman
and McClure's function, with a scale that follows the mean error). `--outlier inf` is plain L2: as good at 16x16, but
1e-2 instead of 1e-5 at 4x4.
"""

import math
from collections.abc import Callable

import imageio
import torch
from common import BACKGROUND, COLOR_TRI, COLORS, CORNERS, TRI, Descent, check, options, reduced, rotation
from torch.nn.functional import normalize, pad

import diffrast.torch as dr
from diffrast.camera import look_at
from diffrast.io import linear_to_srgb, save_image

CTX = dr.RasterizeContext()


def random_rotations(count: int, generator: torch.Generator) -> torch.Tensor:
    """Uniform random rotations [count, 3, 3], from unit quaternions."""
    return rotation(normalize(torch.randn(4, count, generator=generator), dim=0).T)


def render(
    corners: torch.Tensor, colors: torch.Tensor, rotations: torch.Tensor, size: int, fov: float = 0.51
) -> torch.Tensor:
    """The cube `corners` [8, 3], `colors` [24, C] in every pose of `rotations` [B, 3, 3]: [B, size, size, C]."""
    eye = look_at((0, 0, 3.5), (0, 0, 0), (0, 1, 0), fov_y=fov, width=size, height=size)
    clip = eye.clip_matrix(1, 10).to(corners)
    pos = pad(corners @ rotations.mT, (0, 1), value=1.0) @ clip.T  # [B, 8, 4]
    tri, color_tri = TRI.to(pos.device), COLOR_TRI.to(pos.device)
    rast, _ = dr.rasterize(CTX, pos, tri, (size, size))
    image, _ = dr.interpolate(colors, rast, color_tri)
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
    """Learns the cube from images of size x size pixels.

    Returns the corners [8, 3], the colors [24, 3] and the mean squared error of every step.
    `watch(step, corners, colors)` is called before every step and after the last.
    """
    generator = torch.Generator().manual_seed(seed)
    corners = (CORNERS + torch.rand(8, 3, generator=generator) - 0.5).to(device).requires_grad_()
    colors = torch.rand(24, 3, generator=generator).to(device).requires_grad_()
    truth = CORNERS.to(device), COLORS.to(device)
    # Colors first: with wrong ones, the corners of a cube of few pixels tie themselves into knots.
    rates = [{"params": [corners], "lr": 0.02}, {"params": [colors], "lr": 0.06}]
    optimizer = torch.optim.Adam(rates)
    decay = [lambda i: 0.02 ** (i / steps) * min(1.0, 10 * (i + 1) / steps), lambda i: 0.02 ** (i / steps)]
    descent = Descent(f"cube {size}x{size}", optimizer, steps, schedule=decay)
    for step in descent:
        if watch:
            watch(step, corners.detach(), colors.detach())
        rotations = random_rotations(batch, generator).to(device)
        with torch.no_grad():
            target = render(*truth, rotations, size)
        error = (render(corners, colors, rotations, size) - target).square()
        level = (outlier * error.detach().sqrt().mean()).square()
        descent.step((error / (1 + error / level)).mean(), shown=error.mean())
    if watch:
        watch(steps, corners.detach(), colors.detach())
    return corners.detach(), colors.detach(), descent.losses


def turned(angle: float, device: str) -> torch.Tensor:
    """The cube turned about the vertical axis by `angle` and tilted towards the eye, [1, 3, 3]."""
    c, s, ct, st = math.cos(angle), math.sin(angle), math.cos(0.55), math.sin(0.55)
    about_y = torch.tensor([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    tilt = torch.tensor([[1, 0, 0], [0, ct, -st], [0, st, ct]])
    return (tilt @ about_y)[None].to(device)


def close_up(corners: torch.Tensor, colors: torch.Tensor, rotation: torch.Tensor, size: int) -> torch.Tensor:
    """A large smooth image [size, size, 3] with some space around the cube: nine samples a pixel."""
    image = render(corners, pad(colors, (0, 1), value=1.0), rotation, 3 * size, fov=0.62)
    image = reduced(image, 3)[0]
    return image[..., :3] + BACKGROUND * (1 - image[..., 3:])


def blocks(corners: torch.Tensor, colors: torch.Tensor, rotation: torch.Tensor, size: int, large: int) -> torch.Tensor:
    """The image of size x size pixels that the optimizer sees, every pixel as a block, [large, large, 3]."""
    image = render(corners, pad(colors, (0, 1), value=1.0), rotation, size)[0]
    rows = torch.arange(large, device=corners.device) * size // large
    return (image[..., :3] + BACKGROUND * (1 - image[..., 3:]))[rows][:, rows]


def main(argv: list[str] | None = None) -> dict[str, float]:
    args = options(
        __doc__,
        argv,
        smoke={"steps": 100},
        resolution=(16, "side of the images in pixels"),
        steps=(2000, "optimization steps"),
        seed=(0, "random start and poses"),
        outlier=(30.0, "of the robust loss, in mean errors; inf: L2"),
    )
    large, frames = (64, 8) if args.smoke else (256, 72)
    size, steps = args.resolution, args.steps
    torch.set_num_threads(1)  # images this small are not worth a second thread

    truth = CORNERS.to(args.device), COLORS.to(args.device)
    still = turned(0.6, args.device)
    # Frames are spread evenly on a logarithmic axis.
    shown = {0, *(round(steps ** (k / frames)) for k in range(frames + 1))}
    stops = [round(steps * k) for k in (0, 0.02, 0.04, 1)]
    moments: dict[int, torch.Tensor] = {}
    movie = []

    def watch(step: int, corners: torch.Tensor, colors: torch.Tensor) -> None:
        with torch.no_grad():
            if step in stops:
                moments[step] = close_up(corners, colors, still, large)
            if step in shown:
                pose = turned(0.6 + 2 * math.pi * len(movie) / len(shown), args.device)
                small = [blocks(*cube, pose, size, large) for cube in (truth, (corners, colors))]
                movie.append(torch.cat([*small, close_up(corners, colors, pose, large)], dim=1))

    corners, _, errors = fit(size, steps, args.seed, args.device, outlier=args.outlier, watch=watch)
    seen, real = blocks(*truth, still, size, large), close_up(*truth, still, large)
    save_image(args.out / "cube.png", torch.cat([seen, *(moments[s] for s in stops), real], dim=1))
    film = (linear_to_srgb(torch.stack(movie + movie[-1:] * 12)).clamp(0, 1) * 255).round().byte().flip(1)
    imageio.mimsave(args.out / "cube.gif", list(film.cpu().numpy()), duration=60, loop=0)
    off = vertex_error(corners)
    print(f"vertices off by {off:.2e} (side 1), loss {errors[0]:.2e} -> {errors[-1]:.2e}")
    check(args.smoke, errors[0], errors[-1], 0.5)
    return {"vertex_error": off, "loss_first": errors[0], "loss_last": errors[-1]}


if __name__ == "__main__":
    main()
