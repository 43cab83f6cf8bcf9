"""The scenes of the benchmark by name: small, each with one thing that is hard for a rasterizer's gradient."""

from collections.abc import Callable

from . import scenes_geometry as geometry
from . import scenes_shading as shading
from . import shapes
from .case import Case

# Name -> maker of the scene with a given number of samples.
SCENES: dict[str, Callable[[int], Case]] = {
    "cube 16": lambda n: geometry.pose("cube 16", 16, shapes.cube(), n, seed=1),
    "cube 64": lambda n: geometry.pose("cube 64", 64, shapes.cube(), n, seed=1),
    "cube 256": lambda n: geometry.pose("cube 256", 256, shapes.cube(), n, seed=1),
    "bumpy 20k 64": lambda n: geometry.pose("bumpy 20k 64", 64, shapes.bumpy(5), n, seed=2),
    "bumpy 20k 256": lambda n: geometry.pose("bumpy 20k 256", 256, shapes.bumpy(5), n, seed=2),
    "bumpy 82k 64": lambda n: geometry.pose("bumpy 82k 64", 64, shapes.bumpy(6), n, seed=2),
    "sheets strong": lambda n: geometry.sheets("sheets strong", 3.0, 2.0, n),
    "sheets weak": lambda n: geometry.sheets("sheets weak", 30.0, 20.0, n),
    "translation": geometry.translation,
    "rotation": geometry.turning,
    "scale": geometry.scale,
    "vertices": geometry.vertices,
    "sliver": geometry.sliver,
    "slivers": geometry.slivers,
    "occlusion": geometry.occlusion,
    "near plane": geometry.near_plane,
    "intrinsics": geometry.intrinsics,
    "texture": shading.texture,
    "material": shading.material,
    "light": shading.light,
    "shadow": shading.shadow,
    "hard shadow": shading.hard_shadow,
}
