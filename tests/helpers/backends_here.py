"""Which backends can start on this machine; besides the package's, the GPU's search for visible triangles as the CPU
runs it."""

import pytest

from diffrast import backends
from helpers import emulation

backends.LOADERS["emulated"] = emulation.create


def _missing() -> dict[str, str]:
    """Backends that cannot start here, and why."""
    reasons = {}
    for name in sorted(backends.LOADERS):
        try:
            backends.get(name)
        except RuntimeError as error:
            reasons[name] = str(error)
    return reasons


MISSING = _missing()


needs_gl = pytest.mark.skipif("gl" in MISSING, reason=f"no OpenGL here: {MISSING.get('gl')}")
