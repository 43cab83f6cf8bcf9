"""Builds the CPU library: a plain C ABI compiled from `cuda/cpu.cpp`, once per instruction set, with no torch in sight.

The library is reached through ctypes (diffrast/backends/cpu.py), so one wheel per platform serves every Python >= 3.10
and every torch >= 2.6. Everything else about the package is in pyproject.toml.
"""

import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from setuptools import Distribution, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py
from setuptools.extension import Extension

ROOT = Path(__file__).resolve().parent
SOURCE_FOLDERS = ("cuda", "shaders")

# The GPU computes without contraction too: fused multiply-adds would make results depend on the instruction set.
FLAGS = [
    "-std=c++17",
    "-O3",
    "-fPIC",
    "-fvisibility=hidden",
    "-ffp-contract=off",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-Wall",
    "-Wextra",
    "-Wno-unknown-pragmas",
]
VARIANTS: dict[str, list[str]] = {"default": []}
if platform.machine().lower() in ("x86_64", "amd64"):
    VARIANTS["avx2"] = ["-mavx2", "-mfma"]
    VARIANTS["avx512"] = [
        *VARIANTS["avx2"],
        "-mavx512f",
        "-mavx512bw",
        "-mavx512dq",
        "-mavx512vl",
        "-mprefer-vector-width=512",
    ]


def compiler() -> list[str]:
    """The C++ compiler as a command: $CXX, or the first of the usual names."""
    names = [os.environ["CXX"]] if os.environ.get("CXX") else ["c++", "g++", "clang++"]
    for name in names:
        command = shlex.split(name)
        if command and shutil.which(command[0]):
            return command
    raise SystemExit(
        f"diffrast: no C++ compiler found (looked for {', '.join(names)}). Install one, for example with "
        "`apt-get install g++` on Debian and Ubuntu or `xcode-select --install` on macOS, or name it in CXX."
    )


def accepts(command: list[str], flags: list[str]) -> bool:
    """Whether the compiler can compile and link with these flags."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "probe.cpp")
        source.write_text("int main() { return 0; }\n")
        result = subprocess.run([*command, *flags, str(source), "-o", str(Path(folder, "probe"))], capture_output=True)
    return result.returncode == 0


def compile_library(command: list[str], flags: list[str], library: Path) -> None:
    """Compiles `cuda/cpu.cpp` into one shared library, which appears under its name only when it is whole."""
    with tempfile.TemporaryDirectory() as folder:
        compiled, linked = Path(folder, "cpu.o"), Path(folder, library.name)
        subprocess.run(
            [*command, *FLAGS, *flags, "-c", str(ROOT / "cuda" / "cpu.cpp"), "-o", str(compiled)], check=True
        )
        # torch brings an OpenMP runtime under a name that differs between its releases. GNU OpenMP is therefore not
        # linked: its symbols are left open and found in torch's when the library is loaded (diffrast/backends/cpu.py).
        # So there is one pool of threads in the process, and none need be installed.
        if sys.platform == "linux" and b"GOMP_parallel" in compiled.read_bytes():
            flags = [flag for flag in flags if flag != "-fopenmp"]
        subprocess.run([*command, "-shared", *flags, str(compiled), "-o", str(linked)], check=True)
        partial = library.with_suffix(f".{os.getpid()}.tmp")
        shutil.copy(linked, partial)
        partial.replace(library)


class BuildNative(build_ext):
    """Compiles one shared library per instruction set into `diffrast/_native/`."""

    def target(self) -> Path:
        in_place = self.inplace or getattr(self, "editable_mode", False)
        return (ROOT if in_place else Path(self.build_lib)) / "diffrast" / "_native"

    def libraries_built(self) -> list[Path]:
        return [self.target() / f"libdiffrast_{name}.so" for name in VARIANTS]

    def run(self) -> None:
        command = compiler()
        openmp = ["-fopenmp"] if accepts(command, ["-fopenmp"]) else []
        if not openmp:
            print("diffrast: this compiler has no OpenMP; the CPU backend will use a single thread", file=sys.stderr)
        self.target().mkdir(parents=True, exist_ok=True)

        def build(item: tuple[str, Path]) -> None:
            compile_library(command, [*VARIANTS[item[0]], *openmp], item[1])

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(build, zip(VARIANTS, self.libraries_built(), strict=True)))

    def get_outputs(self) -> list[str]:
        return [str(path) for path in self.libraries_built()]

    def get_output_mapping(self) -> dict[str, str]:
        return {}

    def get_source_files(self) -> list[str]:
        return [str(p.relative_to(ROOT)) for p in (ROOT / "cuda").iterdir() if p.is_file()]


class BuildPython(build_py):
    """Puts the kernel and shader sources into the wheel, where diffrast/backends/sources.py looks for them."""

    def run(self) -> None:
        super().run()
        if getattr(self, "editable_mode", False):
            return
        for folder in SOURCE_FOLDERS:
            shutil.copytree(ROOT / folder, Path(self.build_lib, "diffrast", "_sources", folder), dirs_exist_ok=True)


class PlatformWheel(bdist_wheel):
    """One wheel per platform for every Python 3: the library does not know Python's ABI."""

    def get_tag(self) -> tuple[str, str, str]:
        return "py3", "none", super().get_tag()[2].replace("universal2", platform.machine())


class NativeDistribution(Distribution):
    def has_ext_modules(self) -> bool:
        return True


setup(
    distclass=NativeDistribution,
    ext_modules=[Extension("diffrast._native", sources=[])],
    cmdclass={"build_ext": BuildNative, "build_py": BuildPython, "bdist_wheel": PlatformWheel},
)
