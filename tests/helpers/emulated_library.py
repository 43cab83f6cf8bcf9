"""Compiles a file of this folder against `cuda/`: what only GPUs have is replaced by something that the CPU can do."""

import ctypes
import os
import shutil
import subprocess
from pathlib import Path

from diffrast.backends.sources import source_folder


def build(name: str, folder: Path) -> ctypes.CDLL:
    """The library of tests/<name>.cpp, made in `folder`."""
    compiler = os.environ.get("CXX") or next(filter(shutil.which, ("c++", "g++", "clang++")))
    library = folder / f"{name}.so"
    flags = ["-std=c++17", "-O1", "-fPIC", "-shared", "-pthread", f"-I{source_folder('cuda')}"]
    source = Path(__file__).with_name(f"{name}.cpp")
    subprocess.run([*compiler.split(), *flags, str(source), "-o", str(library)], check=True)
    return ctypes.CDLL(str(library))
