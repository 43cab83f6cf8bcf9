"""The page in a real browser, end to end."""

import itertools
import time

import pytest
import torch
from helpers.driven import Driven
from helpers.viewing import psnr, torus, wait

from diffrast.viewer import Photograph, Viewer
from diffrast.viewer import shown as scene
from diffrast.viewer.channels import CHANNELS
from diffrast.viewer.orbit import Pose
from diffrast.viewer.session import MAX_IN_FLIGHT


def test_the_page_shows_what_diffrast_draws(page):
    picture = page.picture()
    assert min(picture.shape[:2]) > 300
    assert float(picture.std()) > 0.05
    assert psnr(picture, page.direct()) >= 25
    assert page.text("triangles") == "1,152 triangles"
    assert page.driver.get_log("browser") == []  # no error, nothing blocked, nothing missing


def test_dragging_turns_panning_moves_and_the_wheel_zooms(page):
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.actions.wheel_input import ScrollOrigin

    stage = page.driver.find_element("id", "stage")
    first, pose = page.picture(), page.js("viewer.pose")
    page.drag(160, 40)
    turned = page.js("viewer.pose")
    assert turned["yaw"] < pose["yaw"]
    assert turned["pitch"] > pose["pitch"]
    assert turned["distance"] == pose["distance"]
    assert psnr(first, page.picture()) < 25
    assert psnr(page.picture(), page.direct()) >= 25
    before = page.frames
    ActionChains(page.driver).scroll_from_origin(ScrollOrigin.from_element(stage), 0, -300).perform()
    page.at_rest(after=before)
    assert page.js("viewer.pose")["distance"] < 0.8 * pose["distance"]
    assert psnr(page.picture(), page.direct()) >= 25
    from selenium.webdriver.common.keys import Keys

    before = page.frames
    ActionChains(page.driver).key_down(Keys.SHIFT).perform()
    page.drag(80, 0)
    ActionChains(page.driver).key_up(Keys.SHIFT).perform()
    assert page.js("viewer.pose")["target"] != pose["target"]
    assert page.js("viewer.pose")["yaw"] == turned["yaw"]
    assert psnr(page.picture(), page.direct()) >= 25
    page.click("home")
    page.at_rest(after=before)
    assert psnr(page.picture(), first) > 30


def test_flying(page):
    from selenium.webdriver import ActionChains

    page.js("document.querySelector('input[value=fly]').click()")
    pose = page.js("viewer.pose")
    eye = Pose(**{**pose, "target": tuple(pose["target"])}).camera(9, 9).center
    page.drag(40, 0)
    turned = page.js("viewer.pose")
    camera = Pose(**{**turned, "target": tuple(turned["target"])}).camera(9, 9)
    assert torch.allclose(camera.center, eye, atol=1e-5)  # the eye stays
    assert turned["yaw"] != pose["yaw"]
    before = page.frames
    page.js("document.getElementById('stage').focus()")
    ActionChains(page.driver).key_down("w").pause(0.3).key_up("w").perform()
    page.at_rest(after=before)
    flown = page.js("viewer.pose")
    moved = Pose(**{**flown, "target": tuple(flown["target"])}).camera(9, 9).center - eye
    assert float(torch.nn.functional.normalize(moved, dim=0) @ camera.forward) > 0.99
    page.js("document.querySelector('input[value=orbit]').click()")


def test_the_menu_of_channels_and_the_controls_change_the_picture(page):
    pictures = {"shaded": page.picture()}
    options = page.js("[...document.getElementById('channel').options].map((o) => o.value)")
    assert options == [name for name, channel in CHANNELS.items() if not channel.needs]
    for name in ("normal", "uv", "id", "matcap"):
        page.choose("channel", name)
        pictures[name] = page.picture()
        # Triangle ids are edges everywhere, which JPEG does not like.
        assert psnr(pictures[name], page.direct(channel=name)) >= (15 if name == "id" else 25), name
    for a in pictures:
        assert [b for b in pictures if b != a and psnr(pictures[a], pictures[b]) > 25] == [], a
    page.choose("channel", "matcap")
    before = page.frames
    page.click("wireframe")
    page.at_rest(after=before)
    assert psnr(page.picture(), page.direct(channel="matcap", wireframe=True)) >= 20
    page.click("wireframe")
    for channel, control in (("shaded", "light"), ("surroundings", "turn")):
        page.choose("channel", channel)
        before = page.picture()
        page.choose(control, "120")
        assert psnr(page.picture(), before) < 30, control
        assert psnr(page.picture(), page.direct(channel=channel, **{control: 120.0})) >= 25
        page.choose(control, "0")
    page.choose("channel", "matcap")
    page.choose("fov", "80")
    assert page.js("viewer.pose")["fov"] == 80
    before = page.frames
    page.click("theme")
    page.at_rest(after=before)
    assert psnr(page.picture(), page.direct(channel="matcap")) >= 25
    page.click("theme")


def test_a_reloaded_page_keeps_its_view(page):
    page.drag(120, 0)
    page.choose("channel", "normal")
    pose, picture = page.js("viewer.pose"), page.picture()
    page.driver.refresh()
    page.at_rest()
    assert page.js("viewer.pose") == pose
    assert page.js("document.getElementById('channel').value") == "normal"
    assert psnr(page.picture(), picture) > 40


def test_the_page_says_that_the_server_is_gone_and_comes_back(driver):
    with Viewer(port=0, quiet=True) as viewer:
        viewer.show(mesh=torus())
        port = viewer._server.port
        page = Driven(driver, viewer)
        assert page.text("banner") == ""
    wait(lambda: "The server is gone" in page.text("banner"), "the message")
    with Viewer(port=port, quiet=True) as again:
        again.show(mesh=torus())
        wait(lambda: page.js("viewer.stats.connected"), "the connection", 30)
        wait(lambda: page.text("banner") == "", "the end of the message")
        before = page.frames
        page.drag(60, 0)
        assert page.frames > before


def test_a_page_that_nobody_sees_gets_no_pictures(page):
    shown = page.driver.current_window_handle
    page.driver.switch_to.new_window("tab")
    other = page.driver.current_window_handle
    (session,) = page.viewer._sessions
    rows = itertools.count(8)

    def nothing_new_is_sent() -> bool:
        before = session.frames
        page.viewer.show(mesh=torus(next(rows)))
        time.sleep(0.3)
        return len(session.in_flight) == MAX_IN_FLIGHT and session.frames == before

    wait(nothing_new_is_sent, "the end of the pictures")
    count = session.frames
    for _ in range(4):
        page.viewer.show(mesh=torus(next(rows)))
        time.sleep(0.1)
    assert session.frames == count
    assert session.version < page.viewer._shown.version
    last = next(rows)
    page.viewer.show(mesh=torus(last))
    page.driver.switch_to.window(other)
    page.driver.close()
    page.driver.switch_to.window(shown)
    wait(lambda: page.text("triangles") == f"{2 * last**2:,} triangles", "the last mesh")
    wait(lambda: session.frames > count and session.version == page.viewer._shown.version, "its picture")


def test_files_are_downloaded(page):
    page.click("screenshot")
    got = wait(lambda: page.js("viewer.stats.downloaded ?? null"), "a picture")
    assert got["name"] == "diffrast.png"
    assert got["size"] > 1000


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_labels_are_readable_and_nothing_overlaps(page, theme):
    if page.js("document.documentElement.dataset.theme") != theme:
        page.click("theme")
    page.viewer.show(views=[Photograph(Pose().camera(40, 30), torch.rand(30, 40, 3))])
    page.viewer.attach(torch.optim.SGD([torch.zeros(1)], lr=0.1))
    page.viewer.step(loss=1.0)
    wait(lambda: page.driver.find_element("id", "rates").text, "the training section")
    contrast = page.js("""(() => {
      const linear = (x) => (x / 255 <= 0.04045 ? x / 255 / 12.92 : ((x / 255 + 0.055) / 1.055) ** 2.4);
      const light = (rgb) => { const [r, g, b] = rgb.map(linear);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
      const numbers = (s) => s.match(/[\\d.]+/g).map(Number);
      const back = (e) => { for (; e; e = e.parentElement) { const c = numbers(getComputedStyle(e).backgroundColor);
        if (c.length === 3 || c[3] > 0.99) return c.slice(0, 3); } return [255, 255, 255]; };
      const low = [];
      for (const e of document.querySelectorAll("#panel :is(h1, h2, label, button, span, p, output)")) {
        if (!e.textContent.trim() || !e.offsetParent) continue;
        const [a, b] = [light(numbers(getComputedStyle(e).color).slice(0, 3)), light(back(e))].sort((x, y) => y - x);
        if ((a + 0.05) / (b + 0.05) < 4.5) low.push([e.textContent, (a + 0.05) / (b + 0.05)]);
      }
      return low; })()""")
    assert contrast == []  # WCAG 2.1, level AA
    cut = page.js(
        """(() => { const menu = document.getElementById("channel");
      const c = document.createElement("canvas").getContext("2d");
      c.font = getComputedStyle(menu).font;
      return arguments[0].filter((label) => c.measureText(label).width > menu.clientWidth - 40); })()""",
        [channel.label for channel in scene.CHANNELS.values()],
    )
    assert cut == []
    overlapping = page.js("""(() => {
      const all = document.querySelectorAll("#panel :is(h1, h2, .row, p, #losses, footer)");
    const items = [...all].filter((e) => e.offsetParent);
      const bad = [];
      items.forEach((e, i) => { const a = e.getBoundingClientRect();
        if (e.scrollWidth > e.clientWidth + 1) bad.push([e.textContent, "is wider than its place"]);
        for (const f of items.slice(i + 1)) { const b = f.getBoundingClientRect();
          const across = a.left < b.right - 1 && b.left < a.right - 1;
      const along = a.top < b.bottom - 1 && b.top < a.bottom - 1;
          if (!e.contains(f) && !f.contains(e) && across && along)
            bad.push([e.textContent, f.textContent]); } });
      return bad; })()""")
    assert overlapping == []
