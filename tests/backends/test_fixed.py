"""Sums in fixed point, which a GPU makes under torch.use_deterministic_algorithms(True), executed on the CPU."""

import numpy as np
import pytest
from helpers.fixed_point import PLACES


def addends(count=20_000, scale=1.0, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, PLACES, count), (rng.standard_cauchy(count) * scale).astype(np.float32)


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_sums_are_right_and_the_order_does_not_matter(fixed_sum, scale):
    place, value = addends(scale=scale)
    want = np.bincount(place, value.astype(np.float64), PLACES)
    got = fixed_sum(place, value)
    size = np.bincount(place, np.abs(value).astype(np.float64), PLACES)
    assert (np.abs(got - want) <= 2**-24 * np.abs(want) + 2**-40 * size).all()
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(len(value))
        assert np.array_equal(fixed_sum(place[order], value[order]), got)


def test_addends_of_one_size_do_not_overflow(fixed_sum):
    count = 1 << 20
    got = fixed_sum(np.zeros(count, np.int64), np.full(count, 3.5, np.float32))
    assert got[0] == 3.5 * count


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_shows(fixed_sum, bad):
    place, value = addends(100)
    value[17] = bad
    assert np.isnan(fixed_sum(place, value)).all()


def test_nothing_adds_up_to_nothing(fixed_sum):
    place, value = addends(100)
    assert (fixed_sum(place, 0 * value) == 0).all()
