"""Kernels take named fields: what is read from the sources in `cuda/`, and how a launch is refused."""

import ctypes
import struct

import pytest
import torch

from diffrast import backends
from diffrast.backends import arguments

X = torch.arange(4, dtype=torch.float32)


def texture_fields() -> dict:
    names = ("levels", "batch", "faces", "depth", "height", "width", "channels", "count", "pixels", "boundary")
    numbers = dict.fromkeys((*names, "linear_levels", "max_anisotropy"), 1)
    return {"level": [X, X[1:]], "uv": X, "out": X, **numbers}


@pytest.mark.parametrize("kernel", sorted(arguments.kernels()))
def test_every_kernel_has_the_struct_that_was_compiled(kernel):
    words = ctypes.c_longlong.in_dll(backends.get("cpu").library, f"{kernel}_words").value
    layout = arguments.of(kernel)
    assert layout.format.size == 8 * words
    assert 0 < layout.pointers <= len(layout.fields)


def test_words_before_a_colon_name_kernels():
    """A misspelt word would take the field away from the kernel that needs it."""
    for name, body in arguments.STRUCT.findall(arguments._text()):
        of_struct = {
            word for kernel, owner in arguments.kernels().items() if owner == name for word in kernel.split("_")
        }
        for *_, comment in arguments.DECLARATION.findall(body) if of_struct else ():
            only = arguments.ONLY.match(comment)
            assert only is None or set(only[1].split(", ")) <= of_struct, (name, comment)


def test_fields_are_packed_in_the_order_of_the_struct():
    given = {"headroom": 0.5, "values": X, "largest": None, "sums": X[2:]}
    packed = arguments.of("fixed_finish").pack(given)
    assert struct.unpack("=qqqd", packed) == (X.data_ptr() + 8, 0, X.data_ptr(), 0.5)


def test_fields_of_other_kernels_are_zero():
    pointers = dict.fromkeys(("pos", "tri", "id", "rast"), X)
    numbers = dict.fromkeys(("count", "height", "width", "inv_height", "inv_width", "pos_stride"), 3)
    packed = arguments.of("resolve_fwd").pack({**pointers, **numbers})
    words = struct.unpack("=8q3q2d2q", packed)
    assert words == (*[X.data_ptr()] * 4, 0, 0, 0, 0, 3, 3, 3, 3.0, 3.0, 3, 0)


def test_arrays_are_filled_up_with_zeros():
    packed = arguments.of("texture_fwd_linear_2d").pack(texture_fields())
    most = arguments.constant("kMaxLevels")
    words = struct.unpack(f"={len(packed) // 8}q", packed)
    assert words[:most] == (X.data_ptr(), X.data_ptr() + 4, *[0] * (most - 2))
    assert words[most : 2 * most] == (0,) * most  # grad_level is of the backward kernels
    assert words[2 * most + 1] == X.data_ptr()


def test_arrays_that_are_too_long_are_refused():
    with pytest.raises(TypeError, match=r"kernel texture_fwd_linear_2d takes at most 24 elements of level; got 25"):
        arguments.of("texture_fwd_linear_2d").pack({**texture_fields(), "level": [X] * 25})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"colour": X}, r"kernel texture_fwd_linear_2d has no field colour; it has level, uv, .*max_anisotropy"),
        ({"grad_out": X}, r"kernel texture_fwd_linear_2d has no field grad_out"),
        ({"out": ...}, r"kernel texture_fwd_linear_2d needs the field out$"),
        ({"level": ...}, r"kernel texture_fwd_linear_2d needs the field level$"),
        ({"out": ..., "width": ...}, r"kernel texture_fwd_linear_2d needs the field out, width$"),
        ({"width": None}, r"kernel texture_fwd_linear_2d takes a number for width; got NoneType"),
        ({"uv": 3}, r"kernel texture_fwd_linear_2d takes a tensor or None for uv; got int"),
        ({"width": 0.5}, r"numbers with a fraction only where C has a double"),
    ],
)
def test_a_launch_with_a_wrong_field_names_it(change, message):
    given = {name: value for name, value in {**texture_fields(), **change}.items() if value is not ...}
    with pytest.raises(TypeError, match=message):
        backends.get("cpu").launch("texture_fwd_linear_2d", torch.float32, 0, **given)


def test_what_the_sources_lack_is_named():
    with pytest.raises(RuntimeError, match=r"have no kernel no_such_kernel; reinstall diffrast"):
        backends.get("cpu").launch("no_such_kernel", torch.float32, 0)
    with pytest.raises(RuntimeError, match=r"have no struct NoArgs; reinstall"):
        arguments.layout("NoArgs")
    with pytest.raises(RuntimeError, match=r"have no constant kNothing; reinstall"):
        arguments.constant("kNothing")
    with pytest.raises(RuntimeError, match=r"have no enum Nothing; reinstall"):
        arguments.choices("Nothing")


def test_numbers_and_choices_are_those_of_the_sources():
    assert arguments.constant("kMaxLevels") == 24
    assert arguments.constant("kBlockThreads") == 256  # the second of its line
    assert arguments.choices("Boundary") == ("wrap", "clamp", "zero", "cube")
    assert arguments.choices("Cull") == ("none", "back", "front")
