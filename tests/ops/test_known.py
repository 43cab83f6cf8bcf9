"""What is remembered of a tensor holds for its version, and goes with it."""

import gc

import torch

from diffrast.ops.known import Known


def counting():
    calls = []
    return calls, Known(lambda tensor: calls.append(None) or int(tensor.sum()))


def test_found_once_until_modified():
    calls, known = counting()
    tensor = torch.tensor([1, 2])
    assert not known.has(tensor)
    assert [known(tensor), known(tensor)] == [3, 3]
    assert known.has(tensor)
    assert len(calls) == 1
    tensor[0] = 5
    assert not known.has(tensor)
    assert known(tensor) == 7
    assert len(calls) == 2


def test_tensors_are_told_apart_and_forgotten():
    _, known = counting()
    first, second = torch.tensor([1]), torch.tensor([1])
    known(first)
    assert not known.has(second)
    del first
    gc.collect()
    assert len(known._kept) == 0


def test_inference_tensors_are_looked_at_each_time():
    calls, known = counting()
    with torch.inference_mode():
        tensor = torch.tensor([1, 2])
        assert [known(tensor), known(tensor)] == [3, 3]
        assert not known.has(tensor)
    assert len(calls) == 2
