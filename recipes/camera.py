"""Intrinsics and pose of a camera from one picture of known objects.

You will see a column for each of 4 problems and four rows: the picture to explain, what a wrong camera sees, what the
camera that was found sees, and the proof: the cube's corners, projected by that camera, drawn over the picture to
explain.

    python recipes/camera.py --out out

Unknown are the pose (6 numbers), the focal length and the principal point. Turning, shifting and the principal point
all move the picture, and so do focal length and distance; only perspective tells them apart. Plain descent therefore
finds a camera that lands nearly right but is not the right one. Here it goes by combinations of the nine numbers that
each move the objects' points by one pixel, which the Jacobian of their projection tells; and it starts on a small
picture, whose pixels see far, and ends on a large one, whose pixels see well.
"""

import argparse
import math
from pathlib import Path

import torch
from torch.nn.functional import avg_pool2d
from tqdm import tqdm

import diffrast.torch as dr
from diffrast.camera import Camera, overlay
from diffrast.camera.lie import so3_log
from diffrast.io import save_image
from diffrast.mesh import Mesh, cube, plane, torus
from diffrast.mesh.batch import concatenate
from diffrast.optimize import CameraParameters

CTX = dr.RasterizeContext()
WIDTH, HEIGHT = 160, 120
BACKGROUND = torch.tensor([0.35, 0.4, 0.45])


def objects() -> Mesh:
    """A cube and a ring on a floor."""
    parts = []
    for mesh, scale, place in (
        (cube(), 0.7, (-0.4, 0.35, 0.3)),
        (torus(0.5, 0.2), 0.9, (0.45, 0.6, -0.2)),
        (plane(2.4, cells=8), 1.0, (0.0, 0.0, 0.0)),
    ):
        mesh.vertices = mesh.vertices * scale + torch.tensor(place)
        parts.append(mesh)
    return concatenate(parts)


def paint(x: torch.Tensor) -> torch.Tensor:
    """Colours [V, 3] of points [V, 3]: waves, so that there is something to see inside of the outlines."""
    ways = x.new_tensor([[6.0, 1, 2], [1, 6, -2], [-2, 2, 7]])
    return (0.4 + 0.35 * (x @ ways + x.new_tensor([0.5, 2.0, 4.0])).sin()).square()


def render(camera: Camera, mesh: Mesh, sharper: int = 1) -> torch.Tensor:
    """What the camera sees, [H, W, 3], antialiased; averaged over `sharper` x `sharper` pixels."""
    seen = camera.resized(sharper * camera.width, sharper * camera.height)
    pos, tri = seen.to_clip(mesh.vertices)[None], mesh.faces
    rast, _ = dr.rasterize(CTX, pos, tri, seen.resolution)
    color, _ = dr.interpolate(paint(mesh.vertices), rast, tri)
    picture = torch.where(rast[..., 3:] > 0, color, BACKGROUND.to(color))
    return avg_pool2d(dr.antialias(picture, rast, pos, tri).movedim(-1, 1), sharper)[0].movedim(0, -1)


def problem(generator: torch.Generator) -> tuple[Camera, Camera]:
    """The true camera, and a wrong one: turned by 10 degrees, shifted, of another focal length, with the principal
    point off."""
    random = torch.rand(4, generator=generator)
    azimuth, elevation = 2 * math.pi * random[0], 0.35 + 0.4 * random[1]
    fov = 0.9 + 0.3 * random[2]
    true = Camera.orbit(azimuth, elevation, 2.1, (0, 0.3, 0), fov_y=fov, width=WIDTH, height=HEIGHT)
    shift = 10 * torch.randn(2, generator=generator)
    true.K[:2, 2] += shift.clamp(-15, 15)
    wrong = CameraParameters(true, pivot=(0, 0.3, 0))
    with torch.no_grad():
        turn = torch.randn(3, generator=generator)
        wrong.pose[:3] = turn / turn.norm() * math.radians(10)
        wrong.pose[3:] = 0.1 * torch.randn(3, generator=generator)
        wrong.focal.fill_(0.15 if random[3] > 0.5 else -0.15)
        wrong.principal.copy_(-shift.clamp(-15, 15) / WIDTH)  # nobody knows it: the middle
        guess = wrong()
    return true, guess


def errors(camera: Camera, true: Camera, mesh: Mesh) -> list[float]:
    """Rotation in degrees, focal length in percent, principal point in pixels, and how far points land from their
    place."""
    turn = so3_log(camera.world_to_camera[:3, :3] @ true.world_to_camera[:3, :3].T)
    focal = 100 * (camera.K[0, 0] / true.K[0, 0] - 1).abs()
    principal = (camera.K[:2, 2] - true.K[:2, 2]).norm()
    corners = mesh.vertices[:8].double()
    landing = (camera.project(corners)[0] - true.project(corners)[0]).norm(dim=1).mean()
    return [x.item() for x in (torch.rad2deg(turn.norm()), focal, principal, landing)]


def one_pixel_moves(parameters: CameraParameters, mesh: Mesh) -> torch.Tensor:
    """A matrix [N, N] whose columns change the N parameters so that points move by one pixel in the mean, each in
    another way."""
    sizes = {n: p.numel() for n, p in parameters.named_parameters()}
    points = mesh.vertices.double()

    def land(values: torch.Tensor) -> torch.Tensor:
        named = dict(zip(sizes, values.split(list(sizes.values())), strict=True))
        return torch.func.functional_call(parameters, named).project(points)[0]

    now = torch.nn.utils.parameters_to_vector(parameters.parameters()).detach()
    jacobian = torch.func.jacfwd(land)(now).flatten(0, 1)
    scale, ways = torch.linalg.eigh(2 * jacobian.T @ jacobian / len(jacobian))
    # Moves that hardly show would become huge: limit them.
    return ways / scale.clamp_min(1e-4 * scale.max()).sqrt()


def fit(target: torch.Tensor, guess: Camera, mesh: Mesh, steps: int, name: str) -> tuple[Camera, float, float]:
    """The camera that explains the picture [H, W, 3]; also the mean squared error before and after."""
    parameters = CameraParameters(guess, pivot=(0, 0.3, 0)).to(target.device)
    sizes = {n: p.numel() for n, p in parameters.named_parameters()}
    with torch.no_grad():
        before = (render(guess, mesh) - target).square().mean().item()
    for smaller in (4, 2, 1):
        small = avg_pool2d(target.movedim(-1, 0), smaller).movedim(0, -1)
        moves = one_pixel_moves(parameters, mesh)
        way = torch.zeros(len(moves), dtype=moves.dtype, device=moves.device, requires_grad=True)
        optimizer = torch.optim.Adam([way], lr=0.25 * smaller)
        schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.02 ** (1 / steps))
        for _ in (bar := tqdm(range(steps), desc=f"camera {name}: {small.shape[1]}x{small.shape[0]}", leave=False)):
            values = dict(zip(sizes, (moves @ way).split(list(sizes.values())), strict=True))
            camera = torch.func.functional_call(parameters, values)
            loss = (render(camera.resized(small.shape[1], small.shape[0]), mesh) - small).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            bar.set_postfix_str(f"loss {loss.item():.1e}")
        with torch.no_grad():
            torch.nn.utils.vector_to_parameters(moves @ way, parameters.parameters())
            parameters.rebase()
    with torch.no_grad():
        return parameters(), before, (render(parameters(), mesh) - target).square().mean().item()


def main(argv: list[str] | None = None) -> dict[str, float]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=int, default=4, help="how many pictures")
    parser.add_argument("--steps", type=int, default=150, help="steps on each of three sizes of picture")
    parser.add_argument("--seed", type=int, default=0, help="true and wrong cameras")
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for the picture")
    parser.add_argument("--smoke", action="store_true", help="small, with a check that the loss went down")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    args = parser.parse_args(argv)
    if args.smoke:
        args.problems, args.steps = 1, min(args.steps, 60)

    generator = torch.Generator().manual_seed(args.seed)
    mesh = objects().to(args.device)
    columns, starts, ends, losses = [], [], [], []
    for i in range(args.problems):
        true, guess = problem(generator)
        target = render(true, mesh, sharper=2)
        found, before, after = fit(target, guess, mesh, args.steps, f"{i + 1} of {args.problems}")
        found = found.to("cpu")
        starts.append(errors(guess, true, mesh.to("cpu")))
        ends.append(errors(found, true, mesh.to("cpu")))
        losses.append((before, after))
        proof = overlay(found, mesh.vertices[:8].cpu(), target.cpu())
        rows = [proof, render(found, mesh, 2).cpu(), render(guess, mesh, 2).cpu(), target.cpu()]
        columns.append(torch.cat(rows))
    args.out.mkdir(parents=True, exist_ok=True)
    save_image(args.out / "camera.png", torch.cat(columns, dim=1))

    print("            rotation, degrees  focal length, %   principal point, pixels   corners, pixels")
    for i, (start, end) in enumerate(zip(starts, ends, strict=True)):
        cells = (f"{a:8.2f} -> {b:7.4f}" for a, b in zip(start, end, strict=True))
        print(f"{i + 1:8} " + "".join(cells))
    before, after = (sum(x) / len(losses) for x in zip(*losses, strict=True))
    if args.smoke and not after < 0.1 * before:
        raise SystemExit(f"smoke: the loss did not go down: {before:.2e} -> {after:.2e}")
    names = ("degrees", "focal_percent", "principal_pixels", "corner_pixels")
    return {f"worst_{n}": max(e[k] for e in ends) for k, n in enumerate(names)}


if __name__ == "__main__":
    main()
