"""What is known of a tensor, remembered for as long as it lives and is not modified (through torch)."""

from collections.abc import Callable
from typing import Any, Generic, TypeVar

import torch
from torch.utils.weak import WeakIdKeyDictionary

T = TypeVar("T")


class Known(Generic[T]):
    """`known(tensor)` is `find(tensor)`, found once for each version of each tensor.

    Neither while torch compiles nor for inference tensors, which do not count their versions: those are found each
    time.
    """

    def __init__(self, find: Callable[[torch.Tensor], T]) -> None:
        self.find = find
        self._kept: Any = WeakIdKeyDictionary()  # tensor -> (version, what was found)

    def __call__(self, tensor: torch.Tensor) -> T:
        if torch.compiler.is_compiling() or tensor.is_inference():
            return self.find(tensor)
        if not self.has(tensor):
            self._kept[tensor] = tensor._version, self.find(tensor)
        return self._kept[tensor][1]

    def has(self, tensor: torch.Tensor) -> bool:
        """Whether it need not be looked for."""
        return not tensor.is_inference() and self._kept.get(tensor, (None,))[0] == tensor._version
