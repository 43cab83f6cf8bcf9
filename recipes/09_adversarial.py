"""Colors and light that mislead a classifier.

You will see in `adversarial.png` five columns, images of a cube, a sphere or a torus, all named rightly by a small
network that was trained here on such images; in the upper row as they were, in the middle with the colors of their
vertices changed until the network errs, below with only the lamp shifted until it does. Shape, pose and camera stay.
The names and how sure the network is are printed.

    python recipes/09_adversarial.py --out out

The gradient of the wrong name's score runs through the network and the renderer into the scene, so what misleads is a
real scene and not a noise on pixels (Xiao et al. 2019, "MeshAdv: Adversarial Meshes for Visual Recognition").
"""

from dataclasses import replace

import torch
from common import options
from torch.nn.functional import cross_entropy, normalize
from tqdm import tqdm

import diffrast.torch as dr
from diffrast.camera import Camera
from diffrast.io import save_image
from diffrast.mesh import Mesh, cube, icosphere, torus
from diffrast.scene import AmbientLight, Lambert, PointLight, Scene, render

CTX = dr.RasterizeContext()
NAMES = ("cube", "sphere", "torus")
SIZE = 40


def bodies() -> list[Mesh]:
    return [cube(1.1), icosphere(0.75, 2), torus(0.65, 0.28, 32, 16)]


class Example(torch.nn.Module):
    """One random scene of the class `kind`, whose vertex colors and lamp can be changed."""

    def __init__(self, kind: int, generator: torch.Generator, device: str) -> None:
        super().__init__()
        self.mesh = bodies()[kind].to(device)
        u = torch.rand(9, generator=generator)
        tint = (0.3 + 0.6 * u[:3]).to(device)
        # Unbounded numbers inside, colors between 0 and 1 outside.
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


def score(network: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
    """Of images [N, SIZE, SIZE, 3]: [N, 3]."""
    return network(images.clamp(0, 1).movedim(-1, 1) * 2 - 1)


def train(images: torch.Tensor, labels: torch.Tensor, steps: int, generator: torch.Generator) -> torch.nn.Module:
    network = classifier().to(images.device)
    score(network, images[:2])  # gives the last layer its size
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
    for _ in tqdm(range(steps), desc="adversarial: training"):
        some = torch.randint(0, len(labels), (32,), generator=generator).to(labels.device)
        optimizer.zero_grad()
        cross_entropy(score(network, images[some]), labels[some]).backward()
        optimizer.step()
    return network.requires_grad_(False)


def mislead(network: torch.nn.Module, example: Example, what: str, label: int, steps: int) -> bool:
    """Changes `example.<what>` until the network no longer says `label`; whether it came to that."""
    parameter = getattr(example, what)
    optimizer = torch.optim.Adam([parameter], lr=0.1)
    truth = torch.tensor([label], device=parameter.device)
    for _ in range(steps):
        values = score(network, example()[None])
        others = values.masked_fill(torch.nn.functional.one_hot(truth, len(NAMES)).bool(), -torch.inf)
        margin = values[0, label] - others.max()
        if margin.item() < -0.5:
            return True
        optimizer.zero_grad()
        margin.backward()
        optimizer.step()
    return False


def main(argv: list[str] | None = None) -> dict[str, float]:
    args = options(
        __doc__,
        argv,
        smoke={"steps": 150, "images": 150, "victims": 2},
        steps=(400, "steps of training"),
        images=(600, "images to learn from"),
        victims=(5, "images to mislead with"),
    )
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(args.images) % len(NAMES)
    with torch.no_grad():
        images = torch.stack(
            [Example(k, generator, args.device)() for k in tqdm(labels.tolist(), desc="adversarial: images")]
        )
        fresh = [(k, Example(k, generator, args.device)) for k in (labels % len(NAMES)).tolist()[:60]]
    labels = labels.to(args.device)
    network = train(images, labels, args.steps, generator)
    with torch.no_grad():
        right = [(k, p) for k, p in fresh if int(score(network, p()[None]).argmax()) == k]
    accuracy = len(right) / len(fresh)
    print(f"the network names {100 * accuracy:.0f} % of {len(fresh)} new images rightly")

    columns, fooled = [], {"colors": 0, "lamp": 0}
    for label, example in right[: args.victims]:
        shown = [example(4).detach()]
        line = f"{NAMES[label]:>7}:"
        start = {n: p.detach().clone() for n, p in example.named_parameters()}
        for what in fooled:
            example.load_state_dict(start)
            done = mislead(network, example, what, label, 150)
            fooled[what] += done
            with torch.no_grad():
                sure = score(network, example()[None]).softmax(-1)[0]
                shown.append(example(4))
            named = NAMES[int(sure.argmax())]
            line += f"  {what} {'->' if done else '(held)'} {named} ({100 * sure.max().item():.0f} %)"
        columns.append(torch.cat(shown[::-1]))
        print(line)
    save_image(args.out / "adversarial.png", torch.cat(columns, dim=1).repeat_interleave(4, 0).repeat_interleave(4, 1))
    count = len(columns)
    print(f"misled: {fooled['colors']} of {count} by colors, {fooled['lamp']} of {count} by the lamp")
    if args.smoke and not (accuracy > 0.7 and fooled["colors"] == count):
        raise SystemExit(f"smoke: the network was not misled, or knew nothing: accuracy {accuracy:.2f}, {fooled}")
    return {"accuracy": accuracy, **{f"misled by {k}": v / max(count, 1) for k, v in fooled.items()}}


if __name__ == "__main__":
    main()
