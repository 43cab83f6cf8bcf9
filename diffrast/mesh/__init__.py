"""Triangle meshes: their data, topology, remeshing, unwrapping and primitives."""

from .batch import MeshBatch, batch, concatenate
from .intersections import self_intersections
from .material_data import MaterialData
from .mesh import Mesh, face_normals, vertex_normals
from .primitives import cube, icosphere, plane, sphere, torus
from .remesh import remesh
from .rotation import quaternion_to_rotation
from .tets import marching_tets, tet_lattice
from .topology import MeshReport
from .unwrap import unwrap

__all__ = [
    "MaterialData",
    "Mesh",
    "MeshBatch",
    "MeshReport",
    "batch",
    "concatenate",
    "cube",
    "face_normals",
    "icosphere",
    "marching_tets",
    "plane",
    "quaternion_to_rotation",
    "remesh",
    "self_intersections",
    "sphere",
    "tet_lattice",
    "torus",
    "unwrap",
    "vertex_normals",
]
