"""Random scenes: values stay within what is blended, and mode "area" comes nearer to 64 samples per pixel."""

import pytest
from helpers import random_scenes

import diffrast.torch as dr


def check(seeds, truth_every=1):
    worst, psnr = random_scenes.measured(dr.RasterizeContext(), seeds, truth_every)
    assert worst == {"silhouette": 0.0, "area": 0.0}
    gain = {kind: psnr["area"][kind] - psnr["silhouette"][kind] for kind in psnr["area"]}
    assert len(gain) == len(random_scenes.KINDS) and min(gain.values()) > 2, gain
    return gain


def test_random_scenes():
    check(range(120))


@pytest.mark.slow
def test_ten_thousand_random_scenes():
    print(check(range(10_000)))
