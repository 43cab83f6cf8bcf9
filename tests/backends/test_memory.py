"""Output memory: every block serves one tensor at a time, and comes back when that is dead."""

import gc
import mmap
import multiprocessing
import threading

import pytest
import torch

from diffrast.backends import memory

MB = 1 << 20
pytestmark = [
    pytest.mark.skipif(not hasattr(mmap, "MAP_ANONYMOUS"), reason="this system has no anonymous maps"),
    pytest.mark.usefixtures("pool"),
]


def floats(megabytes: float) -> torch.Tensor:
    return memory.empty((int(megabytes * MB) // 4,), torch.float32)


def test_tensors_are_what_was_asked_for():
    for shape in [(), (0,), (3, 0, 4), (5,), (2, 3, 4), (1024, 512, 3), torch.Size([1, 700, 700])]:
        for dtype in (torch.float32, torch.float64, torch.int32, torch.int64, torch.uint8):
            tensor = memory.empty(shape, dtype)
            assert tensor.shape == torch.Size(shape)
            assert tensor.dtype == dtype
            assert tensor.is_contiguous()
            assert not tensor.requires_grad
            tensor.fill_(7)
            assert bool((tensor == 7).all())


def test_a_dead_tensors_memory_is_used_again(pool):
    first = floats(8)
    address = first.data_ptr()
    assert address % mmap.PAGESIZE == 0
    del first
    assert pool.waiting_bytes == 8 * MB
    again = floats(8)
    assert again.data_ptr() == address
    assert pool.waiting_bytes == 0


def test_living_tensors_share_no_memory():
    tensors = [floats(4) for _ in range(6)]
    for i, tensor in enumerate(tensors):
        tensor.fill_(i)
    assert [tensor[[0, -1]].tolist() for tensor in tensors] == [[i, i] for i in range(6)]


@pytest.mark.parametrize(
    "derive",
    [
        lambda x: x.view(2, -1)[1],
        lambda x: x[100:],
        lambda x: x.detach(),
        lambda x: x.numpy(),
        lambda x: x.untyped_storage(),
        lambda x: torch.utils.dlpack.from_dlpack(x),
    ],
    ids=["view", "slice", "detach", "numpy", "storage", "dlpack"],
)
def test_memory_is_kept_by_everything_that_still_uses_it(pool, derive):
    tensor = floats(8).fill_(3)
    kept = derive(tensor)
    del tensor
    gc.collect()
    assert pool.waiting_bytes == 0
    other = floats(8).fill_(5)
    content = torch.tensor([], dtype=torch.float32).set_(kept) if isinstance(kept, torch.UntypedStorage) else kept
    assert (content == 3).all()
    del kept, content
    gc.collect()
    assert pool.waiting_bytes == 8 * MB
    assert bool((other == 5).all())


def test_memory_saved_for_backward_is_kept(pool):
    x = torch.ones(4 * MB // 4, requires_grad=True)
    y = floats(4).fill_(2)
    out = (x * y).sum()
    del y
    gc.collect()
    floats(4).fill_(9)
    out.backward()
    assert x.grad is not None
    assert bool((x.grad == 2).all())
    del out
    gc.collect()
    assert pool.waiting_bytes == 8 * MB


def test_resizing_a_tensor_leaves_the_pool_sound(pool):
    tensor = floats(4)
    with pytest.raises(RuntimeError, match="not resizable"):
        tensor.resize_(16 * MB)
    del tensor
    gc.collect()
    assert pool.waiting_bytes == 4 * MB


def test_sizes_are_whole_huge_pages(pool):
    tensor = floats(4.5)
    del tensor
    assert pool.waiting_bytes == 6 * MB


def test_waiting_memory_is_bounded_and_the_longest_unused_goes_first():
    pool = memory.Pool(max_waiting=10 * MB)
    views = [pool.lease(4 * MB) for _ in range(4)]
    addresses = [torch.frombuffer(view, dtype=torch.uint8).data_ptr() for view in views]
    while views:
        views.pop(0)  # in the order of their making
    assert pool.waiting_bytes == 8 * MB
    taken = [pool.lease(4 * MB) for _ in range(2)]
    assert {torch.frombuffer(view, dtype=torch.uint8).data_ptr() for view in taken} == set(addresses[2:])


def test_release_gives_everything_back(pool):
    del_me = floats(8)
    del del_me
    assert pool.waiting_bytes == 8 * MB
    memory.release()
    assert pool.waiting_bytes == 0


def test_small_tensors_are_torchs_own(pool):
    tensor = memory.empty((100,), torch.float32)
    del tensor
    assert pool.waiting_bytes == 0


def test_threads_never_get_the_same_block():
    """Each thread writes its number into tensors while others do the same, and finds nothing else in them."""
    wrong: list[int] = []

    def work(number: int) -> None:
        for _ in range(60):
            tensors = [floats(2).fill_(number) for _ in range(2)]
            if not all(bool((tensor == number).all()) for tensor in tensors):
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_more_than_there_is_says_how_much_for_what():
    with pytest.raises(
        MemoryError, match=r"out of memory: 4611686018427387904 bytes for a float32 tensor \[1073741824, 1073741824\]"
    ):
        memory.empty((1 << 30, 1 << 30), torch.float32)


def _child(pipe) -> None:
    torch.set_num_threads(1)  # as a data loader's worker: OpenMP's threads do not survive a fork
    tensor = floats(4).fill_(1)
    pipe.send(float(tensor.sum()))


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system cannot fork")
def test_a_forked_process_has_memory_of_its_own():
    """As in a data loader: what the child writes must not be seen by the parent."""
    parent = floats(4).fill_(8)
    waiting = floats(4)
    del waiting
    fork = multiprocessing.get_context("fork")
    ours, theirs = fork.Pipe()
    child = fork.Process(target=_child, args=(theirs,), daemon=True)
    child.start()
    assert ours.poll(60), "the child did not answer"
    assert ours.recv() == MB
    child.join(60)
    assert child.exitcode == 0
    assert bool((parent == 8).all())


def test_outputs_of_the_operators_are_reused_but_never_shared():
    """Pictures that the user still holds stay as they are while new ones are drawn."""
    import diffrast.torch as dr

    ctx = dr.RasterizeContext()
    tri = torch.tensor([[0, 1, 2]], dtype=torch.int32)
    kept = []
    for i in range(6):
        pos = torch.tensor([[[-1.0, -1, 0, 1], [3, -1, 0, 1], [-1, 3, 0, 1]]]) * torch.tensor([1, 1, 1, 1.0])
        pos[..., 2] = i / 10
        rast, _ = dr.rasterize(ctx, pos, tri, (512, 512))
        if i % 2 == 0:
            kept.append((i, rast))
    for i, rast in kept:
        assert torch.allclose(rast[..., 2], torch.tensor(i / 10))
