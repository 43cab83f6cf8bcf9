"""The viewer's page in a headless Chromium, driven as a person would."""

import base64
import time

import torch

import diffrast.torch as dr
from diffrast.viewer import Viewer
from diffrast.viewer.channels import ViewOptions, draw
from diffrast.viewer.drawable import Drawable, copy_mesh
from diffrast.viewer.orbit import Pose
from helpers.viewing import decoded, torus, wait


class Driven:
    """The page as a person uses it."""

    def __init__(self, driver, viewer: Viewer):
        self.driver, self.viewer = driver, viewer
        driver.get(viewer.url)
        self.at_rest()

    def js(self, code: str, *args):
        return self.driver.execute_script(f"return {code}", *args)

    @property
    def frames(self) -> int:
        return self.js("viewer.stats.frames")

    def at_rest(self, after: int = 0) -> None:
        """Waits for a full frame, `after` frames or more, that is the last one for half a second."""
        seen = [-1, 0.0]

        def still() -> bool:
            frames, full = self.js("[viewer.stats.frames, viewer.stats.full]")
            if frames != seen[0]:
                seen[:] = frames, time.monotonic()
            return full and frames > after and time.monotonic() - seen[1] > 0.5

        wait(still, "a full frame", 60)

    def picture(self) -> torch.Tensor:
        url = self.js("document.getElementById('picture').toDataURL('image/png')")
        data = base64.b64decode(url.split(",")[1])
        return decoded(data)[..., :3]

    def direct(self, **options) -> torch.Tensor:
        """What the page should show, drawn without server, JPEG and browser."""
        pose = self.js("viewer.pose")
        pose = Pose(**{**pose, "target": tuple(pose["target"])})
        theme = self.js("document.documentElement.dataset.theme")
        height, width = self.picture().shape[:2]
        return draw(
            dr.RasterizeContext(),
            Drawable(copy_mesh(torus())),
            pose.camera(width, height),
            ViewOptions(theme=theme, **options),
        )

    def choose(self, control: str, value: str) -> None:
        before = self.frames
        self.js(
            "(document.getElementById(arguments[0]).value = arguments[1],"
            "document.getElementById(arguments[0]).dispatchEvent(new Event('input')))",
            control,
            value,
        )
        self.at_rest(after=before)

    def click(self, name: str) -> None:
        self.driver.find_element("id", name).click()

    def text(self, name: str) -> str:
        return self.driver.find_element("id", name).text

    def drag(self, dx: int, dy: int, steps: int = 8) -> None:
        from selenium.webdriver import ActionChains

        before = self.frames
        chain = (
            ActionChains(self.driver, duration=10)
            .move_to_element(self.driver.find_element("id", "stage"))
            .click_and_hold()
        )
        for _ in range(steps):
            chain.move_by_offset(dx // steps, dy // steps)
        chain.release().perform()
        self.at_rest(after=before)
