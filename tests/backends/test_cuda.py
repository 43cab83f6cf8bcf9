"""What only a CUDA device can show: streams, threads, graphs, no waiting, several GPUs. `make gpu-check` runs it."""

import threading

import pytest
import torch
from helpers import gradients
from helpers.textured_ball import SIZE, Problem

import diffrast.torch as dr

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="NOT TESTED: no CUDA device")


def agree(got, expected):
    for g, w in zip(got, expected, strict=True):
        gradients.assert_agree(g, w)


def test_nothing_waits_for_the_gpu(expected):
    problem = Problem()
    problem.gradients()  # compiles, loads, and reads the indices
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        got = problem.gradients()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    agree(got, expected)


def test_work_goes_to_the_current_stream(expected):
    problem, stream = Problem(), torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        torch.cuda._sleep(50_000_000)  # whatever went elsewhere would be done before
        with torch.no_grad():
            problem.pos.copy_(problem.pos * 0.9)
        got = problem.gradients()
    stream.synchronize()
    shrunk = Problem("cpu")
    with torch.no_grad():
        shrunk.pos.copy_(shrunk.pos * 0.9)
    agree(got, shrunk.gradients())


def test_a_whole_iteration_is_captured_in_a_graph():
    problem = Problem()
    optimizer = torch.optim.Adam([problem.pos, problem.tex], lr=1e-3, capturable=True)

    def iteration():
        optimizer.zero_grad(set_to_none=False)
        loss = torch.nn.functional.mse_loss(problem.image(), problem.target)
        loss.backward()
        optimizer.step()
        return loss

    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            iteration()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        loss = iteration()
    losses = []
    for _ in range(20):
        graph.replay()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    want = Problem()
    with torch.no_grad():
        want.pos.copy_(problem.pos)
        want.tex.copy_(problem.tex)
    graph.replay()  # its forward saw the parameters that `want` has now
    agree([torch.tensor(loss.item())], [torch.nn.functional.mse_loss(want.image(), want.target)])


def test_a_graph_needs_an_iteration_before():
    problem = Problem()
    problem.tri = problem.tri.clone()
    with pytest.raises(RuntimeError, match="run the iteration once before"), torch.cuda.graph(torch.cuda.CUDAGraph()):
        dr.rasterize(problem.ctx, problem.pos, problem.tri, SIZE)


def test_threads(expected):
    results = {}

    def work(number):
        stream = torch.cuda.Stream()
        with torch.cuda.stream(stream):
            problem = Problem()
            for _ in range(10):
                results[number] = problem.gradients()
        stream.synchronize()

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(4):
        agree(results[number], expected)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="NOT TESTED: needs two CUDA devices")
def test_the_second_gpu_is_used_where_the_tensors_are(expected):
    problem = Problem("cuda:1")
    assert torch.cuda.current_device() == 0
    got = problem.gradients()
    assert got[0].device.index == 1
    assert torch.cuda.current_device() == 0
    agree(got, expected)


def test_tensors_on_two_devices_are_refused():
    problem = Problem()
    with pytest.raises(ValueError, match=r"rasterize\(\): tri must be on cuda:0 like pos; got int32 .* on cpu"):
        dr.rasterize(problem.ctx, problem.pos, problem.tri.cpu(), SIZE)
    with pytest.raises(ValueError, match=r"pos must be on a cpu device for backend='cpu'; got float32 .* on cuda:0"):
        dr.rasterize(dr.RasterizeContext(backend="cpu"), problem.pos, problem.tri, SIZE)


def test_indices_out_of_range_are_found_and_nothing_crashes():
    problem = Problem()
    bad = problem.tri.clone()
    bad[3, 1] = 10**6
    with pytest.raises(ValueError, match=r"got indices in \[0, 1000000\]"):
        dr.rasterize(problem.ctx, problem.pos, bad, SIZE)
    problem.image()
    torch.cuda.synchronize()


def test_large_pictures_and_many_triangles_run_clean():
    """4096x4096 with 500 000 triangles, and 20 million at 1024x1024: every pixel of a full sheet is covered."""
    for rows, columns, size in ((500, 500, 4096), (3163, 3163, 1024)):
        y, x = torch.meshgrid(
            torch.linspace(-1.1, 1.1, rows + 1), torch.linspace(-1.1, 1.1, columns + 1), indexing="ij"
        )
        pos = torch.stack([x, y, 0.3 * x, torch.ones_like(x)], -1).reshape(1, -1, 4).cuda()
        a = (torch.arange(rows)[:, None] * (columns + 1) + torch.arange(columns)).reshape(-1)
        quads = torch.stack([a, a + 1, a + columns + 2, a, a + columns + 2, a + columns + 1], 1).view(-1, 3)
        rast, _ = dr.rasterize(dr.RasterizeContext(backend="cuda"), pos, quads.int().cuda(), (size, size))
        assert (rast[..., 3] > 0).all()
