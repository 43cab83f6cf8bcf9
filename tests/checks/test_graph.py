"""lint: each warning in its situation, and none for a loss that is right."""

import pytest
import torch

import diffrast
import diffrast.torch as dr
from diffrast import scene as scenes
from diffrast.camera import Camera
from diffrast.mesh import cube
from diffrast.optimize import CameraParameters, MeshParameters
from diffrast.scene import MetallicRoughness, PointLight, Shadow, render

SIZE = (32, 40)


class Scene:
    """A cube with coloured vertices, and all that is made from it on the way to a loss."""

    def __init__(self, grad: bool = True):
        self.mesh = cube()
        self.vertices = self.mesh.vertices.requires_grad_(grad)
        self.tri = self.mesh.faces
        camera = Camera.look_at((2, 1.5, 2.5), fov_y=0.6, width=SIZE[1], height=SIZE[0])
        self.pos = camera.to_clip(self.vertices)[None]
        self.rast, _ = dr.rasterize(dr.RasterizeContext(), self.pos, self.tri, SIZE)
        self.colors = torch.rand(8, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
        self.hit = (self.rast[..., 3:] > 0).float()
        self.color, _ = dr.interpolate(self.colors, self.rast, self.tri)
        self.target = torch.rand(1, *SIZE, 3, generator=torch.Generator().manual_seed(1))
        self.weight = (torch.rand(1, *SIZE, 1, generator=torch.Generator().manual_seed(2)) > 0.5).float()

    def antialias(self, picture: torch.Tensor) -> torch.Tensor:
        return dr.antialias(picture, self.rast, self.pos, self.tri)


HEALTHY = {
    "over a background, antialiased last": lambda s: (
        (s.antialias(torch.lerp(torch.ones(3), s.color, s.hit)) - s.target).square().mean()
    ),
    "masked before": lambda s: (s.antialias(s.color * s.hit) - s.target).abs().mean(),
    "where before": lambda s: (s.antialias(torch.where(s.hit > 0, s.color, 0.5)) - s.target).abs().mean(),
    "coverage": lambda s: (s.antialias(s.hit) - 0.5).square().mean(),
    "another mask after": lambda s: ((s.antialias(s.color) - s.target) * s.weight).square().mean(),
    "weights after": lambda s: (s.antialias(s.color) * torch.linspace(0, 1, SIZE[1])[:, None]).mean(),
    "a region after": lambda s: s.antialias(s.color)[:, 4:20, 3:17].mean(),
    "barycentrics": lambda s: s.antialias(s.color).mean() + 1e-3 * s.rast[..., :2].square().mean(),
    "fixed positions": lambda s: (dr.interpolate(s.colors, s.rast.detach(), s.tri)[0] - s.target).square().mean(),
    "interpolated depth": lambda s: s.antialias(dr.interpolate(s.pos[..., 2:].contiguous(), s.rast, s.tri)[0]).mean(),
}


@pytest.mark.parametrize("mode", ["area", "silhouette"])
def test_a_rendered_scene_gets_no_warning(mode):
    mesh, lamp = MeshParameters(cube()), PointLight((2.0, 3.0, 2.0), (20.0,), shadow=Shadow(32))
    scene = scenes.Scene(mesh, MetallicRoughness(), [lamp])
    camera = CameraParameters(Camera.look_at((2, 1.5, 2.5), fov_y=0.6, width=SIZE[1], height=SIZE[0]))
    loss = (render(scene, camera(), antialias=mode).image - 0.3).square().mean()
    found = diffrast.lint(loss, *scene.parameters(), *camera.parameters())
    assert not found, found


@pytest.mark.parametrize("name", HEALTHY)
def test_healthy_losses_get_no_warning(name):
    loss = HEALTHY[name](Scene())
    found = diffrast.lint(loss)
    assert not found, found
    assert str(found) == "nothing wrong was found"
    loss.backward()


@pytest.mark.parametrize(
    "loss",
    [
        lambda s: (s.color - s.target).square().mean(),
        lambda s: (s.color * s.hit).mean(),
        lambda s: s.rast[..., :2].square().mean(),
    ],
)
def test_not_antialiased(loss):
    found = diffrast.lint(loss(Scene()))
    assert found.codes == {"not-antialiased"}
    assert "nothing on the way to the loss is antialiased" in str(found)


def test_antialiased_with_detached_positions():
    s = Scene()
    picture = dr.antialias(s.color, s.rast, s.pos.detach(), s.tri)
    found = diffrast.lint(picture.mean())
    assert found.codes == {"not-antialiased"}
    assert "the pos that antialias got is detached" in str(found)


def test_no_warning_when_only_colours_are_optimized():
    s = Scene(grad=False)
    assert not diffrast.lint((s.color - s.target).square().mean(), s.colors)


MASKS = {
    "times": lambda s, x: x * s.hit,
    "times, other side": lambda s, x: s.hit * x,
    "times, one channel": lambda s, x: x[..., 0] * s.hit[..., 0],
    "times, one image": lambda s, x: x[0] * s.hit[0],
    "times, all channels": lambda s, x: x * s.hit.expand_as(x).contiguous(),
    "where": lambda s, x: torch.where(s.hit > 0, x, torch.ones(3)),
    "masked_fill": lambda s, x: x.masked_fill(s.hit == 0, 0.0),
    "index": lambda s, x: x[s.hit[..., 0] > 0],
    "masked_select": lambda s, x: x.masked_select(s.hit > 0),
    "turned over": lambda s, x: x.flip(1) * s.hit.flip(1),
    "difference": lambda s, x: (x - s.target) * s.hit,
    "much later": lambda s, x: (x.clamp(0, 1) ** 2.2 - s.target).abs() * s.hit,
}


@pytest.mark.parametrize("name", MASKS)
def test_masked_after_antialias(name):
    s = Scene()
    found = diffrast.lint(MASKS[name](s, s.antialias(s.color)).mean())
    assert found.codes == {"masked-after-antialias"}
    assert "antialias last" in str(found)


DEPTHS = {
    "column": lambda r: r[..., 2],
    "from the end": lambda r: r[..., -2],
    "slice": lambda r: r[..., 2:3],
    "three columns": lambda r: r[..., :3],
    "of an image": lambda r: r[0, ..., 2],
    "of a region": lambda r: r[0, 4:9, :, 2],
    "unbind": lambda r: r.unbind(-1)[2],
    "id": lambda r: r[..., 3],
}


@pytest.mark.parametrize("name", DEPTHS)
def test_reads_depth(name):
    s = Scene()
    found = diffrast.lint(s.antialias(s.color).mean() + DEPTHS[name](s.rast).mean())
    assert found.codes == {"reads-depth"}
    assert ("the id" if name == "id" else "z/w") in str(found)


def test_no_gradient():
    s = Scene()
    assert diffrast.lint(s.hit.mean()).codes == {"no-gradient"}
    other = torch.zeros(3, requires_grad=True)
    found = diffrast.lint(s.antialias(s.color).mean(), s.vertices, s.colors, s.pos, other)
    assert [f.code for f in found] == ["no-gradient"]
    assert "parameter 3, [3]" in str(found)
    assert "does not require one" in str(diffrast.lint(s.antialias(s.color).mean(), s.target))


def test_camera_parameters_count_as_positions():
    camera = CameraParameters(Camera.look_at((2, 1.5, 2.5), fov_y=0.6, width=40, height=32))
    mesh = cube()
    pos = camera().to_clip(mesh.vertices)[None]
    rast, _ = dr.rasterize(dr.RasterizeContext(), pos, mesh.faces, SIZE)
    color, _ = dr.interpolate(mesh.vertices, rast, mesh.faces)
    assert diffrast.lint(color.mean(), *camera.parameters()).codes == {"not-antialiased"}
    picture = dr.antialias(color, rast, pos, mesh.faces)
    assert not diffrast.lint(picture.mean(), *camera.parameters())


def test_not_finite():
    s = Scene()
    found = diffrast.lint((s.antialias(s.color).mean() - s.antialias(s.color).mean()) / 0)
    assert found.codes == {"not-finite"}


def test_several_faults_at_once():
    s = Scene()
    found = diffrast.lint((s.color * s.hit).mean() + s.rast[..., 2].mean())
    assert found.codes == {"not-antialiased", "reads-depth"}


def test_after_backward_it_says_so():
    s = Scene()
    loss = (s.antialias(s.color) * s.hit).mean()
    loss.backward()
    with pytest.raises(ValueError, match=r"lint\(\): the graph has been freed; call lint before backward"):
        diffrast.lint(loss)


def test_lint_changes_nothing():
    s = Scene()
    loss = HEALTHY["masked before"](s)
    diffrast.lint(loss, s.vertices)
    assert s.vertices.grad is None
    loss.backward()
    with pytest.raises(TypeError, match=r"lint\(\): loss must be a tensor; got float"):
        diffrast.lint(1.0)  # type: ignore[arg-type]
