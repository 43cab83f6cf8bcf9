"""Remeshing keeps the topology and the surface, and evens out the triangles."""

import numpy as np
import pytest
import trimesh

from diffrast.mesh.remesh import (
    collapse_short,
    cover,
    curvature_radii,
    edge_for_faces,
    flip_edges,
    isotropic,
    smooth,
    split_long,
)


def torus(sections: int = 48) -> trimesh.Trimesh:
    return trimesh.creation.torus(1.0, 0.35, major_sections=sections, minor_sections=sections // 2)


def distance_to_torus(v: np.ndarray) -> np.ndarray:
    return np.abs(np.hypot(np.hypot(v[:, 0], v[:, 1]) - 1.0, v[:, 2]) - 0.35)


def checked(v: np.ndarray, f: np.ndarray) -> trimesh.Trimesh:
    mesh = trimesh.Trimesh(v[:, :3], f, process=False)
    assert mesh.is_watertight
    assert mesh.is_winding_consistent
    assert mesh.euler_number == 0
    assert len(np.unique(f)) == len(v)
    return mesh


def lengths(mesh: trimesh.Trimesh) -> np.ndarray:
    return mesh.edges_unique_length


@pytest.mark.parametrize("faces", [1200, 6000])
def test_isotropic_remesh_of_a_torus(faces):
    start = torus()
    edge = edge_for_faces(start.vertices, start.faces, faces)
    v, f = isotropic(start.vertices, start.faces, edge, iterations=5)
    mesh = checked(v, f)
    assert abs(len(f) / faces - 1) < 0.2
    assert lengths(mesh).max() < 1.7 * edge
    assert lengths(mesh).min() > 0.4 * edge
    assert np.mean(np.isin(mesh.vertex_degree, (5, 6, 7))) > 0.94
    assert distance_to_torus(v).max() < 0.5 * edge**2 / 0.35 + 0.01  # sagitta of the chords, and some smoothing
    assert mesh.volume == pytest.approx(start.volume, rel=0.03)


def test_split_and_collapse_reach_their_limits():
    start = torus(24)
    v, f = split_long(start.vertices, start.faces.astype(np.int64), 0.1)
    assert lengths(checked(v, f)).max() <= 0.1
    assert distance_to_torus(v).max() <= distance_to_torus(start.triangles_center).max() + 0.02
    v, f = collapse_short(v, f, 0.08, 0.4)
    assert (lengths(checked(v, f)) < 0.08).mean() < 0.02


def test_flips_mend_valences():
    start = torus(24)
    valence = np.bincount(np.unique(np.sort(start.faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)), axis=0).ravel())
    v, f = split_long(start.vertices, start.faces.astype(np.int64), 0.1)
    before = np.abs(checked(v, f).vertex_degree - 6).sum()
    after = np.abs(checked(v, flip_edges(v, f)).vertex_degree - 6).sum()
    assert after < 0.8 * before
    assert valence.mean() == 6  # of any torus


def test_attributes_travel_along():
    start = torus()
    color = 0.5 + 0.3 * start.vertices
    v, _ = isotropic(np.hstack([start.vertices, color]), start.faces, 0.12)
    np.testing.assert_allclose(v[:, 3:], 0.5 + 0.3 * v[:, :3], atol=0.03)


def test_open_meshes_survive():
    grid = trimesh.creation.box().subdivide().subdivide()
    open_box = grid.submesh([np.flatnonzero(grid.face_normals[:, 2] < 0.5)], append=True)
    v, f = isotropic(open_box.vertices, open_box.faces, 0.2)
    mesh = trimesh.Trimesh(v, f, process=False)
    assert mesh.euler_number == open_box.euler_number
    np.testing.assert_allclose(mesh.bounds, open_box.bounds, atol=0.05)


def test_smoothing_removes_noise_and_keeps_the_volume():
    start = torus()
    noisy = start.vertices + 0.01 * np.random.default_rng(0).standard_normal(start.vertices.shape)
    v = smooth(noisy, start.faces, 10)
    assert distance_to_torus(v).mean() < 0.6 * distance_to_torus(noisy).mean()
    # The second weight is a little larger than the first, so that the lowest frequencies grow by a percent.
    assert trimesh.Trimesh(v, start.faces, process=False).volume == pytest.approx(start.volume, rel=0.02)


def test_the_radius_of_a_bend():
    ball = trimesh.creation.icosphere(subdivisions=4, radius=0.5)
    assert curvature_radii(ball.vertices, ball.faces) == pytest.approx(0.5, rel=0.1)
    ring = torus(96)
    assert np.quantile(curvature_radii(ring.vertices, ring.faces), (0.1, 0.9)) == pytest.approx(0.35, rel=0.15)


def test_thin_rings_keep_their_thickness_when_triangles_adapt():
    ring = trimesh.creation.torus(1.0, 0.06, major_sections=200, minor_sections=24)
    volume = {}
    for adapt in (False, True):
        v, f = isotropic(ring.vertices, ring.faces, 0.15, adapt=adapt)
        mesh = checked(v, f)
        volume[adapt] = mesh.volume / ring.volume
    assert volume[False] < 0.5
    assert 0.75 < volume[True] < 1.05
    edge = edge_for_faces(ring.vertices, ring.faces, 1500, adapt=True)
    assert abs(len(isotropic(ring.vertices, ring.faces, edge, adapt=True)[1]) / 1500 - 1) < 0.4


def test_points_cover_all_faces():
    box = trimesh.creation.box()
    points, face = cover(box.vertices, box.faces, 0.1)
    on = box.triangles[face]
    normal = np.cross(on[:, 1] - on[:, 0], on[:, 2] - on[:, 0])
    assert np.abs(((points - on[:, 0]) * normal).sum(axis=1)).max() < 1e-12
    assert np.abs(np.abs(points).max(axis=1) - 0.5).max() < 1e-12
    area = np.bincount(face) * 0.5 / (np.bincount(face)[0])
    assert area == pytest.approx(0.5)
    nearest = np.linalg.norm(points[:, None] - trimesh.sample.sample_surface(box, 300, seed=0)[0], axis=2)
    assert nearest.min(axis=0).max() < 0.1
