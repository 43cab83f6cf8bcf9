"""The viewer beside a running optimization."""

import logging
import math
import threading
import time

import numpy as np
import pytest
import torch
from helpers.viewing import Page, torus, wait

import diffrast.torch as dr
from diffrast.mesh import Mesh
from diffrast.viewer import Viewer, worker
from diffrast.viewer.orbit import Pose


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
    optimizer = torch.optim.SGD([{"params": [torch.zeros(2)], "lr": 0.5}, {"params": [torch.zeros(2)], "lr": 0.25}])
    viewer.attach(optimizer, ["shape", "base_color"])
    with Page(viewer) as page:
        loop = Loop(viewer)
        state = wait(lambda: [m for m in page.of_type("state") if m["running"]], "the loop's state")[-1]
        assert state["rates"] == {"shape": 0.5, "base_color": 0.25}
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
        page.say("rate", name="base_color", value=0.125)
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


def test_a_page_at_rest_gets_a_picture_a_second_and_reports_along_with_it(viewer):
    with Page(viewer) as page:
        page.say("size", width=64, height=48)
        page.frame_after(0.0)
        viewer.step(loss=1.0, mesh=lambda: torus(8))
        began, before = time.monotonic(), (len(page.frames), len(page.messages))
        while time.monotonic() - began < 3.2:
            viewer.step(loss=1.0, mesh=lambda: torus(8))
            time.sleep(0.002)
        seconds = time.monotonic() - began
        pictures, reports = len(page.frames) - before[0], len(page.messages) - before[1]
        assert 1 <= pictures <= seconds / worker.REST + 2  # the first ones: the step before, and this loop's first
        assert 2 <= reports <= 2 * (pictures + seconds / worker.STATUS + 1)  # the state and the losses
        page.move(1.0, yaw=1.0)
        assert page.frame_after(1.0, full=False)  # somebody moves: at once, whatever was to come


def test_values_are_taken_only_while_a_page_looks_at_them_also_while_paused(viewer):
    taken = []

    def value(name, make):
        return lambda: (taken.append(name), make())[1]

    values = {
        "gradient": value("gradient", lambda: torch.ones(625, 3)),
        "coverage": value("coverage", lambda: torch.ones(4, 4)),
        "image_gradient": value("image_gradient", lambda: torch.ones(4, 4, 3)),
    }
    with Page(viewer) as page:
        page.say("size", width=32, height=32)
        wait(lambda: viewer.pages, "a page")
        for _ in range(5):
            viewer.step(loss=1.0, mesh=torus, **values)
        assert taken == []

        def offered() -> set[str]:
            return {name for state in page.of_type("state")[-1:] for name, *_ in state["channels"]}

        wait(lambda: {"gradient", "coverage", "pixels"} <= offered(), "the channels")  # they can be chosen all the same
        viewer.control.do("pause")
        thread = threading.Thread(target=lambda: viewer.step(loss=1.0, mesh=torus, **values), daemon=True)
        thread.start()
        for channel, name in (("gradient", "gradient"), ("coverage", "coverage"), ("pixels", "image_gradient")):
            taken.clear()
            page.look(1.0, channel=channel)
            wait(lambda: taken, f"the {name}")
            time.sleep(0.3)
            assert taken == [name]
            wait(lambda name=name: getattr(viewer._shown, name) is not None, "it in the scene")
        assert thread.is_alive()
        viewer.control.do("resume")
        thread.join(timeout=10)
    with pytest.raises(TypeError, match="there is no texels; what can be shown is coverage, gradient, image_gradient"):
        viewer.step(texels=torch.zeros(4, 4))


def test_a_factor_on_a_schedule_holds_for_the_next_stage_too(viewer):
    def stage():
        optimizer = torch.optim.SGD([torch.zeros(2)], lr=0.5)
        viewer.attach(optimizer, ["shape"], key="factor")
        return optimizer.param_groups[0]

    first = stage()
    assert "factor" not in first  # nobody has wished for anything
    assert viewer.control.rates["shape"].read() == 1.0
    viewer.control.wish("shape", 0.25)
    viewer.step()
    assert (first["factor"], first["lr"]) == (0.25, 0.5)
    assert stage()["factor"] == 0.25


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
