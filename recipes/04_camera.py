"""Intrinsics and pose of a camera from one image of known objects.

You will see a column for each of 4 problems and four rows: the image to explain, what a wrong camera sees, what the
camera that was found sees, and the proof: the cube's corners, projected by that camera, drawn over the image to
explain.

    python recipes/04_camera.py --out out

Unknown are the pose (6 numbers), the focal length and the principal point. Turning, shifting and the principal point
all shift the image, and so do focal length and distance; only perspective tells them apart. Plain descent therefore
finds a camera that lands nearly right but is not the right one. Here it goes by combinations of the nine numbers that
each shift the objects' points by one pixel, which the Jacobian of their projection tells; and it starts on a small
image, whose pixels see far, and ends on a large one, whose pixels see well.
"""

import math

import torch
from common import Descent, check, options, reduced

import diffrast.torch as dr
from diffrast.camera import Camera, overlay, so3_log
from diffrast.io import save_image
from diffrast.mesh import Mesh, batch, cube, plane, torus
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
    return batch(parts).mesh


def colors(x: torch.Tensor) -> torch.Tensor:
    """Colors [V, 3] of points [V, 3]: waves, so that there is something to see inside of the outlines."""
    ways = x.new_tensor([[6.0, 1, 2], [1, 6, -2], [-2, 2, 7]])
    return (0.4 + 0.35 * (x @ ways + x.new_tensor([0.5, 2.0, 4.0])).sin()).square()


def render(camera: Camera, mesh: Mesh, sharper: int = 1) -> torch.Tensor:
    """What the camera sees, [H, W, 3], antialiased; averaged over `sharper` x `sharper` pixels."""
    seen = camera.resized(sharper * camera.width, sharper * camera.height)
    pos, tri = seen.to_clip(mesh.vertices)[None], mesh.faces
    rast, _ = dr.rasterize(CTX, pos, tri, seen.resolution)
    color, _ = dr.interpolate(colors(mesh.vertices), rast, tri)
    image = torch.where(rast[..., 3:] > 0, color, BACKGROUND.to(color))
    return reduced(dr.antialias(image, rast, pos, tri)[0], sharper)


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


def one_pixel_changes(parameters: CameraParameters, mesh: Mesh) -> torch.Tensor:
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
    # Changes that hardly show would become huge: limit them.
    return ways / scale.clamp_min(1e-4 * scale.max()).sqrt()


def fit(target: torch.Tensor, guess: Camera, mesh: Mesh, steps: int, name: str) -> tuple[Camera, float, float]:
    """The camera that explains the image [H, W, 3]; also the mean squared error before and after."""
    parameters = CameraParameters(guess, pivot=(0, 0.3, 0)).to(target.device)
    sizes = {n: p.numel() for n, p in parameters.named_parameters()}
    with torch.no_grad():
        before = (render(guess, mesh) - target).square().mean().item()
    for smaller in (4, 2, 1):
        small = reduced(target, smaller)
        changes = one_pixel_changes(parameters, mesh)
        way = torch.zeros(len(changes), dtype=changes.dtype, device=changes.device, requires_grad=True)
        optimizer = torch.optim.Adam([way], lr=0.25 * smaller)
        descent = Descent(f"camera {name}: {small.shape[1]}x{small.shape[0]}", optimizer, steps, decay=0.02)
        for _ in descent:
            values = dict(zip(sizes, (changes @ way).split(list(sizes.values())), strict=True))
            camera = torch.func.functional_call(parameters, values)
            descent.step((render(camera.resized(small.shape[1], small.shape[0]), mesh) - small).square().mean())
        with torch.no_grad():
            torch.nn.utils.vector_to_parameters(changes @ way, parameters.parameters())
            parameters.rebase()
    with torch.no_grad():
        return parameters(), before, (render(parameters(), mesh) - target).square().mean().item()


def main(argv: list[str] | None = None) -> dict[str, float]:
    args = options(
        __doc__,
        argv,
        smoke={"problems": 1, "steps": 60},
        problems=(4, "how many images"),
        steps=(150, "steps on each of three sizes of image"),
        seed=(0, "true and wrong cameras"),
    )
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
    save_image(args.out / "camera.png", torch.cat(columns, dim=1))

    print("            rotation, degrees  focal length, %   principal point, pixels   corners, pixels")
    for i, (start, end) in enumerate(zip(starts, ends, strict=True)):
        cells = (f"{a:8.2f} -> {b:7.4f}" for a, b in zip(start, end, strict=True))
        print(f"{i + 1:8} " + "".join(cells))
    before, after = (sum(x) / len(losses) for x in zip(*losses, strict=True))
    check(args.smoke, before, after, 0.1)
    names = ("degrees", "focal_percent", "principal_pixels", "corner_pixels")
    return {f"worst_{n}": max(e[k] for e in ends) for k, n in enumerate(names)}


if __name__ == "__main__":
    main()
