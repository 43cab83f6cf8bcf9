"""A learned shader in place of the texture: one stage of the reconstruction swapped for another.

A reconstruction is a list of stages, functions over one state. Here "texture" becomes `neural`: eight learned numbers a
texel, and a small network that makes a colour of them and of the direction to the eye (Thies et al. 2019, "Deferred
Neural Rendering"; here with a direction, so that highlights move). Everything else, from the hull to the report, is the
reconstruction's own, and draws with the new shader, because `Neural` says how it is drawn.

You will see in `neural_shader.png`, for a view that was kept out, the photograph, the learned shader, and the same
numbers looked at from straight ahead, baked to a texture: what differs depends on where one stands. In `neural_shader/`
are the report and the mesh (with the baked texture: glTF knows no networks).

    python recipes/neural_shader.py --out out
    python recipes/neural_shader.py --data ../shared/data/spot_photos --out out
"""

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

import torch

import diffrast.torch as dr
from diffrast.fitting.appearance import Textured, at_texels
from diffrast.fitting.loop import Batches, cosine, optimize
from diffrast.fitting.targets import over_white
from diffrast.io import save_image
from diffrast.mesh.mesh import vertex_normals
from diffrast.reconstruct.options import Options
from diffrast.reconstruct.pipeline import reconstruct, with_stage
from diffrast.reconstruct.stages import made
from diffrast.reconstruct.state import State
from diffrast.scene.passes import clip_matrices, draw, to_clip

ROOT = Path(__file__).resolve().parents[1]
CHANNELS = 8


@dataclass(kw_only=True)
class Neural(Textured):
    """A shape whose colour at a texel is `net` of its `features` [S, S, 8] and the direction to the eye."""

    features: torch.Tensor
    net: torch.nn.Module

    def draw(self, ctx, clip, camera, resolution, samples=1):
        return self.shaded(ctx, clip, camera.center.to(clip)[None], resolution, samples)

    def shaded(self, ctx, clip, eyes, resolution, samples=1):
        """[B, H, W, 4] from clip positions [B, V, 4] and eyes [B, 3]."""

        def shade(rast, rast_db):
            uv, uv_da = dr.interpolate(self.uv, rast, self.uv_faces, rast_db=rast_db, diff_attrs="all")
            position, _ = dr.interpolate(self.vertices, rast, self.faces)
            toward = torch.nn.functional.normalize(eyes[:, None, None] - position, dim=-1)
            found = dr.texture(self.features[None], uv, uv_da, boundary_mode="clamp", max_mip_level=4)
            return self.net(torch.cat([found, toward], dim=-1))

        return draw(ctx, clip, self.faces, resolution, shade, 1.0, samples=samples)

    @torch.no_grad()
    def baked(self, ctx):
        """The texture [S, S, 3] that one sees from straight ahead."""
        ahead = vertex_normals(self.vertices, self.faces)[self.source]
        toward, _ = at_texels(ctx, self.uv, self.uv_faces, ahead, len(self.texture))
        return self.net(torch.cat([self.features, toward], dim=-1)).clamp(0, 1)


def network(device) -> torch.nn.Module:
    layers = torch.nn.Linear(CHANNELS + 3, 32), torch.nn.ReLU(), torch.nn.Linear(32, 3), torch.nn.Sigmoid()
    return torch.nn.Sequential(*layers).to(device)


def neural(state: State) -> None:
    """The stage: features and network against the photographs; the shape stays as it is."""
    base, targets, run = made(state.model), state.targets(0), state.run
    features = torch.cat([base.texture, torch.zeros_like(base.texture[..., :1]).expand(-1, -1, CHANNELS - 3)], dim=-1)
    model = Neural(**vars(base), features=features.requires_grad_(), net=network(state.device))
    eyes = torch.stack([v.camera.center for v in state.used]).float().to(state.device)
    optimizer = torch.optim.Adam([features, *model.net.parameters()], lr=0.01)
    choose = Batches(len(state.used), state.options.batch, run.generator)

    def step(t: float) -> torch.Tensor:
        index = next(choose)
        picture = model.shaded(state.ctx, targets.clip(model.vertices, index), eyes[index], targets.resolution)
        loss = targets.residual(picture, index).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.param_groups[0]["lr"] = cosine(t, 0.01, 0.0005)
        optimizer.step()
        return loss.detach()

    optimize(run, "texture", step, dict, **state.budget("texture"))
    model = replace(model, features=features.detach(), net=model.net.requires_grad_(False))
    state.model = replace(model, texture=model.baked(state.ctx))


@torch.no_grad()
def three_pictures(state: State) -> torch.Tensor:
    """A view that was kept out: the photograph, the shader, the baked texture, side by side [H, 3 W, 3]."""
    view, model = state.views[state.held[0]], made(state.model)
    matrix = clip_matrices([view.camera], torch.from_numpy(state.box)).to(model.vertices)
    ways = [model.draw, lambda *a: Textured.draw(model, *a)]
    clip = to_clip(model.vertices, matrix)
    drawn = [d(state.ctx, clip, view.camera, view.camera.resolution, 2)[0].cpu() for d in ways]
    return torch.cat([x[..., :3] for x in (over_white(view), *drawn)], dim=1)


def main(argv: list[str] | None = None) -> dict[str, float]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT / "assets" / "demo", help="posed photographs")
    parser.add_argument("--steps", type=int, default=800, help="steps of all stages together")
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for the picture and the run")
    parser.add_argument("--smoke", action="store_true", help="small, with a check that the loss went down")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    args = parser.parse_args(argv)
    options = Options(holdout=2, steps=args.steps, device=args.device, overwrite=True)
    if args.smoke:
        options = replace(options, steps=min(args.steps, 200), resolution=100, faces=1500, texture=128, frames=0)
    kept: list[State] = []

    def stage(state: State) -> None:
        kept.append(state)
        neural(state)

    metrics = reconstruct(args.data, args.out / "neural_shader", options, stages=with_stage("texture", stage))
    state = kept[0]
    save_image(args.out / "neural_shader.png", three_pictures(state), linear=False)
    losses = [loss for name, loss in state.run.losses if name == "texture"]
    first, last = (sum(part) / len(part) for part in (losses[:3], losses[-8:]))
    figures = {"psnr": metrics["held_out"]["psnr"], "first": first, "last": last}
    print(f"views kept out: {figures['psnr']:.2f} dB")
    if args.smoke and not last < 0.7 * first:
        raise SystemExit(f"smoke: the loss did not go down: {first:.2e} -> {last:.2e}")
    return figures


if __name__ == "__main__":
    main()
