"""The viewer's pictures in the README: a screenshot and a short film of the page while the demo is reconstructed.

python assets/readme/viewer.py

Needs Chromium and its driver (apt-get install chromium chromium-driver) and selenium.
"""

import argparse
import io
import math
import sys
import tempfile
import threading
import time
from pathlib import Path

from PIL import Image

from diffrast.reconstruct import Options, reconstruct
from diffrast.viewer import Viewer

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))
from viewer import browser  # noqa: E402

# What the page is asked to do, and from which share of the iterations on.
SCRIPT = [
    (0.0, {"channel": "matcap"}),
    (0.22, {"channel": "gradient"}),
    (0.42, {"channel": "shaded", "wireframe": True}),
    (0.52, {"wireframe": False}),
    (0.66, {"frusta": True}),
    (0.80, {"frusta": False, "channel": "coverage"}),
    (0.90, {"channel": "surroundings"}),
]
SET = """for (const [name, value] of Object.entries(arguments[0])) {
  const control = document.getElementById(name);
  if (control.type === "checkbox") control.checked = value; else control.value = value;
  control.dispatchEvent(new Event("input")); }"""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seconds", type=float, default=1.0, help="between two pictures")
    parser.add_argument("--size", type=int, nargs=2, default=(1100, 720), help="of the browser's window")
    args = parser.parse_args()
    shots: list[Image.Image] = []
    with tempfile.TemporaryDirectory() as folder, Viewer(port=0, quiet=True) as viewer, browser() as driver:
        driver.set_window_size(*args.size)
        driver.get(viewer.url)
        driver.execute_script("if (theme() !== 'light') document.getElementById('theme').click()")
        options = Options(steps=args.steps, frames=0, progress=False, overwrite=True)
        work = threading.Thread(
            target=reconstruct, args=(ROOT / "assets/demo", folder, options, None, viewer), daemon=True
        )
        work.start()
        left, first = list(SCRIPT), 0.0
        while work.is_alive():
            time.sleep(args.seconds)
            share = (viewer.control.iteration + 1) / args.steps
            if not viewer.control.running:
                continue
            while left and share >= left[0][0]:
                driver.execute_script(SET, left.pop(0)[1])
            first = first or time.monotonic()
            driver.execute_script(
                "pose.yaw = home.yaw - arguments[0]; pose.distance = home.distance * arguments[1]; sendCamera()",
                2 * math.pi * share,
                1.0 + (0.35 if 0.64 < share < 0.82 else 0.0),
            )
            time.sleep(0.4)
            shots.append(Image.open(io.BytesIO(driver.get_screenshot_as_png())).convert("RGB"))
            if 0.7 < share < 0.8:
                shots[-1].save(ROOT / "assets/readme/viewer.png", optimize=True)
    film = [shot.resize((shot.width * 2 // 3, shot.height * 2 // 3), Image.Resampling.LANCZOS) for shot in shots]
    film[0].save(
        ROOT / "assets/readme/viewer.webp",
        save_all=True,
        append_images=film[1:],
        loop=0,
        quality=60,
        method=6,
        duration=[160] * (len(film) - 1) + [1500],
    )
    size = (ROOT / "assets/readme/viewer.webp").stat().st_size
    print(f"{len(film)} pictures, {size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
