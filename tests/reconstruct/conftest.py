"""Photographs of a torus, and finished runs."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers import ring, viewing
from helpers.ring import SMALL

from diffrast import cli
from diffrast.fitting.geometry import Shape
from diffrast.io import save_mesh
from diffrast.photos import View, read_views
from diffrast.photos.masks import add_masks
from diffrast.reconstruct.options import Options
from diffrast.reconstruct.pipeline import reconstruct


@pytest.fixture(scope="module")
def true_shape() -> Shape:
    mesh = ring.torus()
    vertices = torch.tensor(mesh.vertices, dtype=torch.float32)
    return Shape(vertices, torch.tensor(mesh.faces, dtype=torch.int32), torch.full_like(vertices, 0.5))


@pytest.fixture(scope="module")
def finished(dataset, tmp_path_factory) -> tuple[Path, dict]:
    out = tmp_path_factory.mktemp("out") / "run"
    return out, reconstruct(dataset, out, replace(SMALL, steps=240, frames=6))


@pytest.fixture(scope="module")
def unlit_photos(tmp_path_factory) -> Path:
    """Unlit photographs of the torus from all around: the texture is what they show."""
    folder = tmp_path_factory.mktemp("photos")
    save_mesh(folder / "torus.glb", viewing.torus())
    args = (
        "make-dataset",
        folder / "torus.glb",
        "--out",
        folder / "set",
        "--views",
        9,
        "--size",
        96,
        "--unlit",
        "--quiet",
    )
    assert cli.main([str(a) for a in args]) == 0
    return folder


@pytest.fixture(scope="module")
def unlit_views(unlit_photos) -> list[View]:
    """The same, read."""
    views = read_views(unlit_photos / "set")
    add_masks(views)
    return views


@pytest.fixture(scope="module")
def all_options() -> Options:
    return replace(SMALL, steps=40, frames=0, texture=64, faces=800, pbr=True, exposure=True, refine_cameras=True)


@pytest.fixture(scope="module")
def finished_with_all(dataset, all_options, tmp_path_factory):
    out = tmp_path_factory.mktemp("all") / "run"
    return out, reconstruct(dataset, out, all_options)
