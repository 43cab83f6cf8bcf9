"""The layout of IDR and NeuS, in which the DTU scans are passed around: `cameras.npz` beside `image` and `mask`."""

from __future__ import annotations

import zipfile
from functools import partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from ..camera.camera import Camera
from .photo import SUFFIXES
from .views import Entry, finite


def read_idr(path: Path) -> list[Entry]:
    """`world_mat_<i>` is the projection matrix `[4, 4]` (or `[3, 4]`) of the i-th image of `image`, by name; pixel
    (0, 0) is the centre of the first pixel (Yariv et al. 2020). `mask` has an image for each, in the same order,
    or none.

    The world is the scan's: `scale_mat_<i>`, which shrinks it to a unit sphere, is not used."""
    try:
        with np.load(path) as file:
            matrices = {name: file[name] for name in file.files if name.startswith("world_mat_") and "inv" not in name}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    there, beside = path.parent / "image", path.parent / "mask"
    images, masks = _images(there), _images(beside)
    if not images or len(matrices) < len(images):
        raise ValueError(f"{path} has {len(matrices)} world_mat_<i> but {there} has {len(images)} images")
    if masks and len(masks) != len(images):
        raise ValueError(f"{beside} has {len(masks)} images but {there} has {len(images)}")
    entries = []
    for i, image in enumerate(images):
        name = f"world_mat_{i}"
        if name not in matrices:
            raise ValueError(f"{path} has no {name}")
        K, R, t = decompose(finite(matrices[name].tolist(), (3, 4), name, path)[:3], name, path)
        entries.append(Entry(image, partial(Camera.from_opencv, K, R, t), mask=masks[i] if masks else None))
    return entries


def _images(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(p for p in folder.iterdir() if p.suffix in SUFFIXES)


def decompose(
    P: Float[torch.Tensor, "3 4"], name: str, path: Path
) -> tuple[Float[torch.Tensor, "3 3"], Float[torch.Tensor, "3 3"], Float[torch.Tensor, " 3"]]:
    """K (upper triangular, positive diagonal, K[2, 2] = 1), R and t of a projection matrix s K [R | t],
    any s != 0.

    Hartley and Zisserman 2004, section 6.2.4: an RQ decomposition, here from QR by turning the matrix upside down."""
    turn = torch.eye(3, dtype=torch.float64).flip(0)
    M = P[:, :3]
    if not abs(torch.linalg.det(M)) > 1e-12 * M.norm() ** 3:
        raise ValueError(f"{path}: {name} is not the projection of a camera (its left part is singular)")
    if torch.linalg.det(M) < 0:
        P = -P  # of either sign: a camera sees what lies ahead of it
        M = P[:, :3]
    q, r = torch.linalg.qr((turn @ M).T)
    K, R = turn @ r.T @ turn, turn @ q.T
    signs = torch.diag(torch.sign(torch.diagonal(K)))
    K, R = K @ signs, signs @ R
    t = torch.linalg.solve(K, P[:, 3])
    return K / K[2, 2], R, t
