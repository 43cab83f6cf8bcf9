"""cuda/while_asleep.cpp: OpenMP's threads make room for a renderer that draws on the processor."""

import os
import subprocess
import sys
import threading

import pytest
import torch
from helpers import scenes

import diffrast.torch as dr
from diffrast import backends

# With this policy an idle thread of OpenMP spins for ever, unless it is asleep.
SPINNING = """
import time
import torch
from diffrast import backends

torch.set_num_threads(2)
torch.zeros(1 << 20).add_(1)  # starts the other thread
cpu = backends.get("cpu")

def seconds(call):
    begin = time.process_time()
    call()
    return time.process_time() - begin

print(seconds(lambda: time.sleep(0.5)), seconds(lambda: cpu.while_asleep(lambda: time.sleep(0.5))))
"""


def test_the_work_is_done_once_on_this_thread():
    done = []
    backends.get("cpu").while_asleep(lambda: done.append(threading.get_ident()))
    assert done == [threading.get_ident()]


def test_kernels_run_inside_of_it():
    ctx = dr.RasterizeContext(backend="cpu")
    pos, tri = scenes.soup()
    want, _ = dr.rasterize(ctx, pos, tri, (64, 64))
    got = []
    backends.get("cpu").while_asleep(lambda: got.append(dr.rasterize(ctx, pos, tri, (64, 64))[0]))
    assert torch.equal(got[0], want)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_errors_pass_through(error):
    def fail():
        raise error("from within")

    with pytest.raises(error, match="from within"):
        backends.get("cpu").while_asleep(fail)
    test_the_work_is_done_once_on_this_thread()


def test_the_other_threads_sleep():
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "GOMP_"))}
    run = subprocess.run(
        [sys.executable, "-c", SPINNING],
        env=environment | {"OMP_WAIT_POLICY": "active"},
        capture_output=True,
        text=True,
        check=True,
    )
    spinning, asleep = map(float, run.stdout.split())
    assert asleep < 0.1
    assert spinning > 2 * asleep
