"""The package as it is installed: what the library needs of a system, that every instruction set computes the same, the
wheel."""

import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch

import diffrast
from diffrast.backends import arguments, cpu

ROOT = Path(__file__).resolve().parents[1]
LIBRARIES = sorted((ROOT / "diffrast" / "_native").glob("*.so"))

# What torch may be told that the processor has (ATEN_CPU_CAPABILITY), least first.
CAPABILITIES = ("default", "avx2", "avx512")


def run_python(code: str, *args: str, cwd: Path = ROOT, **env: str) -> subprocess.CompletedProcess[str]:
    """Runs code in a fresh interpreter."""
    command = [sys.executable, "-c", code, *args]
    return subprocess.run(command, cwd=cwd, env={**os.environ, **env}, capture_output=True, text=True, timeout=300)


def test_version_is_the_installed_one():
    assert re.fullmatch(r"\d+\.\d+\.\d+", diffrast.__version__)


def test_import_loads_no_graphics_library():
    result = run_python(
        "import sys, diffrast.torch; print([m for m in ('moderngl', 'glcontext', 'cupy', 'trimesh') if m in "
        "sys.modules])"
    )
    assert result.stdout.strip() == "[]", result.stderr


# --- What the library needs of a system -------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_one_openmp_runtime_in_the_process():
    """Two would mean two pools of threads that spin against each other; ours is torch's."""
    code = """
import torch
torch.set_num_threads(2)
from diffrast import backends
backends.get("cpu")
torch.ones(1000000).sin().sum()
mapped = {line.split()[-1] for line in open("/proc/self/maps")}
print("\\n".join(sorted(path for path in mapped if "libgomp" in path or "libomp" in path)))
"""
    result = run_python(code)
    runtimes = result.stdout.split()
    assert len(runtimes) == 1, result.stdout + result.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="ELF only")
@pytest.mark.parametrize("library", LIBRARIES, ids=lambda path: path.stem)
def test_library_links_no_openmp(library):
    """So it loads on a system that has none of its own: the symbols come from torch."""
    content = library.read_bytes()
    if b"GOMP_parallel" not in content:
        pytest.skip("not built with GNU OpenMP")
    assert b"libgomp.so" not in content


def test_library_that_cannot_be_loaded_is_explained(tmp_path):
    broken = tmp_path / "libdiffrast_default.so"
    broken.write_bytes(b"not a library")
    with pytest.raises(RuntimeError, match=r"the CPU backend cannot start: .*libdiffrast_default\.so.*pip install"):
        cpu.load(broken)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere OpenMP is linked")
def test_openmp_that_torch_hides_is_brought_in():
    """A process that has not imported torch is one where torch shows its OpenMP to nobody; `load` finds it all the
    same."""
    code = """
import ctypes, importlib.util, sys, types
from pathlib import Path
library, module = sys.argv[1:]
try:
    ctypes.CDLL(library)
    raise SystemExit("links OpenMP by itself")
except OSError as error:
    assert "undefined symbol" in str(error), error
torch = types.SimpleNamespace(__file__=importlib.util.find_spec("torch").origin)
source = Path(module).read_text()
exec(source[source.index("def load(") : source.index("class CpuBackend")])
print(hasattr(load(Path(library)), "visibility_f32"))
"""
    result = run_python(code, str(cpu.library_path()), cpu.__file__)
    if "links OpenMP by itself" in result.stderr:
        pytest.skip("not built with GNU OpenMP")
    assert result.stdout.strip() == "True", result.stderr


def test_library_that_was_not_built_is_explained(monkeypatch, tmp_path):
    monkeypatch.setattr(cpu, "__file__", str(tmp_path / "diffrast" / "backends" / "cpu.py"))
    with pytest.raises(RuntimeError, match=r"no compiled library in .*_native\. Build it with `pip install \.`"):
        cpu.library_path()


@pytest.mark.parametrize(
    ("capability", "present", "chosen"),
    [
        ("AVX512", ("default", "avx2", "avx512"), "avx512"),
        ("AVX512", ("default", "avx2"), "avx2"),
        ("AVX2", ("default", "avx2", "avx512"), "avx2"),
        ("DEFAULT", ("default", "avx2", "avx512"), "default"),
        ("SVE256", ("default",), "default"),
    ],
)
def test_variant_follows_the_processor(monkeypatch, tmp_path, capability, present, chosen):
    folder = tmp_path / "diffrast" / "_native"
    folder.mkdir(parents=True)
    for name in present:
        (folder / f"libdiffrast_{name}.so").touch()
    monkeypatch.setattr(cpu, "__file__", str(tmp_path / "diffrast" / "backends" / "cpu.py"))
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    assert cpu.library_path().name == f"libdiffrast_{chosen}.so"


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("struct NewArgs {\n  const T* new_field;  // [B]\n};\nDR_KERNEL(new_kernel, NewArgs)\n", "lacks new_kernel"),
        ("struct ResolveArgs {\n  i64 count;\n};\nDR_KERNEL(resolve_fwd, ResolveArgs)\n", "has another resolve_fwd"),
    ],
)
def test_library_of_other_sources_is_explained(monkeypatch, tmp_path, source, said):
    (tmp_path / "new.cu").write_text(source)
    monkeypatch.setattr(arguments, "source_folder", lambda name: tmp_path)
    monkeypatch.setattr(arguments, "_text", arguments._text.__wrapped__)
    monkeypatch.setattr(arguments, "kernels", arguments.kernels.__wrapped__)
    monkeypatch.setattr(arguments, "layout", arguments.layout.__wrapped__)
    (kernel,) = arguments.kernels()
    with pytest.raises(RuntimeError, match=rf"{said}: it is older than the sources\. Build it"):
        cpu.create().launch(kernel, torch.float32, 0)


# --- The same result on every instruction set -------------------------------------------------------------------------

# Everything forward and backward on a small scene; prints a digest of each output.
DIGESTS = """
import hashlib, json, math
import torch
import diffrast.torch as dr
from diffrast import backends

torch.set_num_threads(2)
digests = {"library": str(backends.get("cpu").library._name)}


def note(name, *tensors):
    for i, x in enumerate(tensors):
        digests[f"{name}.{i}"] = hashlib.sha256(x.detach().contiguous().numpy().tobytes()).hexdigest()[:16]


for dtype in (torch.float32, torch.float64):
    g = torch.Generator().manual_seed(1)
    rows = torch.arange(12)
    x, y = torch.meshgrid(rows, rows, indexing="xy")
    v = torch.stack([x, y], -1).reshape(-1, 2).double() / 5.5 - 1
    noise = torch.rand(144, 3, generator=g, dtype=torch.float64)
    x, y = v[:, 0] + 0.1 * noise[:, 0], v[:, 1] + 0.1 * noise[:, 1]
    pos = torch.stack([x, y, noise[:, 2] * 0.3, 1 + 0.5 * noise[:, 2]], -1)
    quad = torch.arange(143)[(torch.arange(143) % 12 != 11) & (torch.arange(143) < 132)]
    halves = (quad, quad + 1, quad + 12), (quad + 1, quad + 13, quad + 12)
    tri = torch.cat([torch.stack(half, 1) for half in halves]).int()
    tri = tri[torch.rand(len(tri), generator=g) < 0.7]
    pos = torch.stack([pos, pos.flip(0)]).to(dtype).requires_grad_()
    attr = torch.rand(144, 5, generator=g, dtype=torch.float64).to(dtype).requires_grad_()
    tex = torch.rand(1, 37, 29, 3, generator=g, dtype=torch.float64).to(dtype).requires_grad_()
    name = str(dtype)
    ctx = dr.RasterizeContext()
    rast, db = dr.rasterize(ctx, pos, tri, (67, 83))
    note(name + " rasterize", rast, db)
    out, da = dr.interpolate(attr, rast, tri, rast_db=db, diff_attrs="all")
    note(name + " interpolate", out, da)
    for mode in ("nearest", "linear", "linear-mipmap-nearest", "linear-mipmap-linear"):
        colour = dr.texture(tex, 3 * out[..., :2], 3 * da[..., :4], filter_mode=mode)
        note(name + " texture " + mode, colour)
    smooth = dr.antialias(colour, rast, pos, tri)
    note(name + " antialias", smooth)
    weight = torch.rand(smooth.shape, generator=g, dtype=torch.float64).to(dtype)
    note(name + " gradients", *torch.autograd.grad((smooth * weight).sum(), [pos, attr, tex]))
print(json.dumps(digests))
"""


def test_every_instruction_set_computes_the_same_bits():
    here = torch.backends.cpu.get_cpu_capability().lower()
    available = CAPABILITIES[: CAPABILITIES.index(here) + 1] if here in CAPABILITIES else ("default",)
    results = {}
    for name in available:
        result = run_python(DIGESTS, ATEN_CPU_CAPABILITY=name)
        assert result.returncode == 0, result.stderr
        results[name] = json.loads(result.stdout)
        assert results[name].pop("library").endswith(f"libdiffrast_{name}.so")
    if len(results) == 1:
        pytest.skip("this processor has one instruction set only")
    for name, digests in results.items():
        assert digests == results["default"], name


# --- The wheel --------------------------------------------------------------------------------------------------------


def pip(*args: str) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q", *args]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.slow
def test_wheel_serves_every_python_and_holds_the_sources(wheel):
    assert re.fullmatch(rf"diffrast-{re.escape(diffrast.__version__)}-py3-none-\w+\.whl", wheel.name)
    names = set(zipfile.ZipFile(wheel).namelist())
    kernels = {f"diffrast/_sources/cuda/{path.name}" for path in (ROOT / "cuda").iterdir()}
    assert kernels <= names
    assert "diffrast/_sources/shaders/README.md" in names
    assert {f"diffrast/_native/{path.name}" for path in LIBRARIES} <= names
    assert {"diffrast/viewer/page.html", "diffrast/reconstruct/report.html.j2"} <= names
    assert not [name for name in names if name.startswith(("tests/", "recipes/", "benchmarks/"))]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="ELF only")
def test_wheel_asks_nothing_unusual_of_a_system(wheel, tmp_path):
    """As `make wheel` does: the tag names the oldest C library, and no library has to be patched or brought along."""
    command = ["repair", "--plat", "auto", "--patcher", "none", "--wheel-dir", str(tmp_path), str(wheel)]
    result = subprocess.run([sys.executable, "-m", "auditwheel", *command], capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    (path,) = tmp_path.glob("*.whl")
    assert re.search(r"-(many|musl)linux_\d+_\d+_\w+\.whl$", path.name)
    before, after = zipfile.ZipFile(wheel), zipfile.ZipFile(path)
    for name in (f"diffrast/_native/{library.name}" for library in LIBRARIES):
        assert after.read(name) == before.read(name)


@pytest.mark.slow
def test_wheel_works_from_another_folder(wheel, tmp_path):
    pip("install", "--no-deps", "--target", str(tmp_path / "site"), str(wheel))
    code = """
import torch, diffrast.torch as dr
from diffrast.backends.sources import flatten, source_folder
pos = torch.tensor([[[-1.0, -1, 0, 1], [3, -1, 0, 1], [-1, 3, 0, 1]]])
rast, _ = dr.rasterize(dr.RasterizeContext(), pos, torch.tensor([[0, 1, 2]]), (8, 8))
assert bool((rast[..., 3] == 1).all())
assert "resolve_fwd" in flatten(source_folder("cuda") / "resolve.cu")
print(dr.__file__)
"""
    result = run_python(code, cwd=tmp_path, PYTHONPATH=str(tmp_path / "site"))
    assert result.stdout.strip() == str(tmp_path / "site" / "diffrast" / "torch.py"), result.stderr


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="a shell script stands in for the compiler")
def test_compiler_without_openmp(tmp_path):
    """The library still builds, runs on one thread, and computes the same."""
    compiler = tmp_path / "c++"
    compiler.write_text('#!/bin/sh\ncase " $* " in *" -fopenmp "*) exit 1;; esac\nexec ${REAL_CXX:-c++} "$@"\n')
    compiler.chmod(0o755)
    checkout = tmp_path / "checkout"
    command = [
        "git",
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
        "setup.py",
        "pyproject.toml",
        "cuda",
        "diffrast",
    ]
    for name in subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")[:-1]:
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        (checkout / name).write_bytes((ROOT / name).read_bytes())
    (checkout / "README.md").touch()
    (checkout / "LICENSE").touch()
    env = {**os.environ, "CXX": str(compiler), "REAL_CXX": os.environ.get("CXX", "c++")}
    build = [sys.executable, "setup.py", "build_ext", "--inplace"]
    result = subprocess.run(build, cwd=checkout, env=env, capture_output=True, text=True, timeout=900)
    assert result.returncode == 0, result.stderr
    assert "no OpenMP; the CPU backend will use a single thread" in result.stderr
    plain, threaded = run_python(DIGESTS, cwd=checkout), run_python(DIGESTS)
    assert plain.returncode == 0, plain.stderr
    ours, theirs = json.loads(plain.stdout), json.loads(threaded.stdout)
    assert ours.pop("library") == str(checkout / "diffrast/_native" / Path(theirs.pop("library")).name)
    assert ours == theirs
