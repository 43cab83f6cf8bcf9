"""Triangle meshes: their data, topology, remeshing, unwrapping and primitives."""

from .batch import MeshBatch, batch
from .intersections import self_intersections
from .material_data import MaterialData
from .mesh import Mesh, face_normals, vertex_normals
from .primitives import cube, icosphere, plane, sphere, torus
from .remesh import remesh
from .topology import MeshReport
from .unwrap import unwrap

__all__ = [
    "MaterialData",
    "Mesh",
    "MeshBatch",
    "MeshReport",
    "batch",
    "cube",
    "face_normals",
    "icosphere",
    "plane",
    "remesh",
    "self_intersections",
    "sphere",
    "torus",
    "unwrap",
    "vertex_normals",
]
