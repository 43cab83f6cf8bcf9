"""Images and meshes into files and back: what a format can hold comes back, whatever it is."""

import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffrast.io import load_image, load_mesh, save_image, save_mesh
from diffrast.mesh import Mesh, plane, torus

CASES = settings(max_examples=20, deadline=None)
SIZES = st.integers(1, 12)


def random(seed: int, *shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


@CASES
@given(SIZES, SIZES, st.sampled_from([1, 3, 4]), st.booleans(), st.integers(0, 10**6))
def test_png(height: int, width: int, channels: int, linear: bool, seed: int) -> None:
    """Levels come back exactly once they are levels."""
    with tempfile.TemporaryDirectory() as folder:
        first, second = Path(folder, "a.png"), Path(folder, "b.png")
        image = random(seed, height, width, channels)
        save_image(first, image, linear=False)
        levels = load_image(first, linear=False)
        torch.testing.assert_close(levels, image, atol=0.5001 / 255, rtol=0)
        save_image(second, load_image(first, linear=linear), linear=linear)
        assert torch.equal(load_image(second, linear=False), levels)


@CASES
@given(SIZES, SIZES, st.floats(-20, 20), st.integers(0, 10**6))
def test_hdr(height: int, width: int, exponent: float, seed: int) -> None:
    image = random(seed, height, width, 3) * 2**exponent
    with tempfile.TemporaryDirectory() as folder:
        save_image(Path(folder, "a.hdr"), image)
        back = load_image(Path(folder, "a.hdr"))
    # A mantissa has 8 bits; the three channels share their exponent.
    assert ((back - image).abs() <= image.amax(-1, keepdim=True) / 127).all()


@CASES
@given(SIZES, SIZES, st.sampled_from([1, 3, 4]), st.floats(-20, 20), st.integers(0, 10**6))
def test_exr(height: int, width: int, channels: int, exponent: float, seed: int) -> None:
    pytest.importorskip("OpenEXR")
    image = random(seed, height, width, channels) * 2**exponent
    with tempfile.TemporaryDirectory() as folder:
        save_image(Path(folder, "a.exr"), image)
        assert torch.equal(load_image(Path(folder, "a.exr")), image)


@st.composite
def meshes(draw: st.DrawFn) -> Mesh:
    """A torus or a sheet, its vertices moved and scaled at random."""
    seed, scale = draw(st.integers(0, 10**6)), 10 ** draw(st.floats(-3, 3))
    mesh = torus(1.0, 0.3, 8, 6) if draw(st.booleans()) else plane(2.0, cells=3)
    mesh.vertices = scale * (mesh.vertices + 0.1 * random(seed, *mesh.vertices.shape))
    return mesh


def assert_same_shape(back: Mesh, mesh: Mesh) -> None:
    """The same triangles in the same order; positions to the digits that text has."""
    assert back.faces.shape == mesh.faces.shape
    size = float(mesh.vertices.abs().max())
    got, want = back.vertices[back.faces.long()], mesh.vertices[mesh.faces.long()]
    torch.testing.assert_close(got, want, atol=2e-6 * size, rtol=0)


@pytest.mark.parametrize("suffix", [".obj", ".ply", ".glb"])
@CASES
@given(meshes())
def test_shape(suffix: str, mesh: Mesh) -> None:
    with tempfile.TemporaryDirectory() as folder:
        save_mesh(Path(folder, f"m{suffix}"), mesh)
        assert_same_shape(load_mesh(Path(folder, f"m{suffix}")), mesh)


@pytest.mark.parametrize("suffix", [".obj", ".glb"])
@CASES
@given(meshes(), st.integers(1, 9), st.integers(1, 9), st.integers(0, 10**6))
def test_texture(suffix: str, mesh: Mesh, height: int, width: int, seed: int) -> None:
    mesh.texture = random(seed, height, width, 3)
    with tempfile.TemporaryDirectory() as folder:
        save_mesh(Path(folder, f"m{suffix}"), mesh)
        back = load_mesh(Path(folder, f"m{suffix}"))
    assert back.uv is not None and mesh.uv is not None and back.texture is not None
    torch.testing.assert_close(back.uv[back.uv_index.long()], mesh.uv[mesh.uv_index.long()], atol=2e-6, rtol=0)
    torch.testing.assert_close(back.texture, mesh.texture, atol=0.01, rtol=0)  # 8 bits of display values


@CASES
@given(meshes(), st.integers(0, 10**6))
def test_vertex_colors(mesh: Mesh, seed: int) -> None:
    mesh.colors = random(seed, len(mesh.vertices), 3)
    with tempfile.TemporaryDirectory() as folder:
        save_mesh(Path(folder, "m.ply"), mesh)
        back = load_mesh(Path(folder, "m.ply"), weld=False)
    assert back.colors is not None
    torch.testing.assert_close(back.colors, mesh.colors, atol=0.01, rtol=0)
