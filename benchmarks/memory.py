"""How much memory many large photographs take: `python benchmarks/memory.py [COUNT] [MEGAPIXELS]`, by default 300 of
20.

The photographs of assets/demo, enlarged, as JPEGs with masks; each file stands for several views (hard links), as
reading is what is measured. Prints the peak resident memory of the whole of `diffrast reconstruct`, and where its time
went.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
DEMO = ROOT / "assets" / "demo"
STEPS = 40


def enlarge(folder: Path, count: int, megapixels: float) -> None:
    """A data set of ``count`` views from the demo's photographs."""
    scene = json.loads((DEMO / "transforms_train.json").read_text())
    side = round(math.sqrt(megapixels * 1e6))
    (folder / "masks").mkdir()
    frames = []
    for i in range(count):
        original = scene["frames"][i % len(scene["frames"])]
        frames.append({**original, "file_path": f"v{i:04d}.jpg"})
        names = (f"v{i:04d}.jpg", f"masks/v{i:04d}.jpg")
        if i >= len(scene["frames"]):
            for name in names:
                (folder / name).hardlink_to(folder / name.replace(f"{i:04d}", f"{i % len(scene['frames']):04d}"))
            continue
        source = next(p for p in (DEMO / (original["file_path"] + s) for s in ("", ".png", ".jpg")) if p.is_file())
        picture = Image.open(source).convert("RGBA").resize((side, side), Image.Resampling.BILINEAR)
        picture.convert("RGB").save(folder / names[0], quality=92)
        picture.getchannel("A").save(folder / names[1], quality=92)
    (folder / "transforms_train.json").write_text(json.dumps({**scene, "frames": frames}))


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 300
    megapixels = float(sys.argv[2]) if len(sys.argv) > 2 else 20.0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        enlarge(folder, count, megapixels)
        command = [sys.executable, "-m", "diffrast", "reconstruct", name, "--out", str(folder / "out"), "--quiet"]
        subprocess.run([*command, "--steps", str(STEPS), "--frames", "0", "--holdout", "3"], check=True, cwd=ROOT)
        metrics = json.loads((folder / "out" / "metrics.json").read_text())
    print(metrics["preflight"]["views"])
    figures = {
        "photographs": count,
        "megapixels": megapixels,
        **{k: metrics[k] for k in ("peak_memory_mb", "seconds", "device")},
    }
    file = ROOT / "benchmarks" / "results" / "memory.json"
    file.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    print(f"peak memory {metrics['peak_memory_mb']['process'] / 1000:.2f} GB, seconds {metrics['seconds']}")


if __name__ == "__main__":
    main()
