"""Pictures and files: the flip, sRGB, 8-bit, and writing whole or not at all."""

import errno
import os

import numpy as np
import pytest
import torch
from PIL import Image

from diffrast.io import atomic as files
from diffrast.io import linear_to_srgb, load_image, save_image, srgb_to_linear
from diffrast.io.image import encode, to_uint8


def test_srgb_known_values_and_inverse():
    # IEC 61966-2-1: the linear toe ends at 0.04045, and middle gray 0.5 is 0.21404 in linear light.
    encoded = torch.tensor([0.0, 0.04045, 0.5, 1.0], dtype=torch.float64)
    linear = torch.tensor([0.0, 0.04045 / 12.92, 0.21404114, 1.0], dtype=torch.float64)
    torch.testing.assert_close(srgb_to_linear(encoded), linear, atol=1e-8, rtol=0)
    x = torch.linspace(0, 1, 1001, dtype=torch.float64)
    torch.testing.assert_close(linear_to_srgb(srgb_to_linear(x)), x, atol=1e-7, rtol=0)


def test_srgb_gradients():
    # Away from the joint, where the standard's two pieces differ by 1e-8 in value.
    x = torch.tensor([0.0, 0.01, 0.03, 0.1, 0.6, 1.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(srgb_to_linear, x, eps=1e-7)
    assert torch.autograd.gradcheck(linear_to_srgb, x, eps=1e-7)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_png_round_trip_is_exact_and_flips_once(tmp_path, channels):
    levels = np.random.default_rng(0).integers(0, 256, (5, 7, channels), dtype=np.uint8)
    Image.fromarray(levels[..., 0] if channels == 1 else levels).save(tmp_path / "a.png")
    for linear in (True, False):
        image = load_image(tmp_path / "a.png", linear=linear)
        assert image.shape == (5, 7, channels)
        assert image.dtype == torch.float32
        save_image(tmp_path / "b.png", image, linear=linear)
        with Image.open(tmp_path / "b.png") as back:
            np.testing.assert_array_equal(np.asarray(back).reshape(levels.shape), levels)
    # Row 0 in memory is the file's last row, and alpha is a plain fraction whatever the colours are.
    image = load_image(tmp_path / "a.png", linear=channels == 4)
    np.testing.assert_allclose(image[0, :, -1].numpy(), levels[-1, :, -1] / 255, atol=1e-6)


def test_palette_gray_alpha_and_16_bit(tmp_path):
    Image.new("P", (2, 2)).save(tmp_path / "p.png")
    assert load_image(tmp_path / "p.png").shape == (2, 2, 4)
    Image.new("LA", (2, 2), (128, 64)).save(tmp_path / "la.png")
    torch.testing.assert_close(
        load_image(tmp_path / "la.png", linear=False)[0, 0], torch.tensor([128, 128, 128, 64]) / 255
    )
    Image.fromarray(np.full((2, 3), 32768, dtype=np.uint16)).save(tmp_path / "deep.png")
    torch.testing.assert_close(load_image(tmp_path / "deep.png", linear=False), torch.full((2, 3, 1), 32768 / 65535))


def test_values_outside_of_the_range_are_clipped_and_nan_is_black():
    levels = to_uint8(torch.tensor([[[-1.0, 2.0, float("nan")]]]), linear=False)
    assert levels.tolist() == [[[0, 255, 0]]]


def test_bad_pictures_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"missing\.png does not exist"):
        load_image(tmp_path / "missing.png")
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(ValueError, match=r"text\.png cannot be read"):
        load_image(tmp_path / "text.png")
    whole = encode(torch.rand(64, 64, 3), "PNG")
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"cut\.png cannot be read \(corrupt"):
        load_image(tmp_path / "cut.png")
    with pytest.raises(ValueError, match="no picture format"):
        save_image(tmp_path / "a.xyz", torch.rand(2, 2, 3))


@pytest.mark.parametrize("failing", ["write", "replace"])
def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, failing):
    target = tmp_path / "metrics.json"
    target.write_text("old")

    def full(*_args, **_kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(*((files.Path, "write_bytes") if failing == "write" else (files.os, "replace")), full)
    with pytest.raises(OSError, match=r"cannot write .*metrics\.json: No space left") as caught:
        files.write_text(target, "new")
    assert caught.value.errno == errno.ENOSPC
    assert target.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["metrics.json"]


def test_an_interrupt_while_writing_leaves_nothing(tmp_path):
    with pytest.raises(KeyboardInterrupt), files.atomic_path(tmp_path / "a.bin") as temporary:
        temporary.write_bytes(b"half")
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())


def test_a_writer_that_wrote_nothing_is_an_error(tmp_path):
    with pytest.raises(OSError, match=r"cannot write .*a\.bin"), files.atomic_path(tmp_path / "a.bin"):
        pass


@pytest.mark.parametrize(("suffix", "off"), [(".jpg", 0.03), (".webp", 0.03), (".png", 0.003)])
def test_lossy_formats_keep_the_picture_upright(tmp_path, suffix, off):
    y, x = torch.meshgrid(torch.linspace(0, 1, 24), torch.linspace(0, 1, 40), indexing="ij")
    image = torch.stack([y, x, 0.5 * y], dim=-1)
    save_image(tmp_path / f"a{suffix}", image, linear=False)
    back = load_image(tmp_path / f"a{suffix}", linear=False)
    assert (back - image).abs().mean() < off
    assert back[0, :, 0].mean() < 0.1 < 0.9 < back[-1, :, 0].mean()
