"""Commands of `diffrast`, run in this process."""

import pytest

from diffrast import cli


def run(capsys: pytest.CaptureFixture, *args: object) -> tuple[int, str, str]:
    """Exit code, output and errors."""
    code = cli.main([str(a) for a in args])
    out, err = capsys.readouterr()
    return code, out, err
