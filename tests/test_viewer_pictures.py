"""The viewer's pictures, without a server."""

import math

import pytest
import torch
from viewing import torus

import diffrast.torch as dr
from diffrast.scene import Mesh, look_at
from diffrast.viewer import Viewer
from diffrast.viewer.camera import Pose, fitting
from diffrast.viewer.channels import BACKGROUNDS, CHANNELS, Options, draw
from diffrast.viewer.model import Model, Surface, copy_mesh
from diffrast.viewer.scene import Photograph, Scene, letterbox


@pytest.fixture
def viewer():
    with Viewer(port=0, quiet=True) as v:
        v.show(mesh=torus())
        yield v


@pytest.mark.parametrize("up", ["y", "z"])
def test_the_fitting_pose_shows_all_of_a_box(up):
    box = [[-1.0, 0.0, 2.0], [3.0, 1.0, 2.5]]
    pose = fitting(box)
    camera = pose.camera(200, 100, up)
    corners = torch.tensor(
        [[box[i][0], box[j][1], box[k][2]] for i in (0, 1) for j in (0, 1) for k in (0, 1)]
    )
    pixels, depth = camera.project(corners)
    assert (depth > 0).all()
    assert (pixels >= 0).all()
    assert (pixels <= torch.tensor([200, 100])).all()
    assert (
        camera.world_to_camera[1, {"y": 1, "z": 2}[up]] > 0.9
    )  # what points up in the world does so in the picture


def test_channels_show_what_they_are_called():
    ctx, model = dr.RasterizeContext(), Model(copy_mesh(torus()))
    camera = Pose(distance=4.0).camera(96, 80)
    surface = Surface(ctx, model, camera)
    pictures = {name: draw(ctx, model, camera, Options(channel=name), smooth=False) for name in CHANNELS}
    inside = surface.image[0, ..., 3] > 0
    for name, picture in pictures.items():
        assert picture.shape == (80, 96, 3), name
        assert bool(picture.isfinite().all()), name
        around = (0.0,) * 3 if name == "mask" else BACKGROUNDS["dark"]
        assert torch.allclose(picture[~inside], torch.tensor(around)), name
    assert bool((pictures["mask"][inside] == 1).all())
    normals = 2 * pictures["normal"][inside] - 1
    assert torch.allclose(normals.norm(dim=-1), torch.ones(len(normals)), atol=1e-4)
    eye = camera.center.float()
    toward = ((eye - surface._interpolate(model.vertices)) * normals).sum(-1)
    assert float((toward > 0).float().mean()) > 0.97  # smooth normals may turn away at the rim
    depths = surface.depth[:, 0]
    assert float(depths.min()) > 0
    assert float(depths.max()) < 1
    assert len(pictures["id"][inside].unique(dim=0)) == len(surface.triangle.unique())
    for i, a in enumerate(pictures):
        for b in list(pictures)[i + 1 :]:
            assert float((pictures[a] - pictures[b]).abs().mean()) > 0.01, (a, b)


def test_a_surface_seen_from_inside_has_normals_towards_the_eye():
    mesh = torus()
    flipped = Mesh(mesh.vertices, mesh.faces.flip(1))
    camera = Pose(distance=4.0).camera(64, 64)
    ctx = dr.RasterizeContext()
    for flat in (False, True):
        a = Surface(ctx, Model(copy_mesh(mesh)), camera, flat).normal
        b = Surface(ctx, Model(copy_mesh(flipped)), camera, flat).normal
        assert torch.allclose(a, b, atol=1e-4)


def test_seams_of_the_texture_are_no_creases_and_no_silhouettes():
    model = Model(copy_mesh(torus()))
    assert len(model.vertices) == 24 * 24
    half = Mesh(torus().vertices, torus().faces.flip(0))
    assert torch.allclose(Model(copy_mesh(half)).normals, model.normals, atol=1e-6)


def test_the_wireframe_lies_on_edges():
    quad = Mesh(
        torch.tensor([[-1.0, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]]),
        torch.tensor([[0, 1, 2], [0, 2, 3]]).int(),
    )
    camera = look_at((0, 0, 3), (0, 0, 0), (0, 1, 0), fov_y=math.radians(60), width=101, height=101)
    distance = torch.full((101, 101), -1.0)
    surface = Surface(dr.RasterizeContext(), Model(copy_mesh(quad)), camera)
    distance.view(-1)[surface.pixels] = surface.edge_distance[:, 0]
    assert float(distance[50, 50]) < 0.05  # on the diagonal
    # Ten pixels to the right of the diagonal is 10 / sqrt(2) from it.
    assert float(distance[50, 60]) == pytest.approx(10 / math.sqrt(2), rel=0.02)


@pytest.mark.parametrize("shape", [(40, 30, 3), (30, 40, 1), (10, 200, 4)])
def test_a_picture_keeps_its_shape_in_the_window(shape):
    image = torch.full(shape, 0.75)
    out = letterbox(image, 64, 48, (0.0, 0.0, 0.0))
    assert out.shape == (48, 64, 3)
    covered = (out[..., 0] > 0).float()
    high, wide = float(covered.max(dim=1).values.sum()), float(covered.max(dim=0).values.sum())
    assert wide == 64 or high == 48
    assert wide / high == pytest.approx(shape[1] / shape[0], rel=0.06 if shape[1] < 100 else 0.35)
    assert float(out.max()) == pytest.approx(0.75 * (0.75 if shape[2] == 4 else 1), abs=0.01)


def test_the_error_of_a_perfect_photograph_is_black():
    camera = Pose(distance=4.0).camera(60, 40)
    mesh = torus()
    image = draw(dr.RasterizeContext(), Model(copy_mesh(mesh)), camera, Options()).clamp(0, 1)
    scene = Scene().changed(mesh=mesh, views=[Photograph(camera, image)])
    ctx = dr.RasterizeContext()
    same = scene.picture(ctx, Pose(), Options(channel="error", view=0), 60, 40)
    assert float(same.max()) < 1e-3
    other = scene.changed(views=[Photograph(camera, 1 - image)])
    assert float(other.picture(ctx, Pose(), Options(channel="error", view=0), 60, 40).mean()) > 0.3
    over = other.picture(ctx, Pose(), Options(view=0, opacity=1.0), 60, 40)
    assert torch.allclose(over, 1 - image, atol=1e-5)


@pytest.mark.parametrize(
    ("what", "message"),
    [({"mesh": "cow.obj"}, "mesh must be a diffrast.scene.Mesh; got str"),
     ({"mesh": Mesh(torch.zeros(4, 2), torch.zeros(1, 3))}, r"\[V, 3\] with V > 0; got \[4, 2\]"),
     ({"image": torch.zeros(4, 4, 2)}, r"C = 1, 3 or 4; got \[4, 4, 2\]"),
     ({"image": 3}, "image must be a tensor; got int")],
)  # fmt: skip
def test_what_cannot_be_shown_is_refused_at_once(viewer, what, message):
    with pytest.raises((ValueError, TypeError), match=message):
        viewer.show(**what)
