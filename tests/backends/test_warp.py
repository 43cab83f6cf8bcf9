"""The warp reduction that backward kernels use on a GPU, executed with a thread for each lane (warp_emulation.cpp)."""

import ctypes

import numpy as np
import pytest


@pytest.mark.parametrize("active", [0xFFFFFFFF, 0x1, 0x80000000, 0x0F0F0F0F, 0xA5A50001])
@pytest.mark.parametrize("places", [1, 2, 5, 16, 1000])
def test_peers_add_up_and_one_of_them_goes_to_memory(reduce, places, active):
    rng = np.random.default_rng(places)
    for _ in range(5):
        key = rng.integers(0, places, 32)
        value = rng.integers(-100, 100, 32).astype(np.float32)  # sums of integers are exact in any order
        total, leader = np.full(32, np.nan, np.float32), np.zeros(32, np.int32)
        pointers = [array.ctypes.data_as(ctypes.c_void_p) for array in (key, value, total, leader)]
        reduce(ctypes.c_uint(active), *pointers)
        here = (active >> np.arange(32) & 1).astype(bool)
        for place in np.unique(key[here]):
            peers = here & (key == place)
            assert leader[peers].sum() == 1
            assert total[peers & (leader == 1)] == value[peers].sum()
