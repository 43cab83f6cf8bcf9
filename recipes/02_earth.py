"""A planet's map from random views, with and without mipmaps.

You will see in `earth.png` the true planet, the one learned with mipmaps and the one learned without, from afar and
from near; in `earth_steps.png` the planet after 4, 20, 100 and all 1000 steps; and a table of how close both maps came,
step by step. The images to learn from are small and taken from near and far: from far, many texels lie under one pixel,
and a camera averages them. With mipmaps (the pixel derivatives of the texture coordinates given to `texture`) the
renderer averages too, and the gradient of a pixel reaches all of them; without, it reaches four of them, with what
belongs to the others.

    python recipes/02_earth.py --out out

The experiment is that of Laine et al. 2020, "Modular Primitives for High-Performance Differentiable Rendering", on a
planet of our own.
"""

import math

import torch
from common import Descent, check, options, reduced
from torch.nn.functional import grid_sample, normalize, pad

import diffrast.torch as dr
from diffrast.camera import look_at
from diffrast.io import linear_to_srgb, save_image, srgb_to_linear

CTX = dr.RasterizeContext()


# --- The planet -------------------------------------------------------------------------------------------------------


def directions(height: int) -> torch.Tensor:
    """The unit vectors of the texels of a map with `height` rows, [height, 2 height, 3]; row 0 is the south pole."""
    latitude = ((torch.arange(height) + 0.5) / height - 0.5)[:, None] * math.pi
    longitude = (torch.arange(2 * height) + 0.5)[None] / height * math.pi
    x, z = latitude.cos() * longitude.sin(), latitude.cos() * longitude.cos()
    return torch.stack([x, latitude.sin().expand_as(x), z], dim=-1)


def noise(points: torch.Tensor, cells: int, octaves: int, generator: torch.Generator) -> torch.Tensor:
    """Fractal noise at points [H, W, 3] of the cube -1..1, about -1..1: random lattices of ever more cells, fading."""
    total = torch.zeros(points.shape[:2])
    for octave in range(octaves):
        lattice = torch.rand(1, 1, *[(cells << octave) + 1] * 3, generator=generator) * 2 - 1
        total += 0.55**octave * grid_sample(lattice, points[None, None], align_corners=True)[0, 0, 0]
    return total


def planet(height: int, seed: int = 2) -> torch.Tensor:
    """A map [height, 2 height, 3] in linear RGB: seas, plains, deserts, mountains, ice and thin clouds."""
    generator = torch.Generator().manual_seed(seed)
    at = directions(height)
    warp = torch.stack([noise(at * 0.7, 3, 4, generator) for _ in range(3)], dim=-1)
    rough = noise(at * 0.7, 48, 4, generator)
    land = noise((at + 0.25 * warp) * 0.7, 3, 7, generator) - 0.1 + 0.08 * rough
    moist = noise((at + 0.2 * warp) * 0.7, 3, 5, generator)
    cloud = noise((at * torch.tensor([1.0, 1.6, 1.0]) + 0.45 * warp) * 0.5, 5, 6, generator)
    pole = at[..., 1].abs() + 0.1 * noise(at * 0.7, 6, 4, generator)

    def blend(below: torch.Tensor, colour: str, amount: torch.Tensor) -> torch.Tensor:
        rgb = srgb_to_linear(torch.tensor([int(colour[i : i + 2], 16) / 255 for i in (0, 2, 4)]))
        return below + amount.clamp(0, 1)[..., None] * (rgb - below)

    colour = blend(torch.zeros_like(at), "0b2447", torch.ones_like(land))  # deep sea
    colour = blend(colour, "1f6f8b", (land + 0.35) * 2.2)  # shelves
    ground = blend(torch.zeros_like(at), "3f6b2f", torch.ones_like(land))
    dry = 1.1 - 3.5 * (at[..., 1].abs() - 0.38).abs() - 1.6 * moist - 0.5 * warp[..., 1]
    ground = blend(ground, "c9a66b", dry)
    ground = blend(ground, "24421f", (0.3 - at[..., 1].abs()) * 3 + moist)  # forests about the equator
    ground = blend(ground, "6b5a48", (land - 0.45) * 4)  # mountains
    ground = blend(ground, "e9ecef", (land - 0.75) * 6)
    ground = ground * (1 + 0.7 * rough + 0.25 * warp[..., 0])[..., None].clamp(0.3, 2)
    colour = colour + (land * 60).clamp(0, 1)[..., None] * (ground - colour)
    colour = blend(colour, "f4f8fb", (pole - 0.93) * 16)
    return blend(colour, "ffffff", (cloud - 0.3) * 1.3).clamp(0, 1)


# --- The renderer -----------------------------------------------------------------------------------------------------


def sphere(rings: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Positions [V, 3], texture coordinates [T, 2], and the triangles [F, 3] into each of them.

    The mesh is closed (one vertex at each pole, none twice at the date line), so that `antialias` sees an outline and
    no seam; the texture coordinates have a column more.
    """
    segments = 2 * rings
    v, u = torch.meshgrid(torch.linspace(0, 1, rings + 1), torch.linspace(0, 1, segments + 1), indexing="ij")
    latitude, longitude = (v - 0.5) * math.pi, u * 2 * math.pi
    x, z = latitude.cos() * longitude.sin(), latitude.cos() * longitude.cos()
    point = torch.stack([x, latitude.sin(), z], dim=-1)
    vertex = torch.arange(1, (rings - 1) * segments + 1).view(rings - 1, segments)
    pole = torch.zeros(1, segments, dtype=vertex.dtype)
    index = torch.cat([pole, vertex, pole + vertex[-1, -1] + 1])  # [rings + 1, segments]
    index = torch.cat([index, index[:, :1]], dim=1)
    uv_index = torch.arange(u.numel()).view(u.shape)

    def triangles(grid: torch.Tensor) -> torch.Tensor:
        # Counter-clockwise from outside; at the poles one of the two halves of a cell has no area.
        a, b, c, d = grid[:-1, :-1], grid[:-1, 1:], grid[1:, 1:], grid[1:, :-1]
        lower, upper = torch.stack([a, b, c], -1)[1:], torch.stack([a, c, d], -1)[:-1]
        return torch.cat([lower, upper]).flatten(0, 1)

    positions = torch.cat([point[0, :1], point[1:-1, :-1].flatten(0, 1), point[-1, :1]])
    uv = torch.stack([u, v], dim=-1).flatten(0, 1)
    return positions, uv, triangles(index).int(), triangles(uv_index).int()


class Globe:
    """Draws a map on a sphere from random places."""

    def __init__(self, device: str) -> None:
        self.pos, self.uv, self.tri, self.uv_tri = (t.to(device) for t in sphere(48))

    def render(self, texture: torch.Tensor, clip: torch.Tensor, size: int, mip: bool) -> torch.Tensor:
        """The map [Ht, Wt, C] seen through `clip` [4, 4]: [size, size, C], black around the planet."""
        pos = (pad(self.pos, (0, 1), value=1.0) @ clip.T.to(self.pos))[None]
        rast, rast_db = dr.rasterize(CTX, pos, self.tri, (size, size))
        uv, uv_da = dr.interpolate(self.uv, rast, self.uv_tri, rast_db, diff_attrs="all")
        if mip:
            sharper = torch.full_like(rast[..., 0], -0.5)  # the tent filter is wider than the pixel's square
            image = dr.texture(texture[None], uv, uv_da, sharper, filter_mode="linear-mipmap-linear")
        else:
            image = dr.texture(texture[None], uv, filter_mode="linear")
        return dr.antialias(image * (rast[..., 3:] > 0), rast, pos, self.tri)[0]

    def photograph(self, texture: torch.Tensor, clip: torch.Tensor, size: int, samples: int = 6) -> torch.Tensor:
        """What a camera sees, [size, size, C]: the mean of samples x samples rays in every pixel."""
        return reduced(self.render(texture, clip, size * samples, mip=False), samples)

    def portrait(self, texture: torch.Tensor, size: int) -> torch.Tensor:
        """The planet in sunlight, with a thin atmosphere, [size, size, 3]."""
        place = normalize(torch.tensor([-0.9, 0.3, -0.42]), dim=0)
        clip, sun = view(3.4, place, size), normalize(torch.tensor([-0.35, 0.7, -1.5]), dim=0).to(texture)
        lit = torch.cat([texture, torch.ones_like(texture[..., :1])], dim=-1)
        colour = self.photograph(lit, clip, size, samples=4)
        pos = (pad(self.pos, (0, 1), value=1.0) @ clip.T.to(self.pos))[None]
        rast, _ = dr.rasterize(CTX, pos, self.tri, (4 * size, 4 * size))
        normal = reduced(dr.interpolate(self.pos, rast, self.tri)[0][0], 4)
        day = ((normal @ sun) * 1.2 + 0.1).clamp(0, 1)[..., None]
        rim = (colour[..., 3:] - (normal @ place.to(texture))[..., None]).clamp(0, 1) ** 2.5
        sky = torch.tensor([0.25, 0.5, 1.0]).to(texture)
        return colour[..., :3] * day + rim * sky * (day * 0.9 + 0.02) + 0.002


def view(distance: float, place: torch.Tensor, size: int) -> torch.Tensor:
    """Clip matrix [4, 4] of a camera above `place` (unit vector [3]), `distance` from the centre of the planet."""
    up = (0.0, 1.0, 0.0) if abs(place[1]) < 0.99 else (1.0, 0.0, 0.0)
    eye = look_at(place * distance, (0, 0, 0), up, fov_y=0.7, width=size, height=size)
    return eye.clip_matrix(distance - 1.1, distance + 1.1)


def map_psnr(learned: torch.Tensor, truth: torch.Tensor) -> float:
    """PSNR in dB of display values, every texel weighted by its area on the planet."""
    area = directions(truth.shape[0])[..., [0, 2]].norm(dim=-1).to(truth)
    error = (linear_to_srgb(learned.detach().clamp(0, 1)) - linear_to_srgb(truth)).square().mean(-1)
    return -10 * math.log10((error * area).sum() / area.sum())


def learn(globe: Globe, truth: torch.Tensor, size: int, steps: int, mips: list[bool], stops: list[int], seed: int = 0):
    """Learns the map `truth` [Ht, Wt, 3] once for each entry of `mips`, from the same images of size x size pixels.

    Returns the maps, rows of (step, PSNR of each map), the losses [steps][len(mips)], and the first map at every step
    of `stops`.
    """
    generator = torch.Generator().manual_seed(seed)
    maps = [torch.full_like(truth, 0.2).requires_grad_() for _ in mips]
    optimizer = torch.optim.Adam(maps, lr=0.02)
    rows, losses, moments = [], [], []
    descent = Descent("earth", optimizer, steps, decay=0.03)
    for step in descent:
        if step in stops:
            moments.append(maps[0].detach().clamp(0, 1))
        place = normalize(torch.randn(3, generator=generator), dim=0)
        distance = 1.6 * 9 ** torch.rand((), generator=generator).item()
        clip = view(distance, place, size)
        with torch.no_grad():
            target = globe.photograph(truth, clip, size)
        each = [(globe.render(m, clip, size, mip) - target).square().mean() for m, mip in zip(maps, mips, strict=True)]
        descent.step(torch.stack(each).sum())
        losses.append([loss.item() for loss in each])
        if (step + 1) % max(1, steps // 10) == 0:
            rows.append((step + 1, *(map_psnr(m, truth) for m in maps)))
    return [m.detach().clamp(0, 1) for m in maps], rows, losses, moments


def main(argv: list[str] | None = None) -> dict[str, float]:
    args = options(
        __doc__,
        argv,
        smoke={"rows": 64, "resolution": 48, "steps": 80},
        mip=(bool, "only with, only without mipmaps; both where neither is given"),
        rows=(512, "height of the map in texels, half its width"),
        resolution=(128, "side of the images in pixels"),
        steps=(1000, "optimization steps, one image each"),
    )
    large = 96 if args.smoke else 400

    mips = [True, False] if args.mip is None else [args.mip]
    names = ["with mipmaps" if mip else "without" for mip in mips]
    globe, truth = Globe(args.device), planet(args.rows).to(args.device)
    stops = [round(args.steps * k) for k in (0.004, 0.02, 0.1)]
    maps, rows, losses, moments = learn(globe, truth, args.resolution, args.steps, mips, stops)

    with torch.no_grad():
        near = view(1.7, normalize(torch.tensor([-0.9, 0.22, -0.12]), dim=0), large)
        above = torch.cat([globe.portrait(m, large) for m in (truth, *maps)], dim=1)
        below = torch.cat([globe.photograph(m, near, large, 3) for m in (truth, *maps)], dim=1)
        save_image(args.out / "earth.png", torch.cat([below, above]))
        steps = torch.cat([globe.portrait(m, large) for m in (*moments, maps[0])], dim=1)
        save_image(args.out / "earth_steps.png", steps)
    save_image(args.out / "earth_maps.png", torch.cat([*reversed(maps), truth]))

    print("PSNR of the map in dB\n" + " ".join(f"{name:>12}" for name in ("step", *names)))
    for step, *values in rows:
        print(f"{step:12} " + " ".join(f"{value:12.2f}" for value in values))
    tenth = max(1, args.steps // 10)
    first, last = (torch.tensor(part).mean(0).tolist() for part in (losses[:tenth], losses[-tenth:]))
    for name, before, after in zip(names, first, last, strict=True):
        check(args.smoke, before, after, 0.5, f"the loss {name}")
    return {f"psnr {name}": value for name, value in zip(names, rows[-1][1:], strict=True)}


if __name__ == "__main__":
    main()
