"""Light above 1 in files, and films."""

import subprocess

import imageio_ffmpeg
import numpy as np
import pytest
import torch

from diffrast.io import hdr, linear_to_srgb, load_image, load_video, save_image, save_video


def light(h: int, w: int, seed: int = 0) -> torch.Tensor:
    """Light over twelve orders of magnitude, with flat parts that run-length coding shortens."""
    gen = torch.Generator().manual_seed(seed)
    image = 10 ** (12 * torch.rand(h, w, 1, generator=gen) - 6) * (0.01 + torch.rand(h, w, 3, generator=gen))
    image[: h // 3, : w // 2] = torch.tensor([1.0, 0.5, 0.25])
    image[-1:] = 0
    return image


def assert_within_rgbe(got: torch.Tensor, want: torch.Tensor) -> None:
    step = want.amax(-1, keepdim=True) / 128  # a mantissa's step is at most 1/128 of the largest component
    assert bool(((got - want).abs() <= 0.51 * step).all())


@pytest.mark.parametrize("size", [(5, 7), (6, 8), (9, 300), (3, 1)])
def test_radiance_round_trip(tmp_path, size):
    image = light(*size)
    save_image(tmp_path / "a.hdr", image)
    back = load_image(tmp_path / "a.hdr")
    assert back.dtype == torch.float32
    assert_within_rgbe(back, image)
    # What was read once is written and read without another loss.
    save_image(tmp_path / "b.hdr", back)
    assert torch.equal(load_image(tmp_path / "b.hdr"), back)


def test_radiance_is_the_format_that_others_read(tmp_path):
    image = light(32, 64)
    save_image(tmp_path / "a.hdr", image)
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(tmp_path / "a.hdr"), "-f", "rawvideo"]
    done = subprocess.run([*command, "-pix_fmt", "gbrpf32le", "-"], capture_output=True, check=True)
    theirs = np.frombuffer(done.stdout, dtype="<f4").reshape(3, 32, 64)[[2, 0, 1], ::-1].copy()
    # It takes the lower end of what a mantissa stands for, we the middle.
    below = image - torch.from_numpy(theirs).movedim(0, -1)
    assert bool(((below >= 0) & (below <= image.amax(-1, keepdim=True) / 128)).all())


def test_radiance_by_hand():
    # One row of 8 pixels, run-length coded by hand: red 128 everywhere, green rising, blue 0, exponents of 1 and 2^4.
    mark = bytes([2, 2, 0, 8])
    red, green = bytes([128 + 8, 128]), bytes([8, *range(8)])
    blue, exponent = bytes([128 + 8, 0]), bytes([128 + 4, 129, 4, 133, 133, 133, 133])
    head = b"#?RADIANCE\n# a comment\nEXPOSURE=2.0\nFORMAT=32-bit_rle_rgbe\nEXPOSURE= 4\n\n"
    data = head + b"-Y 1 +X 8\n" + mark + red + green + blue + exponent
    image = hdr.decode_radiance(data, "x", 100)
    scale = np.array([1.0] * 4 + [16.0] * 4) / 8 / 128  # 2^(e - 128) / 256 = 2/256, and the exposures divided out
    np.testing.assert_allclose(image[0, :, 0], 128.5 * scale)
    np.testing.assert_allclose(image[0, :, 1], (np.arange(8) + 0.5) * scale)
    np.testing.assert_allclose(image[0, :, 2], 0.5 * scale)
    turned = hdr.decode_radiance(data.replace(b"-Y 1 +X 8", b"+Y 1 -X 8"), "x", 100)
    np.testing.assert_array_equal(turned, image[:, ::-1])


def test_rgbe_of_extreme_and_impossible_light():
    image = np.array([[np.nan, 1, 1], [-1, 2, 0], [np.inf, 0, 0], [0, 0, 0], [1e-39, 0, 0], [255.99, 1, 0.999]])
    back = hdr.from_rgbe(hdr.to_rgbe(image))
    assert np.isfinite(back).all()
    assert (back >= 0).all()
    assert back[0, 1] == pytest.approx(1, rel=1 / 128)
    assert back[2, 0] > 9e37
    assert (back[3:5] == 0).all()
    assert back[5, 0] == pytest.approx(255.99, rel=1 / 256)


def test_bad_radiance_files(tmp_path):
    save_image(tmp_path / "a.hdr", light(20, 40))
    data = (tmp_path / "a.hdr").read_bytes()
    for bad, message in (
        (data[:-3], "cut short"),
        (data[:200], "cut short"),
        (data[:30], "'-Y height \\+X width' is missing"),
        (b"\x89PNG" + data, "not a Radiance HDR file"),
        (data.replace(b"rgbe", b"xyze"), "expected FORMAT=32-bit_rle_rgbe but got 32-bit_rle_xyze"),
        (data.replace(b"-Y 20", b"-Y 99999999"), r"has 40x99999999 pixels, more than max_pixels"),
        (data.replace(b"+X 40", b"+X 41"), "cut short"),
    ):
        (tmp_path / "bad.hdr").write_bytes(bad)
        with pytest.raises(ValueError, match=rf"bad\.hdr .*{message}"):
            load_image(tmp_path / "bad.hdr")


def test_display_values_of_light(tmp_path):
    gray = torch.full((8, 8, 3), 0.25)
    save_image(tmp_path / "a.hdr", linear_to_srgb(gray), linear=False)
    torch.testing.assert_close(load_image(tmp_path / "a.hdr"), gray, rtol=0.01, atol=0)
    torch.testing.assert_close(load_image(tmp_path / "a.hdr", linear=False), linear_to_srgb(gray), rtol=0.01, atol=0)


# --- EXR --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_exr_is_exact(tmp_path, channels):
    pytest.importorskip("OpenEXR", reason="OpenEXR is not installed")
    image = torch.cat([light(6, 9), light(6, 9, 1)], dim=-1)[..., :channels].contiguous()
    save_image(tmp_path / "a.exr", image)
    assert torch.equal(load_image(tmp_path / "a.exr"), image)


def test_exr_of_another_program(data_folder):
    pytest.importorskip("OpenEXR", reason="OpenEXR is not installed")
    image = load_image(data_folder / "spot_photos" / "studio_env.exr")
    assert image.shape == (128, 256, 3)
    assert float(image.max()) > 5  # lamps
    assert float(image.min()) >= 0


def test_bad_exr(tmp_path):
    pytest.importorskip("OpenEXR", reason="OpenEXR is not installed")
    save_image(tmp_path / "a.exr", light(20, 40))
    data = (tmp_path / "a.exr").read_bytes()
    for bad in (b"nothing like it", data[:50], data[: len(data) // 2]):
        (tmp_path / "bad.exr").write_bytes(bad)
        with pytest.raises(ValueError, match=r"bad\.exr cannot be read"):
            load_image(tmp_path / "bad.exr")
    with pytest.raises(ValueError, match=r"a\.exr has 40x20 pixels, more than max_pixels=799"):
        load_image(tmp_path / "a.exr", max_pixels=799)


def test_without_the_package_the_error_says_what_to_install(tmp_path, monkeypatch):
    def refuse(name):
        raise ImportError(name)

    monkeypatch.setattr(hdr, "import_module", refuse)
    with pytest.raises(ImportError, match=r'pip install "OpenEXR>=3\.3"'):
        save_image(tmp_path / "a.exr", light(4, 4))
    assert list(tmp_path.iterdir()) == []


# --- Films ------------------------------------------------------------------------------------------------------------


def frames(count: int, height: int = 32, width: int = 48):
    for i in range(count):
        frame = torch.full((height, width, 3), 0.2)
        frame[:8, :, 0] = 0.8  # red at the bottom
        frame[16:24, 4 * i : 4 * i + 8] = torch.tensor([0.1, 0.9, 0.3])  # a square that moves to the right
        yield frame


@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
def test_video_round_trip(tmp_path, suffix):
    assert save_video(tmp_path / f"v{suffix}", frames(6), fps=10, quality=10) == 6
    back = load_video(tmp_path / f"v{suffix}")
    assert back.shape == (6, 32, 48, 3)
    for i, (got, want) in enumerate(zip(back, frames(6), strict=True)):
        assert (got - want).abs().mean() < 0.05, i
        assert got[18:22, 4 * i + 2 : 4 * i + 6, 1].mean() > 0.6
    assert back[:, :6, :, 0].mean() > 2 * back[:, 26:, :, 0].mean()


def test_odd_sizes_become_even(tmp_path):
    save_video(tmp_path / "v.mp4", frames(3, 31, 47))
    assert load_video(tmp_path / "v.mp4").shape == (3, 32, 48, 3)


def test_bad_videos(tmp_path):
    with pytest.raises(ValueError, match=r"expected a path that ends in \.mp4, .* got .*v\.avi"):
        save_video(tmp_path / "v.avi", frames(1))
    with pytest.raises(ValueError, match="frames must not be empty"):
        save_video(tmp_path / "v.mp4", [])
    with pytest.raises(ValueError, match="frame 0 is 48x32 and frame 1 is 48x16"):
        save_video(tmp_path / "v.mp4", [next(frames(1)), torch.zeros(16, 48, 3)])
    with pytest.raises(ValueError, match=r"frame 0 must be \[H, W, 3\]; got \[4, 4\]"):
        save_video(tmp_path / "v.mp4", [torch.zeros(4, 4)])
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "bad.mp4").write_bytes(b"no film")
    with pytest.raises(ValueError, match=r"bad\.mp4 cannot be read"):
        load_video(tmp_path / "bad.mp4")
    with pytest.raises(ValueError, match=r"none\.mp4 does not exist"):
        load_video(tmp_path / "none.mp4")
