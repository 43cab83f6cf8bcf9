"""The way of tensors into OpenGL and back within a GPU, driven through stand-ins: no GPU takes part.

`SharedByHost` is CUDA's part of it for CPU tensors, so what is drawn really goes through the buffers that OpenGL and
"CUDA" share.
"""

import ctypes
import types

import pytest
import torch
from helpers import scenes
from helpers.backends_here import needs_gl

from diffrast import backends
from diffrast.backends import gl, gl_context, gl_interop

pytestmark = needs_gl


def layers(owned, pos, tri, size, count=2, ranges=None):
    batch = pos.shape[0] if ranges is None else ranges.shape[0]
    before, drawn = {}, []
    for _ in range(count):
        ids, depth = (torch.empty(batch, *size, dtype=t) for t in (torch.int32, torch.float32))
        with owned.current() as painter:
            painter.visibility(backends.Visibility(pos, tri, ids, depth, ranges, **before))
        before, drawn = {"before_depth": depth, "before_id": ids}, [*drawn, ids, depth]
    return drawn


def test_pictures_are_those_that_go_through_the_host(shared):
    owned, interop = shared
    pos, tri = scenes.soup(3, 14)
    pos, host = pos.float(), backends.get("gl").contexts.get(None)
    ranges = torch.tensor([[0, 14], [5, 6]], dtype=torch.int32)
    cases = [(pos, None, (20, 30)), (pos[0], ranges, (33, 17)), (pos[:1], None, (3, 20000))]
    for positions, given, size in cases:
        got, want = (layers(c, positions, tri, size, ranges=given) for c in (owned, host))
        assert (want[0] > 0).any() and (want[2] > 0).any()
        assert all(map(torch.equal, got, want))
    assert not interop.mapped


def test_buffers_are_registered_once_and_anew_when_they_grow(shared):
    owned, interop = shared
    pos, tri = scenes.soup(2, 14)
    layers(owned, pos.float(), tri, (40, 40))
    first = list(interop.calls)
    assert first.count("register") <= 4  # positions, indices, pixels; the last may have grown
    for size in ((40, 40), (20, 30), (1, 1)):
        layers(owned, pos.float(), tri, size)
    assert interop.calls == first
    layers(owned, pos.float(), tri, (200, 200))
    assert interop.calls == [*first, "unregister", "register"]
    assert len(interop.registered) == 3
    for _ in range(20):
        for size in ((10, 300), (256, 256), (64, 64)):
            layers(owned, pos.float(), tri, size, 1)
    assert len(interop.registered) == 3


def test_a_released_context_takes_its_registrations_back(shared):
    owned, interop = shared
    pos, tri = scenes.soup(1, 14)
    layers(owned, pos.float(), tri, (8, 8))
    assert interop.registered
    owned.release()
    assert not interop.registered


def test_a_failing_copy_still_unmaps(shared, monkeypatch):
    owned, interop = shared
    pos, tri = scenes.soup(1, 14)

    def fail(*args):
        raise RuntimeError("cudaMemcpyAsync failed: cudaErrorIllegalAddress")

    with monkeypatch.context() as patch:
        patch.setattr(interop, "copy", fail)
        with pytest.raises(RuntimeError, match="cudaErrorIllegalAddress"):
            layers(owned, pos.float(), tri, (8, 8))
    assert not interop.mapped
    assert (layers(owned, pos.float(), tri, (8, 8))[0] > 0).any()


# --- cuda-bindings, as a stand-in -------------------------------------------------------------------------------------


def test_the_calls_of_cuda_bindings(runtime):
    interop = gl_interop.CudaInterop(torch.device("cuda", 0))
    resource = interop.register(5)
    address = interop.map(resource, 9)
    interop.copy(address, 8192, 256, 9)
    interop.unmap(resource, 9)
    interop.unregister(resource)
    assert runtime.calls == [
        ("cudaGraphicsGLRegisterBuffer", 5, 0),
        ("cudaGraphicsMapResources", 1, 77, 9),
        ("cudaGraphicsResourceGetMappedPointer", 77),
        ("cudaMemcpyAsync", 4096, 8192, 256, 3, 9),
        ("cudaGraphicsUnmapResources", 1, 77, 9),
        ("cudaGraphicsUnregisterResource", 77),
    ]


@pytest.mark.parametrize(
    "call", [lambda i: i.register(5), lambda i: i.map(77, 9), lambda i: i.copy(1, 2, 3, 9), lambda i: i.unmap(77, 9)]
)
def test_errors_of_cuda_are_raised(runtime, call):
    interop = gl_interop.CudaInterop(torch.device("cuda", 0))
    runtime.error = 999
    with pytest.raises(RuntimeError, match=r"cuda\w+ failed: 999"):
        call(interop)


def test_without_cuda_bindings_images_go_through_the_host(monkeypatch, caplog):
    def missing(name):
        raise ImportError("No module named 'cuda'")

    monkeypatch.setattr(gl_interop, "import_module", missing)
    gl.say.cache_clear()
    transfer = gl._transfer(0)(None)
    assert isinstance(transfer, gl_interop.HostTransfer)
    (message,) = [r.getMessage() for r in caplog.records]
    assert "cuda-bindings cannot be imported (No module named 'cuda'); `pip install cuda-bindings`" in message
    gl.say.cache_clear()


# --- Which EGL device is which CUDA device ----------------------------------------------------------------------------


def test_the_egl_device_of_a_cuda_device_is_found(monkeypatch):
    cuda_of = {101: 1, 102: None, 103: 0}

    def attribute(device, name, value):
        assert name == 0x323A
        if cuda_of[device] is None:
            return 0
        ctypes.cast(value, ctypes.POINTER(ctypes.c_ssize_t))[0] = cuda_of[device]
        return 1

    fake = types.SimpleNamespace(
        QueryDeviceAttribEXT=attribute,
        GetPlatformDisplayEXT=lambda platform, device, _: device + 1000,
        GetDisplay=lambda _: 5000,
        Initialize=lambda display, major, minor: display != 1102,
    )
    monkeypatch.setattr(gl_context, "egl", lambda: fake)
    monkeypatch.setattr(gl_context, "devices", lambda: list(cuda_of))
    assert list(gl_context.displays(0)) == [1103]
    assert list(gl_context.displays(1)) == [1101]
    assert list(gl_context.displays(7)) == []
    assert list(gl_context.displays(None)) == [1101, 1103, 5000]  # the one that does not start is left out


def test_a_cuda_device_without_its_own_opengl_goes_through_the_host(monkeypatch, caplog):
    """As on a machine with NVIDIA's CUDA but Mesa's OpenGL."""
    gl.say.cache_clear()
    backend = backends.get("gl")
    monkeypatch.setattr(backend, "_without", {})
    device = torch.device("cuda", 6)
    for _ in range(2):
        assert backend._context(device) is backend.contexts.get(None)
    (message,) = [r.getMessage() for r in caplog.records]
    assert "EGL lists no device that is CUDA device 6" in message and "go through the host" in message
    gl.say.cache_clear()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here: interoperability has not been run")
def test_shared_memory_on_a_gpu():
    """What `make gpu-check` is for: a trial picture from CUDA memory and back into it."""
    device = torch.device("cuda", 0)
    backends.get("gl").prove(device)
    pos, tri = scenes.soup(3, 14)
    with backends.get("gl").contexts.get(0).current() as painter:
        assert isinstance(painter.transfer, gl_interop.SharedTransfer)
    owned = backends.get("gl").contexts.get(0)
    got = torch.empty(3, 64, 64, dtype=torch.int32, device=device)
    with owned.current() as painter:
        painter.visibility(backends.Visibility(pos.float().to(device), tri.to(device), got))
    want = layers(backends.get("gl").contexts.get(None), pos.float(), tri, (64, 64), 1)[0]
    assert (got.cpu() != want).float().mean() < 1e-3
