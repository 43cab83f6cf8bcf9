"""What is said where there is no OpenGL, and when it is chosen for CUDA tensors."""

import ctypes
import logging
import os
import subprocess
import sys
import types
from pathlib import Path

import pytest
import torch
from helpers.backends_here import needs_gl
from helpers.one_triangle import draw

import diffrast.torch as dr
from diffrast import backends
from diffrast.backends import gl_context
from diffrast.ops import context

# --- Where there is none ----------------------------------------------------------------------------------------------


APT = r"`apt-get install libegl1 libegl-mesa0 libgl1-mesa-dri` \(Debian, Ubuntu\)"


def test_without_libegl(monkeypatch, without_cache):
    def missing(name, *args, **kwargs):
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", missing)
    monkeypatch.setattr(gl_context, "import_module", lambda name: None)
    with pytest.raises(RuntimeError, match=rf"cannot start: libEGL.so.1 is missing .*; {APT}"):
        gl_context.OwnedContext(None, lambda gl, cuda: None)


def test_without_moderngl(monkeypatch):
    def missing(name):
        raise ImportError("No module named 'moderngl'")

    monkeypatch.setattr(gl_context, "import_module", missing)
    message = r"cannot start: moderngl cannot be imported \(No module named 'moderngl'\); `pip install moderngl`"
    with pytest.raises(RuntimeError, match=message):
        gl_context.OwnedContext(None, lambda gl, cuda: None)


@pytest.mark.parametrize(("required", "code"), [("1", 4), ("", 0)])
def test_missing_opengl_fails_the_tests_where_it_is_required(required, code):
    """With REQUIRE_GL=1 a usage error ends the run; without, its header says loudly what is not tested."""
    program = """
import ctypes, sys, pytest
real = ctypes.CDLL
class Without(real):
    def __init__(self, name, *args, **kwargs):
        if name and "EGL" in str(name):
            raise OSError(f"{name}: cannot open shared object file")
        super().__init__(name, *args, **kwargs)
ctypes.CDLL = Without
sys.exit(pytest.main(["--collect-only", "-q", "-v", "-p", "no:cacheprovider", sys.argv[1]]))
"""
    environment = {**os.environ, "REQUIRE_GL": required}
    command = [sys.executable, "-c", program, str(Path(__file__).parents[1] / "ops" / "test_gbuffer.py")]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
    assert result.returncode == code, result.stdout + result.stderr
    if required:
        assert "REQUIRE_GL=1, but OpenGL is missing: the OpenGL backend cannot start: libEGL" in result.stderr
    else:
        assert "NOT TESTED: gl: the OpenGL backend cannot start: libEGL.so.1 is missing" in result.stdout
        assert "[gl-" not in result.stdout and "[cpu]" in result.stdout


@needs_gl
def test_without_a_driver(monkeypatch):
    monkeypatch.setattr(gl_context, "displays", lambda cuda: iter(()))
    with pytest.raises(RuntimeError, match=rf"EGL finds no display: no driver is installed; {APT}"):
        gl_context.OwnedContext(None, lambda gl, cuda: None)
    with pytest.raises(RuntimeError, match=r"EGL lists no device that is CUDA device 3; install NVIDIA's OpenGL"):
        gl_context.OwnedContext(3, lambda gl, cuda: None)


@needs_gl
def test_a_version_too_low(monkeypatch):
    wanted = (0x3098, 9, 0x30FB, 9, 0x30FD, 1, gl_context.EGL_NONE)
    monkeypatch.setattr(gl_context, "CORE_PROFILE", wanted)
    with pytest.raises(RuntimeError, match=rf"none of the \d EGL displays here offers OpenGL 4.3 core.*; {APT}"):
        gl_context.OwnedContext(None, lambda gl, cuda: None)


@needs_gl
def test_a_driver_that_does_not_take_the_shaders():
    def build(gl, cuda):
        return gl.program(vertex_shader="#version 430 core\nvoid main() { nonsense }")

    with pytest.raises(RuntimeError, match=r"cannot start: its driver fails \((.|\n)*syntax error(.|\n)*\); `apt-get"):
        gl_context.OwnedContext(None, build)


def test_the_established_context_works_without_opengl(monkeypatch):
    monkeypatch.setitem(backends.LOADERS, "gl", lambda: pytest.fail("it must not be started"))
    assert bool((draw(dr.RasterizeGLContext())[..., 3] == 1).all())


# --- The choice for CUDA tensors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gpu", "starts", "chosen", "reason"),
    [
        ("NVIDIA H100 80GB HBM3", True, "cuda", "NVIDIA H100 80GB HBM3 is made for computing, not for drawing"),
        ("NVIDIA A100-SXM4-80GB", True, "cuda", "made for computing"),
        ("Tesla V100-SXM2-16GB", True, "cuda", "made for computing"),
        ("NVIDIA GeForce RTX 4090", True, "gl", "NVIDIA GeForce RTX 4090 shares its memory with OpenGL"),
        ("NVIDIA RTX A4000", True, "gl", "shares its memory"),
        ("NVIDIA GeForce RTX 4090", False, "cuda", "cannot start: libEGL.so.1 is missing"),
    ],
)
def test_the_choice_depends_on_the_gpu_and_is_said_with_its_reason(monkeypatch, caplog, gpu, starts, chosen, reason):
    asked = []

    def prove(device):
        asked.append(device)
        if not starts:
            raise gl_context.Unavailable("libEGL.so.1 is missing")

    rasterizer = types.SimpleNamespace(prove=prove)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: gpu)
    monkeypatch.setattr(backends, "get", lambda name: rasterizer)
    monkeypatch.setattr(backends, "kernels_for", lambda tensor: types.SimpleNamespace(name="cuda"))
    monkeypatch.setattr(backends, "kinds", lambda name: ("cuda",))
    monkeypatch.setattr(context, "_said", set())
    caplog.set_level(logging.INFO, logger="diffrast")
    context.automatic.cache_clear()
    device = torch.device("cuda", 0)
    single, double = (types.SimpleNamespace(device=device, dtype=t) for t in (torch.float32, torch.float64))
    for _ in range(3):
        assert context.choose("auto", single) == chosen
    assert len(asked) == ("computing" not in reason)
    (message,) = [r.getMessage() for r in caplog.records]
    assert message.startswith(f"backend 'auto' rasterizes cuda tensors with '{chosen}': ") and reason in message
    assert context.choose("auto", double) == "cuda"
    context.automatic.cache_clear()
