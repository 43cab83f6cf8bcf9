"""UVs for a mesh without any: charts by xatlas within a time limit, else a plain atlas of single triangles."""

from __future__ import annotations

import io
import logging
import math
import subprocess
import sys
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float, Int

from .mesh import Mesh

# xatlas holds the interpreter until it is done, minutes on awkward meshes: it runs in a process of its own, which can
# be ended.
_WORKER = """
import io, sys
import numpy, xatlas
data = numpy.load(io.BytesIO(sys.stdin.buffer.read()))
atlas = xatlas.Atlas()
atlas.add_mesh(data["v"], data["f"])
pack = xatlas.PackOptions()
pack.resolution, pack.padding, pack.bilinear = int(data["size"]), int(data["padding"]), True
atlas.generate(xatlas.ChartOptions(), pack, False)
source, faces, uv = atlas[0]
out = io.BytesIO()
numpy.savez(out, source=source, faces=faces, uv=uv)
sys.stdout.buffer.write(out.getvalue())
"""


def unwrap(mesh: Mesh, *, size: int = 1024, padding: int = 2, time_limit: float = 60.0) -> Mesh:
    """The mesh with new UVs in [0, 1] that do not overlap; positions and their indices stay as they are.

    Args:
        size: texels along a side of the texture that will be used.
        padding: texels between charts.
        time_limit: seconds for xatlas. Past it, or where xatlas fails or is missing, every triangle becomes a chart of
            its own, which is said in the log: right, but wasteful and with a seam at every edge.
    """
    mesh.validate("unwrap()")
    try:
        vertices, faces = mesh.vertices.detach().cpu().numpy(), mesh.faces.cpu().numpy()
        _, uv_faces, uv = cut_charts(vertices, faces, size, padding, time_limit)
    except (subprocess.SubprocessError, OSError, ValueError) as error:
        late = isinstance(error, subprocess.TimeoutExpired)
        reason = f"xatlas took longer than {time_limit:g} s" if late else error
        logging.getLogger("diffrast").warning("unwrap(): %s; every triangle is its own chart", reason)
        uv, uv_faces = triangle_atlas(len(mesh.faces), size, padding)
    to = mesh.vertices
    return replace(
        mesh,
        uv=torch.from_numpy(uv.astype(np.float32)).to(to.device),
        uv_faces=torch.from_numpy(uv_faces.astype(np.int32)).to(to.device),
    )


def cut_charts(
    vertices: Float[np.ndarray, "V 3"],
    faces: Int[np.ndarray, "F 3"],
    size: int,
    padding: int,
    time_limit: float | None = None,
) -> tuple[Int[np.ndarray, " T"], Int[np.ndarray, "F 3"], Float[np.ndarray, "T 2"]]:
    """Cut a surface into charts and pack them, by xatlas: the vertex behind each UV, UV indices, and UVs in [0, 1].

    Args:
        size: texels along a side of the texture that will be used.
        padding: texels between charts.
        time_limit: seconds; None: as long as it takes.

    Raises:
        subprocess.TimeoutExpired: it took longer.
        ValueError: xatlas failed or is missing, or returned something else than UVs for these faces.
    """
    sent = io.BytesIO()
    np.savez(sent, v=vertices.astype(np.float32), f=faces.astype(np.uint32), size=size, padding=padding)
    done = subprocess.run(
        [sys.executable, "-c", _WORKER], input=sent.getvalue(), capture_output=True, timeout=time_limit, check=False
    )
    if done.returncode:
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise ValueError(f"xatlas failed ({' '.join(last) or done.returncode})")
    got = np.load(io.BytesIO(done.stdout))
    if got["faces"].shape != faces.shape or not np.isfinite(got["uv"]).all():
        raise ValueError("xatlas returned another number of faces")
    return got["source"].astype(np.int64), got["faces"].astype(np.int64), got["uv"]


def triangle_atlas(count: int, size: int, padding: int) -> tuple[Float[np.ndarray, "T 2"], Int[np.ndarray, "F 3"]]:
    """An atlas of `count` triangles, two in each cell of a square grid: UVs `[3 * count, 2]` and indices `[count, 3]`.

    Raises:
        ValueError: a texture of this size leaves no texel for a triangle.
    """
    cells = max(1, math.ceil(math.sqrt(math.ceil(count / 2))))
    side, gap = 1 / cells, padding / size
    leg = side - 2.5 * gap  # half a gap at each border, and room between the two long sides
    if leg * size < 1:
        raise ValueError(
            f"unwrap(): {count} triangles do not fit into {size}x{size} texels with {padding} between them; "
            f"size must be at least {math.ceil(cells * (1 + 2.5 * padding))}"
        )
    i = np.arange(count)
    cell = np.stack([(i // 2) % cells, (i // 2) // cells], axis=1) * side
    lower = np.array([[0.0, 0], [leg, 0], [0, leg]]) + 0.5 * gap
    upper = side - lower
    corners = cell[:, None] + np.where((i % 2 == 0)[:, None, None], lower, upper)
    return corners.reshape(-1, 2), np.arange(3 * count).reshape(-1, 3)
