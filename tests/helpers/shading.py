"""What the tests of materials, lights and shadows share: small scenes, and gradients against finite differences."""

import numpy as np
import torch

from diffrast.camera import Camera
from diffrast.io import load_image, load_mesh
from diffrast.mesh import Mesh, icosphere
from diffrast.scene.environment import latlong_directions
from diffrast.scene.renderer import Scene, render


def ball(level=2):
    return icosphere(1.0, level)


def camera(size=24, eye=(0.8, 0.8, 3.0), target=(0.0, 0.0, 0.0), fov_y=0.8):
    return Camera.look_at(eye, target, fov_y=fov_y, width=size, height=size)


def spot(folder):
    """The mesh with shared positions, and its texture at a quarter of its size."""
    mesh = load_mesh(folder / "spot" / "spot_triangulated.obj").welded()
    texture = load_image(folder / "spot" / "spot_texture.png")[..., :3]
    return Mesh(mesh.vertices, mesh.faces, mesh.uv, uv_faces=mesh.uv_index), texture


def sky(rows=32):
    """A lat-long map: a bluish sky, a darker ground, a warm sun of some size."""
    d = latlong_directions(rows, 2 * rows)
    sun = torch.nn.functional.normalize(torch.tensor([0.5, 0.6, 0.6]), dim=0)
    blue, warm = torch.tensor([0.8, 0.9, 1.0]), torch.tensor([1.0, 0.9, 0.7])
    return (0.35 + 0.25 * d[..., 1:2]) * blue + 4 * torch.exp(25 * (d @ sun - 1))[..., None] * warm


def weights(size, seed=0, channels=3):
    """A smooth random picture to weigh pixels with, so that a loss sees all of them differently."""
    coarse = torch.randn(1, channels, 4, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.nn.functional.interpolate(coarse, size, mode="bicubic")[0].permute(1, 2, 0)


def weighed(scene, cam, samples=1, **options):
    """A loss: the picture times `weights`, summed over pixels of the camera."""
    image = render(scene, cam, samples=samples, **options).image[0, ..., :3]
    return (image * weights((cam.height, cam.width)).to(image)).mean()


def finite_differences(parameters, loss, step=1e-4):
    """The gradient of loss() by central differences, flattened over all elements of the tensors."""
    found = []
    with torch.no_grad():
        for p in parameters:
            flat = p.data.view(-1)
            for i in range(flat.numel()):
                keep = flat[i].item()
                values = []
                for s in (step, -step):
                    flat[i] = keep + s
                    values.append(float(loss()))
                flat[i] = keep
                found.append((values[0] - values[1]) / (2 * step))
    return np.array(found)


def cosine_and_error(got, want):
    """Cosine of the angle between two gradients, and their relative distance."""
    return float(got @ want / (np.linalg.norm(got) * np.linalg.norm(want))), float(
        np.linalg.norm(got - want) / np.linalg.norm(want)
    )


def flat_gradient(parameters, value):
    grads = torch.autograd.grad(value, parameters, allow_unused=True, materialize_grads=True)
    return np.concatenate([g.double().reshape(-1).numpy() for g in grads])


def assert_every_gradient(module, scene: Scene, cam, step=1e-5, cosine=0.999, samples=2):
    """Each parameter of `module`, which is part of `scene`, by itself."""
    checked = []
    for name, p in module.named_parameters():
        got = flat_gradient([p], weighed(scene, cam, samples))
        want = finite_differences([p], lambda: weighed(scene, cam, samples), step)
        assert np.abs(want).max() > 1e-7, f"{name} has no effect"
        agreement = cosine_and_error(got, want) if want.size > 1 else (1.0, abs(float(got[0] / want[0]) - 1))
        assert agreement[0] > cosine and agreement[1] < 0.05, f"{name}: cosine, error {agreement}"
        checked.append(name)
    return checked
