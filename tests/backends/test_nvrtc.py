"""Every CUDA source compiles for every architecture we promise, with no GPU: the CPU's kernels stay the GPU's
kernels."""

import ctypes

import pytest
from helpers import nvrtc
from helpers.nvrtc import compile_cuda

from diffrast import backends
from diffrast.backends.sources import flatten, source_folder

# Registers and bytes of stack per thread, by the beginning of a kernel's name; the longest that fits counts. 64
# registers let every SM of these GPUs hold half of its threads, 128 a quarter.
BOUNDS = {
    "": (64, 0),
    "antialias_bwd": (104, 64),
    "antialias_find": (80, 32),
    "antialias_blend": (80, 0),
    "antialias_jvp": (104, 0),
    "antialias_walk": (112, 64),
    # A cell with its four corners and sides, and sixteen areas, indexed by what crosses it.
    "antialias_walk_blend": (96, 456),
    "antialias_walk_bwd": (168, 656),
    "antialias_walk_jvp": (152, 656),
    "interpolate_bwd": (72, 0),
    "resolve": (72, 256),
    "texture_bwd_anisotropic": (176, 0),
    "texture_bwd_linear_2d": (88, 448),
    "texture_bwd_linear_3d": (136, 0),
    "texture_bwd_linear_cube": (112, 576),
    "texture_fwd_anisotropic": (88, 0),
    "texture_fwd_linear_2d": (88, 0),
    "texture_fwd_linear_3d": (80, 0),
    "texture_fwd_linear_cube": (88, 128),
    "texture_mip": (72, 80),
    "texture_mip_bwd_3d": (80, 120),
    "texture_mip_fwd_3d": (80, 120),
    # Exact arithmetic, for the edges that need it, is called and keeps its numbers on the stack.
    "visibility_small": (152, 800),
    "visibility_medium": (152, 800),
    "visibility_large": (152, 800),
    "visibility_repair": (200, 928),  # one thread does what several would, at a few pixels
}


@pytest.mark.parametrize("arch", nvrtc.ARCHITECTURES)
@pytest.mark.parametrize("name", [path.name for path in nvrtc.SOURCES])
def test_compiles_to_machine_code(compiled, name, arch):
    result = compiled[name, arch]
    assert result.ok, result.log
    assert result.cubin.startswith(b"\x7fELF")
    assert nvrtc.report(result), f"{name} has no kernel:\n{result.log}"


@pytest.mark.parametrize("arch", nvrtc.ARCHITECTURES)
def test_no_kernel_spills_registers(compiled, arch):
    uses = [use for name in nvrtc.SOURCES for use in nvrtc.report(compiled[name.name, arch])]
    spilled = [use for use in uses if use.spill_stores or use.spill_loads]
    assert not spilled, "\n".join(map(str, uses))


@pytest.mark.parametrize("arch", nvrtc.ARCHITECTURES)
def test_registers_and_stack_stay_within_bounds(compiled, arch):
    over = []
    for use in [use for name in nvrtc.SOURCES for use in nvrtc.report(compiled[name.name, arch])]:
        registers, stack = BOUNDS[max((b for b in BOUNDS if use.kernel.startswith(b)), key=len)]
        if use.registers > registers or use.stack > stack:
            over.append(f"{use} exceeds {registers} registers or {stack} bytes of stack")
    assert not over, "\n".join(over)


def test_cpu_library_has_every_kernel(compiled):
    """One source: what the GPU can launch, the CPU library exports under the same name."""
    library = ctypes.CDLL(backends.get("cpu").library._name)
    kernels = {use.kernel for path in nvrtc.SOURCES for use in nvrtc.report(compiled[path.name, "sm_80"])}
    assert {"interpolate_fwd_f32", "interpolate_bwd_f64", "resolve_fwd_f32", "resolve_bwd_f64"} <= kernels
    assert [kernel for kernel in sorted(kernels) if not hasattr(library, kernel)] == []


def test_nvrtc_defines_cudacc_and_reports_errors(compiled):
    fine = '#if !defined(__CUDACC__)\n#error no __CUDACC__\n#endif\nextern "C" __global__ void k(int* p) { *p = 1; }'
    result = compile_cuda(fine, "fine.cu", "sm_80")
    assert result.ok, result.log
    assert [use.kernel for use in nvrtc.report(result)] == ["k"]
    broken = compile_cuda('#line 7 "somewhere.h"\nint x = ;', "broken.cu", "sm_80")
    assert not broken.ok
    assert "somewhere.h(7)" in broken.log


def test_flatten_inlines_each_header_once(tmp_path):
    (tmp_path / "a.h").write_text("#pragma once\n#include <cmath>\nint a;\n")
    (tmp_path / "b.h").write_text('#pragma once\n#include "a.h"\nint b;\n')
    (tmp_path / "main.cu").write_text('#include "a.h"\n  #  include "b.h"\nint c;\n')
    text = flatten(tmp_path / "main.cu")
    assert '#include "' not in text
    assert "#pragma once" not in text
    assert text.count("int a;") == text.count("int b;") == text.count("#include <cmath>") == 1
    assert text.index("int a;") < text.index("int b;") < text.index("int c;")
    # The line numbers that a compiler would report are those of the files.
    where, names = {}, text.splitlines()
    file, line = "", 0
    for row in names:
        if row.startswith("#line"):
            line, file = int(row.split()[1]), row.split('"')[1]
            continue
        where[row] = (file, line)
        line += 1
    assert where["int a;"] == ("a.h", 3)
    assert where["int b;"] == ("b.h", 3)
    assert where["int c;"] == ("main.cu", 3)


def test_missing_header_is_named(tmp_path):
    (tmp_path / "main.cu").write_text('#include "nowhere.h"\n')
    with pytest.raises(FileNotFoundError, match=r"nowhere\.h"):
        flatten(tmp_path / "main.cu")


def test_sources_that_are_missing_are_named():
    with pytest.raises(FileNotFoundError, match=r"sources 'nonsense' are missing .* reinstall diffrast"):
        source_folder("nonsense")
