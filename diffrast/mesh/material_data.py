"""A material as files hold it: the metallic-roughness fields of glTF 2.0 (specification, section 3.9), as plain data.

Loaders fill it, savers write it, and the differentiable materials of the scene layer are made from it. Images are
float32 `[H, W, C]`, row 0 at the bottom, as everywhere here.
"""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

ALPHA_MODES = ("OPAQUE", "MASK", "BLEND")


@dataclass
class MaterialData:
    """One material. Factors multiply their texture where there is one; None means that there is no texture.

    - `base_color_factor`: linear RGBA, four numbers.
    - `base_color_texture` `[H, W, 3]` or `[H, W, 4]`: linear colour (the file's sRGB is undone), then alpha.
    - `metallic_roughness_texture` `[H, W, 3]`: numbers as in the file, not colours: red is occlusion where
      `has_occlusion` (ORM packing; without it red means nothing), green roughness, blue metalness.
    - `normal_texture` `[H, W, 3]`: numbers as in the file, 0 to 1; the normal in tangent space is `2 * x - 1`, with x
      and y scaled by `normal_scale`; +y points towards larger v.
    - `emissive_texture` `[H, W, 3]`: linear.
    - `alpha_mode`: one of `ALPHA_MODES`; `alpha_cutoff` counts with MASK only.
    """

    name: str = ""
    base_color_factor: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)
    base_color_texture: Float[Tensor, "_ _ C"] | None = None
    metallic_factor: float = 1.0
    roughness_factor: float = 1.0
    metallic_roughness_texture: Float[Tensor, "_ _ 3"] | None = None
    has_occlusion: bool = False
    normal_texture: Float[Tensor, "_ _ 3"] | None = None
    normal_scale: float = 1.0
    emissive_factor: tuple[float, float, float] = (0.0, 0.0, 0.0)
    emissive_texture: Float[Tensor, "_ _ 3"] | None = None
    alpha_mode: str = "OPAQUE"
    alpha_cutoff: float = 0.5
    double_sided: bool = False

    def __post_init__(self) -> None:
        for name, length in (("base_color_factor", 4), ("emissive_factor", 3)):
            value = tuple(float(x) for x in getattr(self, name))
            if len(value) != length:
                raise ValueError(f"MaterialData(): {name} must have {length} numbers; got {len(value)}")
            setattr(self, name, value)
        if self.alpha_mode not in ALPHA_MODES:
            raise ValueError(
                f"MaterialData(): alpha_mode must be one of {', '.join(ALPHA_MODES)}; got {self.alpha_mode!r}"
            )
        for name in TEXTURES:
            picture = getattr(self, name)
            channels = (3, 4) if name == "base_color_texture" else (3,)
            if picture is not None and (picture.ndim != 3 or picture.shape[2] not in channels):
                raise ValueError(
                    f"MaterialData(): {name} must be [H, W, {' or '.join(map(str, channels))}]; "
                    f"got {list(picture.shape)}"
                )


# The fields that hold images, and whether the file's values are sRGB colours (converted) or numbers (kept).
TEXTURES = {
    "base_color_texture": True,
    "metallic_roughness_texture": False,
    "normal_texture": False,
    "emissive_texture": True,
}
