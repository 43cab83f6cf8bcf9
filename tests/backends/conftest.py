"""Stand-ins for what only a GPU has, compilers, and OpenGL contexts."""

import contextlib
import ctypes
import gc
import os
import sys
import types
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from helpers import emulated_library, nvrtc
from helpers.fixed_point import HEADROOM, PLACES
from helpers.gl_sharing import Runtime, SharedByHost
from helpers.nvrtc import Compiled, compile_cuda
from helpers.stand_in_device import Device
from helpers.textured_ball import Problem

import diffrast.torch as dr
from diffrast import backends
from diffrast.backends import cuda, gl, gl_context, gl_interop, memory
from diffrast.backends.sources import flatten


@pytest.fixture
def device(monkeypatch, tmp_path):
    nvrtc.require()
    stand_in = Device()
    monkeypatch.setenv("DIFFRAST_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(cuda, "load_cupy", lambda: stand_in)
    monkeypatch.setattr(cuda, "architecture", lambda device: "sm_90")
    monkeypatch.setattr(torch.cuda, "device", lambda device: contextlib.nullcontext())
    stream = types.SimpleNamespace(cuda_stream=stand_in.stream)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: stream)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: stand_in.capturing)
    properties = types.SimpleNamespace(multi_processor_count=2, max_threads_per_multi_processor=2048)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    backend = cuda.create()
    backend.name, backend.device_type = "stand-in", "cpu"
    monkeypatch.setitem(backends.LOADERS, "stand-in", lambda: backend)
    monkeypatch.setitem(backends.KERNELS_FOR_DEVICE, "cpu", "stand-in")
    yield stand_in
    backends.get.cache_clear()


@pytest.fixture
def shared():
    """(context whose painter shares memory, the stand-in)."""
    made = []

    def transfer(context):
        made.append(SharedByHost())
        return gl_interop.SharedTransfer(context, made[0])

    owned = gl_context.OwnedContext(None, lambda context, cuda: gl.Painter(context, transfer))
    yield owned, made[0]
    owned.release()


@pytest.fixture
def runtime(monkeypatch):
    module = Runtime()
    for name in ("cuda", "cuda.bindings"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", module)
    monkeypatch.setattr(torch.cuda, "device", lambda device: contextlib.nullcontext())
    return module


@pytest.fixture
def expected():
    return [g.clone() for g in Problem("cpu").gradients()]


@pytest.fixture(scope="module")
def fixed_sum(tmp_path_factory):
    library = emulated_library.build("fixed_emulation", tmp_path_factory.mktemp("fixed"))

    def total(place, value):
        place, value = np.ascontiguousarray(place, np.int64), np.ascontiguousarray(value, np.float32)
        sums, largest = torch.zeros(PLACES, dtype=torch.int64), torch.zeros(1, dtype=torch.int64)
        pointers = [ctypes.c_void_p(array.ctypes.data) for array in (place, value)]
        pointers += [ctypes.c_void_p(tensor.data_ptr()) for tensor in (sums, largest)]
        library.add(ctypes.c_longlong(len(value)), *pointers, ctypes.c_double(HEADROOM))
        out = torch.empty(PLACES)
        given = {"sums": sums, "largest": largest, "values": out, "headroom": HEADROOM}
        backends.get("cpu").launch("fixed_finish", torch.float32, PLACES, **given)
        return out.numpy()

    return total


@pytest.fixture(scope="module")
def reduce(tmp_path_factory):
    return emulated_library.build("warp_emulation", tmp_path_factory.mktemp("warp")).reduce


@pytest.fixture(scope="module")
def compiled() -> dict[tuple[str, str], Compiled]:
    """(file name, architecture) -> result."""
    nvrtc.require()
    jobs = [(path, arch) for path in nvrtc.SOURCES for arch in nvrtc.ARCHITECTURES]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        results = pool.map(lambda job: compile_cuda(flatten(job[0]), job[0].name, job[1]), jobs)
        return {(path.name, arch): result for (path, arch), result in zip(jobs, results, strict=True)}


@pytest.fixture
def compiler(tmp_path, monkeypatch):
    nvrtc.require()
    monkeypatch.setenv("DIFFRAST_CACHE_DIR", str(tmp_path / "cache"))


@pytest.fixture
def pool(monkeypatch):
    """A pool of this test's own."""
    pool = memory.Pool()
    monkeypatch.setattr(memory, "_pool", pool)
    return pool


@pytest.fixture
def without_cache(monkeypatch):
    gl_context.egl.cache_clear()
    yield
    gl_context.egl.cache_clear()


@pytest.fixture
def ctx():
    return dr.RasterizeContext(backend="gl")


@pytest.fixture
def painter(ctx):
    """What draws for CPU tensors in this thread, with its context current."""
    with backends.get("gl").contexts.get(None).current() as current:
        yield current


@pytest.fixture
def alone():
    """The number of open contexts, from none on."""
    gc.collect()
    backends.release(everywhere=True)
    contexts = backends.get("gl").contexts
    assert len(contexts) == 0
    return contexts
