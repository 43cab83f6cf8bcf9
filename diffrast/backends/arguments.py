"""The fields that kernels take, as their sources in `cuda/` declare them, and the bytes that C reads them from.

A launch gives fields by name, as in `launch("resolve_fwd", dtype, count, pos=pos, tri=tri, ...)`. The kernel's struct
(`struct ResolveArgs`) says which there are, in order: pointers before numbers, 8 bytes each. What is said behind a
field counts:

- `// bwd, jvp: [B, H, W, C]`, words and a colon first: only kernels with one of these words in their name have it;
- `// [B, H, W] or null`: it may be left out. Every other field must be given.

An array may be given fewer elements than it holds; the rest is zero.
"""

import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from types import NoneType
from typing import Any

import torch

from .sources import source_folder

Field = torch.Tensor | float | Sequence[torch.Tensor | None] | Sequence[int] | None

KERNEL = re.compile(r"^DR_(?:KERNEL|SCATTER|WORDS)\((\w+), (\w+)\)$", re.MULTILINE)
STRUCT = re.compile(r"^struct (\w+) \{\n(.*?)^(?:\};|  DR_FN)", re.MULTILINE | re.DOTALL)
DECLARATION = re.compile(r"^ +(?!typedef)(?:const )?(\w+)(\*?) (\w[^;=(]*);(?: *// *(.*))?$", re.MULTILINE)
ONLY = re.compile(r"((?:[a-z]+, )*[a-z]+):")
CONSTANT = re.compile(r"^static const \w+ (.*);", re.MULTILINE)
ENUM = re.compile(r"^enum (\w+) \{(.*?)\}", re.MULTILINE | re.DOTALL)

REQUIRED = object()


@dataclass(frozen=True)
class Layout:
    """The fields that one kernel takes, and how they are packed."""

    owner: str  # in messages
    fields: dict[str, Any]  # in order, pointers first: REQUIRED, or what it is where it is not given
    pointers: int  # how many
    arrays: dict[str, int]  # how many elements the fields hold that are arrays
    format: struct.Struct

    def pack(self, given: Mapping[str, Any]) -> bytes:
        """The struct: tensors become addresses, None a null pointer. TypeError names a field that is wrong."""
        fields: dict[str, Any] = {**self.fields, **given}
        if len(fields) > len(self.fields):
            unknown = next(name for name in given if name not in self.fields)
            raise TypeError(f"{self.owner} has no field {unknown}; it has {', '.join(self.fields)}")
        for name, length in self.arrays.items():
            fields[name] = self._array(name, length, fields[name])
        values, n = list(fields.values()), self.pointers
        try:
            addresses = [
                0 if value is None else value if value.__class__ is bytes else value.data_ptr() for value in values[:n]
            ]
            return self.format.pack(*addresses, *values[n:])
        except (AttributeError, struct.error):
            raise TypeError(f"{self.owner} {self._fault(given)}") from None

    def _array(self, name: str, length: int, values: Any) -> Any:
        if values is REQUIRED:
            return values
        if len(values) > length:
            raise TypeError(f"{self.owner} takes at most {length} elements of {name}; got {len(values)}")
        words = [value.data_ptr() if isinstance(value, torch.Tensor) else value or 0 for value in values]
        return struct.pack(f"={len(words)}q", *words)

    def _fault(self, given: Mapping[str, Any]) -> str:
        missing = [name for name, value in self.fields.items() if value is REQUIRED and name not in given]
        if missing:
            return f"needs the field {', '.join(missing)}"
        pointers = list(self.fields)[: self.pointers]
        for name, value in given.items():
            types = (torch.Tensor, NoneType) if name in pointers else (int, float)
            if name not in self.arrays and not isinstance(value, types):
                kind = "a tensor or None" if name in pointers else "a number"
                return f"takes {kind} for {name}; got {type(value).__name__}"
        return "takes integers of 64 bits, and numbers with a fraction only where C has a double"


@cache
def _text() -> str:
    files = sorted(path for path in source_folder("cuda").iterdir() if path.suffix in (".h", ".cu", ".cpp"))
    return "\n".join(path.read_text(encoding="utf-8") for path in files)


@cache
def kernels() -> dict[str, str]:
    """The name of every kernel, and that of its struct."""
    return dict(KERNEL.findall(_text()))


def of(kernel: str) -> Layout:
    """The fields of a kernel. Raises RuntimeError when the sources have no such kernel."""
    if kernel not in kernels():
        raise RuntimeError(f"the sources in {source_folder('cuda')} have no kernel {kernel}; reinstall diffrast")
    return layout(kernels()[kernel], kernel)


@cache
def layout(name: str, kernel: str | None = None) -> Layout:
    """The fields of a struct, those that a kernel has where one is named. Raises RuntimeError when there is none."""
    body = next((body for struct_name, body in STRUCT.findall(_text()) if struct_name == name), None)
    if body is None:
        raise RuntimeError(f"the sources in {source_folder('cuda')} have no struct {name}; reinstall diffrast")
    words = set((kernel or "").split("_"))
    fields: dict[str, Any] = {}
    arrays: dict[str, int] = {}
    codes = "="
    pointers = 0
    for kind, pointer, declared, comment in DECLARATION.findall(body):
        only = ONLY.match(comment)
        for text in declared.split(", "):
            field, _, length = text.rstrip("]").partition("[")
            count = constant(length) if length else 1
            if only and words.isdisjoint(only[1].split(", ")):
                codes += f"{8 * count}x"  # zeros
                continue
            codes += f"{8 * count}s" if length else "d" if kind == "double" else "q"
            pointers += bool(pointer)
            fields[field] = REQUIRED if "or null" not in comment else () if length else None
            if length:
                arrays[field] = count
    return Layout(f"kernel {kernel}" if kernel else f"struct {name}", fields, pointers, arrays, struct.Struct(codes))


@cache
def constant(name: str) -> int:
    """The value of a `static const int` of the sources, such as kMaxLevels."""
    found = re.search(rf"\b{name} = (\d+)\b", " ".join(CONSTANT.findall(_text())))
    if found is None:
        raise RuntimeError(f"the sources in {source_folder('cuda')} have no constant {name}; reinstall diffrast")
    return int(found[1])


@cache
def choices(enum: str) -> tuple[str, ...]:
    """The names in an enum of the sources in small letters, in order: "wrap" is `kWrap`, or `kBoundaryWrap`."""
    listed = next((listed for name, listed in ENUM.findall(_text()) if name == enum), None)
    if listed is None:
        raise RuntimeError(f"the sources in {source_folder('cuda')} have no enum {enum}; reinstall diffrast")
    return tuple(name.removeprefix(enum).lower() for name in re.findall(r"\bk(\w+)", listed))
