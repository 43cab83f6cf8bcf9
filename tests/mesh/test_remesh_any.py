"""Remeshing any closed surface: it stays closed, of the same topology, turned the same way, and of about its volume."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffrast.mesh import Mesh, icosphere, remesh, torus


def volume(mesh: Mesh) -> float:
    """Above zero where faces run counter-clockwise as seen from outside."""
    a, b, c = mesh.vertices.double()[mesh.faces.long()].unbind(1)
    return float((a * torch.linalg.cross(b, c)).sum() / 6)


@st.composite
def bodies(draw: st.DrawFn) -> Mesh:
    """A ball or a ring, stretched and bent smoothly."""
    mesh = icosphere(1.0, 3) if draw(st.booleans()) else torus(1.0, 0.4, 32, 16)
    stretch = torch.tensor([draw(st.floats(0.7, 1.4)) for _ in range(3)])
    bend = torch.tensor([draw(st.floats(-0.15, 0.15)) for _ in range(3)])
    x = mesh.vertices * stretch
    return Mesh(x + bend * (2 * x[:, [1, 2, 0]]).sin(), mesh.faces)


@settings(max_examples=8, deadline=None)
@given(bodies(), st.sampled_from([1500, 2500]))
def test_any_body(body: Mesh, faces: int) -> None:
    made = remesh(body, faces=faces)
    before, after = body.report(), made.report()
    assert before.closed and after.closed
    assert not (len(after.degenerate_faces) or len(after.non_manifold_vertices) or len(after.unused_vertices))
    assert (after.euler, after.components) == (before.euler, before.components)
    assert 0.8 * faces < after.faces < 1.25 * faces
    assert volume(made) == pytest.approx(volume(body), rel=0.05)


@settings(max_examples=3, deadline=None)
@given(bodies())
def test_remeshing_again_changes_little(body: Mesh) -> None:
    once = remesh(body, faces=1500)
    twice = remesh(once, faces=1500)
    assert twice.report().closed
    assert volume(twice) == pytest.approx(volume(once), rel=0.03)
    assert len(twice.faces) == pytest.approx(len(once.faces), rel=0.15)
