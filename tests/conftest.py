"""Fixtures shared by all tests."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from helpers import emulation
from helpers.driven import Driven
from helpers.viewing import browser, torus

import diffrast.torch as dr
from diffrast import backends
from diffrast.io import save_mesh
from diffrast.viewer import Viewer

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Raster:
    """A backend under test: a context and the device of its tensors."""

    name: str
    ctx: dr.RasterizeContext
    device: torch.device


# Besides the backends of the package, the GPU's search for visible triangles as the CPU runs it.
backends.LOADERS["emulated"] = emulation.create


def _missing() -> dict[str, str]:
    """Backends that cannot start here, and why."""
    reasons = {}
    for name in sorted(backends.LOADERS):
        try:
            backends.get(name)
        except RuntimeError as error:
            reasons[name] = str(error)
    return reasons


MISSING = _missing()


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


@pytest.fixture
def viewer() -> Iterator[Viewer]:
    """A viewer that shows a torus."""
    with Viewer(port=0, quiet=True) as v:
        v.show(mesh=torus())
        yield v


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator:
    """A headless Chromium."""
    yield from browser(tmp_path_factory.mktemp("profile"))


@pytest.fixture
def page(driver, viewer: Viewer) -> Driven:
    """The viewer's page in it."""
    return Driven(driver, viewer)
