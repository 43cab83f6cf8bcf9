"""The viewer while somebody drags: displayed frames a second and time from input to picture, in headless Chromium on
this machine; and what an open page costs an optimization while nobody moves the camera.

python benchmarks/viewer.py

Needs Chromium and its driver (apt-get install chromium chromium-driver) and selenium. Browser, viewer and optimization
share the machine's cores. On a machine that does other work at the same time the figures are upper bounds.
"""

import argparse
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from statistics import median
from typing import Any

import torch
from measure import machine, save, table
from workloads import sphere

import diffrast.torch as dr
from diffrast.mesh import Mesh
from diffrast.viewer import Viewer
from diffrast.viewer.orbit import Pose

SIZE = 512

# Drags as a mouse does, in the page: a movement every 8 ms on a circle, for so many milliseconds. Answers with figures.
DRAG = """
const [milliseconds, done] = arguments, stage = document.getElementById("stage"), box = stage.getBoundingClientRect();
const at = (t) => ({ pointerId: 1, bubbles: true, buttons: 1,
  clientX: box.x + 256 + 90 * Math.cos(t / 300), clientY: box.y + 256 + 50 * Math.sin(t / 300) });
stage.setPointerCapture = () => {};
const stats = viewer.stats, start = performance.now();
stage.dispatchEvent(new PointerEvent("pointerdown", at(0)));
stats.times.length = stats.delays.length = 0;
let moves = 0;
const timer = setInterval(() => {
  const t = performance.now() - start;
  moves += 1;
  if (t < milliseconds) return stage.dispatchEvent(new PointerEvent("pointermove", at(t)));
  clearInterval(timer);
  stage.dispatchEvent(new PointerEvent("pointerup", at(t)));
  const delays = [...stats.delays].sort((a, b) => a - b), picture = document.getElementById("picture");
  done({ moves, frames: stats.times.filter((x) => x < start + milliseconds).length, seconds: t / 1000,
    median: delays[delays.length >> 1], p90: delays[Math.floor(0.9 * delays.length)],
        size: [picture.width, picture.height] });
}, 8);
"""


FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1000,760",
)


@contextmanager
def browser() -> Iterator[Any]:
    webdriver = import_module("selenium.webdriver")
    service = import_module("selenium.webdriver.chrome.service")
    options = webdriver.ChromeOptions()
    with tempfile.TemporaryDirectory() as profile:
        for flag in (*FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        driver = webdriver.Chrome(options=options, service=service.Service(shutil.which("chromedriver")))
        driver.set_script_timeout(120)
        try:
            yield driver
        finally:
            driver.quit()


def textured_sphere(triangles: int) -> Mesh:
    points, uv, tri = sphere(triangles)
    texture = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    texture = (
        torch.nn.functional.interpolate(texture, (1024, 1024), mode="bicubic")
        .clamp(0, 1)[0]
        .permute(1, 2, 0)
        .contiguous()
    )
    return Mesh(points, tri, uv, texture)


def load(driver: Any, viewer: Viewer) -> None:
    driver.get(viewer.url)
    driver.execute_script("document.getElementById('stage').style.cssText = 'flex: none; width: 512px; height: 512px'")
    end = time.monotonic() + 60
    while driver.execute_script("return document.getElementById('picture').width") != SIZE:
        assert time.monotonic() < end, "no full picture came"
        time.sleep(0.1)


def dragging(driver: Any, triangles: int, seconds: float, repeats: int) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    with Viewer(port=0, quiet=True) as viewer:
        mesh = textured_sphere(triangles)
        viewer.show(mesh=mesh)
        load(driver, viewer)
        driver.execute_async_script(DRAG, 1500)  # warms up: caches, and how large a moving picture may be
        for _ in range(repeats):
            found = driver.execute_async_script(DRAG, 1000 * seconds)
            rows.append(
                {
                    "triangles": len(mesh.faces),
                    "frames/s": found["frames"] / found["seconds"],
                    "median ms": found["median"],
                    "90 % ms": found["p90"],
                    "last size": "x".join(map(str, found["size"])),
                    "load": os.getloadavg()[0],
                }
            )
    return rows


def optimization(step: Callable[..., None] | None, triangles: int, seconds: float) -> float:
    """Iterations a second of a fit of the sphere's vertices at 256x256; ``step`` is the viewer's."""
    mesh, ctx = textured_sphere(triangles), dr.RasterizeContext()
    clip = Pose(distance=4.0).camera(256, 256).clip_matrix(1, 10).float()
    vertices = mesh.vertices.clone().requires_grad_()
    optimizer = torch.optim.Adam([vertices], lr=1e-4)
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        pos = (torch.nn.functional.pad(vertices, (0, 1), value=1.0) @ clip.T)[None]
        rast, _ = dr.rasterize(ctx, pos, mesh.faces, (256, 256))
        loss = (dr.antialias((rast[..., 3:] > 0).float(), rast, pos, mesh.faces) - 0.5).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step:
            step(loss=loss, mesh=lambda: Mesh(vertices, mesh.faces, mesh.uv))
        count += 1
    return count / (time.perf_counter() - start)


def browser_seconds(driver: Any) -> float:
    """Processor time of the driver and all processes below it, those that have ended included (Linux)."""
    tick, used, parent = os.sysconf("SC_CLK_TCK"), {}, {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            parent[int(stat.parent.name)] = int(fields[1])
            used[int(stat.parent.name)] = sum(map(int, fields[11:15])) / tick
    family = {driver.service.process.pid}
    while grown := {pid for pid, of in parent.items() if of in family} - family:
        family |= grown
    return sum(used[pid] for pid in family & used.keys())


def cost(driver: Any, triangles: int, seconds: float, repeats: int) -> dict[str, object]:
    """With and without an open page, in turns that follow each other in changing order, so that what else the machine
    does falls on both. The cost is the median of the ratios of neighbours; the rest is processor time, which others
    disturb less."""
    alone, watched = [], []
    spent = {"step": 0.0, "all": 0.0, "drawing": 0.0, "browser": 0.0}
    optimization(None, triangles, 2.0)
    with Viewer(port=0, quiet=True) as viewer:
        clock = time.pthread_getcpuclockid(viewer._worker.thread.ident or 0)

        def step(**values: Any) -> None:
            start = time.perf_counter()
            viewer.step(**values)
            spent["step"] += time.perf_counter() - start

        def without_page() -> None:
            driver.get("about:blank")
            optimization(None, triangles, 1.0)
            alone.append(optimization(None, triangles, seconds))

        def with_page() -> None:
            load(driver, viewer)
            optimization(viewer.step, triangles, 1.0)  # loading a page takes work, which is over then
            start, drawing, drawn = time.perf_counter(), time.clock_gettime(clock), browser_seconds(driver)
            watched.append(optimization(step, triangles, seconds))
            spent["all"] += time.perf_counter() - start
            spent["drawing"] += time.clock_gettime(clock) - drawing
            spent["browser"] += browser_seconds(driver) - drawn

        viewer.show(mesh=textured_sphere(triangles))
        turns = (without_page, with_page)
        for i in range(repeats):
            for turn in turns if i % 2 else turns[::-1]:
                turn()
    costs = sorted(100 * (1 - b / a) for a, b in zip(alone, watched, strict=True))
    return {
        "triangles": triangles,
        "alone/s": median(alone),
        "watched/s": median(watched),
        "cost %": median(costs),
        "quartiles %": f"{costs[len(costs) // 4]:.1f} {costs[-1 - len(costs) // 4]:.1f}",
        "in step %": 100 * spent["step"] / spent["all"],
        "drawing, % of a core": 100 * spent["drawing"] / spent["all"],
        "browser, % of a core": 100 * spent["browser"] / spent["all"],
        "load": os.getloadavg()[0],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--triangles", type=int, default=5000)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    with browser() as driver:
        moving = dragging(driver, args.triangles, args.seconds, args.repeats)
        table(f"dragging, {SIZE}x{SIZE}, textured (goals: 30 frames/s, median under 60 ms)", moving)
        resting = cost(driver, args.triangles, args.seconds, 3 * args.repeats)
        table("an optimization with an open page, camera at rest (goal: at most 10 %)", [resting])
        version = driver.capabilities["browserVersion"]
    save("viewer", {"machine": machine(), "chromium": version, "dragging": moving, "optimization": resting})


if __name__ == "__main__":
    main()
