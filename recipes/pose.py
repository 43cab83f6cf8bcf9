"""The pose of a cube from one picture of it.

You will see four rows: the pictures to explain, the random poses that the search starts from, where the coarse search
ends, and where gradient descent ends; a column for each of 8 problems, all solved at once as one batch. `--problems 64`
gives a fairer count.

    python recipes/pose.py --out out

A picture that is far off says nothing about which way to turn: the loss has many valleys, one for every way to lay a
cube into the outline of another. So poses are first searched by chance, in turns that get ever smaller, from several
starts; only the last degrees are left to the gradient, which comes from the outline through `antialias`; and of all
starts the one that explains the picture best is the answer (compare Laine et al. 2020, "Modular Primitives for
High-Performance Differentiable Rendering", who anneal noise in the same way). Six colours make the answer unique where
two faces show.
"""

import argparse
import math
from pathlib import Path

import torch
from torch.nn.functional import avg_pool2d, normalize, pad
from tqdm import tqdm

import diffrast.torch as dr
from diffrast.camera import look_at
from diffrast.io import save_image

CTX = dr.RasterizeContext()
EYE = 3.5  # distance of the eye from the middle of the cube, which has side 1

# The cube: corners [8, 3]; the corners of its sides, counter-clockwise from outside; the sides' colours in linear RGB.
CORNERS = torch.tensor([[x, y, z] for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)])
SIDES = [[4, 6, 7, 5], [0, 1, 3, 2], [2, 3, 7, 6], [0, 4, 5, 1], [1, 5, 7, 3], [0, 2, 6, 4]]
RED, GREEN, BLUE = [0.85, 0.04, 0.04], [0.04, 0.5, 0.1], [0.02, 0.2, 0.85]
YELLOW, MAGENTA, CYAN = [0.9, 0.6, 0.02], [0.6, 0.06, 0.55], [0.02, 0.6, 0.65]
COLOURS = [RED, GREEN, BLUE, YELLOW, MAGENTA, CYAN]
SIDE_COLOURS = pad(torch.tensor(COLOURS), (0, 1), value=1.0).repeat_interleave(4, 0)  # [24, 4] and coverage
TRI = torch.tensor([t for a, b, c, d in SIDES for t in ((a, b, c), (a, c, d))], dtype=torch.int32)
COLOUR_TRI = torch.tensor([[i, i + j, i + j + 1] for i in range(0, 24, 4) for j in (1, 2)], dtype=torch.int32)


# --- Quaternions (w, x, y, z) -----------------------------------------------------------------------------------------


def multiply(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """The turn `b` followed by the turn `a`, [..., 4]."""
    (aw, av), (bw, bv) = (a[..., :1], a[..., 1:]), (b[..., :1], b[..., 1:])
    real = aw * bw - (av * bv).sum(-1, keepdim=True)
    return torch.cat([real, aw * bv + bw * av + torch.linalg.cross(*torch.broadcast_tensors(av, bv))], dim=-1)


def rotation(q: torch.Tensor) -> torch.Tensor:
    """Rotation matrices [..., 3, 3] of unit quaternions [..., 4]."""
    w, x, y, z = q.unbind(-1)
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
    return torch.stack(rows, dim=-1).unflatten(-1, (3, 3))


def angle_between(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """The angle in degrees of the turn from pose `a` to pose `b`, [...]."""
    turn = multiply(b.double(), a.double() * torch.tensor([1, -1, -1, -1], device=a.device))
    return torch.rad2deg(2 * torch.atan2(turn[..., 1:].norm(dim=-1), turn[..., 0].abs()))


def random_turns(count: int, angle: float, generator: torch.Generator) -> torch.Tensor:
    """Turns [count, 4] about random axes by normally distributed angles, of `angle` radians about each axis."""
    vector = torch.randn(count, 3, generator=generator) * angle
    half = vector.norm(dim=-1, keepdim=True) / 2
    return torch.cat([half.cos(), half.sin() * normalize(vector, dim=-1)], dim=-1)


def problems(count: int, generator: torch.Generator) -> torch.Tensor:
    """Random poses [count, 4] that show two or three faces.

    One face alone, 4 % of all pictures, looks the same in four poses.
    """
    poses = normalize(torch.randn(2 * count + 16, 4, generator=generator), dim=-1)
    eye = rotation(poses).mT @ torch.tensor([0.0, 0.0, EYE])
    return poses[(eye.abs() > 0.5).sum(-1) > 1][:count]


def quarter_turns(count: int, generator: torch.Generator) -> torch.Tensor:
    """Random multiples of a quarter turn about random coordinate axes, [count, 4]."""
    half = torch.randint(0, 4, (count, 1), generator=generator) * (math.pi / 4)
    axis = torch.eye(3)[torch.randint(0, 3, (count,), generator=generator)]
    return torch.cat([half.cos(), half.sin() * axis], dim=-1)


# --- Fitting ----------------------------------------------------------------------------------------------------------


def render(poses: torch.Tensor, size: int) -> torch.Tensor:
    """The cube in every pose [N, 4]: pictures [N, size, size, 4], RGB and coverage."""
    eye = look_at((0, 0, EYE), (0, 0, 0), (0, 1, 0), fov_y=0.6, width=size, height=size)
    corners, colours = CORNERS.to(poses), SIDE_COLOURS.to(poses)
    pos = pad(corners @ rotation(poses).mT, (0, 1), value=1.0) @ eye.clip_matrix(1, 10).to(poses).T
    tri, colour_tri = TRI.to(pos.device), COLOUR_TRI.to(pos.device)
    rast, _ = dr.rasterize(CTX, pos, tri, (size, size))
    image, _ = dr.interpolate(colours, rast, colour_tri)
    return dr.antialias(image, rast, pos, tri)


def search(
    target: torch.Tensor, start: torch.Tensor, steps: int, generator: torch.Generator, tries: int = 4
) -> torch.Tensor:
    """Random search for the poses [N, 4] of the pictures `target` [N, S, S, 4]: any turn at first, small ones at last.

    Every other try first turns the cube onto itself, to jump from valley to valley.
    """
    size, count = target.shape[1], tries * len(start)
    every_other = (torch.arange(count) // len(start) % 2 == 0)[:, None]

    def losses(poses: torch.Tensor) -> torch.Tensor:
        return (render(poses.flatten(0, 1), size).view(-1, *target.shape) - target).square().mean((2, 3, 4))

    best, best_loss = start, losses(start[None])[0]
    for step in tqdm(range(steps), desc="pose: search"):
        turns = random_turns(count, 2.0 * (0.02 ** (step / steps)), generator)
        onto_itself = multiply(quarter_turns(count, generator), quarter_turns(count, generator))
        onto_itself = torch.where(every_other, onto_itself, torch.tensor([1.0, 0.0, 0.0, 0.0]))
        turns, onto_itself = (t.to(best).view(tries, -1, 4) for t in (turns, onto_itself))
        poses = multiply(turns, multiply(best, onto_itself))
        loss, winner = losses(poses).min(0)
        better = loss < best_loss
        best = torch.where(better[:, None], poses[winner, torch.arange(len(best))], best)
        best_loss = torch.minimum(loss, best_loss)
    return best


def descend(target: torch.Tensor, start: torch.Tensor, steps: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Gradient descent from poses [N, 4] to those of the pictures `target` [N, S, S, 4]; also the last loss of each,
    [N]."""
    q = start.clone().requires_grad_()
    optimizer = torch.optim.Adam([q], lr=0.01)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.003 ** (1 / steps))
    losses = torch.zeros(len(q))
    for _ in (progress := tqdm(range(steps), desc="pose: descent")):
        losses = (render(normalize(q, dim=-1), target.shape[1]) - target).square().mean((1, 2, 3))
        optimizer.zero_grad()
        losses.sum().backward()
        optimizer.step()
        schedule.step()
        progress.set_postfix_str(f"median loss {losses.median().item():.1e}")
    return normalize(q.detach(), dim=-1), losses.detach()


def main(argv: list[str] | None = None) -> dict[str, float]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=int, default=8, help="how many pictures")
    parser.add_argument("--starts", type=int, default=4, help="random starts for each picture")
    parser.add_argument("--resolution", type=int, default=64, help="side of the pictures in pixels")
    parser.add_argument("--steps", type=int, default=300, help="steps of the search, and then of the descent")
    parser.add_argument("--seed", type=int, default=0, help="random poses, starts and turns")
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for the picture")
    parser.add_argument("--smoke", action="store_true", help="small, with a check that the loss went down")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    args = parser.parse_args(argv)
    large = 64 if args.smoke else 160
    if args.smoke:
        args.problems, args.resolution, args.steps = 3, 32, min(args.steps, 100)

    generator = torch.Generator().manual_seed(args.seed)
    truth = problems(args.problems, generator).to(args.device)
    starts = torch.randn(args.problems * args.starts, 4, generator=generator)
    starts = normalize(starts, dim=-1).to(args.device)
    with torch.no_grad():
        target = render(truth, args.resolution)
        before = (render(starts[:: args.starts], args.resolution) - target).square().mean().item()
        each_target = target.repeat_interleave(args.starts, 0)
        small = avg_pool2d(each_target.movedim(-1, 1), 2).movedim(1, -1)
        searched = search(small, starts, args.steps, generator)
    ends, losses = descend(each_target, searched, args.steps)
    after, winner = losses.view(args.problems, args.starts).min(1)
    picked = torch.arange(args.problems, device=winner.device) * args.starts + winner
    start, coarse, found = starts[picked], searched[picked], ends[picked]

    args.out.mkdir(parents=True, exist_ok=True)
    with torch.no_grad():
        rows = []
        for poses in (found, coarse, start, truth):  # from the bottom row up
            images = avg_pool2d(render(poses, 3 * large).movedim(-1, 1), 3).movedim(1, -1)
            rows.append(torch.cat([image[..., :3] + 0.012 * (1 - image[..., 3:]) for image in images], dim=1))
    save_image(args.out / "pose.png", torch.cat(rows))

    errors = [angle_between(poses, truth) for poses in (start, coarse, found)]
    print("angle off in degrees\n   problem     start    search     found")
    for i, row in enumerate(zip(*errors, strict=True)):
        print(f"{i:10} {row[0]:9.2f} {row[1]:9.3f} {row[2]:9.4f}")
    worst, median, solved = errors[-1].max().item(), errors[-1].median().item(), (errors[-1] < 1).sum().item()
    print(f"worst {worst:.4f} degrees, median {median:.4f}; within 1 degree: {solved} of {len(truth)}")
    last = after.mean().item()
    if args.smoke and not last < 0.05 * before:
        raise SystemExit(f"smoke: the loss did not go down: {before:.2e} -> {last:.2e}")
    return {"worst_degrees": worst, "median_degrees": median, "solved": solved / len(truth)}


if __name__ == "__main__":
    main()
