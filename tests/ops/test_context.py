"""Contexts: what they say, what they choose, and that they hold nothing."""

import gc
import logging
import weakref

import pytest
import torch

import diffrast.torch as dr

POS = torch.tensor([[[-1.0, -1, 0, 1], [3, -1, 0, 1], [-1, 3, 0, 1]]])
TRI = torch.tensor([[0, 1, 2]], dtype=torch.int32)

without_cuda = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")


@without_cuda
@pytest.mark.parametrize("make", [dr.RasterizeCudaContext, dr.RasterizeGLContext])
def test_established_contexts_work_without_cuda_and_say_so_once(fresh_log, make):
    for _ in range(3):
        rast, _ = dr.rasterize(make(), POS, TRI, (4, 4))
        assert bool((rast[..., 3] == 1).all())
    warnings = [r.getMessage() for r in fresh_log.records if r.levelno == logging.WARNING]
    assert warnings == [f"{make.__name__}: no CUDA device here; CPU tensors are rasterized on the CPU"]


def test_auto_says_once_what_it_chose(fresh_log):
    ctx = dr.RasterizeContext()
    for _ in range(3):
        dr.rasterize(ctx, POS, TRI, (4, 4))
    messages = [r.getMessage() for r in fresh_log.records]
    assert messages == ["backend 'auto' rasterizes cpu tensors with 'cpu'"]


def test_the_log_level_silences(fresh_log):
    before = dr.get_log_level()
    dr.set_log_level(2)
    dr.RasterizeCudaContext()
    assert fresh_log.records == []
    dr.set_log_level(before)


def test_the_log_level_is_warnings_unless_set():
    logging.getLogger("diffrast").setLevel(logging.NOTSET)
    assert dr.get_log_level() == 1


@pytest.mark.parametrize(
    ("level", "error", "message"),
    [
        (4, ValueError, r"set_log_level\(\): level must be an integer in \[0, 3\]; got 4"),
        (-1, ValueError, r"set_log_level\(\): level must be an integer in \[0, 3\]; got -1"),
        ("info", TypeError, r"set_log_level\(\): level must be an integer in \[0, 3\]; got str 'info'"),
        (True, TypeError, r"set_log_level\(\): level must be an integer in \[0, 3\]; got bool True"),
    ],
)
def test_wrong_log_levels(level, error, message):
    with pytest.raises(error, match=message):
        dr.set_log_level(level)


def test_unknown_backend_and_mode():
    with pytest.raises(
        ValueError, match=r"RasterizeContext\(\): backend must be one of 'auto', .*'cpu'.*; got 'vulkan'"
    ):
        dr.RasterizeContext(backend="vulkan")
    with pytest.raises(
        ValueError, match=r"RasterizeGLContext\(\): mode must be one of 'automatic', 'manual'; got 'lazy'"
    ):
        dr.RasterizeGLContext(mode="lazy")


def test_backend_is_named_in_repr(raster):
    assert repr(dr.RasterizeContext(raster.name)) == f"RasterizeContext(backend={raster.name!r})"


def test_gl_context_is_usable_after_release():
    ctx = dr.RasterizeGLContext(mode="manual")
    ctx.set_context()
    ctx.release_context()
    ctx.set_context()
    rast, _ = dr.rasterize(ctx, POS, TRI, (4, 4))
    assert bool((rast[..., 3] == 1).all())
    ctx.release_context()


def test_output_db_false_saves_the_derivatives():
    ctx = dr.RasterizeGLContext(output_db=False)
    rast, rast_db = dr.rasterize(ctx, POS, TRI, (4, 6))
    with_db, _ = dr.rasterize(dr.RasterizeContext(), POS, TRI, (4, 6))
    assert rast_db.shape == (1, 4, 6, 0)
    assert torch.equal(rast, with_db)


def test_a_context_is_freed_with_its_last_reference():
    ctx = dr.RasterizeCudaContext()
    dr.rasterize(ctx, POS, TRI, (4, 4))
    gone = weakref.ref(ctx)
    del ctx
    gc.collect()
    assert gone() is None


def test_peelers_do_not_nest_on_one_context():
    ctx = dr.RasterizeContext()
    message = "this context is already peeling; leave the other `with` block first"
    with dr.DepthPeeler(ctx, POS, TRI, (4, 4)), pytest.raises(RuntimeError, match=message):
        dr.DepthPeeler(ctx, POS, TRI, (4, 4)).__enter__()
    with dr.DepthPeeler(ctx, POS, TRI, (4, 4)) as peeler:  # free again
        peeler.rasterize_next_layer()


def test_peeling_only_inside_the_block():
    peeler = dr.DepthPeeler(dr.RasterizeContext(), POS, TRI, (4, 4))
    message = r"rasterize_next_layer\(\) must be called inside `with DepthPeeler"
    with pytest.raises(RuntimeError, match=message):
        peeler.rasterize_next_layer()
    with peeler:
        peeler.rasterize_next_layer()
    with pytest.raises(RuntimeError, match=message):
        peeler.rasterize_next_layer()


def test_peeler_is_left_by_an_exception():
    ctx = dr.RasterizeContext()
    with pytest.raises(KeyError), dr.DepthPeeler(ctx, POS, TRI, (4, 4)):
        raise KeyError("user code")
    with dr.DepthPeeler(ctx, POS, TRI, (4, 4)) as peeler:
        rast, _ = peeler.rasterize_next_layer()
    assert bool((rast[..., 3] == 1).all())
