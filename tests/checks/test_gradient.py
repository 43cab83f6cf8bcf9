"""diffrast.lens: gradients by pixel and by vertex, their pictures, and the comparison with differences."""

import pytest
import torch

import diffrast
import diffrast.torch as dr
from diffrast.gradcheck import shapes
from diffrast.gradcheck.case import project, rotation
from diffrast.io import load_image
from diffrast.scene.colormap import signed_colors

CTX = dr.RasterizeContext()


class Program:
    """A ball of 320 triangles on a dark ground, and the difference to the same ball grown and shifted."""

    def __init__(self, size=24, mode="area", samples=1):
        ball, self.tri = shapes.icosphere(2)
        turn = rotation(torch.tensor([0.4, -0.3, 0.2], dtype=torch.float64))
        self.vertices = (0.6 * ball @ turn.T).requires_grad_()
        self.light = torch.tensor([0.8, 0.6, 0.4], dtype=torch.float64, requires_grad=True)
        self.size, self.mode = size, mode
        with torch.no_grad():
            self.target = self.picture(self.vertices * 1.1 + 0.05)

    def picture(self, vertices, samples=1):
        size = self.size * samples
        pos = project(vertices, 3.0, 3.0)[None]
        rast, _ = dr.rasterize(CTX, pos, self.tri, (size, size))
        shade, _ = dr.interpolate(0.5 + 0.5 * vertices[:, 2:], rast, self.tri)
        image = dr.antialias(shade * self.light, rast, pos, self.tri, mode=self.mode)
        return image.view(1, self.size, samples, self.size, samples, 3).mean((2, 4))

    def loss(self, samples=1):
        return (self.picture(self.vertices, samples) - self.target).square().mean()


@pytest.mark.parametrize("mode", ["area", "silhouette"])
def test_gradients_by_pixel_and_by_vertex_are_those_of_autograd(mode):
    program = Program(mode=mode)
    image = program.picture(program.vertices)
    loss = (image - program.target).square().mean()
    looked = diffrast.lens(loss)
    assert looked.image.shape == (1, 24, 24, 3) and looked.vertices.shape == program.vertices.shape
    torch.testing.assert_close(looked.image, (2 * (image - program.target) / image.numel()).detach())
    named = diffrast.lens(loss, image=image, vertices=program.vertices)
    assert torch.equal(named.image, looked.image) and torch.equal(named.vertices, looked.vertices)
    torch.testing.assert_close(named.picture, image.detach())
    loss.backward()  # the graph is still there
    torch.testing.assert_close(looked.vertices, program.vertices.grad)


def test_pictures_show_the_sign(tmp_path):
    program = Program()
    looked = diffrast.lens(program.loss())
    pictures = looked.pictures()
    surface, inside = pictures["vertices"], looked.rast[0, ..., 3] > 0
    assert (surface[~inside] == 1).all() and (pictures["image"] >= 0).all() and (pictures["image"] <= 1).all()
    # The target is larger: growing outwards lowers the loss nearly everywhere at the outline, which is blue.
    strength = (surface[..., 0] - surface[..., 2])[inside]
    assert strength.sum() < 0 and strength.abs().max() > 0.3
    looked.save(tmp_path / "lens.png")
    assert load_image(tmp_path / "lens.png").shape == (24, 72, 3)


def test_signed_colors():
    red, white, blue = signed_colors(torch.tensor([2.0, 0.0, -2.0]))
    assert (white == 1).all() and red[0] > 0.7 and red[2] < 0.2 and blue[2] > 0.7 and blue[0] < 0.2
    assert torch.equal(signed_colors(torch.zeros(3)), torch.ones(3, 3))


def test_comparison_says_whether_a_gradient_is_right():
    program = Program(mode="area")
    before = program.vertices.detach().clone()
    found = diffrast.lens(program.loss()).compare(
        lambda: program.loss(samples=16), {"vertices": program.vertices, "light": program.light}, count=6, step=0.01
    )
    assert torch.equal(program.vertices.detach(), before)
    assert found.cosine("light") > 0.999 and found.relative("light") < 0.02
    assert found.cosine("vertices") > 0.98 and found.cosine() > 0.98
    table = str(found).splitlines()
    assert table[0].split() == ["parameter", "gradient", "difference", "noise", "ratio"]
    assert len(table) == 1 + 6 + 3 + 2 and "light[0]" in str(found) and table[-1].startswith("light: cosine")


def test_comparison_finds_a_wrong_gradient():
    program = Program()
    wrong = program.picture(program.vertices.detach() + 0.5 * (program.vertices - program.vertices.detach()))
    found = diffrast.lens((wrong - program.target).square().mean()).compare(
        lambda: program.loss(8),
        {"vertices": program.vertices},
        step=0.01,
        elements={"vertices": [(k, 2) for k in range(0, 160, 10)]},
    )
    assert abs(found.relative() - 0.5) < 0.15 and found.cosine() > 0.95
    assert [r.element for r in found.rows[:2]] == ["vertices[0, 2]", "vertices[10, 2]"]


def test_positions_in_clip_space_stand_in_for_vertices():
    pos = project(0.6 * shapes.icosphere(1)[0], 3.0, 3.0)[None].requires_grad_()
    tri = shapes.icosphere(1)[1]
    rast, _ = dr.rasterize(CTX, pos, tri, (9, 8))
    loss = dr.antialias((rast[..., 3:] > 0).double(), rast, pos, tri).sum()
    looked = diffrast.lens(loss)
    (grad,) = torch.autograd.grad(loss, pos)
    torch.testing.assert_close(looked.vertices, grad[0, :, :3])
    assert looked.pictures()["vertices"].shape == (9, 8, 3)


def test_errors():
    program = Program()
    with pytest.raises(TypeError, match=r"lens\(\): loss must be a tensor; got float"):
        diffrast.lens(0.5)  # pyright: ignore[reportArgumentType]
    with pytest.raises(
        ValueError, match=r"lens\(\): loss must be one number that requires a gradient; got \[1, 24, 24, 3\]"
    ):
        diffrast.lens(program.picture(program.vertices))
    with pytest.raises(ValueError, match="the picture must come from antialias"):
        diffrast.lens(program.vertices.sum())
    with pytest.raises(ValueError, match=r"vertices must be \[V, 3\] with V=162 .*; got \[3\]"):
        diffrast.lens(program.loss(), vertices=program.light)
    loss = program.loss()
    with pytest.raises(ValueError, match="parameter 'target' must be a leaf that requires a gradient"):
        diffrast.lens(loss).compare(program.loss, {"target": program.target})
    loss.backward()
    with pytest.raises(ValueError, match="the graph has been freed; call lens before backward"):
        diffrast.lens(loss)
