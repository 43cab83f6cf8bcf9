"""The viewer's pictures, without a server."""

import math

import numpy as np
import pytest
import torch
from helpers.viewing import torus

import diffrast
import diffrast.torch as dr
from diffrast.camera import look_at
from diffrast.mesh import MaterialData, Mesh, icosphere, sphere
from diffrast.photos import Pixels
from diffrast.viewer import Photograph
from diffrast.viewer.channels import BACKGROUNDS, CHANNELS, INK, REACH, ViewOptions, arrows, draw
from diffrast.viewer.drawable import Drawable, copy_mesh
from diffrast.viewer.orbit import Pose, fitting
from diffrast.viewer.photographs import input_view, letterbox
from diffrast.viewer.shown import Shown
from diffrast.viewer.surface import Surface


@pytest.mark.parametrize("up", ["y", "z"])
def test_the_fitting_pose_shows_all_of_a_box(up):
    box = [[-1.0, 0.0, 2.0], [3.0, 1.0, 2.5]]
    pose = fitting(box)
    camera = pose.camera(200, 100, up)
    corners = torch.tensor([[box[i][0], box[j][1], box[k][2]] for i in (0, 1) for j in (0, 1) for k in (0, 1)])
    pixels, depth = camera.project(corners)
    assert (depth > 0).all()
    assert (pixels >= 0).all()
    assert (pixels <= torch.tensor([200, 100])).all()
    assert camera.world_to_camera[1, {"y": 1, "z": 2}[up]] > 0.9  # what points up in the world does so in the picture


def test_channels_show_what_they_are_called():
    ctx, drawable = dr.RasterizeContext(), Drawable(copy_mesh(torus()))
    camera = Pose(distance=4.0).camera(96, 80)
    surface = Surface(ctx, drawable, camera)
    pictures = {name: draw(ctx, drawable, camera, ViewOptions(channel=name), smooth=False) for name in CHANNELS}
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
    toward = ((eye - surface._interpolate(drawable.vertices)) * normals).sum(-1)
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
        a = Surface(ctx, Drawable(copy_mesh(mesh)), camera, flat).normal
        b = Surface(ctx, Drawable(copy_mesh(flipped)), camera, flat).normal
        assert torch.allclose(a, b, atol=1e-4)


def test_seams_of_the_texture_are_no_creases_and_no_silhouettes():
    drawable = Drawable(copy_mesh(torus()))
    assert len(drawable.vertices) == 24 * 24
    half = Mesh(torus().vertices, torus().faces.flip(0))
    assert torch.allclose(Drawable(copy_mesh(half)).normals, drawable.normals, atol=1e-6)


def test_the_wireframe_lies_on_edges():
    quad = Mesh(
        torch.tensor([[-1.0, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]]), torch.tensor([[0, 1, 2], [0, 2, 3]]).int()
    )
    camera = look_at((0, 0, 3), (0, 0, 0), (0, 1, 0), fov_y=math.radians(60), width=101, height=101)
    distance = torch.full((101, 101), -1.0)
    surface = Surface(dr.RasterizeContext(), Drawable(copy_mesh(quad)), camera)
    distance.view(-1)[surface.pixels.index] = surface.edge_distance[:, 0]
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
    image = draw(dr.RasterizeContext(), Drawable(copy_mesh(mesh)), camera, ViewOptions()).clamp(0, 1)
    scene = Shown().changed(mesh=mesh, views=[Photograph(camera, image)])
    ctx = dr.RasterizeContext()
    same = scene.picture(ctx, Pose(), ViewOptions(channel="error", view=0), 60, 40)
    level = 0.5 / 255 + 1e-6  # photographs are kept in 8 bits
    assert float(same.max()) <= 6 * level  # the heat of an error
    other = scene.changed(views=[Photograph(camera, 1 - image)])
    assert float(other.picture(ctx, Pose(), ViewOptions(channel="error", view=0), 60, 40).mean()) > 0.3
    over = other.picture(ctx, Pose(), ViewOptions(view=0, opacity=1.0), 60, 40)
    assert torch.allclose(over, 1 - image, atol=level)


def test_photographs_take_little_memory():
    """Given as tensors they are kept in 8 bits; views of a data set are asked again each time, for nothing else than a
    look."""
    image = torch.rand(6, 8, 4)
    kept = input_view(Photograph(Pose().camera(8, 6), image, "a"))
    image_before = image.clone()
    image.zero_()  # a copy: the program goes on with its own
    assert float((kept.load() - image_before).abs().max()) <= 0.5 / 255 + 1e-6
    levels = [c.cell_contents for c in kept.load.__closure__ or ()]
    assert [(x.dtype, x.nbytes) for x in levels] == [(np.uint8, 6 * 8 * 4)]

    class View:
        name, camera, shape, asked = "b", Pose().camera(8, 6), (6, 8), 0

        def load(self):
            type(self).asked += 1
            return Pixels(image_before[..., :3], torch.ones(6, 8))

    scene = Shown().changed(mesh=torus(), views=[View()])
    assert scene.views[0].described()["thumbnail"] == (96, 72)
    ctx = dr.RasterizeContext()
    scene.picture(ctx, Pose(), ViewOptions(view=0), 16, 12)
    assert View.asked == 0
    for _ in range(3):
        over = scene.picture(ctx, Pose(), ViewOptions(view=0, opacity=1.0), 8, 6)
    assert View.asked == 1
    assert torch.allclose(over, image_before[..., :3])


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ({"mesh": "cow.obj"}, "mesh must be a diffrast.scene.Mesh; got str"),
        ({"mesh": Mesh(torch.zeros(4, 2), torch.zeros(1, 3))}, r"\[V, 3\] with V > 0; got \[4, 2\]"),
        ({"image": torch.zeros(4, 4, 2)}, r"C = 1, 3 or 4; got \[4, 4, 2\]"),
        ({"image": 3}, "image must be a tensor; got int"),
        ({"views": ["a.jpg"]}, "views must be Photographs or views of a data set; got str"),
        ({"gradient": torch.zeros(4, 3)}, r"gradient needs to be \[V, 3\] with V=625 \(from mesh\); got \[4, 3\]"),
        ({"image_gradient": torch.zeros(4)}, r"image_gradient must be \[H, W, C\] or \[B, H, W, C\]; got \[4\]"),
        ({"coverage": torch.zeros(4, 4, 1)}, r"coverage must be \[H, W\], a weight for each texel; got \[4, 4, 1\]"),
        ({"environment": torch.zeros(4, 4)}, r"environment must be linear \[H, W, 3\].*; got \[4, 4\]"),
    ],
)
def test_what_cannot_be_shown_is_refused_at_once(viewer, what, message):
    with pytest.raises((ValueError, TypeError), match=message):
        viewer.show(**what)


# --- What an optimization supplies ------------------------------------------------------------------------------------


def sphere_scene(**values) -> tuple[Shown, Surface, torch.Tensor]:
    """A sphere with values on it from the front, its surface, and which side of x = 0 each pixel shows."""
    mesh = sphere(0.9)
    scene = Shown().changed(mesh=mesh, **{name: make(mesh) for name, make in values.items()})
    assert scene.drawable is not None
    surface = Surface(dr.RasterizeContext(), scene.drawable, FRONT.camera(64, 64))
    right = surface._interpolate(scene.drawable.vertices)[:, 0]
    return scene, surface, torch.where(right.abs() > 0.2, right.sign(), 0)


FRONT = Pose(yaw=0.0, pitch=0.0, distance=4.0)


def colours(scene: Shown, surface: Surface, channel: str, **options) -> torch.Tensor:
    picture = scene.picture(dr.RasterizeContext(), FRONT, ViewOptions(channel=channel, **options), 64, 64, smooth=False)
    return picture.reshape(-1, 3)[surface.pixels.index]


def test_the_gradient_is_red_where_moving_outwards_raises_the_loss():
    def halves(mesh):
        return torch.where(mesh.vertices[:, :1] > 0, 1.0, -1.0) * mesh.vertices * 1e-6

    scene, surface, side = sphere_scene(gradient=halves)
    red, _, blue = colours(scene, surface, "gradient").unbind(-1)
    assert bool((red > blue)[side > 0].all())
    assert bool((blue > red)[side < 0].all())
    legend = next(legend for name, _, legend in scene.channels() if name == "gradient")
    assert float(legend.split()[-1].rstrip(".")) == pytest.approx(3 * 0.9e-6, rel=0.05)  # 3 times the typical length
    # Along the surface nothing changes the shape: white.
    _, surface, _ = sphere_scene()
    turned = scene.changed(
        gradient=torch.stack(
            [-scene.mesh.vertices[:, 2], torch.zeros(len(scene.mesh.vertices)), scene.mesh.vertices[:, 0]], dim=-1
        )
    )
    red, _, blue = colours(turned, surface, "gradient").unbind(-1)
    assert float((red - blue).abs().max()) < 0.25


def test_arrows_point_where_a_step_against_the_gradient_goes():
    scene, surface, _ = sphere_scene(gradient=lambda m: torch.tensor([0.0, -2.0, 0.0]).expand_as(m.vertices))
    tail, tip = arrows(surface)
    assert len(tail) >= 3
    along = tip - tail
    assert float(along[:, 0].abs().max()) < 0.1 * REACH
    assert (
        float(along[:, 1].min()) > 0.25 * REACH
    )  # upwards; a third of the scale, which is three times the typical gradient
    assert float(along[:, 1].max()) < 0.4 * REACH
    ink = torch.tensor(INK)

    def inked(picture):
        return ((picture - ink).abs().amax(-1) < 0.01).nonzero().float()

    picture = scene.picture(dr.RasterizeContext(), FRONT, ViewOptions(channel="arrows"), 64, 64)
    y, x = tail.round().long()[0].flip(0).tolist()
    assert float((inked(picture) - torch.tensor([y, x])).norm(dim=1).min()) < 2  # it begins there
    assert abs(float(inked(picture)[:, 0].mean() - (tail + tip)[:, 1].mean() / 2)) < 3
    still = scene.changed(gradient=torch.zeros_like(scene.mesh.vertices))
    assert len(inked(still.picture(dr.RasterizeContext(), FRONT, ViewOptions(channel="arrows"), 64, 64))) == 0


def test_vertices_at_the_same_place_add_their_gradients():
    mesh = torus()  # the columns at its texture's seam are there twice
    scene = Shown().changed(mesh=mesh, gradient=torch.ones_like(mesh.vertices))
    assert float(scene.drawable.vertex_gradient.sum()) == pytest.approx(mesh.vertices.numel())
    assert float(scene.drawable.vertex_gradient.max()) == 4.0  # the corner of the texture


def test_texels_without_a_gradient_are_magenta():
    mesh = torus()
    weights = torch.zeros(8, 8)
    weights[:4] = 1.0
    scene = Shown().changed(mesh=mesh, coverage=weights)
    camera = Pose(distance=4.0).camera(80, 80)
    surface = Surface(dr.RasterizeContext(), scene.drawable, camera)
    picture = draw(dr.RasterizeContext(), scene.drawable, camera, ViewOptions(channel="coverage"), smooth=False)
    red, green, blue = picture.reshape(-1, 3)[surface.pixels.index].unbind(-1)
    never = surface.uv[:, 1] > 0.5
    assert bool(never.any())
    assert bool(((blue > green) & (red > green))[never].all())
    assert bool(((green > blue) & (red > blue))[~never].all())


def test_a_picture_of_pixel_gradients():
    gradient = torch.zeros(32, 48, 3)
    gradient[:, :16], gradient[:, 32:] = 1e-4, -1e-4
    scene = Shown().changed(image_gradient=torch.stack(gradient.split(16, dim=1)))  # three pictures, side by side
    red, _, blue = scene.picture(dr.RasterizeContext(), Pose(), ViewOptions(channel="pixels"), 48, 32).unbind(-1)
    assert bool((red > blue + 0.2)[:, :16].all())
    assert bool((blue > red + 0.2)[:, 32:].all())
    assert bool(((red - blue).abs() < 0.05)[:, 16:32].all())


def test_what_a_lens_finds_can_be_shown():
    """The loss is the object's own size in the picture: it grows where the outline moves outwards."""
    mesh, ctx, pose = icosphere(1), dr.RasterizeContext(), Pose(distance=4.0)
    vertices = mesh.vertices.clone().requires_grad_()
    pos = pose.camera(64, 64).to_clip(vertices)[None]
    rast, _ = dr.rasterize(ctx, pos, mesh.faces, (64, 64))
    loss = dr.antialias((rast[..., 3:] > 0).float(), rast, pos, mesh.faces, mode="silhouette").sum()
    found = diffrast.lens(loss)
    scene = Shown().changed(mesh=mesh, gradient=found.vertices, image_gradient=found.image)
    picture = scene.picture(ctx, pose, ViewOptions(channel="gradient"), 64, 64, smooth=False)
    red, _, blue = (
        picture[scene.picture(ctx, pose, ViewOptions(channel="mask"), 64, 64, smooth=False) > 0].view(-1, 3).unbind(-1)
    )
    assert float((red - blue).max()) > 0.2
    assert float((blue - red).max()) < 0.05
    red, _, blue = scene.picture(ctx, Pose(), ViewOptions(channel="pixels"), 64, 64).unbind(-1)
    assert bool((red > blue + 0.2).all())  # every brighter pixel raises the sum


def test_what_belonged_to_another_mesh_goes_with_it():
    scene, _, _ = sphere_scene(gradient=lambda m: m.vertices, coverage=lambda m: torch.ones(4, 4))
    assert {"gradient", "coverage"} <= {name for name, *_ in scene.channels()}
    other = scene.changed(mesh=torus())
    assert not {"gradient", "coverage"} & {name for name, *_ in other.channels()}
    assert "gradient" in {name for name, *_ in other.channels(promised={"gradient"})}
    camera = FRONT.camera(32, 32)  # what is not there yet is drawn in clay
    clay = draw(dr.RasterizeContext(), other.drawable, camera, ViewOptions(channel="matcap"))
    assert torch.equal(other.picture(dr.RasterizeContext(), FRONT, ViewOptions(channel="gradient"), 32, 32), clay)


def test_the_surroundings_turn():
    one_sided = torch.full((16, 32, 3), 0.05)
    one_sided[:, 16:] = 4.0  # to the right of -z: +x
    scene, surface, side = sphere_scene(environment=lambda _: one_sided)
    bright = colours(scene, surface, "surroundings").mean(-1)
    assert float(bright[side > 0].mean()) > 1.3 * float(bright[side < 0].mean())
    turned = colours(scene, surface, "surroundings", turn=180.0).mean(-1)
    assert float(turned[side < 0].mean()) > 1.3 * float(turned[side > 0].mean())
    studio, surface, _ = sphere_scene()
    assert (
        float(
            (colours(studio, surface, "surroundings") - colours(studio, surface, "surroundings", turn=90.0))
            .abs()
            .mean()
        )
        > 0.02
    )


def test_the_lamp_turns():
    scene, surface, side = sphere_scene()
    right, left = (colours(scene, surface, "shaded", light=angle).mean(-1) for angle in (40.0, -110.0))
    assert float(right[side > 0].mean()) > float(right[side < 0].mean())
    assert float(left[side < 0].mean()) > float(left[side > 0].mean())


def test_each_material_has_its_own_base_colour():
    mesh = sphere(0.9)
    ids = (mesh.vertices[mesh.faces.long()].mean(1)[:, 0] > 0).int()
    mesh.materials = [MaterialData(base_color_factor=(1, 0, 0, 1)), MaterialData(base_color_factor=(0, 0, 1, 1))]
    mesh.material_ids = ids
    scene, surface, side = sphere_scene()
    picture = colours(scene.changed(mesh=mesh), surface, "albedo").round(decimals=4)
    assert torch.equal(picture[side < 0].unique(dim=0), torch.tensor([[1.0, 0, 0]]))
    assert torch.equal(picture[side > 0].unique(dim=0), torch.tensor([[0.0, 0, 1]]))
