"""The shapes in signatures are checked in the tests (helpers/shapes.py), and a refusal keeps its own words."""

import importlib
import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
import torch
from helpers.imports import MODULES
from helpers.shapes import HINTS, SHAPED, _Loader

MODULE = """
from __future__ import annotations

from jaxtyping import Float, Int
import torch
from torch import Tensor


def moved(points: Float[Tensor, "N 3"], by: Float[Tensor, " 3"] | None = None) -> Float[Tensor, "N 3"]:
    if points.shape[-1] == 4:
        raise ValueError("moved(): points must be [N, 3]")
    return points if by is None else points + by


def flat(points: Float[Tensor, "N 3"]) -> Float[Tensor, "N 2"]:
    return points[1:, :2]


def count(*masks: Float[Tensor, "H W"] | None) -> int:
    return len(masks)


def zeros(count: int) -> Float[Tensor, "{count} 3"]:
    return torch.zeros(count or 1, 3)


class Body:
    @property
    def faces(self) -> Int[Tensor, "F 3"]:
        return self.kept
"""


def load(folder: Path) -> ModuleType:
    """A module whose functions are checked, as those of the package are."""
    path = folder / "shaped.py"
    path.write_text(MODULE)
    spec = importlib.util.spec_from_file_location("shaped", path, loader=_Loader("shaped", str(path)))
    assert spec is not None and spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def test_what_is_as_said_passes(tmp_path: Path) -> None:
    module = load(tmp_path)
    points = torch.rand(5, 3)
    assert torch.equal(module.moved(points, torch.ones(3)), points + 1)
    assert len(module.zeros(count=4)) == 4
    assert module.count(torch.ones(2, 3), None, torch.zeros(2, 3)) == 2 + 1
    body = module.Body()
    body.kept = torch.zeros(4, 3, dtype=torch.int32)
    assert body.faces is body.kept


def test_what_is_not_as_said_fails(tmp_path: Path) -> None:
    module = load(tmp_path)
    with pytest.raises(AssertionError, match=r"moved\(\): points is torch.float32 \[5, 2\], not .*Float"):
        module.moved(torch.rand(5, 2))
    with pytest.raises(AssertionError, match=r"moved\(\): points is torch.int64 \[5, 3\]"):
        module.moved(torch.ones(5, 3, dtype=torch.int64))
    with pytest.raises(AssertionError, match=r"flat\(\): return is torch.float32 \[4, 2\]"):
        module.flat(torch.rand(5, 3))
    with pytest.raises(AssertionError, match=r"zeros\(\): return is torch.float32 \[1, 3\]"):
        module.zeros(0)
    with pytest.raises(AssertionError, match=r"count\(\): masks is torch.float32 \[3, 2\]"):
        module.count(torch.ones(2, 3), torch.ones(3, 2))
    body = module.Body()
    body.kept = torch.zeros(4, 2, dtype=torch.int32)
    with pytest.raises(AssertionError, match=r"faces\(\): return"):
        _ = body.faces


def test_a_refusal_keeps_its_words(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"points must be \[N, 3\]"):
        load(tmp_path).moved(torch.rand(5, 4))


def test_a_compiled_graph_does_not_break(tmp_path: Path) -> None:
    compiled = torch.compile(load(tmp_path).moved, fullgraph=True, backend="eager")
    points = torch.rand(5, 3)
    assert torch.equal(compiled(points, torch.ones(3)), points + 1)


@pytest.mark.parametrize("name", [name for name, path in MODULES.items() if SHAPED.search(path.read_text())])
def test_the_package_is_checked(name: str) -> None:
    """Every signature with shapes can be read, also of functions that no test calls."""
    assert "__checked__" in vars(importlib.import_module(name))
    found = [hints() for function, hints in HINTS.items() if function.startswith(f"{name}.")]
    assert all(found)
