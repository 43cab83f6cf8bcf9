"""The page in a real browser beside a running optimization, and with photographs."""

import threading
import time

import pytest
import torch
from helpers.viewing import psnr, torus, wait

import diffrast.torch as dr
from diffrast.viewer import Photograph, Viewer
from diffrast.viewer.channels import ViewOptions, draw
from diffrast.viewer.drawable import Drawable, copy_mesh
from diffrast.viewer.orbit import Pose


class Loop:
    """Steps of a viewer with a loss that falls, in a thread, as fast as they go."""

    def __init__(self, viewer: Viewer):
        self.viewer, self.stop = viewer, threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)

    def run(self) -> None:
        while not self.stop.is_set():
            self.viewer.step(
                loss=0.5 ** (self.viewer.control.iteration / 100),
                gradient=lambda: torch.ones(625, 3),
                coverage=lambda: torch.eye(8),
                image_gradient=lambda: torch.ones(9, 9, 3),
            )
            time.sleep(0.005)

    def __enter__(self) -> "Loop":
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self.viewer.control.do("resume")
        self.thread.join(timeout=5)


def test_pause_step_resume_and_a_reload(page):
    viewer = page.viewer
    with Loop(viewer):
        wait(lambda: page.js("viewer.stats.iteration") > 5, "iterations on the page")
        page.click("pause")
        wait(lambda: page.text("pause") == "Resume", "the pause on the page")
        wait(lambda: page.text("iteration") == f"{viewer.control.iteration:,}", "the last iteration on the page")
        count = viewer.control.iteration
        time.sleep(0.6)
        assert viewer.control.iteration == count
        assert page.text("iteration") == f"{count:,}"
        page.click("step")
        wait(lambda: page.text("iteration") == f"{count + 1:,}", "one step")
        page.driver.refresh()
        page.at_rest()
        wait(lambda: page.text("iteration") == f"{count + 1:,}", "the counter after a reload")
        assert page.text("pause") == "Resume"  # still paused
        page.click("pause")
        wait(lambda: viewer.control.iteration > count + 20, "more iterations")


def test_learning_rates_and_the_plot_of_the_loss(page):
    from selenium.webdriver.common.keys import Keys

    optimizer = torch.optim.SGD([{"params": [torch.zeros(1)], "lr": 0.5}, {"params": [torch.zeros(1)], "lr": 0.25}])
    page.viewer.attach(optimizer, ["shape", "colour"])
    with Loop(page.viewer):
        rates = wait(lambda: page.driver.find_elements("css selector", "#rates input"), "the rates")
        wait(lambda: [r.get_attribute("value") for r in rates] == ["0.5", "0.25"], "their values")
        rates[1].click()
        rates[1].send_keys(Keys.CONTROL + "a")
        rates[1].send_keys("0.125" + Keys.TAB)
        wait(lambda: optimizer.param_groups[1]["lr"] == 0.125, "the new rate")
        assert optimizer.param_groups[0]["lr"] == 0.5
        wait(lambda: page.viewer.control.iteration > 150, "iterations")
        heights = """(() => {
          const c = document.getElementById("losses");
    const { data } = c.getContext("2d").getImageData(0, 0, c.width, c.height);
          const mean = (from, to) => { let sum = 0, count = 0;
            for (let y = 0; y < c.height; y++) for (let x = Math.round(from * c.width); x < to * c.width; x++) {
              const [r, g, b, a] = data.slice(4 * (y * c.width + x), 4 * (y * c.width + x) + 4);
              if (a > 128 && b > r + 60) { sum += y; count += 1; } }
            return count ? sum / count : -1; };
          return [mean(0.05, 0.3), mean(0.7, 0.95), c.height]; })()"""
        wait(lambda: page.js(heights)[1] > 0, "the curve")
        left, right, height = page.js(heights)
        assert 0 < left < right - 0.3 * height  # the loss falls


def test_values_of_the_optimization_are_channels_with_legends(page):
    with Loop(page.viewer):

        def options():
            return page.js("[...document.getElementById('channel').options].map((o) => o.value)")

        wait(lambda: {"gradient", "coverage", "pixels"} <= set(options()), "the channels")
        assert not page.driver.find_element("id", "legend").is_displayed()
        pictures = [page.picture()]
        for name, words in (
            ("gradient", "raises the loss"),
            ("coverage", "never had a gradient"),
            ("pixels", "brighter"),
        ):
            page.js(
                "(document.getElementById('channel').value = arguments[0],"
                "document.getElementById('channel').dispatchEvent(new Event('input')))",
                name,
            )
            wait(lambda words=words: words in page.text("legend"), f"the legend of {name}")
            wait(lambda: all(psnr(page.picture(), p) < 25 for p in pictures if p.shape == page.picture().shape), name)
            pictures.append(page.picture())
        page.click("pause")
        page.driver.refresh()
        page.at_rest()
        wait(lambda: page.js("document.getElementById('channel').value") == "pixels", "the channel after a reload")


def test_one_can_jump_into_the_camera_of_a_thumbnail(page):
    from selenium.webdriver import ActionChains

    pose = Pose(yaw=0.9, pitch=0.2, distance=2.0)
    green = torch.zeros(90, 120, 3)
    green[..., 1] = 0.8
    page.viewer.show(views=[Photograph(pose.camera(120, 90), green, "IMG_1")])
    wait(lambda: page.driver.find_element("id", "views").is_displayed(), "the section")
    page.click("frusta")
    middle = "frustaInSight()[0].quad.reduce((s, q) => [s[0] + q[0] / 4, s[1] + q[1] / 4], [0, 0])"
    ink = (
        f"(() => {{ const [x, y] = {middle}; return [..."
        + "overlay.getContext('2d').getImageData(x, y + 9, 1, 1).data]; })()"
    )
    wait(lambda: page.js(ink)[3] > 0, "the thumbnail")
    assert page.js(ink)[1] > 180
    assert page.js(ink)[0] < 60
    x, y = page.js(middle)
    box = page.js("[stage.clientWidth, stage.clientHeight]")
    chain = ActionChains(page.driver).move_to_element_with_offset(
        page.driver.find_element("id", "stage"), round(x - box[0] / 2), round(y - box[1] / 2)
    )
    chain.perform()
    wait(lambda: "over" in page.js("stage.className").split(), "the hand")
    assert page.js("stage.title") == "IMG_1"
    before = page.frames
    chain.click().perform()
    page.at_rest(after=before)
    assert page.js("document.getElementById('view').value") == "0"
    page.choose("opacity", "1")
    height, width, _ = page.picture().shape
    assert float((page.picture()[height // 2, width // 2] - torch.tensor([0.0, 0.8, 0.0])).abs().max()) < 0.05
    page.drag(40, 0)  # leaves the photograph, from where it was taken
    assert page.js("document.getElementById('view').value") == "-1"
    left = page.js("viewer.pose")
    assert left["yaw"] == pytest.approx(0.9 - 0.32, abs=0.04)
    assert left["pitch"] == pytest.approx(0.2, abs=0.01)
    page.click("frusta")


def test_photographs_opacity_and_error(page):
    camera = Pose(yaw=0.9, distance=2.0).camera(120, 90)
    image = draw(dr.RasterizeContext(), Drawable(copy_mesh(torus())), camera, ViewOptions())
    page.viewer.show(views=[Photograph(camera, 1 - image.clamp(0, 1), "first")])
    wait(lambda: page.driver.find_element("id", "views").is_displayed(), "the section")
    page.choose("view", "0")
    through = page.picture()
    page.choose("opacity", "1")
    assert psnr(through, page.picture()) < 15
    page.choose("channel", "error")
    page.choose("opacity", "0")
    assert float(page.picture().mean()) > 0.2
