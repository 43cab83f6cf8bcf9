"""Colours and light that mislead a classifier.

You will see in `adversarial.png` five columns, pictures of a cube, a sphere or a torus, all named rightly by a small
network that was trained here on such pictures; in the upper row as they were, in the middle with the colours of their
vertices changed until the network errs, below with only the lamp moved until it does. Shape, pose and camera stay. The
names and how sure the network is are printed.

    python recipes/adversarial.py --out out

The gradient of the wrong name's score runs through the network and the renderer into the scene, so what misleads is a
real scene and not a noise on pixels (Xiao et al. 2019, "MeshAdv: Adversarial Meshes for Visual Recognition").
"""

import argparse
from dataclasses import replace
from pathlib import Path

import torch
from torch.nn.functional import cross_entropy, normalize
from tqdm import tqdm

import diffrast.torch as dr
from diffrast.camera import Camera
from diffrast.io import save_image
from diffrast.mesh import Mesh, cube, icosphere, torus
from diffrast.scene.light import AmbientLight, PointLight
from diffrast.scene.material import Lambert
from diffrast.scene.renderer import Scene, render

CTX = dr.RasterizeContext()
NAMES = ("cube", "sphere", "torus")
SIZE = 40


def bodies() -> list[Mesh]:
    return [cube(1.1), icosphere(0.75, 2), torus(0.65, 0.28, 32, 16)]


class Picture(torch.nn.Module):
    """One random scene of the class `kind`, whose vertex colours and lamp can be changed."""

    def __init__(self, kind: int, generator: torch.Generator, device: str) -> None:
        super().__init__()
        self.mesh = bodies()[kind].to(device)
        u = torch.rand(9, generator=generator)
        tint = (0.3 + 0.6 * u[:3]).to(device)
        # Unbounded numbers inside, colours between 0 and 1 outside.
        self.colors = torch.nn.Parameter(tint.logit().expand(len(self.mesh.vertices), 3).clone())
        direction = normalize(torch.tensor([float(u[3]) * 2 - 1, 0.4 + float(u[4]), 0.6 + float(u[5])]), dim=0)
        self.lamp = torch.nn.Parameter(4 * direction.to(device))
        self.camera = Camera.orbit(
            6.28 * float(u[6]), 0.2 + 0.8 * float(u[7]), 3.0 + 0.8 * float(u[8]), fov_y=0.65, width=SIZE, height=SIZE
        )

    def forward(self, samples: int = 1) -> torch.Tensor:
        """[SIZE, SIZE, 3]."""
        mesh = replace(self.mesh, colors=self.colors.sigmoid())
        # The lamp keeps its distance and stays above.
        place = 4 * normalize(self.lamp, dim=0)
        lights = [PointLight(place, (36.0, 36.0, 36.0)), AmbientLight((0.15, 0.15, 0.15))]
        scene = Scene(mesh, Lambert(), lights, (0.05, 0.05, 0.06)).to(place.device)
        return render(scene, self.camera, ctx=CTX, samples=samples).image[0, ..., :3]


def classifier() -> torch.nn.Module:
    def block(a: int, b: int) -> list[torch.nn.Module]:
        return [torch.nn.Conv2d(a, b, 3, 2, 1), torch.nn.ReLU()]

    return torch.nn.Sequential(
        *block(3, 16), *block(16, 32), *block(32, 32), torch.nn.Flatten(), torch.nn.LazyLinear(len(NAMES))
    )


def score(network: torch.nn.Module, pictures: torch.Tensor) -> torch.Tensor:
    """Of pictures [N, SIZE, SIZE, 3]: [N, 3]."""
    return network(pictures.clamp(0, 1).movedim(-1, 1) * 2 - 1)


def train(pictures: torch.Tensor, labels: torch.Tensor, steps: int, generator: torch.Generator) -> torch.nn.Module:
    network = classifier().to(pictures.device)
    score(network, pictures[:2])  # gives the last layer its size
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
    for _ in tqdm(range(steps), desc="adversarial: training"):
        some = torch.randint(0, len(labels), (32,), generator=generator).to(labels.device)
        optimizer.zero_grad()
        cross_entropy(score(network, pictures[some]), labels[some]).backward()
        optimizer.step()
    return network.requires_grad_(False)


def mislead(network: torch.nn.Module, picture: Picture, what: str, label: int, steps: int) -> bool:
    """Changes `picture.<what>` until the network no longer says `label`; whether it came to that."""
    parameter = getattr(picture, what)
    optimizer = torch.optim.Adam([parameter], lr=0.1)
    truth = torch.tensor([label], device=parameter.device)
    for _ in range(steps):
        values = score(network, picture()[None])
        others = values.masked_fill(torch.nn.functional.one_hot(truth, len(NAMES)).bool(), -torch.inf)
        margin = values[0, label] - others.max()
        if margin.item() < -0.5:
            return True
        optimizer.zero_grad()
        margin.backward()
        optimizer.step()
    return False


def main(argv: list[str] | None = None) -> dict[str, float]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=400, help="steps of training")
    parser.add_argument("--pictures", type=int, default=600, help="pictures to learn from")
    parser.add_argument("--victims", type=int, default=5, help="pictures to mislead with")
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for the picture")
    parser.add_argument("--smoke", action="store_true", help="small, with a check that the network errs at last")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    args = parser.parse_args(argv)
    if args.smoke:
        args.steps, args.pictures, args.victims = min(args.steps, 150), 150, 2

    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(args.pictures) % len(NAMES)
    with torch.no_grad():
        pictures = torch.stack(
            [Picture(k, generator, args.device)() for k in tqdm(labels.tolist(), desc="adversarial: pictures")]
        )
        fresh = [(k, Picture(k, generator, args.device)) for k in (labels % len(NAMES)).tolist()[:60]]
    labels = labels.to(args.device)
    network = train(pictures, labels, args.steps, generator)
    with torch.no_grad():
        right = [(k, p) for k, p in fresh if int(score(network, p()[None]).argmax()) == k]
    accuracy = len(right) / len(fresh)
    print(f"the network names {100 * accuracy:.0f} % of {len(fresh)} new pictures rightly")

    columns, fooled = [], {"colors": 0, "lamp": 0}
    for label, picture in right[: args.victims]:
        shown = [picture(4).detach()]
        line = f"{NAMES[label]:>7}:"
        start = {n: p.detach().clone() for n, p in picture.named_parameters()}
        for what in fooled:
            picture.load_state_dict(start)
            done = mislead(network, picture, what, label, 150)
            fooled[what] += done
            with torch.no_grad():
                sure = score(network, picture()[None]).softmax(-1)[0]
                shown.append(picture(4))
            named = NAMES[int(sure.argmax())]
            line += f"  {what} {'->' if done else '(held)'} {named} ({100 * sure.max().item():.0f} %)"
        columns.append(torch.cat(shown[::-1]))
        print(line)
    args.out.mkdir(parents=True, exist_ok=True)
    save_image(args.out / "adversarial.png", torch.cat(columns, dim=1).repeat_interleave(4, 0).repeat_interleave(4, 1))
    count = len(columns)
    print(f"misled: {fooled['colors']} of {count} by colours, {fooled['lamp']} of {count} by the lamp")
    if args.smoke and not (accuracy > 0.7 and fooled["colors"] == count):
        raise SystemExit(f"smoke: the network was not misled, or knew nothing: accuracy {accuracy:.2f}, {fooled}")
    return {"accuracy": accuracy, **{f"misled by {k}": v / max(count, 1) for k, v in fooled.items()}}


if __name__ == "__main__":
    main()
