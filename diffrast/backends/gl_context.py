"""OpenGL contexts of our own: headless through EGL, one per thread and device, current only while they are in use.

Nothing here touches a context of the user's: whatever is current in the thread (EGL or GLX) is current again after
every use.
References: Khronos EGL 1.5; EGL_EXT_platform_device, EGL_KHR_surfaceless_context, EGL_NV_device_cuda; GLX 1.4.
"""

import ctypes
import os
import sys
import threading
import weakref
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from typing import Any

VERSION = (4, 3)  # what the shaders in shaders/ ask for

MESA = "`apt-get install libegl1 libegl-mesa0 libgl1-mesa-dri` (Debian, Ubuntu) installs one that needs no GPU"

EGL_NONE, EGL_DEVICE, EGL_EXTENSIONS, EGL_OPENGL_API = 0x3038, 0x313F, 0x3055, 0x30A2
EGL_DRAW, EGL_READ = 0x3059, 0x305A
EGL_CUDA_DEVICE = 0x323A
CORE_PROFILE = (0x3098, VERSION[0], 0x30FB, VERSION[1], 0x30FD, 1, EGL_NONE)

Pointer, Integer, Text = ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p

# name: result, arguments
EGL = {
    "eglBindAPI": (Integer, Integer),
    "eglCreateContext": (Pointer, Pointer, Pointer, Pointer, Pointer),
    "eglDestroyContext": (Integer, Pointer, Pointer),
    "eglGetCurrentContext": (Pointer,),
    "eglGetCurrentDisplay": (Pointer,),
    "eglGetCurrentSurface": (Pointer, Integer),
    "eglGetDisplay": (Pointer, Pointer),
    "eglGetError": (Integer,),
    "eglGetPlatformDisplayEXT": (Pointer, Integer, Pointer, Pointer),
    "eglGetProcAddress": (Pointer, Text),
    "eglInitialize": (Integer, Pointer, Pointer, Pointer),
    "eglMakeCurrent": (Integer, Pointer, Pointer, Pointer, Pointer),
    "eglQueryAPI": (Integer,),
    "eglQueryDeviceAttribEXT": (Integer, Pointer, Integer, Pointer),
    "eglQueryDevicesEXT": (Integer, Integer, Pointer, Pointer),
    "eglQueryString": (Text, Pointer, Integer),
}
GLX = {
    "glXGetCurrentContext": (Pointer,),
    "glXGetCurrentDisplay": (Pointer,),
    "glXGetCurrentDrawable": (ctypes.c_ulong,),
    "glXGetCurrentReadDrawable": (ctypes.c_ulong,),
    "glXMakeContextCurrent": (Integer, Pointer, ctypes.c_ulong, ctypes.c_ulong, Pointer),
}


class Unavailable(RuntimeError):
    """OpenGL cannot start here; the message says why and what mends it."""

    def __init__(self, why: str, mend: str = MESA) -> None:
        super().__init__(f"the OpenGL backend cannot start: {why}; {mend}")


class Library:
    """The functions of a shared library that are asked for, by name; None for one that it lacks."""

    def __init__(self, library: ctypes.CDLL, table: dict[str, tuple[Any, ...]]) -> None:
        extension = getattr(library, "eglGetProcAddress", None)
        if extension is not None:
            extension.restype, extension.argtypes = Pointer, [Text]
        for name, signature in table.items():
            function = getattr(library, name, None)
            if function is None and extension is not None:
                address = extension(name.encode())
                function = ctypes.CFUNCTYPE(*signature)(address) if address else None
            elif function is not None:
                function.restype, function.argtypes = signature[0], signature[1:]
            setattr(self, name.removeprefix("egl").removeprefix("glX"), function)

    def __getattr__(self, name: str) -> Any:  # for type checkers: every name of the table is set above
        raise AttributeError(name)


@cache
def egl() -> Library:
    """libEGL. Raises Unavailable where there is none."""
    if sys.platform != "linux":
        raise Unavailable(f"it needs EGL, which {sys.platform} does not have", "use the CPU backend")
    try:
        return Library(ctypes.CDLL("libEGL.so.1"), EGL)
    except OSError as error:
        raise Unavailable(f"libEGL.so.1 is missing ({error})") from error


@cache
def _loaded(name: str) -> Library:
    return Library(ctypes.CDLL(name, mode=os.RTLD_NOLOAD | os.RTLD_LAZY), GLX)


def glx() -> Library | None:
    """libGLX, if this process has loaded it: only then can a context of it be current."""
    for name in ("libGLX.so.0", "libGL.so.1"):
        try:
            return _loaded(name)
        except OSError:
            continue
    return None


@contextmanager
def preserved() -> Generator[None, None, None]:
    """Makes what was current in this thread current again, or nothing if nothing was."""
    e, x = egl(), glx()
    api = e.QueryAPI()
    e.BindAPI(EGL_OPENGL_API)
    display, context = e.GetCurrentDisplay(), e.GetCurrentContext()
    surfaces = e.GetCurrentSurface(EGL_DRAW), e.GetCurrentSurface(EGL_READ)
    window = None
    if not context and x is not None and x.GetCurrentContext():
        # A thread has one current context, of EGL or of GLX: the latter must go before ours can come.
        window = (x.GetCurrentDisplay(), x.GetCurrentDrawable(), x.GetCurrentReadDrawable(), x.GetCurrentContext())
        x.MakeContextCurrent(window[0], 0, 0, None)
    try:
        yield
    finally:
        ours = e.GetCurrentDisplay()
        if context:
            e.MakeCurrent(display, *surfaces, context)
        elif ours:
            e.MakeCurrent(ours, None, None, None)
        if window is not None and x is not None:
            x.MakeContextCurrent(*window)
        e.BindAPI(api)


def devices() -> list[int]:
    """EGL's devices, in its order; none where it cannot list them."""
    e = egl()
    if e.QueryDevicesEXT is None:
        return []
    found, count = (Pointer * 64)(), Integer()
    if not e.QueryDevicesEXT(64, found, ctypes.byref(count)):
        return []
    return [device for device in found[: count.value] if device]


def cuda_index(device: int) -> int | None:
    """Which CUDA device an EGL device is (EGL_NV_device_cuda), or None."""
    e, value = egl(), ctypes.c_ssize_t(-1)
    known = e.QueryDeviceAttribEXT is not None and e.QueryDeviceAttribEXT(device, EGL_CUDA_DEVICE, ctypes.byref(value))
    return value.value if known else None


def displays(cuda: int | None) -> Iterator[int]:
    """Initialized displays to try, best first: of one CUDA device, or of any device and then of the system's choice."""
    e = egl()
    candidates: list[Callable[[], int | None]] = []
    if e.GetPlatformDisplayEXT is not None:
        for device in devices():
            if cuda is None or cuda_index(device) == cuda:
                candidates.append(lambda device=device: e.GetPlatformDisplayEXT(EGL_DEVICE, device, None))
    if cuda is None:
        candidates.append(lambda: e.GetDisplay(None))
    for display_of in candidates:
        display = display_of()
        # Initializing twice is allowed. A display is shared by all of the process, so it is never terminated.
        if display and e.Initialize(display, None, None):
            yield display


def _create(cuda: int | None) -> tuple[int, int]:
    """(display, context) of a new context, not current."""
    e = egl()
    tried = 0
    for display in displays(cuda):
        tried += 1
        e.BindAPI(EGL_OPENGL_API)
        if b"EGL_KHR_surfaceless_context" not in (e.QueryString(display, EGL_EXTENSIONS) or b""):
            continue
        context = e.CreateContext(display, None, None, (Integer * len(CORE_PROFILE))(*CORE_PROFILE))
        if context:
            return display, context
    wanted = ".".join(map(str, VERSION))
    if tried:
        raise Unavailable(f"none of the {tried} EGL displays here offers OpenGL {wanted} core without a window")
    if cuda is not None:
        raise Unavailable(
            f"EGL lists no device that is CUDA device {cuda}",
            "install NVIDIA's OpenGL (in a container: NVIDIA_DRIVER_CAPABILITIES=all)",
        )
    raise Unavailable("EGL finds no display: no driver is installed")


def _make_current(display: int, context: int) -> None:
    e = egl()
    if not e.MakeCurrent(display, None, None, context):
        raise RuntimeError(f"the OpenGL backend lost its context: eglMakeCurrent failed with error {e.GetError():#x}")


def _destroy(display: int, context: int, process: int, contents: list[Any]) -> None:
    """Destroys a context that is current nowhere, from any thread; its objects go with it."""
    if os.getpid() != process:  # a forked child does not own it
        return
    for item in contents:
        with preserved():
            _make_current(display, context)
            item.close()
    contents.clear()
    egl().DestroyContext(display, context)


class Loader:
    """What moderngl needs of a context that it did not create."""

    def load(self, name: str) -> int:
        return egl().GetProcAddress(name.encode()) or 0

    def __enter__(self) -> None: ...

    def __exit__(self, *exception: object) -> None: ...

    def release(self) -> None: ...


class OwnedContext:
    """An OpenGL context and what is built in it; destroyed with its last reference, or by `release()`.

    cuda: the index of the CUDA device whose OpenGL it must be; None: whichever OpenGL there is.
    build: makes what lives in the context, given moderngl's Context and `cuda`: what `current()` gives. It has a method
    `close()`.
    """

    def __init__(self, cuda: int | None, build: Callable[[Any, int | None], Any]) -> None:
        try:
            moderngl = import_module("moderngl")  # only this backend needs it
        except ImportError as error:
            raise Unavailable(f"moderngl cannot be imported ({error})", "`pip install moderngl`") from error
        self._busy = threading.Lock()
        self._doomed = False
        self._process = os.getpid()
        self._contents: list[Any] = []
        with preserved():
            self._display, self._context = _create(cuda)
            self._finalizer = weakref.finalize(
                self, _destroy, self._display, self._context, self._process, self._contents
            )
            _make_current(self._display, self._context)
            try:
                gl = moderngl.create_context(context=Loader())
                self._contents.append(build(gl, cuda))
            except moderngl.Error as error:
                raise Unavailable(f"its driver fails ({error})") from error

    @contextmanager
    def current(self) -> Generator[Any, None, None]:
        """Makes the context current and gives what was built in it."""
        if os.getpid() != self._process:
            raise RuntimeError(
                "the OpenGL backend was started before this process was forked, and no driver survives that; start "
                "processes "
                'with `multiprocessing.set_start_method("spawn")`, or use OpenGL in the children only'
            )
        with self._busy:
            try:
                with preserved():
                    _make_current(self._display, self._context)
                    yield self._contents[0]
            finally:
                if self._doomed:
                    self._finalizer()

    def release(self) -> None:
        """Destroys the context and all that is in it; if it is in use (in another thread, or further up), right
        afterwards."""
        self._doomed = True
        if self._busy.acquire(blocking=False):
            try:
                self._finalizer()
            finally:
                self._busy.release()

    @property
    def alive(self) -> bool:
        return self._finalizer.alive and not self._doomed


class Contexts:
    """The contexts of a backend, by thread and CUDA device. A thread's contexts go when the thread does."""

    def __init__(self, build: Callable[[Any, int | None], Any]) -> None:
        self._build = build
        self._here = threading.local()
        self._all: weakref.WeakSet[OwnedContext] = weakref.WeakSet()
        # Re-entrant: garbage collection may release contexts while this thread holds the lock.
        self._lock = threading.RLock()

    def _mine(self) -> dict[int | None, OwnedContext]:
        return self._here.__dict__.setdefault("contexts", {})

    def get(self, cuda: int | None) -> OwnedContext:
        """This thread's context for a CUDA device, or for CPU tensors (None), opened when it is first needed."""
        mine = self._mine()
        found = mine.get(cuda)
        if found is None or not found.alive:
            found = OwnedContext(cuda, self._build)
            mine[cuda] = found
            with self._lock:
                self._all.add(found)
        return found

    def release(self) -> None:
        """Destroys this thread's contexts."""
        mine = self._mine()
        for context in list(mine.values()):
            context.release()
        mine.clear()

    def release_all(self) -> None:
        """Destroys the contexts of all threads; those in use, after their use."""
        for context in self._living():
            context.release()

    def _living(self) -> list[OwnedContext]:
        with self._lock:
            return [context for context in self._all if context.alive]

    def __len__(self) -> int:
        return len(self._living())
