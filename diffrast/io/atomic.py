"""Writing files so that no reader ever sees a half-written one."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Generator[Path, None, None]:
    """Yield a temporary path beside `path`; move it into place when the block ends without an error.

    The temporary file lives in the same folder (so that the replacement is atomic) and keeps the suffix (writers choose
    the format by it). On any error, a full disk and Ctrl-C included, the temporary file is removed, what stood at
    `path` before stays, and an `OSError` is raised again with `path` named in it.
    """
    final = Path(path)
    temporary = final.with_name(f".{final.stem}.{os.getpid()}.part{final.suffix}")
    try:
        yield temporary
        with temporary.open("rb") as written:  # a full disk may only show when the data reaches it
            os.fsync(written.fileno())
        temporary.replace(final)
    except OSError as error:
        raise OSError(error.errno, f"cannot write {final}: {error.strerror or error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Write `data` to `path`, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write `text` to `path` as UTF-8, whole or not at all."""
    write_bytes(path, text.encode("utf-8"))
