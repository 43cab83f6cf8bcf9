"""The viewer without a browser: frames, files, arguments."""

import json
import logging
import time

import pytest
import torch
from helpers.commands import run
from helpers.viewing import POSE, Page, decoded, direct, psnr, torus, wait

import diffrast
from diffrast import cli
from diffrast import viewer as package
from diffrast.io import save_image, save_mesh
from diffrast.viewer import Viewer, protocol
from diffrast.viewer.shown import CHANNELS, Shown


def test_frames_are_what_diffrast_draws(viewer):
    with Page(viewer) as page:
        page.say("size", width=160, height=120)
        page.look(0.0)
        page.move(7.0)
        head, data = page.frame_after(7.0)
        assert (head["version"], head["kind"]) == (protocol.VERSION, protocol.FRAME)
        assert (head["width"], head["height"]) == (160, 120)
        assert data[:2] == b"\xff\xd8"
        assert len(data) < 20_000
        assert psnr(decoded(data), direct(160, 120)) > 32
        page.look(8.0, channel="normal")
        assert psnr(decoded(page.frame_after(8.0)[1]), direct(160, 120, channel="normal")) > 30


def test_small_while_moving_full_at_rest(viewer):
    viewer._worker.pace.cost = 1.0  # a machine that cannot keep up
    with Page(viewer) as page:
        page.say("size", width=400, height=300)
        page.frame_after(0.0)
        page.move(1.0)
        assert (page.frame_after(1.0, full=False)[0]["width"]) == 100
        assert (page.frame_after(1.0)[0]["width"]) == 400


def test_at_most_two_frames_are_in_flight_and_the_latest_input_wins(viewer):
    with Page(viewer) as page:
        page.say("size", width=64, height=64)
        page.frame_after(0.0)
        page.acknowledge = False
        for i in range(1, 60):
            page.move(float(i), yaw=0.05 * i)
            time.sleep(0.005)
        wait(lambda: len(page.frames) >= 3, "two more frames")
        time.sleep(0.5)
        unacknowledged = page.frames[-2:]
        count = len(page.frames)
        assert len([f for f in page.frames if f[0]["stamp"] > 0]) <= 2
        page.acknowledge = True
        for head, _ in unacknowledged:
            page.say("ack", frame=head["frame"])
        head, data = page.frame_after(59.0)
        assert len(page.frames) - count <= 3, "movements between the two were not drawn one by one"
        assert psnr(decoded(data), direct(64, 64, {**POSE, "yaw": 0.05 * 59})) > 25


def test_two_pages_look_from_where_they_like(viewer):
    with Page(viewer) as a, Page(viewer) as b:
        for page, yaw in ((a, 0.0), (b, 2.0)):
            page.say("size", width=64, height=64)
            page.move(1.0, yaw=yaw)
        for page, yaw in ((a, 0.0), (b, 2.0)):
            assert psnr(decoded(page.frame_after(1.0)[1]), direct(64, 64, {**POSE, "yaw": yaw})) > 25


def test_a_reloaded_page_goes_on_where_it_was(viewer):
    with Page(viewer) as page:
        page.say("size", width=64, height=64)
        page.move(1.0, yaw=1.25)
        page.look(2.0, channel="matcap")
        page.frame_after(2.0)
    with Page(viewer) as page:
        hello = wait(lambda: page.of_type("hello"), "hello")[0]
        assert hello["pose"]["yaw"] == 1.25
        assert hello["options"]["channel"] == "matcap"
        names = [name for name, *_ in wait(lambda: page.of_type("state"), "the state")[0]["channels"]]
        assert names == [name for name, channel in CHANNELS.items() if not channel.needs]


def test_files_for_the_page(viewer):
    with Page(viewer) as page:
        page.say("size", width=48, height=32)
        page.move(1.0)
        page.frame_after(1.0)
        page.say("save", what="screenshot")
        page.say("save", what="mesh")

        def of_kind(kind):
            return [data for head, data in list(page.frames) if head["kind"] == kind]

        (png,) = wait(lambda: of_kind(protocol.PNG), "a PNG")
        assert psnr(decoded(png), direct(48, 32)) > 45  # no JPEG in between
        (glb,) = wait(lambda: of_kind(protocol.GLB), "a GLB")
        assert glb[:4] == b"glTF"
        page.say("save", what="turntable")
        time.sleep(0.05)
        page.move(3.0, yaw=3.0)
        page.frame_after(3.0)  # live pictures come while the film is made
        (mp4,) = wait(lambda: of_kind(protocol.MP4), "a film", 90)
        assert mp4[4:8] == b"ftyp"


def test_what_cannot_be_drawn_is_said_and_the_viewer_goes_on(viewer, caplog):
    with Page(viewer) as page, caplog.at_level(logging.WARNING, "diffrast"):
        page.say("size", width=64, height=64)
        page.frame_after(0.0)
        bad = torus()
        bad.faces = bad.faces + 10_000
        viewer.show(mesh=bad)
        assert "could not be drawn" in wait(lambda: page.of_type("error"), "an error")[0]["text"]
        assert "could not be drawn" in caplog.text
        viewer.show(mesh=torus())
        page.move(5.0)
        assert psnr(decoded(page.frame_after(5.0)[1]), direct(64, 64)) > 25


def test_an_image_alone():
    with Viewer(port=0, quiet=True) as viewer:
        ramp = torch.linspace(0, 1, 32)[:, None, None].expand(32, 48, 3)
        viewer.show(image=ramp)
        with Page(viewer) as page:
            page.say("size", width=48, height=32)
            page.look(1.0)
            assert psnr(decoded(page.frame_after(1.0)[1]), ramp) > 35
            assert wait(lambda: page.of_type("state"), "the state")[0]["channels"][-1][:2] == ["image", "Image"]


def test_the_viewer_is_there_and_imported_late():
    import subprocess
    import sys

    assert diffrast.Viewer is Viewer
    with pytest.raises(AttributeError, match="no attribute 'Wiever'"):
        _ = diffrast.Wiever
    code = "import sys, diffrast; print([m for m in ('torch', 'websockets', 'PIL') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert result.stdout.strip() == "[]", result.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"up": "x"}, "up must be one of y, z"),
        ({"size": 3}, "size must be 16"),
        ({"port": 70000}, "port must be 0 to 65535"),
    ],
)
def test_wrong_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        Viewer(**options)


def test_messages_are_json_that_any_parser_reads(viewer):
    with Page(viewer) as page:
        wait(lambda: page.of_type("state"), "the state")
        for message in page.messages:
            json.dumps(message, allow_nan=False)


@pytest.fixture
def shown(monkeypatch) -> list[Shown]:
    """What `diffrast view` shows; each ends at once."""
    scenes: list[Shown] = []

    class Watched(Viewer):
        def wait(self):
            scenes.append(self._shown)
            raise KeyboardInterrupt

    monkeypatch.setattr(package, "Viewer", Watched)
    return scenes


@pytest.mark.parametrize("suffix", [".glb", ".gltf", ".obj", ".ply"])
def test_files_of_all_formats(tmp_path, shown, capsys, suffix):
    save_mesh(tmp_path / f"torus{suffix}", torus())
    code, out, _ = run(capsys, "view", tmp_path / f"torus{suffix}", "--port", 0, "--no-open", "--json")
    assert code == 0
    assert json.loads(out)["triangles"] == len(shown[0].mesh.faces) == 1152
    assert (shown[0].mesh.texture is not None) is (suffix != ".ply")


def test_surroundings_from_a_file(tmp_path, shown, capsys):
    save_mesh(tmp_path / "torus.glb", torus())
    save_image(tmp_path / "sky.png", torch.rand(16, 32, 3))
    view = ["view", str(tmp_path / "torus.glb"), "--port", "0", "--no-open", "--json", "--environment"]
    assert cli.main([*view, str(tmp_path / "sky.png")]) == 0
    levels, irradiance = shown[0].environment
    assert irradiance.shape[0] == levels[0].shape[0] == 6
    for name in ("missing.hdr", "torus.glb"):
        assert cli.main([*view, str(tmp_path / name)]) in (1, 2)
        assert name in capsys.readouterr().err
