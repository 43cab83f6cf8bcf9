"""Deferred shading: materials, lights, shadows, surroundings."""

from .environment import EnvironmentLight, latlong_directions
from .light import AmbientLight, DirectionalLight, PointLight, SphericalHarmonicsLight, SpotLight
from .material import BlinnPhong, Lambert, Material, MetallicRoughness, SphericalHarmonicsColor, Unlit
from .passes import clip_matrices, draw, to_clip
from .renderer import Rendering, Scene, render
from .shadow import Shadow
from .tonemap import reinhard

__all__ = [
    "AmbientLight",
    "BlinnPhong",
    "DirectionalLight",
    "EnvironmentLight",
    "Lambert",
    "Material",
    "MetallicRoughness",
    "PointLight",
    "Rendering",
    "Scene",
    "Shadow",
    "SphericalHarmonicsColor",
    "SphericalHarmonicsLight",
    "SpotLight",
    "Unlit",
    "clip_matrices",
    "draw",
    "latlong_directions",
    "reinhard",
    "render",
    "to_clip",
]
