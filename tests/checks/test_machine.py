"""`diffrast doctor` and `diffrast warmup`."""

import pytest
import torch
from helpers import nvrtc
from helpers.backends_here import needs_gl

from diffrast import backends
from diffrast.backends import specialize
from diffrast.checks import machine as doctor
from diffrast.cli import main


def test_every_backend_is_listed_with_its_state(capsys):
    assert main(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("diffrast ")
    assert {line.split()[0] for line in lines[1:]} == set(backends.LOADERS)
    states = {line.split()[0]: line.split()[1] for line in lines[1:]}
    assert states["cpu"] == "works"
    assert states["cuda"] == ("works" if torch.cuda.is_available() else "NO")


@needs_gl
def test_opengl_says_what_draws(capsys):
    main(["doctor"])
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("gl ")]
    with backends.get("gl").contexts.get(None).current() as painter:
        what = f"{painter.gl.info['GL_RENDERER']}, OpenGL {painter.gl.info['GL_VERSION']}"
        assert line.startswith(f"gl     works  {what}")


def test_opengl_says_what_is_missing(capsys, monkeypatch):
    def fail():
        raise RuntimeError("the OpenGL backend cannot start: no libEGL; `apt-get install libegl1`")

    monkeypatch.setitem(backends.LOADERS, "gl", fail)
    backends.get.cache_clear()
    assert main(["doctor"]) == 0  # the CPU works
    assert (
        "gl     NO     the OpenGL backend cannot start: no libEGL; `apt-get install libegl1`" in capsys.readouterr().out
    )
    backends.get.cache_clear()


@pytest.mark.parametrize("failure", [None, "no shared memory"])
def test_opengl_says_how_it_reaches_each_gpu(monkeypatch, failure):
    class Rasterizer:
        description = "a GPU, OpenGL 4.6"

        def prove(self, device):
            if failure and device.index == 1:
                raise RuntimeError(failure)

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(backends, "get", lambda name: Rasterizer())
    other = "cuda:1 through the host (no shared memory)" if failure else "cuda:1 shares its memory"
    assert doctor.DESCRIBE["gl"](Rasterizer()) == f"a GPU, OpenGL 4.6; cuda:0 shares its memory; {other}"


def test_nothing_works(capsys, monkeypatch):
    monkeypatch.setattr(doctor, "examine", lambda: [doctor.State("cpu", False, "no library; `pip install .`")])
    assert main(["doctor"]) == 1
    assert "cpu    NO     no library; `pip install .`" in capsys.readouterr().out


def test_warmup_compiles_what_programs_use(capsys, monkeypatch, tmp_path):
    nvrtc.require()
    monkeypatch.setenv("DIFFRAST_CACHE_DIR", str(tmp_path))
    few = [k for k in doctor.usual_kernels() if k.name in ("resolve_fwd", "fixed_finish")]
    monkeypatch.setattr(doctor, "usual_kernels", lambda: few)
    assert main(["warmup", "--arch", "sm_90"]) == 0
    assert f"2 kernels for sm_90 are in {tmp_path}" in capsys.readouterr().out
    assert {p.name.split("-")[0] for p in tmp_path.iterdir()} == {"resolve_fwd_f32", "fixed_finish_f32"}


def test_the_usual_kernels_are_all_kernels():
    kernels = doctor.usual_kernels()
    assert {kernel.name for kernel in kernels} == set(specialize.names())
    assert len(kernels) == len(set(kernels))


def test_warmup_with_a_wrong_architecture(capsys):
    assert main(["warmup", "--arch", "hopper"]) == 2
    assert "--arch must be like sm_90; got hopper" in capsys.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_warmup_without_a_device_says_what_to_do(capsys):
    assert main(["warmup"]) == 1
    assert "no CUDA device here; name the architectures, such as sm_90" in capsys.readouterr().err
