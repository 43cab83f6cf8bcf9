"""Stand-ins for the ways of tensors into OpenGL and back within a GPU."""

import ctypes
import types

from diffrast.backends import gl_context

COPY_READ_BUFFER, READ_WRITE = 0x8F36, 0x88BA


STREAM = 0  # of CPU tensors


class SharedByHost:
    """The interface by OpenGL's own mapping of buffers; keeps a record and refuses what CUDA would refuse."""

    def __init__(self):
        self.registered, self.mapped, self.calls = set(), set(), []

        def function(name, *signature):
            return ctypes.CFUNCTYPE(*signature)(gl_context.egl().GetProcAddress(name.encode()))

        self.bind = function("glBindBuffer", None, ctypes.c_uint, ctypes.c_uint)
        self.map_buffer = function("glMapBuffer", ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint)
        self.unmap_buffer = function("glUnmapBuffer", ctypes.c_ubyte, ctypes.c_uint)

    def register(self, buffer):
        assert buffer not in self.registered
        self.registered.add(buffer)
        self.calls.append("register")
        return buffer

    def unregister(self, resource):
        assert resource in self.registered and resource not in self.mapped
        self.registered.remove(resource)
        self.calls.append("unregister")

    def map(self, resource, stream):
        assert resource in self.registered and resource not in self.mapped and stream == STREAM
        self.mapped.add(resource)
        self.bind(COPY_READ_BUFFER, resource)
        return self.map_buffer(COPY_READ_BUFFER, READ_WRITE)

    def unmap(self, resource, stream):
        self.mapped.remove(resource)
        self.bind(COPY_READ_BUFFER, resource)
        assert self.unmap_buffer(COPY_READ_BUFFER)

    def copy(self, to, source, size, stream):
        assert len(self.mapped) == 1
        ctypes.memmove(to, source, size)


class Runtime(types.ModuleType):
    """The functions of cuda.bindings.runtime that are used: each returns an error and its results."""

    def __init__(self):
        super().__init__("cuda.bindings.runtime")
        self.calls, self.error = [], 0

    cudaMemcpyKind = int

    def __getattr__(self, name):
        results = {"cudaGraphicsGLRegisterBuffer": (77,), "cudaGraphicsResourceGetMappedPointer": (4096, 512)}

        def call(*args):
            self.calls.append((name, *args))
            return (self.error, *results.get(name, ()))

        if not name.startswith("cuda"):
            raise AttributeError(name)
        return call
