"""OpenGL contexts: whose is current, and how long they live."""

import gc
import subprocess
import sys
import threading
from importlib import import_module
from pathlib import Path

import pytest
import torch
from helpers import scenes
from helpers.backends_here import needs_gl
from helpers.one_triangle import POS, TRI, draw

import diffrast.torch as dr
from diffrast import backends
from diffrast.backends import gl_context
from diffrast.ops import context


def run(code: str) -> subprocess.CompletedProcess:
    """In a process of its own."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)


START = """
import torch, diffrast.torch as dr
POS = torch.tensor([[[-1.0, -1, 0, 1], [3, -1, 0, 1], [-1, 3, 0, 1]]])
TRI = torch.tensor([[0, 1, 2]], dtype=torch.int32)
def draw(ctx):
    assert bool((dr.rasterize(ctx, POS, TRI, (4, 4))[0][..., 3] == 1).all())
"""


# --- Whose context is current -----------------------------------------------------------------------------------------


class Theirs:
    """A program of the user's with a context of its own: draws a colour that depends on the frame."""

    def __init__(self):
        self.gl = import_module("moderngl").create_context(standalone=True, backend="egl")
        self.program = self.gl.program(
            vertex_shader="#version 330\nin vec2 p; void main() { gl_Position = vec4(p, 0, 1); }",
            fragment_shader="#version 330\nuniform float shade; out vec4 c; void main() { c = vec4(shade, 1, 0, 1); }",
        )
        corners = torch.tensor([-1.0, -1, 0, -1, -1, 0])  # the lower left quarter's lower half
        self.array = self.gl.vertex_array(self.program, [(self.gl.buffer(corners.numpy()), "2f", "p")])
        self.image = self.gl.simple_framebuffer((8, 8))
        self.image.use()
        self.gl.viewport = (0, 0, 8, 8)

    def frame(self, shade):
        """Uses whatever is current, as programs do."""
        self.image.clear(0, 0, 1, 1)
        self.program["shade"].value = shade
        self.array.render()
        pixels = torch.frombuffer(bytearray(self.image.read()), dtype=torch.uint8).view(8, 8, 3)
        return tuple(pixels[0, 0].tolist()), tuple(pixels[7, 7].tolist())


@needs_gl
def test_two_hundred_steps_beside_another_context_that_draws():
    """Both keep their pictures: the optimization finds its target, the other program never sees a wrong pixel."""
    theirs = Theirs()
    current = gl_context.egl().GetCurrentContext()
    assert current
    ctx = dr.RasterizeContext(backend="gl")
    pos, tri = scenes.ball(1)
    pos = pos.float()
    target = dr.rasterize(ctx, pos, tri, (48, 48))[0][..., 3:].gt(0).float()
    shift = torch.tensor([0.4, -0.3], requires_grad=True)
    optimizer = torch.optim.Adam([shift], lr=0.02)
    for step in range(200):
        moved = torch.cat([pos[..., :2] + shift, pos[..., 2:]], -1)
        rast, _ = dr.rasterize(ctx, moved, tri, (48, 48))
        image = dr.antialias(rast[..., 3:].gt(0).float(), rast, moved, tri)
        loss = ((image - target) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        drawn, cleared = theirs.frame(step / 255)
        assert drawn == (step, 255, 0) and cleared == (0, 0, 255), step
        assert gl_context.egl().GetCurrentContext() == current
    assert shift.abs().max() < 0.05
    theirs.gl.release()


@needs_gl
def test_nothing_stays_current_where_nothing_was():
    def work():
        draw(dr.RasterizeContext(backend="gl"))
        after.append((gl_context.egl().GetCurrentContext(), gl_context.egl().QueryAPI()))

    after = []
    thread = threading.Thread(target=work)  # where nothing has been current so far
    thread.start()
    thread.join()
    assert after == [(None, 0x30A0)]  # EGL_OPENGL_ES_API, a thread's initial API


@needs_gl
def test_a_window_systems_context_is_taken_away_and_given_back(monkeypatch):
    calls = []

    class Window:
        """GLX, of which a context is current."""

        def __getattr__(self, name):
            values = {"GetCurrentContext": 11, "GetCurrentDisplay": 12, "GetCurrentDrawable": 13}
            values["GetCurrentReadDrawable"] = 14
            return (lambda *args: calls.append(args)) if name == "MakeContextCurrent" else lambda: values[name]

    ctx = dr.RasterizeContext(backend="gl")

    def work():
        draw(ctx)  # opens the thread's context
        with monkeypatch.context() as patch:
            patch.setattr(gl_context, "glx", Window)
            draw(ctx)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert calls == [(12, 0, 0, None), (12, 13, 14, 11)]


@needs_gl
def test_an_error_gives_the_users_context_back():
    theirs = Theirs()
    current = gl_context.egl().GetCurrentContext()
    with pytest.raises(KeyError), backends.get("gl").contexts.get(None).current():
        assert gl_context.egl().GetCurrentContext() != current
        raise KeyError("user code")
    assert gl_context.egl().GetCurrentContext() == current
    theirs.gl.release()


# --- How long contexts live -------------------------------------------------------------------------------------------


@needs_gl
def test_a_context_is_opened_when_it_is_needed_and_released_on_demand(alone):
    ctx = dr.RasterizeContext(backend="gl")
    assert len(alone) == 0
    first = draw(ctx)
    draw(dr.RasterizeContext(backend="gl"))
    assert len(alone) == 1  # shared
    ctx.release_context()
    ctx.release_context()
    assert len(alone) == 0
    assert torch.equal(draw(ctx), first)
    assert len(alone) == 1


@needs_gl
def test_the_last_context_takes_opengl_with_it(alone, monkeypatch):
    monkeypatch.setattr(context, "_living", type(context._living)())  # not those of other tests
    one, other = (dr.RasterizeContext(backend="gl") for _ in range(2))
    draw(one)
    draw(other)
    del one
    gc.collect()
    assert len(alone) == 1
    del other
    gc.collect()
    assert len(alone) == 0


@needs_gl
def test_threads_have_contexts_of_their_own_which_go_with_them(alone):
    pos, tri = scenes.soup(1, 20)
    ctx = dr.RasterizeContext(backend="gl")
    want = dr.rasterize(ctx, pos.float(), tri, (40, 40))[0]
    meet, wrong, counts = threading.Barrier(4), [], []

    def work():
        meet.wait()
        for _ in range(20):
            if not torch.equal(dr.rasterize(ctx, pos.float(), tri, (40, 40))[0], want):
                wrong.append(threading.get_ident())
        meet.wait()
        counts.append(len(alone))
        meet.wait()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == [] and counts == [5] * 4
    del thread, threads
    gc.collect()
    assert len(alone) == 1


@needs_gl
def test_a_context_in_use_is_released_after_its_use(alone):
    contexts = backends.get("gl").contexts
    owned = contexts.get(None)
    with owned.current() as painter:
        backends.release(everywhere=True)
        assert not owned.alive and painter.gl.error == "GL_NO_ERROR"  # still there
        assert owned._finalizer.alive
    assert not owned._finalizer.alive
    assert contexts.get(None) is not owned


@needs_gl
@pytest.mark.parametrize(
    "code",
    [
        "ctx = dr.RasterizeContext('gl'); draw(ctx)",
        """
import moderngl, sys
user = moderngl.create_context(standalone=True, backend='egl')
draw(dr.RasterizeContext('gl'))
ctx = dr.RasterizeContext('gl')
draw(ctx); ctx.release_context()
sys.exit(0)""",
        """
import threading
keep, stay = dr.RasterizeContext('gl'), threading.Event()
thread = threading.Thread(target=lambda: (draw(keep), stay.set(), threading.Event().wait()), daemon=True)
thread.start(); stay.wait(); draw(keep)""",
    ],
)
def test_a_process_ends_without_a_crash(code):
    result = run(START + code)
    assert (result.returncode, result.stderr) == (0, "")


@needs_gl
def test_a_forked_process_is_told_what_to_do():
    code = """
import os
ctx = dr.RasterizeContext('gl')
draw(ctx)
child = os.fork()
if child == 0:
    try:
        draw(ctx)
    except RuntimeError as error:
        print(error, flush=True)
    os._exit(0)
os.waitpid(child, 0)
draw(ctx)
print("parent draws")
"""
    result = run(START + code)
    assert result.returncode == 0, result.stderr
    assert "started before this process was forked" in result.stdout
    assert 'set_start_method("spawn")' in result.stdout
    assert result.stdout.endswith("parent draws\n")


def test_importing_opens_and_loads_nothing():
    code = """
import sys, diffrast.torch as dr
ctx = dr.RasterizeGLContext()
maps = open("/proc/self/maps").read() if sys.platform == "linux" else ""
print("moderngl" in sys.modules, "libEGL" in maps)
"""
    assert run(code).stdout == "False False\n"


# --- Memory -----------------------------------------------------------------------------------------------------------


def resident() -> int:
    """Bytes."""
    line = next(x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith("VmRSS"))
    return int(line.split()[1]) << 10


def change_resolution(count):
    generator = torch.Generator().manual_seed(count)
    ctx = dr.RasterizeContext(backend="gl")
    for height, width, batch in torch.randint(1, 300, (count, 3), generator=generator).tolist():
        dr.rasterize(ctx, POS.expand(1 + batch % 5, -1, -1), TRI, (height, width))
    return ctx


@needs_gl
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
@pytest.mark.parametrize("count", [250, pytest.param(2000, marks=pytest.mark.slow)])
def test_changes_of_resolution_do_not_grow_memory(count):
    backends.release(everywhere=True)
    ctx = change_resolution(150)
    before = resident()
    again = change_resolution(count)
    # One picture of 300x300 with its depths, leaked each time, would be 0.7 MB x count.
    assert resident() - before < 24 << 20
    assert ctx.backend == again.backend


@needs_gl
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
def test_contexts_opened_and_released_do_not_grow_memory():
    ctx = dr.RasterizeContext(backend="gl")

    def cycle(count):
        for _ in range(count):
            draw(ctx, (256, 256))
            ctx.release_context()

    cycle(20)
    before = resident()
    cycle(60)
    assert resident() - before < 60 * (256 << 10)
