"""Fixtures shared by all tests."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest
import torch
from helpers.backends_here import MISSING
from helpers.ring import SHORT, ring_views
from helpers.viewing import torus

import diffrast.compat
import diffrast.torch as dr
from diffrast import backends
from diffrast.io import save_image, save_mesh
from diffrast.photos import View
from diffrast.reconstruct.pipeline import reconstruct

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Raster:
    """A backend under test: a context and the device of its tensors."""

    name: str
    ctx: dr.RasterizeContext
    device: torch.device


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "exact_coverage: compares pixels whose centre is within 1/128 pixel of an edge, or values just beyond one. "
        "OpenGL snaps "
        "vertices to a grid that fine (docs/MATH.md, section 1), so on `gl` test_gl.py judges the same scenes by that "
        "rule.",
    )
    if os.environ.get("REQUIRE_GL") == "1" and "gl" in MISSING:
        raise pytest.UsageError(f"REQUIRE_GL=1, but OpenGL is missing: {MISSING['gl']}")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    def snapped(item: pytest.Item) -> bool:
        parameters = item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
        on_gl = parameters.get("raster", ("",))[0] == "gl" and parameters.get("dtype") != torch.float64
        return on_gl and item.get_closest_marker("exact_coverage") is not None

    config.hook.pytest_deselected(items=[item for item in items if snapped(item)])
    items[:] = [item for item in items if not snapped(item)]


def pytest_report_header() -> list[str]:
    here = [name for name in sorted(backends.LOADERS) if name not in MISSING]
    return [f"backends under test: {', '.join(here)}", *(f"NOT TESTED: {name}: {why}" for name, why in MISSING.items())]


def _raster_params() -> list[tuple[str, str]]:
    """(backend, kind of tensors) to test: all pairs that can work here."""
    kinds = ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",)
    return [
        (name, kind)
        for name in sorted(backends.LOADERS)
        if name not in MISSING
        for kind in backends.kinds(name)
        if kind in kinds
    ]


@pytest.fixture(params=_raster_params(), ids=lambda p: p[0] if p[0] == p[1] else "-on-".join(p))
def raster(request: pytest.FixtureRequest) -> Raster:
    """Every backend that can start here, in turn; the header of the run names the others and their reasons."""
    name, kind = request.param
    return Raster(name, dr.RasterizeContext(backend=name), torch.device(kind))


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """Real data to test on: DIFFRAST_DATA, or shared/data beside the project."""
    folder = Path(os.environ.get("DIFFRAST_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        if os.environ.get("REQUIRE_DATA") == "1":
            pytest.fail(f"the test data is required here but {folder} is missing")
        pytest.skip(f"no test data at {folder}; set DIFFRAST_DATA")
    return folder


@pytest.fixture(scope="session")
def glb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a textured torus."""
    path = tmp_path_factory.mktemp("mesh") / "torus.glb"
    save_mesh(path, torus())
    return path


@pytest.fixture(scope="session")
def views() -> list[View]:
    """Photographs of a torus from all around. Not to be changed."""
    return ring_views()


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory, views: list[View]) -> Path:
    """The same as a folder in the layout of NeRF's synthetic scenes. Not to be changed."""
    folder = tmp_path_factory.mktemp("torus")
    frames = []
    for view in views:
        save_image(folder / view.path, torch.cat([view.load().rgb, view.load_mask()[..., None]], dim=-1), linear=False)
        pose = torch.linalg.inv(view.camera.world_to_camera).tolist()
        frames.append({"file_path": view.name, "transform_matrix": pose})
    scene = {"camera_angle_x": 0.65, "frames": frames}
    (folder / "transforms_train.json").write_text(json.dumps(scene))
    return folder


@pytest.fixture(scope="session")
def whole(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    """A short reconstruction that ran to its end: its folder, and what it returned. Not to be changed."""
    out = tmp_path_factory.mktemp("whole") / "out"
    return out, reconstruct(dataset, out, SHORT)


@pytest.fixture
def threads():
    """Gives back the number of threads that was, after what chooses another."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def alias():
    """The established interface's name, for one test."""
    diffrast.compat.install()
    yield
    diffrast.compat.uninstall()


@pytest.fixture(params=["RasterizeCudaContext", "RasterizeGLContext"])
def context(request: pytest.FixtureRequest, alias):
    """A context under each of the names that the established interface has for it."""
    import nvdiffrast.torch as dr

    return getattr(dr, request.param)()


@pytest.fixture
def gpu_check(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """benchmarks/gpu_check.py."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import gpu_check

    return gpu_check


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel made from a source distribution, in isolated environments that have no torch."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--outdir", str(folder), str(ROOT)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert result.returncode == 0, result.stdout + result.stderr
    (path,) = folder.glob("*.whl")
    return path
