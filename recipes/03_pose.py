"""The pose of a cube from one image of it.

You will see four rows: the images to explain, the random poses that the search starts from, where the coarse search
ends, and where gradient descent ends; a column for each of 8 problems, all solved at once as one batch. `--problems 64`
gives a fairer count.

    python recipes/03_pose.py --out out

An image that is far off says nothing about which way to turn: the loss has many valleys, one for every way to lay a
cube into the outline of another. So poses are first searched at random, in turns that get ever smaller, from several
starts; only the last degrees are left to the gradient, which comes from the outline through `antialias`; and of all
starts the one that explains the image best is the answer (compare Laine et al. 2020, "Modular Primitives for
High-Performance Differentiable Rendering", who anneal noise in the same way). Six colors make the answer unique where
two faces show.
"""

import math

import torch
from common import BACKGROUND, COLOR_TRI, COLORS, CORNERS, TRI, Descent, check, options, reduced, rotation
from torch.nn.functional import normalize, pad
from tqdm import tqdm

import diffrast.torch as dr
from diffrast.camera import look_at
from diffrast.io import save_image

CTX = dr.RasterizeContext()
EYE = 3.5  # distance of the eye from the middle of the cube, which has side 1


# --- Quaternions (w, x, y, z) -----------------------------------------------------------------------------------------


def multiply(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """The turn `b` followed by the turn `a`, [..., 4]."""
    (aw, av), (bw, bv) = (a[..., :1], a[..., 1:]), (b[..., :1], b[..., 1:])
    real = aw * bw - (av * bv).sum(-1, keepdim=True)
    return torch.cat([real, aw * bv + bw * av + torch.linalg.cross(*torch.broadcast_tensors(av, bv))], dim=-1)


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

    One face alone, 4 % of all images, looks the same in four poses.
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
    """The cube in every pose [N, 4]: images [N, size, size, 4], RGB and coverage."""
    eye = look_at((0, 0, EYE), (0, 0, 0), (0, 1, 0), fov_y=0.6, width=size, height=size)
    corners, colors = CORNERS.to(poses), pad(COLORS, (0, 1), value=1.0).to(poses)
    pos = pad(corners @ rotation(poses).mT, (0, 1), value=1.0) @ eye.clip_matrix(1, 10).to(poses).T
    tri, color_tri = TRI.to(pos.device), COLOR_TRI.to(pos.device)
    rast, _ = dr.rasterize(CTX, pos, tri, (size, size))
    image, _ = dr.interpolate(colors, rast, color_tri)
    return dr.antialias(image, rast, pos, tri)


def search(
    target: torch.Tensor, start: torch.Tensor, steps: int, generator: torch.Generator, tries: int = 4
) -> torch.Tensor:
    """Random search for the poses [N, 4] of the images `target` [N, S, S, 4]: any turn at first, small ones at last.

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
    """Gradient descent from poses [N, 4] to those of the images `target` [N, S, S, 4]; also the last loss of each,
    [N]."""
    q = start.clone().requires_grad_()
    optimizer = torch.optim.Adam([q], lr=0.01)
    losses = torch.zeros(len(q))
    descent = Descent("pose: descent", optimizer, steps, decay=0.003)
    for _ in descent:
        losses = (render(normalize(q, dim=-1), target.shape[1]) - target).square().mean((1, 2, 3))
        descent.step(losses.sum(), shown=losses.median())
    return normalize(q.detach(), dim=-1), losses.detach()


def main(argv: list[str] | None = None) -> dict[str, float]:
    args = options(
        __doc__,
        argv,
        smoke={"problems": 3, "resolution": 32, "steps": 100},
        problems=(8, "how many images"),
        starts=(4, "random starts for each image"),
        resolution=(64, "side of the images in pixels"),
        steps=(300, "steps of the search, and then of the descent"),
        seed=(0, "random poses, starts and turns"),
    )
    large = 64 if args.smoke else 160

    generator = torch.Generator().manual_seed(args.seed)
    truth = problems(args.problems, generator).to(args.device)
    starts = torch.randn(args.problems * args.starts, 4, generator=generator)
    starts = normalize(starts, dim=-1).to(args.device)
    with torch.no_grad():
        target = render(truth, args.resolution)
        before = (render(starts[:: args.starts], args.resolution) - target).square().mean().item()
        each_target = target.repeat_interleave(args.starts, 0)
        searched = search(reduced(each_target, 2), starts, args.steps, generator)
    ends, losses = descend(each_target, searched, args.steps)
    after, winner = losses.view(args.problems, args.starts).min(1)
    picked = torch.arange(args.problems, device=winner.device) * args.starts + winner
    start, coarse, found = starts[picked], searched[picked], ends[picked]

    with torch.no_grad():
        rows = []
        for poses in (found, coarse, start, truth):  # from the bottom row up
            images = reduced(render(poses, 3 * large), 3)
            rows.append(torch.cat([image[..., :3] + BACKGROUND * (1 - image[..., 3:]) for image in images], dim=1))
    save_image(args.out / "pose.png", torch.cat(rows))

    errors = [angle_between(poses, truth) for poses in (start, coarse, found)]
    print("angle off in degrees\n   problem     start    search     found")
    for i, row in enumerate(zip(*errors, strict=True)):
        print(f"{i:10} {row[0]:9.2f} {row[1]:9.3f} {row[2]:9.4f}")
    worst, median, solved = errors[-1].max().item(), errors[-1].median().item(), (errors[-1] < 1).sum().item()
    print(f"worst {worst:.4f} degrees, median {median:.4f}; within 1 degree: {solved} of {len(truth)}")
    check(args.smoke, before, after.mean().item(), 0.05)
    return {"worst_degrees": worst, "median_degrees": median, "solved": solved / len(truth)}


if __name__ == "__main__":
    main()
