"""The CUDA backend's own code, with a stand-in for CuPy and the device that runs each launch on the CPU.

The kernels are compiled for a GPU all the same, and their launches checked: what only a GPU can show is left to `make
gpu-check`.
"""

import pytest
import torch
from helpers import scenes

import diffrast.torch as dr
from diffrast import backends
from diffrast.backends import cuda


def iteration(pos, tri, tex):
    pos, tex = pos.detach().requires_grad_(), tex.detach().requires_grad_()
    rast, rast_db = dr.rasterize(dr.RasterizeContext(), pos, tri, (24, 32))
    uv, uv_da = dr.interpolate(pos[..., :2].contiguous(), rast, tri, rast_db, "all")
    image = dr.antialias(dr.texture(tex, uv, uv_da), rast, pos, tri)
    return image.detach(), *torch.autograd.grad(image.square().sum(), (pos, tex))


def problem():
    pos, tri = scenes.ball(batch=1)
    return pos.float(), tri, scenes.random((1, 8, 8, 3), 1).float()


def test_an_iteration_launches_what_the_cpu_computes(device, monkeypatch):
    got = iteration(*problem())
    assert {"visibility_large_f32", "resolve_bwd_f32", "texture_mip_bwd_f32", "antialias_walk_bwd_f32"} <= set(
        device.launches
    )
    assert len(device.loaded) == len(set(device.loaded)) == len(set(device.launches))
    monkeypatch.setitem(backends.KERNELS_FOR_DEVICE, "cpu", "cpu")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    want = iteration(*problem())
    torch.set_num_threads(threads)
    for g, w in zip(got, want, strict=True):
        assert torch.equal(g, w)


def test_kernels_are_loaded_once_and_not_while_a_graph_is_captured(device):
    device.capturing = True
    with pytest.raises(
        RuntimeError, match=r"kernel visibility_clear_f32 cannot be loaded while .* run the iteration once before"
    ):
        iteration(*problem())
    device.capturing = False
    iteration(*problem())
    loaded = list(device.loaded)
    device.capturing = True
    iteration(*problem())
    assert device.loaded == loaded


def test_a_slow_first_use_is_announced_once(device, monkeypatch, caplog):
    ticks = iter(range(10_000))  # a second at each look
    monkeypatch.setattr(cuda.time, "perf_counter", lambda: next(ticks))
    iteration(*problem())
    (said,) = [r.getMessage() for r in caplog.records if "compiling" in r.getMessage()]
    assert "compiling GPU kernels at their first use, at the moment visibility_" in said
    assert "`diffrast warmup`" in said


def test_deterministic_sums_run_twice_and_end_in_numbers(device, monkeypatch):
    """The kernels themselves: tests/backends/test_fixed.py."""
    calls = []
    monkeypatch.setattr(device, "launch", lambda entry, grid, block, args: calls.append((entry, args)))
    pos, tri, _ = problem()
    rast, rast_db = torch.zeros(1, 4, 4, 4), torch.zeros(1, 4, 4, 4)
    torch.use_deterministic_algorithms(True)
    try:
        torch.ops.diffrast.resolve_backward(rast, rast_db, pos, tri, torch.zeros(1, 4, 4, dtype=torch.int32))
    finally:
        torch.use_deterministic_algorithms(False)
    assert [entry for entry, _ in calls] == ["resolve_bwd_f32", "resolve_bwd_f32", "fixed_finish_f32"]
    first, second, finish = (args for _, args in calls)
    assert [args[2].view("<i8")[-1] for args in (first, second)] == [0, 1]  # Fixed.phase
    assert finish[1] == pos.numel()
    headroom = finish[0].view("<f8")[-1]
    assert headroom * 16 * cuda.ADDENDS_PER_ELEMENT <= 2**61


def test_memory_that_runs_out_is_named(device, monkeypatch):
    def full(*args, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    run = backends.get("stand-in")
    monkeypatch.setattr(torch, "empty", full)
    message = r"diffrast: 65536 bytes for an output torch.float32 \[64, 64, 4\] do not fit .* CUDA out of memory"
    with pytest.raises(torch.OutOfMemoryError, match=message):
        run.empty((64, 64, 4), torch.float32, torch.device("cpu"))
    pos, tri, _ = problem()
    ids = torch.zeros(1, 24, 32, dtype=torch.int32)
    with pytest.raises(torch.OutOfMemoryError, match=f"{24 * 32 * 8 + 4 * len(tri)} bytes for rasterize.*search"):
        run.visibility(backends.Visibility(pos, tri, ids))


def test_indices_are_read_back_once(monkeypatch):
    """What makes the CPU wait for a GPU happens at the first call with a tensor, and is refused in a graph's
    capture."""
    from diffrast.ops import validate

    reads = []
    known = validate.Known(lambda tri: reads.append(None) or (0, 2))
    monkeypatch.setattr(validate, "_limits_on_device", known)
    tri = torch.zeros(1, 3, dtype=torch.int32, device="meta")
    monkeypatch.setattr(validate, "_capturing", lambda tensor: True)
    with pytest.raises(
        RuntimeError, match=r"rasterize\(\): the indices of tri cannot be checked while a CUDA graph is captured"
    ):
        validate.index_range("rasterize", tri, 3, "pos")
    monkeypatch.setattr(validate, "_capturing", lambda tensor: False)
    validate.index_range("rasterize", tri, 3, "pos")
    monkeypatch.setattr(validate, "_capturing", lambda tensor: True)
    validate.index_range("interpolate", tri, 3, "attr")
    assert len(reads) == 1
    with pytest.raises(ValueError, match=r"interpolate\(\): tri must hold vertex indices in \[0, 2\)"):
        validate.index_range("interpolate", tri, 2, "attr")
