"""A learned shader in place of the texture: one stage of the reconstruction swapped for another.

A reconstruction is a list of stages: functions that take what they need and return what they made. Here "texture"
becomes `neural`: eight learned numbers a texel, and a small network that makes a colour of them and of the direction to
the eye (Thies et al. 2019, "Deferred Neural Rendering"; here with a direction, so that highlights move). Everything
else, from the hull to the report, is the reconstruction's own, and draws with the new shader, because `Neural` says how
it is drawn. A last stage compares the two.

You will see in `neural_shader.png`, for a view that was kept out, the photograph, the learned shader, and the same
numbers looked at from straight ahead, baked to a texture: what differs depends on where one stands. In `neural_shader/`
are the report and the mesh (with the baked texture: glTF knows no networks).

    python recipes/10_neural_shader.py --out out
    python recipes/10_neural_shader.py --data ../shared/data/spot_photos --out out
"""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from common import check, ends, options

import diffrast.torch as dr
from diffrast.fitting import Batches, Textured, at_texels, descend, optimize, over_white
from diffrast.io import save_image
from diffrast.mesh import vertex_normals
from diffrast.photos import Calibration
from diffrast.reconstruct import Job, Made, Options, Photos, Stage, reconstruct, with_stage
from diffrast.scene import clip_matrices, draw, to_clip

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


def neural(job: Job, photos: Photos, model: Textured, calibration: Calibration) -> Made:
    """The stage: features and network against the photographs; the shape stays as it is."""
    targets, texture = photos.targets(0, calibration), model.texture
    features = torch.cat([texture, torch.zeros_like(texture[..., :1]).expand(-1, -1, CHANNELS - 3)], dim=-1)
    shader = Neural(**vars(model), features=features.requires_grad_(), net=network(job.device))
    eyes = torch.stack([v.camera.center for v in photos.used]).float().to(job.device)
    optimizer = torch.optim.Adam([{"params": [features, *shader.net.parameters()], "rate": 0.01}])
    batches = Batches(len(eyes), job.options.batch, job.run.generator)

    def step(t: float) -> torch.Tensor:
        index = next(batches)
        image = shader.shaded(job.ctx, targets.clip(model.vertices, index), eyes[index], targets.resolution)
        loss = targets.residual(image, index).square().mean()
        descend(optimizer, loss, t)
        return loss.detach()

    kept = {"features": features, "net": shader.net, "optimizer": optimizer, "batches": batches}
    optimize(job.run, step, kept, **job.budget(photos))
    shader = replace(shader, features=features.detach(), net=shader.net.requires_grad_(False))
    return {"model": replace(shader, texture=shader.baked(job.ctx))}


@torch.no_grad()
def three_images(job: Job, photos: Photos, model: Neural) -> torch.Tensor:
    """A view that was kept out: the photograph, the shader, the baked texture, side by side [H, 3 W, 3]."""
    view = photos.views[photos.held[0]]
    clip = to_clip(model.vertices, clip_matrices([view.camera], torch.from_numpy(photos.box)).to(model.vertices))
    ways = [model.draw, lambda *a: Textured.draw(model, *a)]
    drawn = [d(job.ctx, clip, view.camera, view.camera.resolution, 2)[0].cpu() for d in ways]
    return torch.cat([x[..., :3] for x in (over_white(view), *drawn)], dim=1)


def main(argv: list[str] | None = None) -> dict[str, float]:
    args = options(
        __doc__,
        argv,
        smoke={"steps": 200},
        data=(ROOT / "assets" / "demo", "posed photographs"),
        steps=(800, "steps of all stages together"),
    )
    torch.manual_seed(0)
    chosen = Options(holdout=2, steps=args.steps, device=args.device, overwrite=True)
    if args.smoke:
        chosen = replace(chosen, resolution=100, faces=1500, texture=128, frames=0)
    losses = []

    def compare(job: Job, photos: Photos, model: Neural) -> None:
        save_image(args.out / "neural_shader.png", three_images(job, photos, model), linear=False)
        losses.extend(loss for name, loss in job.run.losses if name == "texture")

    stages = (*with_stage("texture", neural), Stage("compare", compare, again=True))
    metrics = reconstruct(args.data, args.out / "neural_shader", chosen, stages=stages)
    first, last = ends(losses, 3, 8)
    figures = {"psnr": metrics["held_out"]["psnr"], "first": first, "last": last}
    print(f"views kept out: {figures['psnr']:.2f} dB")
    check(args.smoke, first, last, 0.7)
    return figures


if __name__ == "__main__":
    main()
