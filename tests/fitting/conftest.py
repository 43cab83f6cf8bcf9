"""Photographs and runs for the descents."""

from pathlib import Path

import pytest
import torch
from helpers.pot import camera, photo, teapot
from helpers.solids import photographs, shape_of, torus

import diffrast.torch as dr
from diffrast.fitting.appearance import unwrap
from diffrast.io import save_image, save_mesh
from diffrast.photos import View


@pytest.fixture(scope="module")
def unwrapped():
    return unwrap(dr.RasterizeContext(), shape_of(torus(48)), 128)


@pytest.fixture(scope="module")
def ring() -> list[View]:
    return photographs(torus())


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("pose")
    save_mesh(path / "pot.glb", teapot())
    save_image(path / "photo.png", photo(teapot(), camera()))
    save_image(path / "flat.png", torch.full((120, 160, 3), 0.4))
    return path
