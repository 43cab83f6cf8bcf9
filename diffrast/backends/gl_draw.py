"""What lives in one OpenGL context: programs, buffers and images; how a group of images is drawn and read.

moderngl does what it can; what it lacks (layered 32-bit float depth, depth range, integer clears) is called by name.
References: OpenGL 4.3 core, sections 10.5 (indirect draws), 9.8 (layered framebuffers), 13.6.1 (depth range).
"""

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .gl_context import egl
from .sources import source_folder

Integer, Unsigned, Float, Pointer = ctypes.c_int, ctypes.c_uint, ctypes.c_float, ctypes.c_void_p

FUNCTIONS = {
    "glBindBuffer": (Unsigned, Unsigned),
    "glBindFramebuffer": (Unsigned, Unsigned),
    "glBindTexture": (Unsigned, Unsigned),
    "glActiveTexture": (Unsigned,),
    "glClearBufferfv": (Unsigned, Integer, Pointer),
    "glClearBufferiv": (Unsigned, Integer, Pointer),
    "glClipControl": (Unsigned, Unsigned),
    "glCullFace": (Unsigned,),
    "glDeleteFramebuffers": (Integer, Pointer),
    "glDeleteTextures": (Integer, Pointer),
    "glDepthRangef": (Float, Float),
    "glDisable": (Unsigned,),
    "glEnable": (Unsigned,),
    "glFrontFace": (Unsigned,),
    "glFramebufferTexture": (Unsigned, Unsigned, Unsigned, Integer),
    "glGenFramebuffers": (Integer, Pointer),
    "glGenTextures": (Integer, Pointer),
    "glGetIntegerv": (Unsigned, Pointer),
    "glGetTexImage": (Unsigned, Integer, Unsigned, Unsigned, Pointer),
    "glTexParameteri": (Unsigned, Unsigned, Integer),
    "glTexStorage3D": (Unsigned, Integer, Unsigned, Integer, Integer, Integer),
    "glTexSubImage3D": (
        Unsigned,
        Integer,
        Integer,
        Integer,
        Integer,
        Integer,
        Integer,
        Integer,
        Unsigned,
        Unsigned,
        Pointer,
    ),
    "glViewport": (Integer, Integer, Integer, Integer),
}

OPTIONAL = {"glClipControl"}  # OpenGL 4.5, or GL_ARB_clip_control

ARRAY, FRAMEBUFFER, PACK_BUFFER, UNPACK_BUFFER = 0x8C1A, 0x8D40, 0x88EB, 0x88EC
CULL_FACE, DEPTH_TEST = 0x0B44, 0x0B71
UPPER_LEFT, NEGATIVE_ONE_TO_ONE, CLOCKWISE = 0x8CA2, 0x935E, 0x0900
CULLED = {1: 0x0405, 2: 0x0404}  # of `enum Cull` in cuda/common.h
COLOR_ATTACHMENT, DEPTH_ATTACHMENT = 0x8CE0, 0x8D00
COLOR, DEPTH = 0x1800, 0x1801


@dataclass(frozen=True)
class Format:
    """Of a texture: inside, and how its texels look in memory."""

    internal: int
    components: int
    type: int


IDS = Format(0x8235, 0x8D94, 0x1404)  # R32I, RED_INTEGER, INT
DEPTHS = Format(0x8CAC, 0x1902, 0x1406)  # DEPTH_COMPONENT32F, DEPTH_COMPONENT, FLOAT
BEFORE_DEPTHS = Format(0x822E, 0x1903, 0x1406)  # R32F, RED, FLOAT

# Depths are stored as (z/w + 1) / 4: multiplied by a power of two, so that nothing is rounded, and with room below 1,
# the value that an empty pixel has, for z/w = 1.
FARTHEST = 0.5

COMMAND = np.dtype(
    [("count", "u4"), ("instances", "u4"), ("first", "u4"), ("base_vertex", "i4"), ("base_instance", "u4")]
)


class Api:
    """OpenGL's functions by their names without `gl`; the context must be current."""

    def __init__(self) -> None:
        for name, arguments in FUNCTIONS.items():
            address = egl().GetProcAddress(name.encode())
            if not address and name not in OPTIONAL:
                raise RuntimeError(f"the OpenGL driver lacks {name}")
            function = ctypes.CFUNCTYPE(None, *arguments)(address) if address else None
            setattr(self, name.removeprefix("gl"), function)

    def __getattr__(self, name: str) -> Any:  # for type checkers: every name of the table is set above
        raise AttributeError(name)

    def new(self, generate: Callable[[int, Any], None]) -> int:
        name = Unsigned()
        generate(1, ctypes.byref(name))
        return name.value

    def delete(self, delete: Callable[[int, Any], None], name: int) -> None:
        delete(1, ctypes.byref(Unsigned(name)))


class Layers:
    """An array of images `[layers, height, width]` in a texture."""

    def __init__(self, api: Api, kind: Format, shape: tuple[int, int, int]) -> None:
        self.api, self.kind, self.shape = api, kind, shape
        self.name = api.new(api.GenTextures)
        layers, height, width = shape
        api.BindTexture(ARRAY, self.name)
        api.TexStorage3D(ARRAY, 1, kind.internal, width, height, layers)
        for filtering in (0x2801, 0x2800):  # an integer texture is incomplete unless both are NEAREST
            api.TexParameteri(ARRAY, filtering, 0x2600)

    def read(self, address: int, buffer: int = 0) -> None:
        """Into memory, or into a buffer at this offset; rows of 4-byte texels need no padding."""
        self.api.BindBuffer(PACK_BUFFER, buffer)
        self.api.BindTexture(ARRAY, self.name)
        self.api.GetTexImage(ARRAY, 0, self.kind.components, self.kind.type, address)
        self.api.BindBuffer(PACK_BUFFER, 0)

    def write(self, address: int, buffer: int = 0) -> None:
        """From memory, or from a buffer at this offset."""
        self.api.BindBuffer(UNPACK_BUFFER, buffer)
        layers, height, width = self.shape
        self.api.BindTexture(ARRAY, self.name)
        self.api.TexSubImage3D(ARRAY, 0, 0, 0, 0, width, height, layers, self.kind.components, self.kind.type, address)
        self.api.BindBuffer(UNPACK_BUFFER, 0)

    def release(self) -> None:
        self.api.delete(self.api.DeleteTextures, self.name)


class Target:
    """A framebuffer of as many layers as images: triangle ids and depths."""

    def __init__(self, api: Api, shape: tuple[int, int, int], error: Callable[[], str]) -> None:
        self.api = api
        error()
        self.ids, self.depths = Layers(api, IDS, shape), Layers(api, DEPTHS, shape)
        self.framebuffer = api.new(api.GenFramebuffers)
        api.BindFramebuffer(FRAMEBUFFER, self.framebuffer)
        api.FramebufferTexture(FRAMEBUFFER, COLOR_ATTACHMENT, self.ids.name, 0)
        api.FramebufferTexture(FRAMEBUFFER, DEPTH_ATTACHMENT, self.depths.name, 0)
        wrong = error()
        if wrong != "GL_NO_ERROR":
            self.release()
            layers, height, width = shape
            raise MemoryError(
                f"out of memory: {8 * layers * height * width} bytes for {layers} images of {height}x{width} in OpenGL "
                f"({wrong})"
            )

    def clear(self) -> None:
        _, height, width = self.ids.shape
        self.api.BindFramebuffer(FRAMEBUFFER, self.framebuffer)
        self.api.Viewport(0, 0, width, height)
        self.api.ClearBufferiv(COLOR, 0, (Integer * 4)())
        self.api.ClearBufferfv(DEPTH, 0, ctypes.byref(Float(1)))

    def release(self) -> None:
        self.ids.release()
        self.depths.release()
        self.api.delete(self.api.DeleteFramebuffers, self.framebuffer)


class Store:
    """A buffer that grows."""

    def __init__(self, gl: Any) -> None:
        self.gl = gl
        self.buffer: Any = None  # moderngl's

    def has(self, size: int) -> bool:
        return self.buffer is not None and self.buffer.size >= size

    def fit(self, size: int) -> bool:
        """Makes room for this many bytes; True where that took a new buffer."""
        if self.has(size):
            return False
        if self.buffer is not None:
            self.buffer.release()
            self.buffer = None
        self.buffer = self.gl.buffer(reserve=max(4096, size + size // 4), dynamic=True)
        wrong = self.gl.error
        if wrong != "GL_NO_ERROR":
            raise MemoryError(f"out of memory: {size} bytes for a buffer in OpenGL ({wrong})")
        return True

    def release(self) -> None:
        if self.buffer is not None:
            self.buffer.release()


class Programs:
    """The two programs: of the first layer, and of later ones."""

    def __init__(self, gl: Any, layer_by_vertex: bool) -> None:
        folder = source_folder("shaders")
        text = {file.name: file.read_text(encoding="utf-8") for file in sorted(folder.glob("visibility.*"))}
        text["peel.frag"] = (folder / "peel.frag").read_text(encoding="utf-8")
        geometry = None if layer_by_vertex else text["visibility.geom"]
        # Without the geometry shader the vertex shader speaks to the fragment shader directly.
        renamed = "#define of_triangle of_vertex\n" if layer_by_vertex else ""

        def program(fragment: str) -> Any:
            version, rest = text[fragment].split("\n", 1)
            return gl.program(
                vertex_shader=text["visibility.vert"],
                geometry_shader=geometry,
                fragment_shader=f"{version}\n{renamed}#line 2\n{rest}",
            )

        self.first, self.later = program("visibility.frag"), program("peel.frag")
        self.later["before_id"].value = 0
        self.later["before_depth"].value = 1
