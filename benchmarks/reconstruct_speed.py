"""How soon there is something to see, and how fast it goes on: seconds from the start of the command to the first mesh
that a viewer is given, and steps per second on 10 000 faces, both with photographs of 256 x 256 pixels.

python benchmarks/reconstruct_speed.py
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("DIFFRAST_DATA", ROOT.parent / "shared" / "data"))
SIZE, FACES = 256, 10_000
GOALS = {"seconds_to_preview": 10.0, "steps_per_second": 20.0}


def smaller(source: Path, folder: Path) -> None:
    """The data set ``source`` (NeRF-synthetic) with pictures of ``SIZE`` x ``SIZE`` pixels; the angle of view stays."""
    index = "transforms_train.json"
    frames = json.loads((source / index).read_text())
    for frame in frames["frames"]:
        name = Path(frame["file_path"]).with_suffix(".png")
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        # Colours are weighted by coverage, as a smaller sensor would.
        picture = Image.open(source / name).convert("RGBa").resize((SIZE, SIZE), Image.Resampling.BOX)
        picture.convert("RGBA").save(folder / name)
    (folder / index).write_text(json.dumps(frames))


def child(folder: str, steps: int = 500) -> None:
    """Reconstruct, and print when the first mesh is shown and when each step of the fine stage is done."""
    import diffrast.torch as dr
    from diffrast.reconstruct import Options, reconstruct

    dr.keep_freed_memory()  # as the command does

    class Viewer:
        seen = False

        def show(self, mesh=None, **_):
            if mesh is not None and not self.seen:
                self.seen = True
                print("mesh", flush=True)

        def step(self, mesh=None, **_):
            self.show(mesh)

        def attach(self, *_, **__):
            """Nobody changes rates here."""

    times = []

    def callback(stage: str, _: int) -> None:
        if stage == "fine shape":
            times.append(time.perf_counter())

    options = Options(steps=steps, faces=FACES, frames=0, texture=256, progress=False)
    metrics = reconstruct(folder, Path(folder) / "out", options, callback, Viewer())
    print(json.dumps({"faces": metrics["mesh"]["faces"], "times": times}), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, default=ROOT / "benchmarks" / "results" / "reconstruct_speed.json")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(args.child)
        return
    with tempfile.TemporaryDirectory() as folder:
        smaller(DATA / "spot_photos", Path(folder))
        start = time.perf_counter()
        process = subprocess.Popen([sys.executable, __file__, "--child", folder], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        if process.stdout.readline().strip() != "mesh":
            raise SystemExit("the reconstruction ended without showing a mesh")
        preview = time.perf_counter() - start
        rest = json.loads(process.stdout.read())
        process.wait()
    steps = rest["times"]
    row = {
        "seconds_to_preview": preview,
        "steps_per_second": (len(steps) - 1) / (steps[-1] - steps[0]),
        "faces": rest["faces"],
        "size": SIZE,
        "batch": 4,
        "cores": os.cpu_count(),
        "goals": GOALS,
    }
    print(f"first mesh on view after {preview:.1f} s (goal: at most {GOALS['seconds_to_preview']:g})")
    print(
        f"{row['steps_per_second']:.1f} steps per second of {row['batch']} views, {SIZE} x {SIZE} pixels, "
        f"{row['faces']} faces "
        f"(goal: at least {GOALS['steps_per_second']:g})"
    )
    args.json.parent.mkdir(parents=True, exist_ok=True)
    args.json.write_text(json.dumps(row, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
