"""The viewer without a browser: pictures, the protocol, and a running optimization."""

import io
import json
import logging
import math
import threading
import time

import numpy as np
import pytest
import torch
from PIL import Image
from viewing import LOOK, POSE, Page, torus, wait

import diffrast
import diffrast.torch as dr
from diffrast.scene import Mesh, look_at
from diffrast.scene.image import from_pil
from diffrast.viewer import Viewer, protocol
from diffrast.viewer.camera import Pose, fitting
from diffrast.viewer.channels import BACKGROUNDS, CHANNELS, Options, draw
from diffrast.viewer.model import Model, Surface, copy_mesh
from diffrast.viewer.scene import Photograph, Scene, letterbox


@pytest.fixture
def viewer():
    with Viewer(port=0, quiet=True) as v:
        v.show(mesh=torus())
        yield v


def psnr(a: torch.Tensor, b: torch.Tensor) -> float:
    return -10 * math.log10(float((a - b).square().mean()) + 1e-12)


def decoded(data: bytes) -> torch.Tensor:
    return from_pil(Image.open(io.BytesIO(data)), linear=False)


def direct(width: int, height: int, pose: dict = POSE, **look) -> torch.Tensor:
    camera = Pose(**{**pose, "target": tuple(pose["target"])}).camera(width, height)
    return draw(dr.RasterizeContext(), Model(copy_mesh(torus())), camera, Options(**{**LOOK, **look}))


# --- Pictures ------------------------------------------------------------------------------------------------------------


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


# --- Frames --------------------------------------------------------------------------------------------------------------


def test_frames_are_what_diffrast_draws(viewer):
    with Page(viewer) as page:
        page.say("size", width=160, height=120)
        page.look(0.0)
        page.move(7.0)
        head, data = page.frame_after(7.0)
        assert (head["version"], head["kind"]) == (protocol.VERSION, protocol.FRAME)
        assert (head["width"], head["height"]) == (160, 120)
        assert data[:2] == b"\xff\xd8"
        assert len(data) < 20_000
        assert psnr(decoded(data), direct(160, 120)) > 32
        page.look(8.0, channel="normal")
        assert psnr(decoded(page.frame_after(8.0)[1]), direct(160, 120, channel="normal")) > 30


def test_small_while_moving_full_at_rest(viewer):
    viewer._worker._cost = 1.0  # a machine that cannot keep up
    with Page(viewer) as page:
        page.say("size", width=400, height=300)
        page.frame_after(0.0)
        page.move(1.0)
        assert (page.frame_after(1.0, full=False)[0]["width"]) == 100
        assert (page.frame_after(1.0)[0]["width"]) == 400


def test_at_most_two_frames_are_in_flight_and_the_latest_input_wins(viewer):
    with Page(viewer) as page:
        page.say("size", width=64, height=64)
        page.frame_after(0.0)
        page.acknowledge = False
        for i in range(1, 60):
            page.move(float(i), yaw=0.05 * i)
            time.sleep(0.005)
        wait(lambda: len(page.frames) >= 3, "two more frames")
        time.sleep(0.5)
        unacknowledged = page.frames[-2:]
        count = len(page.frames)
        assert len([f for f in page.frames if f[0]["stamp"] > 0]) <= 2
        page.acknowledge = True
        for head, _ in unacknowledged:
            page.say("ack", frame=head["frame"])
        head, data = page.frame_after(59.0)
        assert len(page.frames) - count <= 3, "movements between the two were not drawn one by one"
        assert psnr(decoded(data), direct(64, 64, {**POSE, "yaw": 0.05 * 59})) > 25


def test_two_pages_look_from_where_they_like(viewer):
    with Page(viewer) as a, Page(viewer) as b:
        for page, yaw in ((a, 0.0), (b, 2.0)):
            page.say("size", width=64, height=64)
            page.move(1.0, yaw=yaw)
        for page, yaw in ((a, 0.0), (b, 2.0)):
            assert psnr(decoded(page.frame_after(1.0)[1]), direct(64, 64, {**POSE, "yaw": yaw})) > 25


def test_a_reloaded_page_goes_on_where_it_was(viewer):
    with Page(viewer) as page:
        page.say("size", width=64, height=64)
        page.move(1.0, yaw=1.25)
        page.look(2.0, channel="matcap")
        page.frame_after(2.0)
    with Page(viewer) as page:
        hello = wait(lambda: page.of_type("hello"), "hello")[0]
        assert hello["pose"]["yaw"] == 1.25
        assert hello["options"]["channel"] == "matcap"
        assert [name for name, _ in hello["channels"]] == list(CHANNELS)


def test_files_for_the_page(viewer):
    with Page(viewer) as page:
        page.say("size", width=48, height=32)
        page.move(1.0)
        page.frame_after(1.0)
        page.say("save", what="screenshot")
        page.say("save", what="mesh")

        def of_kind(kind):
            return [data for head, data in list(page.frames) if head["kind"] == kind]

        (png,) = wait(lambda: of_kind(protocol.PNG), "a PNG")
        assert psnr(decoded(png), direct(48, 32)) > 45  # no JPEG in between
        (glb,) = wait(lambda: of_kind(protocol.GLB), "a GLB")
        assert glb[:4] == b"glTF"
        page.say("save", what="turntable")
        time.sleep(0.05)
        page.move(3.0, yaw=3.0)
        page.frame_after(3.0)  # live pictures come while the film is made
        (mp4,) = wait(lambda: of_kind(protocol.MP4), "a film", 90)
        assert mp4[4:8] == b"ftyp"


def test_what_cannot_be_drawn_is_said_and_the_viewer_goes_on(viewer, caplog):
    with Page(viewer) as page, caplog.at_level(logging.WARNING, "diffrast"):
        page.say("size", width=64, height=64)
        page.frame_after(0.0)
        bad = torus()
        bad.faces = bad.faces + 10_000
        viewer.show(mesh=bad)
        assert "could not be drawn" in wait(lambda: page.of_type("error"), "an error")[0]["text"]
        assert "could not be drawn" in caplog.text
        viewer.show(mesh=torus())
        page.move(5.0)
        assert psnr(decoded(page.frame_after(5.0)[1]), direct(64, 64)) > 25


def test_an_image_alone():
    with Viewer(port=0, quiet=True) as viewer:
        ramp = torch.linspace(0, 1, 32)[:, None, None].expand(32, 48, 3)
        viewer.show(image=ramp)
        with Page(viewer) as page:
            page.say("size", width=48, height=32)
            page.look(1.0)
            assert psnr(decoded(page.frame_after(1.0)[1]), ramp) > 35
            assert wait(lambda: page.of_type("state"), "the state")[0]["image"] is True


# --- A running optimization ------------------------------------------------------------------------------------------------


def optimize(viewer: Viewer | None, steps: int = 25, after=None) -> torch.Tensor:
    """Fits the torus's vertices to its mask from another pose, from a seed; calls the viewer as a recipe would."""
    torch.manual_seed(0)
    mesh, ctx = torus(12), dr.RasterizeContext()
    clip = Pose(distance=4.0).camera(48, 48).clip_matrix(1, 10).float()
    vertices = (mesh.vertices + 0.05 * torch.randn_like(mesh.vertices)).requires_grad_()

    def silhouette(v):
        pos = (torch.nn.functional.pad(v, (0, 1), value=1.0) @ clip.T)[None]
        rast, _ = dr.rasterize(ctx, pos, mesh.faces, (48, 48))
        return dr.antialias((rast[..., 3:] > 0).float(), rast, pos, mesh.faces)

    target = silhouette(mesh.vertices)
    optimizer = torch.optim.Adam([vertices], lr=1e-3)
    if viewer:
        viewer.attach(optimizer, ["vertices"])
    for i in range(steps):
        loss = (silhouette(vertices + 1e-4 * torch.randn_like(vertices)) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if viewer:
            viewer.step(loss=loss, mesh=lambda: Mesh(vertices, mesh.faces))
        if after:
            after(i)
    return vertices.detach()


def test_the_same_result_with_and_without_a_viewer():
    before = torch.get_num_threads()
    alone = optimize(None)
    with Viewer(port=0, quiet=True) as viewer, Page(viewer) as page:
        page.say("size", width=64, height=64)
        wait(lambda: viewer.pages, "a page")

        def stir(i: int) -> None:
            page.move(float(i), yaw=0.1 * i)

        watched = optimize(viewer, after=stir)
        page.frame_after(1.0, full=False)
    assert torch.equal(alone, watched)
    assert torch.get_num_threads() == before
    assert threads_of_a_new_thread() == before


def threads_of_a_new_thread() -> int:
    counts: list[int] = []
    thread = threading.Thread(target=lambda: counts.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    return counts[0]


class Loop:
    """Steps of a viewer in a thread, as fast as they go."""

    def __init__(self, viewer: Viewer, parameter: torch.Tensor | None = None):
        self.viewer, self.count, self.stop = viewer, 0, False
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self) -> None:
        while not self.stop:
            self.viewer.step(loss=1 / (1 + self.count))
            self.count += 1
            time.sleep(0.002)

    def end(self) -> None:
        self.stop = True
        self.viewer.control.do("resume")
        self.thread.join(timeout=10)
        assert not self.thread.is_alive()


def test_pause_step_resume_and_rates(viewer):
    optimizer = torch.optim.SGD(
        [{"params": [torch.zeros(2)], "lr": 0.5}, {"params": [torch.zeros(2)], "lr": 0.25}]
    )
    viewer.attach(optimizer, ["shape", "paint"])
    with Page(viewer) as page:
        loop = Loop(viewer)
        state = wait(lambda: [m for m in page.of_type("state") if m["running"]], "the loop's state")[-1]
        assert state["rates"] == {"shape": 0.5, "paint": 0.25}
        page.say("run", do="pause")
        wait(lambda: page.of_type("state")[-1].get("paused"), "the pause")
        time.sleep(0.1)
        count = loop.count
        time.sleep(0.3)
        assert loop.count == count
        page.say("run", do="step")
        wait(lambda: loop.count == count + 1, "one step")
        time.sleep(0.3)
        assert loop.count == count + 1
        page.say("rate", name="paint", value=0.125)
        wait(lambda: optimizer.param_groups[1]["lr"] == 0.125, "the new rate")
        assert optimizer.param_groups[0]["lr"] == 0.5
        page.say("rate", name="colour", value=0.125)
        assert "no learning rate 'colour'" in wait(lambda: page.of_type("error"), "an error")[0]["text"]
        page.say("run", do="resume")
        wait(lambda: loop.count > count + 5, "more steps")
        points = [p for m in page.of_type("losses") for p in m["points"]]
        assert points
        assert all(loss == pytest.approx(1 / (1 + step)) for step, loss in points)
        loop.end()


def test_a_viewer_that_is_closed_lets_a_paused_run_go_on(viewer):
    loop = Loop(viewer)
    viewer.control.do("pause")
    wait(lambda: viewer.control.paused, "the pause")
    count = loop.count
    viewer.close()
    wait(lambda: loop.count > count + 5, "more steps")
    loop.end()


def test_a_run_paused_by_a_page_that_is_gone_goes_on(viewer, monkeypatch):
    monkeypatch.setattr(type(viewer.control), "PATIENCE", 0.5)
    with Page(viewer) as page:
        loop = Loop(viewer)
        wait(lambda: loop.count, "a step")
        page.say("run", do="pause")
        wait(lambda: viewer.control.paused, "the pause")
        time.sleep(1.0)
        assert viewer.control.paused  # somebody looks
        count = loop.count
    wait(lambda: loop.count > count + 5, "more steps")
    loop.end()


def test_a_paused_loop_that_is_told_to_stop_goes_on(viewer):
    """Ctrl-C in `diffrast reconstruct` is a request that the loop looks for after the step."""
    told = threading.Event()
    viewer.control.do("pause")
    thread = threading.Thread(target=lambda: viewer.step(loss=1.0, until=told.is_set), daemon=True)
    thread.start()
    thread.join(timeout=0.6)
    assert thread.is_alive()
    told.set()
    thread.join(timeout=10)
    assert not thread.is_alive()


def test_a_viewer_that_dies_does_not_take_the_training_with_it(viewer, monkeypatch, caplog):
    def fail(*_):
        raise MemoryError("no more")

    with Page(viewer), caplog.at_level(logging.WARNING, "diffrast"):
        wait(lambda: viewer.pages, "a page")
        viewer.step(loss=1.0, mesh=fail)  # must not raise
        assert "the run goes on: MemoryError: no more" in caplog.text
    viewer.step(loss=1.0, mesh=fail)
    assert caplog.text.count("MemoryError") == 1


def test_nothing_is_copied_while_nobody_looks(viewer):
    calls = []

    def mesh():
        calls.append(1)
        return torus()

    for _ in range(50):
        viewer.step(loss=0.5, mesh=mesh)
    assert len(calls) == 0
    with Page(viewer):
        wait(lambda: viewer.pages, "a page")
        for _ in range(50):
            viewer.step(loss=0.5, mesh=mesh)
    assert 1 <= len(calls) < 10


def test_losses_stay_few():
    from diffrast.viewer.control import MAX_POINTS, Losses

    losses = Losses()
    for i in range(10 * MAX_POINTS):
        losses.add(i, float(i))
    assert MAX_POINTS / 2 <= len(losses.points) <= MAX_POINTS
    steps = np.array([p[0] for p in losses.points])
    assert steps[0] == 0
    assert len(set(np.diff(steps))) == 1
    assert all(step == loss for step, loss in losses.points)


def test_a_loss_that_is_not_finite_reaches_the_page_as_null(viewer):
    with Page(viewer) as page:
        wait(lambda: viewer.pages, "a page")
        for loss in (1.0, math.nan, math.inf):
            viewer.step(loss=loss)
        points = wait(lambda: [p for m in page.of_type("losses") for p in m["points"]], "losses")
        wait(lambda: len([p for m in page.of_type("losses") for p in m["points"]]) == 3, "three losses")
        points = [p for m in page.of_type("losses") for p in m["points"]]
        assert [p[1] for p in points] == [1.0, None, None]


# --- The package -------------------------------------------------------------------------------------------------------------


def test_the_viewer_is_there_and_imported_late():
    import subprocess
    import sys

    assert diffrast.Viewer is Viewer
    with pytest.raises(AttributeError, match="no attribute 'Wiever'"):
        _ = diffrast.Wiever
    code = "import sys, diffrast; print([m for m in ('torch', 'websockets', 'PIL') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert result.stdout.strip() == "[]", result.stderr


@pytest.mark.parametrize(("options", "message"), [({"up": "x"}, "up must be one of y, z"), ({"size": 3}, "size must be 16"),
                                                  ({"port": 70000}, "port must be 0 to 65535")])  # fmt: skip
def test_wrong_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        Viewer(**options)


def test_messages_are_json_that_any_parser_reads(viewer):
    with Page(viewer) as page:
        wait(lambda: page.of_type("state"), "the state")
        for message in page.messages:
            json.dumps(message, allow_nan=False)
