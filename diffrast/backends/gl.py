"""The OpenGL backend: the graphics pipeline as a rasterizer, for CPU tensors and CUDA tensors.

Only the search for visible triangles happens here (shaders/); the kernels of the tensors' device make everything else
of it. The pipeline snaps vertices to 1/256 pixel or so and computes depths in float32: see docs/MATH.md, section 1.
"""

import logging
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import torch

from . import registry
from .gl_context import Contexts, Unavailable
from .gl_draw import (
    BEFORE_DEPTHS,
    CLOCKWISE,
    COMMAND,
    CULL_FACE,
    CULLED,
    DEPTH_TEST,
    FARTHEST,
    IDS,
    NEGATIVE_ONE_TO_ONE,
    UPPER_LEFT,
    Api,
    Layers,
    Programs,
    Store,
    Target,
)
from .gl_interop import CudaInterop, HostTransfer, SharedTransfer, Transfer
from .visibility import Visibility

MOST_PIXELS = 1 << 25  # of the images that are drawn at once: 256 MiB of ids and depths
MOST_VERTEX_BYTES = 1 << 28
SOFTWARE = ("llvmpipe", "softpipe", "SwiftShader")
MOST_TARGETS = 4  # kept for their next use


@cache
def say(message: str) -> None:
    """Logs a warning once."""
    logging.getLogger("diffrast").warning(message)


@dataclass(frozen=True)
class Mesh:
    """What is drawn: finite positions, triangles, and where each image's triangles begin and how many they are."""

    pos: torch.Tensor  # float32 [B, V, 4], or [V, 4] shared by all images
    tri: torch.Tensor  # int32 [F, 3], or [B * F, 3] where images have triangles of their own
    first: np.ndarray  # [B] in tri
    count: np.ndarray  # [B]
    base: np.ndarray  # [B] of `first`, as triangles of the mesh are counted

    @staticmethod
    def of(search: Visibility) -> "Mesh":
        pos, tri, ranges, batch = search.pos, search.tri, search.ranges, search.batch
        if ranges is None:
            first, count = np.zeros(batch, np.int64), np.full(batch, tri.shape[0])
        else:
            first, count = (ranges[:, k].numpy().astype(np.int64) for k in (0, 1))
        finite = torch.isfinite(pos).all(-1)
        if bool(finite.all()):
            return Mesh(pos, tri, first, count, first)
        # Triangles with a vertex that is not finite become points, which cover nothing.
        nowhere = torch.tensor([0.0, 0, 0, 1], device=pos.device)
        pos = torch.where(finite[..., None], pos, nowhere)
        whole = finite[..., tri.long()].all(-1)
        tri = torch.where(whole[..., None], tri, 0).reshape(-1, 3)
        own = first + np.arange(batch) * (tri.shape[0] // batch) if ranges is None else first
        return Mesh(pos, tri, own, count, first)


class Painter:
    """Draws in one context."""

    def __init__(self, gl: Any, transfer: Callable[[Any], Transfer]) -> None:
        self.gl, self.api = gl, Api()
        self.transfer = transfer(gl)
        self.programs = Programs(gl, "GL_ARB_shader_viewport_layer_array" in gl.extensions)
        self.positions, self.indices, self.images, self.commands = (Store(gl) for _ in range(4))
        self._arrays: dict[Any, Any] = {}
        self._targets: OrderedDict[tuple[int, int, int], Target] = OrderedDict()
        self.largest = min(
            gl.info["GL_MAX_TEXTURE_SIZE"], gl.info["GL_MAX_RENDERBUFFER_SIZE"], *gl.info["GL_MAX_VIEWPORT_DIMS"]
        )
        self.most_layers = gl.info["GL_MAX_ARRAY_TEXTURE_LAYERS"]
        self.description = f"{gl.info['GL_RENDERER']}, OpenGL {gl.info['GL_VERSION']}"
        self.software = any(name in self.description for name in SOFTWARE)
        self.api.Enable(DEPTH_TEST)
        self.api.DepthRangef(0, FARTHEST)
        self.upside_down = False
        if "GL_ARB_clip_control" in gl.extensions and not self._top_edges_count():
            self._turn_over()

    def _top_edges_count(self) -> bool:
        """Whether a pixel centre on a triangle's upper edge is inside, as the top-left rule has it."""
        transfer, self.transfer = self.transfer, HostTransfer()
        ids = self._trial(torch.device("cpu"))
        self.transfer = transfer
        return bool((ids[0, 1] == 1).all())

    def prove(self, device: torch.device) -> None:
        """Raises RuntimeError unless the trial picture is right on its way from this device and back."""
        ids = self._trial(device).cpu()
        if not (bool((ids[0, 0] == 1).all()) and bool((ids[0, 2] == 0).all())):
            raise RuntimeError(f"a triangle drawn with {self.description} is not where it should be: {ids}")

    def _trial(self, device: torch.device) -> torch.Tensor:
        """Triangle + 1, `[1, 3, 3]`, of a triangle over the lower half of the picture, up to the middle of its middle
        row."""
        pos = torch.tensor([[[-9.0, 0, 0, 1], [0, -9, 0, 1], [9, 0, 0, 1]]], device=device)
        tri = torch.tensor([[0, 1, 2]], dtype=torch.int32, device=device)
        ids = torch.empty(1, 3, 3, dtype=torch.int32, device=device)
        self.visibility(Visibility(pos, tri, ids))
        return ids

    def _turn_over(self) -> None:
        """Draws upside down into images that are upside down: the same pictures, but the other edges count as upper
        ones."""
        self.upside_down = True
        self.api.ClipControl(UPPER_LEFT, NEGATIVE_ONE_TO_ONE)
        self.api.FrontFace(CLOCKWISE)

    def visibility(self, search: Visibility) -> None:
        """Draws, and reads back what was seen."""
        vertices, height, width, depth = search.vertices, search.height, search.width, search.depth
        if search.triangles == 0 or vertices == 0:
            search.id.zero_()
            if depth is not None:
                depth.fill_(1)
            return
        if 3 * search.triangles >= 1 << 32:
            raise ValueError(f"rasterize(): OpenGL draws fewer than 2^32 / 3 triangles; got {search.triangles}")
        mesh = Mesh.of(search)
        (self.api.Enable if search.cull else self.api.Disable)(CULL_FACE)
        if search.cull:
            self.api.CullFace(CULLED[search.cull])
        self._upload(mesh.tri, self.indices)
        tile = self._tile(height, width)
        at_once = max(1, min(self.most_layers, MOST_PIXELS // (tile[0] * tile[1])))
        if search.ranges is None:
            at_once = max(1, min(at_once, MOST_VERTEX_BYTES // (16 * vertices)))
        else:
            self._upload(mesh.pos, self.positions)
        for begin in range(0, search.batch, at_once):
            group = slice(begin, min(search.batch, begin + at_once))
            if search.ranges is None:
                self._upload(mesh.pos[group], self.positions)
            self._command(mesh, group, vertices if search.ranges is None else 0)

            def draw(group: slice = group) -> None:
                for rows, columns in _tiles(height, width, *tile):
                    part = (group, rows, columns)
                    target = self._draw(search, part)
                    self._fetch(target.ids, search.id, part)
                    if depth is not None:
                        self._fetch(target.depths, depth, part)

            if self.software:  # on the cores, for which OpenMP's idle threads would compete
                registry.get("cpu").while_asleep(draw)
            else:
                draw()
        if self.gl.error != "GL_NO_ERROR":
            raise RuntimeError(f"rasterize(): OpenGL failed on {self.description}")

    def _upload(self, tensor: torch.Tensor, store: Store) -> None:
        if self.transfer.upload(tensor, store):
            self._forget_arrays()

    def _forget_arrays(self) -> None:
        """They name buffers that are no more."""
        while self._arrays:
            self._arrays.popitem()[1].release()

    def _tile(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of what is drawn at once: all of the image, unless it is too large."""
        columns = min(width, self.largest)
        return min(height, self.largest, max(1, MOST_PIXELS // columns)), columns

    def _command(self, mesh: Mesh, group: slice, vertices: int) -> None:
        count = group.stop - group.start
        commands = np.zeros(count, COMMAND)
        commands["count"] = 3 * mesh.count[group]
        commands["instances"] = 1
        commands["first"] = 3 * mesh.first[group]
        commands["base_vertex"] = vertices * np.arange(count)
        commands["base_instance"] = np.arange(count)
        rows: list[Any] = [np.arange(count), mesh.base[group]]
        images = np.stack(rows, 1).astype(np.int32)
        for store, data in ((self.images, images), (self.commands, commands)):
            if store.fit(data.nbytes):
                self._forget_arrays()
            store.buffer.write(data.tobytes())
        self._count = count

    def _array(self, program: Any) -> Any:
        if program not in self._arrays:
            content = [(self.positions.buffer, "4f", "position"), (self.images.buffer, "2i /i", "image")]
            self._arrays[program] = self.gl.vertex_array(program, content, index_buffer=self.indices.buffer)
        return self._arrays[program]

    def _draw(self, search: Visibility, part: tuple[slice, slice, slice]) -> Target:
        group, rows, columns = part
        height, width, before_id, before_depth = search.height, search.width, search.before_id, search.before_depth
        shape = (group.stop - group.start, rows.stop - rows.start, columns.stop - columns.start)
        target = self._target(shape)
        target.clear()
        program = self.programs.first if before_id is None else self.programs.later
        scale_x, scale_y = width / shape[2], height / shape[1]
        offset_x = (width - 2 * columns.start) / shape[2] - 1
        offset_y = (height - 2 * rows.start) / shape[1] - 1
        up = -1 if self.upside_down else 1
        program["tile"].value = (scale_x, up * scale_y, offset_x, up * offset_y)
        before: list[Layers] = []
        if before_id is not None and before_depth is not None:
            for unit, (tensor, kind) in enumerate(((before_id, IDS), (before_depth, BEFORE_DEPTHS))):
                self.api.ActiveTexture(0x84C0 + unit)
                before.append(Layers(self.api, kind, shape))
                self.transfer.send(tensor[part].contiguous(), before[-1])
        self._array(program).render_indirect(self.commands.buffer, mode=self.gl.TRIANGLES, count=self._count)
        self.api.ActiveTexture(0x84C0)
        for layers in before:
            layers.release()
        return target

    def _target(self, shape: tuple[int, int, int]) -> Target:
        if shape in self._targets:
            self._targets.move_to_end(shape)
            return self._targets[shape]
        pixels = int(np.prod(shape))
        while self._targets and (
            len(self._targets) >= MOST_TARGETS or pixels + sum(map(int, map(np.prod, self._targets))) > MOST_PIXELS
        ):
            self._targets.popitem(last=False)[1].release()
        target = Target(self.api, shape, lambda: self.gl.error)
        self._targets[shape] = target
        return target

    def _fetch(self, layers: Layers, out: torch.Tensor, part: tuple[slice, slice, slice]) -> None:
        target = out[part]
        if target.is_contiguous():
            self.transfer.download(layers, target)
        else:
            tile = torch.empty_like(target, memory_format=torch.contiguous_format)
            self.transfer.download(layers, tile)
            target.copy_(tile)

    def close(self) -> None:
        """What must be taken back while the context still lives."""
        self.transfer.close()


def _tiles(height: int, width: int, rows: int, columns: int) -> Iterator[tuple[slice, slice]]:
    for y in range(0, height, rows):
        for x in range(0, width, columns):
            yield slice(y, min(height, y + rows)), slice(x, min(width, x + columns))


def _transfer(cuda: int | None) -> Callable[[Any], Transfer]:
    """How the tensors of a CUDA device, or of the CPU, get into OpenGL and out again."""

    def make(gl: Any) -> Transfer:
        if cuda is None:
            return HostTransfer()
        try:
            return SharedTransfer(gl, CudaInterop(torch.device("cuda", cuda)))
        except RuntimeError as error:
            say(f"OpenGL and CUDA share no memory here ({error}): images go through the host")
            return HostTransfer()

    return make


class GlBackend:
    """Draws with this thread's context for the tensors' device, which is opened when it is first needed."""

    name = "gl"

    def __init__(self) -> None:
        self.contexts = Contexts(lambda gl, cuda: Painter(gl, _transfer(cuda)))
        with self.contexts.get(None).current() as painter:
            self.description = painter.description
        self._without: dict[int, str] = {}  # CUDA devices that have no OpenGL of their own, and why

    def visibility(self, search: Visibility) -> None:
        """Finds the visible triangles.

        What the pipeline saw is looked at again beside edges (cuda/repair.cu). The depth of a layer is stored as OpenGL
        has it, (z/w + 1) / 4, and is good for finding the next layer only. float64 is beyond OpenGL: the exact search
        of the tensors' device takes its place.
        """
        kernels, ids = registry.kernels_for(search.pos), search.id
        if search.dtype != torch.float32:
            say(f"OpenGL computes in float32: float64 positions are rasterized by {kernels.name!r}")
            kernels.visibility(search)
            return
        seen = self.empty(ids.shape, ids.dtype, ids.device)
        with self._context(search.pos.device).current() as painter:
            painter.visibility(replace(search, id=seen))
        kernels.launch("visibility_repair", search.dtype, ids.numel(), **search.fields(), seen=seen)

    def _context(self, device: torch.device) -> Any:
        cuda = device.index if device.type == "cuda" else None
        if cuda is None or cuda in self._without:
            return self.contexts.get(None)
        try:
            return self.contexts.get(cuda)
        except Unavailable as error:
            self._without[cuda] = str(error)
            say(f"{error}; its images go through the host")
            return self.contexts.get(None)

    def empty(self, shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
        return registry.get(registry.KERNELS_FOR_DEVICE[device.type]).empty(shape, dtype, device)

    def prove(self, device: torch.device) -> None:
        """Raises RuntimeError unless OpenGL and CUDA share the memory of this device, and a trial picture is right."""
        with self.contexts.get(device.index).current() as painter:
            if isinstance(painter.transfer, HostTransfer):
                raise RuntimeError("OpenGL and CUDA share no memory here; `pip install cuda-bindings`")
            painter.prove(device)

    def release(self, everywhere: bool) -> None:
        """Destroys the contexts of this thread, or of all threads; those in use, after their use."""
        if everywhere:
            self.contexts.release_all()
        else:
            self.contexts.release()


def create() -> GlBackend:
    backend = GlBackend()
    registry.HOLDERS.add(backend)
    return backend
