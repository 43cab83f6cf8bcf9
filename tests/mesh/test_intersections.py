"""Faces that cut each other are all found, faces that only touch are not; the solid that a mesh winds around."""

import numpy as np
import pytest
import trimesh
from scipy.optimize import linprog

from diffrast.mesh.intersections import self_intersections
from diffrast.mesh.solid import solid_surface, winding_numbers


def sphere(level: int = 3, radius: float = 1.0, at=(0.0, 0.0, 0.0)) -> trimesh.Trimesh:
    mesh = trimesh.creation.icosphere(subdivisions=level, radius=radius)
    mesh.apply_translation(at)
    return mesh


def torus(sections: int = 48) -> trimesh.Trimesh:
    return trimesh.creation.torus(1.0, 0.35, major_sections=sections, minor_sections=sections // 2)


def arrays(*meshes: trimesh.Trimesh) -> tuple[np.ndarray, np.ndarray]:
    mesh = trimesh.util.concatenate(list(meshes))
    return np.asarray(mesh.vertices), np.asarray(mesh.faces)


def meet(v: np.ndarray, one: np.ndarray, other: np.ndarray) -> bool:
    """By linear programming: is there a point of both triangles that is not a corner they share?"""
    equal = np.zeros((5, 6))
    equal[:3, :3], equal[:3, 3:], equal[3, :3], equal[4, 3:] = v[one].T, -v[other].T, 1, 1
    at_shared = np.zeros(6)
    at_shared[:3] = np.isin(one, other)
    found = linprog(at_shared, A_eq=equal, b_eq=[0, 0, 0, 1, 1], bounds=(0, 1))
    return found.status == 0 and (not at_shared.any() or found.fun < 1 - 1e-7)


def test_random_triangles_agree_with_linear_programming():
    rng = np.random.default_rng(0)
    v = rng.normal(size=(24, 3))
    f = np.array([rng.choice(24, 3, replace=False) for _ in range(30)])
    found = {(i, j) for i, j in self_intersections(v, f).tolist()}
    tested, shared = 0, 0
    for i in range(30):
        for j in range(i + 1, 30):
            common = len(set(f[i]) & set(f[j]))
            if common < 2:
                tested, shared = tested + 1, shared + (common == 1 and (i, j) in found)
                assert meet(v, f[i], f[j]) == ((i, j) in found), (i, j)
    assert tested > 300
    assert len(found) > 30
    assert shared > 3


@pytest.mark.parametrize("mesh", [sphere(), torus(), trimesh.creation.box().subdivide().subdivide()])
def test_sound_meshes_cut_nothing(mesh):
    v, f = arrays(mesh)
    assert self_intersections(v, f).shape == (0, 2)
    assert self_intersections(v.astype(np.float32) * 1e6, f).shape == (0, 2)


def test_two_spheres_cut_along_one_ring():
    v, f = arrays(sphere(at=(0.011, 0.023, 0.017)), sphere(at=(0.9, 0.2, 0.1)))
    pairs = self_intersections(v, f)
    half = len(f) // 2
    assert (pairs[:, 0] < half).all()
    assert (pairs[:, 1] >= half).all()
    # The ring: points as far from the one middle as from the other, within an edge's length.
    center = v[f[pairs]].mean(axis=2)
    between = np.array([0.889, 0.177, 0.083]) / np.linalg.norm([0.889, 0.177, 0.083])
    along = (center - (np.array([0.011, 0.023, 0.017]) + np.array([0.9, 0.2, 0.1])) / 2) @ between
    assert np.abs(along).max() < 0.25
    # It closes: each face on it meets at least two of the other sphere, or one twice.
    assert len(np.unique(pairs)) > 60


CASES = {
    "apart": ([[0, 0, 1], [1, 0, 1], [0, 1, 1]], 0),
    "a corner touches the face": ([[0.2, 0.2, 0], [1, 0, 1], [0, 1, 1]], 0),
    "through the face": ([[0.2, 0.2, -1], [0.3, 0.2, 1], [0.2, 0.3, 1]], 1),
    "an edge through an edge": ([[0.5, 0.0, -1], [0.5, 0.0, 1], [0.5, -1, 0]], 1),
    "in the plane, apart": ([[1, 1, 0], [2, 1, 0], [1, 2, 0]], 0),
    "in the plane, side by side": ([[0, 0, 0], [0, 1, 0], [-1, 0, 0]], 0),
    "in the plane, overlapping": ([[0.2, 0.2, 0], [2, 0.2, 0], [0.2, 2, 0]], 1),
    "the same again": ([[0, 0, 0], [1, 0, 0], [0, 1, 0]], 1),
    "no area": ([[0.2, 0.2, -1], [0.2, 0.2, 1], [0.2, 0.2, 3]], 0),
    "not finite": ([[0.2, 0.2, -1], [0.2, 0.2, np.nan], [1, 1, 3]], 0),
}


# Turned, rounding decides whether a corner touches or pierces.
@pytest.mark.parametrize(("name", "turn"), [(n, t) for n in CASES for t in (0.0, 0.7) if not (t and "touches" in n)])
def test_special_positions(name, turn):
    second, count = CASES[name]
    rotation = trimesh.transformations.rotation_matrix(turn, [1, 2, 3])[:3, :3]
    v = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], *second]) @ rotation.T
    assert len(self_intersections(v, np.array([[0, 1, 2], [3, 4, 5]]))) == count


def test_faces_folded_onto_their_neighbour_are_found():
    v = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0.3, 0.8, 0], [0, -1, 0]])
    assert len(self_intersections(v, np.array([[0, 1, 2], [1, 0, 3]]))) == 1  # over each other
    assert len(self_intersections(v, np.array([[0, 1, 2], [1, 0, 4]]))) == 0  # side by side
    assert len(self_intersections(v, np.empty((0, 3), dtype=np.int64))) == 0


def test_winding_numbers_count_layers():
    v, f = arrays(sphere(4, 1.0), sphere(4, 0.5, (0.2, 0, 0)))
    step, n = 0.11, 26
    origin = np.full(3, -1.37)
    at = origin + step * np.stack(np.meshgrid(*[np.arange(n)] * 3, indexing="ij"), axis=-1)
    one, other = 1 - np.linalg.norm(at, axis=-1), 0.5 - np.linalg.norm(at - [0.2, 0, 0], axis=-1)
    sure = (np.abs(one) > 0.01) & (np.abs(other) > 0.01)
    found = winding_numbers(v, f, origin, step, (n, n, n))
    assert np.array_equal(found[sure], ((one > 0).astype(int) + (other > 0))[sure])
    turned = winding_numbers(v, f[:, ::-1], origin, step, (n, n, n))
    assert np.array_equal(turned, -found)


def test_winding_numbers_of_lines_through_edges_and_corners():
    box = trimesh.creation.box().subdivide()
    found = winding_numbers(box.vertices, box.faces, np.full(3, -1.0), 0.25, (9, 9, 9))
    assert set(np.unique(found)) == {0, 1}
    assert found[3:6, 3:6, 3:6].all()
    assert not found[:2].any()
    assert not found[:, 7:].any()


def test_the_solid_of_spheres_that_cut_each_other():
    a, b = np.array([0.0, 0, 0]), np.array([1.2, 0.3, 0])
    v, f = arrays(sphere(4, 1.0, a), sphere(4, 0.8, b))
    p, g = solid_surface(v, f, 0.06)
    mesh = trimesh.Trimesh(p, g, process=False)
    assert mesh.is_watertight
    assert mesh.euler_number == 2
    assert len(self_intersections(p, g)) == 0
    outside = np.minimum(np.linalg.norm(p - a, axis=1) - 1, np.linalg.norm(p - b, axis=1) - 0.8)
    assert np.abs(outside).max() < 0.06
    assert np.abs(outside).mean() < 0.01
    with pytest.raises(ValueError, match=r"solid_surface\(\): the mesh has no inside"):
        solid_surface(v, f[:, ::-1], 0.06)
