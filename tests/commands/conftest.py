"""Data for the commands, small."""

import json
from pathlib import Path

import pytest
from PIL import Image

DEMO = Path(__file__).resolve().parents[2] / "assets" / "demo"


@pytest.fixture(scope="module")
def demo(tmp_path_factory) -> Path:
    """The demo data set with every third view at a quarter of the size, so that a run takes a second."""
    folder = tmp_path_factory.mktemp("demo")
    scene = json.loads((DEMO / "transforms_train.json").read_text())
    scene["frames"] = scene["frames"][::3]
    for frame in scene["frames"]:
        target = folder / f"{frame['file_path']}.png"
        target.parent.mkdir(exist_ok=True)
        with Image.open(DEMO / f"{frame['file_path']}.png") as picture:
            picture.resize((64, 64), Image.Resampling.BOX).save(target)
    (folder / "transforms_train.json").write_text(json.dumps(scene))
    return folder
