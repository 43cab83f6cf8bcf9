"""How tensors come into OpenGL's buffers and images come back: through the host, or within the GPU where CUDA shares
them.

`Interop` is the small interface to CUDA's OpenGL interoperability; `CudaInterop` is it by cuda-bindings. The tests
drive the path through a stand-in of it. **With a GPU it has never run.** Reference: CUDA Runtime API, "OpenGL
Interoperability".
"""

from collections.abc import Sequence
from importlib import import_module
from typing import Any, Protocol

import torch

from .gl_draw import Layers, Store


class Interop(Protocol):
    """Memory that OpenGL and CUDA share. All calls are made with the OpenGL context current."""

    def register(self, buffer: int) -> Any:
        """Makes an OpenGL buffer known to CUDA; gives a resource."""
        ...

    def unregister(self, resource: Any) -> None: ...

    def map(self, resource: Any, stream: int) -> int:
        """Hands the buffer to CUDA: its address. Work on the stream waits for OpenGL's."""
        ...

    def unmap(self, resource: Any, stream: int) -> None:
        """Hands it back. OpenGL waits for the stream's work."""
        ...

    def copy(self, to: int, source: int, size: int, stream: int) -> None: ...


class CudaInterop:
    """By cuda-bindings, on one device. Raises RuntimeError with the mending command where it cannot be imported."""

    READ_WRITE, DEVICE_TO_DEVICE = 0, 3

    def __init__(self, device: torch.device) -> None:
        self._device = device
        try:
            self._cuda: Any = import_module("cuda.bindings.runtime")  # an extra
        except ImportError as error:
            raise RuntimeError(f"cuda-bindings cannot be imported ({error}); `pip install cuda-bindings`") from error

    def _call(self, name: str, *arguments: Any) -> list[Any]:
        """The results of a function of the CUDA runtime; RuntimeError if it failed."""
        with torch.cuda.device(self._device):
            error, *results = getattr(self._cuda, name)(*arguments)
        if int(error) != 0:
            raise RuntimeError(f"{name} failed: {error}")
        return results

    def register(self, buffer: int) -> Any:
        return self._call("cudaGraphicsGLRegisterBuffer", buffer, self.READ_WRITE)[0]

    def unregister(self, resource: Any) -> None:
        self._call("cudaGraphicsUnregisterResource", resource)

    def map(self, resource: Any, stream: int) -> int:
        self._call("cudaGraphicsMapResources", 1, resource, stream)
        return int(self._call("cudaGraphicsResourceGetMappedPointer", resource)[0])

    def unmap(self, resource: Any, stream: int) -> None:
        self._call("cudaGraphicsUnmapResources", 1, resource, stream)

    def copy(self, to: int, source: int, size: int, stream: int) -> None:
        kind = self._cuda.cudaMemcpyKind(self.DEVICE_TO_DEVICE)
        self._call("cudaMemcpyAsync", to, source, size, kind, stream)


class HostTransfer:
    """Through the host: the driver reads from and writes into the memory of CPU tensors, or of pinned copies of CUDA
    tensors."""

    def upload(self, tensor: torch.Tensor, store: Store) -> bool:
        """Fills a store with a contiguous tensor; True where that took a new buffer."""
        host = tensor.cpu() if tensor.is_cuda else tensor
        grown = store.fit(host.nbytes)
        store.buffer.orphan()  # what is drawn from the old contents need not be waited for
        store.buffer.write(host.detach().numpy())
        return grown

    def send(self, tensor: torch.Tensor, layers: Layers) -> None:
        host = tensor.cpu() if tensor.is_cuda else tensor
        layers.write(host.data_ptr())

    def download(self, layers: Layers, tensor: torch.Tensor) -> None:
        """Fills a contiguous tensor with images."""
        if not tensor.is_cuda:
            layers.read(tensor.data_ptr())
            return
        host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
        layers.read(host.data_ptr())
        tensor.copy_(host, non_blocking=True)

    def close(self) -> None: ...


class SharedTransfer:
    """Within the GPU. Buffers are registered once and used again; a buffer that grows is registered anew."""

    def __init__(self, gl: Any, interop: Interop) -> None:
        self.interop = interop
        self.resources: dict[Store, Any] = {}
        self.pixels = Store(gl)

    def _fit(self, store: Store, size: int) -> bool:
        if store in self.resources:
            if store.has(size):
                return False
            self.interop.unregister(self.resources.pop(store))
        grown = store.fit(size)
        self.resources[store] = self.interop.register(store.buffer.glo)
        return grown

    def _copy(self, store: Store, tensor: torch.Tensor, out: bool) -> None:
        stream = torch.cuda.current_stream(tensor.device).cuda_stream if tensor.is_cuda else 0
        resource = self.resources[store]
        address = self.interop.map(resource, stream)
        try:
            ends: Sequence[int] = (tensor.data_ptr(), address) if out else (address, tensor.data_ptr())
            self.interop.copy(*ends, tensor.nbytes, stream)
        finally:
            self.interop.unmap(resource, stream)

    def upload(self, tensor: torch.Tensor, store: Store) -> bool:
        """Fills a store with a contiguous tensor; True where that took a new buffer."""
        grown = self._fit(store, tensor.nbytes)
        self._copy(store, tensor, out=False)
        return grown

    def send(self, tensor: torch.Tensor, layers: Layers) -> None:
        self.upload(tensor, self.pixels)
        layers.write(0, self.pixels.buffer.glo)

    def download(self, layers: Layers, tensor: torch.Tensor) -> None:
        """Fills a contiguous tensor with images."""
        self._fit(self.pixels, tensor.nbytes)
        layers.read(0, self.pixels.buffer.glo)
        self._copy(self.pixels, tensor, out=True)

    def close(self) -> None:
        """Takes back all registrations."""
        while self.resources:
            self.interop.unregister(self.resources.popitem()[1])


Transfer = HostTransfer | SharedTransfer
