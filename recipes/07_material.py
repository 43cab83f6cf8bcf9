"""A material and the light, together, from photographs of a known shape.

You will see in `material.png` four images of a view that was not learned from: the photograph, what was found, its
base color alone, and, where the true light is known, the found material under that light ("relit"); below them, the
surroundings found (left) and the true ones, as lat-long maps. Base color, roughness and a lat-long map of light are
optimized at once, through the deferred renderer.

    python recipes/07_material.py --out out
    python recipes/07_material.py --data ../shared/data/spot_photos --mesh ../shared/data/spot/spot_triangulated.obj

Without `--data` the photographs are drawn here, of a torus. Photographs are those of NeRF's synthetic scenes
(`transforms_train.json`); `studio_env.exr` beside it, if there is one, is the light that they were taken in (to read
it, the package OpenEXR must be installed). A color of the light and the same color of the base look alike: before
relighting, the three channels of the found base color are scaled to the known light, as is usual (Zhang et al. 2021,
"NeRFactor", section 4).
"""

import json
import math
from pathlib import Path

import torch
from common import Descent, check, ends, options
from torch.nn.functional import interpolate, normalize, pad, softplus

import diffrast.torch as dr
from diffrast.camera import Camera
from diffrast.io import linear_to_srgb, load_image, load_mesh, save_image
from diffrast.mesh import Mesh, torus
from diffrast.scene import EnvironmentLight, MetallicRoughness, Scene, Unlit, latlong_directions, reinhard, render

CTX = dr.RasterizeContext()


def read_photographs(folder: Path, size: int) -> tuple[list[Camera], torch.Tensor]:
    """Cameras, and images [N, size, size, 4]: linear RGB times alpha, and alpha."""
    layout = json.loads((folder / "transforms_train.json").read_text())
    cameras, images = [], []
    for frame in layout["frames"]:
        image = load_image(folder / (frame["file_path"] + ".png"))
        image = torch.cat([image[..., :3] * image[..., 3:], image[..., 3:]], dim=-1)
        camera = Camera.from_opengl(
            torch.tensor(frame["transform_matrix"], dtype=torch.float64),
            (image.shape[1], image.shape[0]),
            fov_x=layout["camera_angle_x"],
        )
        cameras.append(camera.resized(size, size))
        images.append(resized(image, (size, size), mode="area"))
    return cameras, torch.stack(images)


def resized(image: torch.Tensor, size: tuple[int, int], mode: str = "nearest") -> torch.Tensor:
    """[H, W, C] at another size (rows, columns)."""
    return interpolate(image.movedim(-1, 0)[None], size, mode=mode)[0].movedim(0, -1)


def read_exr(path: Path) -> torch.Tensor | None:
    """A lat-long map [H, W, 3], row 0 at the bottom, or None where it cannot be read."""
    try:
        return load_image(path)[..., :3]
    except ImportError as error:
        print(f"{path.name} is not used: {error}")
        return None


def draw_photographs(size: int) -> tuple[Mesh, list[Camera], torch.Tensor, torch.Tensor]:
    """A torus of two albedos in a room: mesh, cameras, images as of `read_photographs`, and the light."""
    mesh = torus(1.0, 0.45)
    y, x = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    stripes = ((x // 8 + y // 16) % 2)[..., None]
    albedo = torch.where(stripes > 0, torch.tensor([0.7, 0.2, 0.1]), torch.tensor([0.2, 0.4, 0.6]))
    d = latlong_directions(32, 64)
    lamp = normalize(torch.tensor([0.6, 0.7, 0.4]), dim=0)
    room = 0.3 + 0.2 * d[..., 1:2] + 6 * torch.exp(30 * (d @ lamp - 1))[..., None] * torch.tensor([1.0, 0.9, 0.8])
    scene = Scene(mesh, MetallicRoughness(albedo, (1.0, 0.35, 0.0)), [EnvironmentLight(room)])
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
    args = options(
        __doc__,
        argv,
        smoke={"steps": 60, "resolution": 64},
        data=(Path, "folder with transforms_train.json; needs --mesh"),
        mesh=(Path, "the shape, with texture coordinates"),
        turn=(180.0, "degrees about +y of studio_env.exr"),
        steps=(400, "steps, two images each"),
        resolution=(160, "side of the images in pixels"),
    )
    torch.manual_seed(0)
    turn = 0.0
    if args.data is None:
        mesh, cameras, photographs, truth = draw_photographs(args.resolution)
    else:
        if args.mesh is None:
            raise SystemExit("--data needs --mesh")
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
    descent = Descent("material", optimizer, args.steps, decay=0.1)
    for step in descent:
        chosen = [learned[(2 * step + k) * 7 % len(learned)] for k in range(2)]
        scene = Scene(mesh, found.material(), [found.environment()])
        image = render(scene, [cameras[i] for i in chosen], ctx=CTX).image
        loss = (linear_to_srgb(image[..., :3]) - linear_to_srgb(photographs[chosen][..., :3])).abs().mean()
        # Of all lights that explain the images, a smooth one.
        smooth = (found.light - found.light.roll(1, 1)).abs().mean() + (found.light[1:] - found.light[:-1]).abs().mean()
        descent.step(loss + 2e-4 * smooth, shown=loss)

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
        below = reinhard(torch.cat([resized(room, half) for room in rooms], dim=1))
        below = pad(below, (0, 0, 0, row.shape[1] - below.shape[1]))
    save_image(args.out / "material.png", torch.cat([below, row]))
    check(args.smoke, *ends(descent.losses), 0.5)
    return figures


if __name__ == "__main__":
    main()
