"""Kernels compiled one by one at run time, as a GPU machine does it; the compiler needs no GPU."""

import pytest
import torch
from helpers import nvrtc
from helpers.nvrtc import compile_cuda

from diffrast.backends import cuda, specialize

pytestmark = pytest.mark.usefixtures("compiler")

SCATTER = (
    "resolve_bwd",
    "interpolate_bwd",
    "antialias_bwd",
    "texture_bwd_linear_2d",
    "texture_bwd_linear_cube",
    "texture_bwd_nearest_2d",
    "texture_bwd_nearest_cube",
    "texture_bwd_anisotropic_2d",
    "texture_bwd_linear_3d",
    "texture_bwd_nearest_3d",
)


@pytest.mark.parametrize("arch", ["sm_75", "sm_90"])
@pytest.mark.parametrize("name", SCATTER)
def test_sums_in_fixed_point_compile(name, arch):
    kernel = specialize.kernel(name, torch.float32, {"DR_FIXED": 1})
    assert specialize.cubin(kernel, arch).read_bytes().startswith(b"\x7fELF")


@pytest.mark.parametrize("channels", [1, 3, 4, 16])
@pytest.mark.parametrize(
    "name",
    [
        "texture_fwd_linear_2d",
        "texture_bwd_linear_2d",
        "texture_fwd_anisotropic_2d",
        "texture_bwd_anisotropic_2d",
        "texture_fwd_linear_3d",
        "texture_bwd_linear_3d",
    ],
)
def test_a_known_number_of_channels_and_boundary_compile_without_spills(name, channels):
    kernel = specialize.kernel(name, torch.float32, {"DR_CHANNELS": channels, "DR_BOUNDARY": 1})
    file, text = specialize.source_of(name)
    compiled = compile_cuda(text, file, "sm_80", *kernel.options())
    (use,) = nvrtc.report(compiled)
    assert use.kernel == kernel.entry
    assert use.spill_loads == use.spill_stores == 0


def test_only_the_kernel_that_is_asked_for_is_compiled():
    file, text = specialize.source_of("antialias_find")
    compiled = compile_cuda(text, file, "sm_80", *specialize.kernel("antialias_find", torch.float64).options())
    assert [use.kernel for use in nvrtc.report(compiled)] == ["antialias_find_f64"]


def test_a_kernel_is_compiled_once(monkeypatch):
    kernel = specialize.kernel("fixed_finish", torch.float32)
    place = specialize.cubin(kernel, "sm_80")
    monkeypatch.setattr(specialize.nvrtc, "compile_cuda", None)
    assert specialize.cubin(kernel, "sm_80") == place
    assert [p.suffix for p in place.parent.iterdir()] == [".cubin"]


def test_what_a_kernel_depends_on_is_in_its_file_name():
    kernel = specialize.kernel("fixed_finish", torch.float32)
    others = [
        specialize.cubin(kernel, "sm_90"),
        specialize.cubin(specialize.kernel("fixed_finish", torch.float64), "sm_80"),
        specialize.cubin(specialize.kernel("fixed_finish", torch.float32, {"DR_CHANNELS": 2}), "sm_80"),
    ]
    assert len({specialize.cubin(kernel, "sm_80"), *others}) == 4


def test_a_compile_error_shows_the_line(monkeypatch):
    broken = '#line 7 "somewhere.cu"\nint x = nonsense;\n'
    monkeypatch.setattr(specialize, "_files", lambda: {"broken": ("somewhere.cu", broken)})
    with pytest.raises(RuntimeError, match=r"kernel broken_f32 does not compile for sm_80(?s:.*)int x = nonsense;"):
        specialize.cubin(specialize.Kernel("broken", torch.float32), "sm_80")
    assert not specialize.cache_folder().exists()


def test_an_architecture_that_the_compiler_does_not_know_is_named():
    with pytest.raises(RuntimeError, match=r"compiler \d+\.\d+ does not know sm_999; `pip install -U"):
        specialize.cubin(specialize.kernel("fixed_finish", torch.float32), "sm_999")


def test_a_kernel_that_is_missing_is_named():
    with pytest.raises(RuntimeError, match=r"has a kernel nonsense; reinstall diffrast"):
        specialize.source_of("nonsense")


def test_cuda_says_why_it_cannot_start():
    if torch.cuda.is_available():
        assert cuda.create().name == "cuda"
        return
    with pytest.raises(
        RuntimeError, match=r"the CUDA backend cannot start: (torch .* is built without CUDA|no CUDA device)"
    ):
        cuda.create()
