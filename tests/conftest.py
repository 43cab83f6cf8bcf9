"""Fixtures shared by all tests."""

import os
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

import diffrast.torch as dr
from diffrast import backends

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Raster:
    """A backend under test: a context and the device of its tensors."""

    name: str
    ctx: dr.RasterizeContext
    device: torch.device


@pytest.fixture(params=sorted(backends.LOADERS))
def raster(request: pytest.FixtureRequest) -> Raster:
    """Every registered backend in turn; a backend that cannot start here is skipped with its reason."""
    name = request.param
    try:
        backend = backends.get(name)
    except RuntimeError as error:
        pytest.skip(f"backend {name}: {error}")
    return Raster(name, dr.RasterizeContext(backend=name), torch.device(backend.device_type))


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """Real data to test on: DIFFRAST_DATA, or shared/data beside the project."""
    folder = Path(os.environ.get("DIFFRAST_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        if os.environ.get("REQUIRE_DATA") == "1":
            pytest.fail(f"the test data is required here but {folder} is missing")
        pytest.skip(f"no test data at {folder}; set DIFFRAST_DATA")
    return folder
