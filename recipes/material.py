"""A material and the light, together, from photographs of a known shape.

You will see in `material.png` four pictures of a view that was not learned from: the photograph, what was found, its
base colour alone, and, where the true light is known, the found material under that light ("relit"); below them, the
surroundings found (left) and the true ones, as lat-long maps. Base colour, roughness and a lat-long map of light are
optimized at once, through the deferred renderer.

    python recipes/material.py --out out
    python recipes/material.py --data ../shared/data/spot_photos --mesh ../shared/data/spot/spot_triangulated.obj --out
    out

Without `--data` the photographs are drawn here, of a torus. Photographs are those of NeRF's synthetic scenes
(`transforms_train.json`); `studio_env.exr` beside it, if there is one, is the light that they were taken in (to read
it, the package OpenEXR must be installed). A colour of light and the same colour of paint look alike: before relighting
the three channels of the found base colour are scaled to the known light, as is usual (Zhang et al. 2021, "NeRFactor",
section 4).
"""

import argparse
import json
import math
from pathlib import Path

import torch
from torch.nn.functional import softplus
from tqdm import tqdm

import diffrast.torch as dr
from diffrast.camera import Camera
from diffrast.io import linear_to_srgb, load_image, load_mesh, save_image
from diffrast.mesh import Mesh, torus
from diffrast.scene import reinhard
from diffrast.scene.environment import EnvironmentLight, latlong_directions
from diffrast.scene.material import MetallicRoughness, Unlit
from diffrast.scene.renderer import Scene, render

CTX = dr.RasterizeContext()


def read_photographs(folder: Path, size: int) -> tuple[list[Camera], torch.Tensor]:
    """Cameras, and pictures [N, size, size, 4]: linear RGB times alpha, and alpha."""
    layout = json.loads((folder / "transforms_train.json").read_text())
    cameras, pictures = [], []
    for frame in layout["frames"]:
        image = load_image(folder / (frame["file_path"] + ".png"))
        image = torch.cat([image[..., :3] * image[..., 3:], image[..., 3:]], dim=-1)
        camera = Camera.from_opengl(
            torch.tensor(frame["transform_matrix"], dtype=torch.float64),
            (image.shape[1], image.shape[0]),
            fov_x=layout["camera_angle_x"],
        )
        cameras.append(camera.resized(size, size))
        shrunk = torch.nn.functional.interpolate(image.permute(2, 0, 1)[None], (size, size), mode="area")
        pictures.append(shrunk[0].permute(1, 2, 0))
    return cameras, torch.stack(pictures)


def read_exr(path: Path) -> torch.Tensor | None:
    """A lat-long map [H, W, 3], row 0 at the bottom, or None where it cannot be read."""
    try:
        return load_image(path)[..., :3]
    except ImportError as error:
        print(f"{path.name} is not used: {error}")
        return None


def draw_photographs(size: int) -> tuple[Mesh, list[Camera], torch.Tensor, torch.Tensor]:
    """A torus of two paints in a room: mesh, cameras, pictures as of `read_photographs`, and the light."""
    mesh = torus(1.0, 0.45)
    y, x = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    stripes = ((x // 8 + y // 16) % 2)[..., None]
    paint = torch.where(stripes > 0, torch.tensor([0.7, 0.2, 0.1]), torch.tensor([0.2, 0.4, 0.6]))
    d = latlong_directions(32, 64)
    lamp = torch.nn.functional.normalize(torch.tensor([0.6, 0.7, 0.4]), dim=0)
    room = 0.3 + 0.2 * d[..., 1:2] + 6 * torch.exp(30 * (d @ lamp - 1))[..., None] * torch.tensor([1.0, 0.9, 0.8])
    scene = Scene(mesh, MetallicRoughness(paint, (1.0, 0.35, 0.0)), [EnvironmentLight(room)])
    cameras = [
        Camera.orbit(2.4 * i, math.asin(0.9 * math.sin(1.7 * i)), 4.5, fov_y=0.65, width=size, height=size)
        for i in range(16)
    ]
    with torch.no_grad():
        return mesh, cameras, torch.cat([render(scene, c, ctx=CTX, samples=2).image for c in cameras]), room


def psnr(a: torch.Tensor, b: torch.Tensor) -> float:
    """Of display values over white, [.., 4] each."""
    shown = [linear_to_srgb((x[..., :3] + 1 - x[..., 3:]).clamp(0, 1)) for x in (a, b)]
    return -10 * math.log10((shown[0] - shown[1]).square().mean().item())


class Found(torch.nn.Module):
    """What is sought, unbounded numbers inside."""

    def __init__(self, texels: int, rows: int) -> None:
        super().__init__()
        self.base = torch.nn.Parameter(torch.zeros(texels, texels, 3))
        self.rough = torch.nn.Parameter(torch.tensor(0.4))
        self.light = torch.nn.Parameter(torch.full((rows, 2 * rows, 3), 0.3))

    def environment(self) -> EnvironmentLight:
        return EnvironmentLight(softplus(self.light), size=32)

    def material(self, scale: torch.Tensor | float = 1.0) -> MetallicRoughness:
        rough = self.rough.sigmoid()
        orm = torch.stack([torch.ones_like(rough), rough, torch.zeros_like(rough)])
        return MetallicRoughness(self.base.sigmoid() * scale, orm)


def main(argv: list[str] | None = None) -> dict[str, float]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with transforms_train.json; needs --mesh")
    parser.add_argument("--mesh", type=Path, help="the shape, with UVs")
    parser.add_argument("--turn", type=float, default=180.0, help="degrees about +y of studio_env.exr")
    parser.add_argument("--steps", type=int, default=400, help="steps, two pictures each")
    parser.add_argument("--resolution", type=int, default=160, help="side of the pictures in pixels")
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for the picture")
    parser.add_argument("--smoke", action="store_true", help="small, with a check that the loss went down")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    args = parser.parse_args(argv)
    if args.smoke:
        args.steps, args.resolution = min(args.steps, 60), 64

    torch.manual_seed(0)
    turn = 0.0
    if args.data is None:
        mesh, cameras, photographs, truth = draw_photographs(args.resolution)
    else:
        if args.mesh is None:
            parser.error("--data needs --mesh")
        mesh = load_mesh(args.mesh).welded()
        mesh = Mesh(mesh.vertices, mesh.faces, mesh.uv, uv_faces=mesh.uv_faces)
        cameras, photographs = read_photographs(args.data, args.resolution)
        light = args.data / "studio_env.exr"
        truth, turn = (read_exr(light) if light.exists() else None), math.radians(args.turn)
    mesh, photographs = mesh.to(args.device), photographs.to(args.device)
    kept = range(0, len(cameras), 6)  # not learned from
    learned = [i for i in range(len(cameras)) if i not in kept]

    found = Found(64 if args.data is None else 256, 16 if args.smoke else 32).to(args.device)
    rates = {"base": 0.04, "rough": 0.02, "light": 0.03}
    optimizer = torch.optim.Adam([{"params": [p], "lr": rates[n]} for n, p in found.named_parameters()])
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.1 ** (1 / args.steps))
    losses = []
    for step in (progress := tqdm(range(args.steps), desc="material")):
        chosen = [learned[(2 * step + k) * 7 % len(learned)] for k in range(2)]
        picture = render(
            Scene(mesh, found.material(), [found.environment()]), [cameras[i] for i in chosen], ctx=CTX
        ).image
        loss = (linear_to_srgb(picture[..., :3]) - linear_to_srgb(photographs[chosen][..., :3])).abs().mean()
        # Of all lights that explain the pictures, a smooth one.
        smooth = (found.light - found.light.roll(1, 1)).abs().mean() + (found.light[1:] - found.light[:-1]).abs().mean()
        optimizer.zero_grad()
        (loss + 2e-4 * smooth).backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        progress.set_postfix_str(f"loss {losses[-1]:.1e}")

    figures, shown = {}, []
    with torch.no_grad():
        views = [cameras[i] for i in kept]

        def draw(material, light) -> torch.Tensor:
            return render(Scene(mesh, material, [light]), views, ctx=CTX, samples=2).image

        again = draw(found.material(), found.environment())
        base = render(Scene(mesh, Unlit(found.base.sigmoid())), views, ctx=CTX, samples=2).image
        shown = [photographs[list(kept)], again, base]
        figures["psnr"] = psnr(again, photographs[list(kept)])
        print(
            f"views that were not learned from: {figures['psnr']:.2f} dB; roughness {found.rough.sigmoid().item():.2f}"
        )
        if truth is not None:
            light = EnvironmentLight(truth, size=64, turn=turn).to(args.device)
            # One factor per channel, from the views learned from.
            some = [cameras[i] for i in learned[:6]]
            relit = render(Scene(mesh, found.material(), [light]), some, ctx=CTX).image[..., :3]
            taken = photographs[learned[:6]][..., :3]
            scale = (relit * taken).sum((0, 1, 2)) / relit.square().sum((0, 1, 2))
            shown.append(draw(found.material(scale), light))
            figures["relit psnr"] = psnr(shown[-1], photographs[list(kept)])
            factors = ", ".join(f"{x:.2f}" for x in scale.tolist())
            print(f"relit by the true light: {figures['relit psnr']:.2f} dB (channels scaled by {factors})")
        row = torch.cat([x[0, ..., :3] + 1 - x[0, ..., 3:] for x in shown], dim=1)
        rooms = [softplus(found.light)]
        if truth is not None:
            # The columns of the true map where those of the one found are: it is turned about the vertical.
            rooms.append(truth.to(args.device).roll(-round(turn / (2 * math.pi) * truth.shape[1]), 1))
        half = (row.shape[1] // 4, row.shape[1] // 2)
        rooms = [torch.nn.functional.interpolate(r.permute(2, 0, 1)[None], half)[0].permute(1, 2, 0) for r in rooms]
        below = reinhard(torch.cat(rooms, dim=1))
        below = torch.nn.functional.pad(below, (0, 0, 0, row.shape[1] - below.shape[1]))
    args.out.mkdir(parents=True, exist_ok=True)
    save_image(args.out / "material.png", torch.cat([below, row]))
    first, last = (sum(part) / len(part) for part in (losses[:5], losses[-10:]))
    if args.smoke and not last < 0.5 * first:
        raise SystemExit(f"smoke: the loss did not go down: {first:.2e} -> {last:.2e}")
    return figures


if __name__ == "__main__":
    main()
