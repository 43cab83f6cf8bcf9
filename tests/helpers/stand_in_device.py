"""A stand-in for CuPy and the device, which runs each launch on the CPU."""

import contextlib
import ctypes
import types
from pathlib import Path

from diffrast import backends
from diffrast.backends import cuda


class Device:
    """What CuPy and torch.cuda are asked for; launches go to the CPU's library, one after another."""

    def __init__(self):
        self.launches = []
        self.loaded = []
        self.capturing = False
        self.stream = 12345
        self.cuda = types.SimpleNamespace(ExternalStream=self.on_stream)

    @contextlib.contextmanager
    def on_stream(self, pointer, device):
        self.current = pointer
        yield
        self.current = None

    def RawModule(self, path):  # CuPy's name
        self.loaded.append(path)
        assert Path(path).read_bytes().startswith(b"\x7fELF")
        return types.SimpleNamespace(get_function=lambda entry: lambda *call: self.launch(entry, *call))

    def launch(self, entry, grid, block, args):
        struct, count, *rest = args
        assert self.current == self.stream
        assert grid[0] * block[0] >= count or grid[0] == cuda.MOST_BLOCKS
        assert struct.shape == (1,)
        self.launches.append(entry)
        library = backends.get("cpu").library
        words = ctypes.c_longlong.in_dll(library, entry.rsplit("_", 1)[0] + "_words").value
        assert struct.nbytes == 8 * words
        assert not rest
        getattr(library, entry)(ctypes.c_char_p(struct.tobytes()), ctypes.c_longlong(int(count)), 1)
