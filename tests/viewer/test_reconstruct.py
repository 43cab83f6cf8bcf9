"""`diffrast reconstruct --view`: what one sees while it runs, and that it changes nothing."""

from helpers.commands import run
from helpers.viewing import Page, torus, wait

from diffrast import viewer as viewer_module
from diffrast.io import save_mesh
from diffrast.viewer.viewer import VALUES

CHANNELS = ("shaded", "gradient", "pixels", "coverage")


def test_a_reconstruction_with_a_viewer_gives_the_same_mesh(tmp_path, capsys, monkeypatch):
    save_mesh(tmp_path / "torus.glb", torus())
    assert (
        run(
            capsys,
            "make-dataset",
            tmp_path / "torus.glb",
            "--out",
            tmp_path / "d",
            "--views",
            8,
            "--size",
            48,
            "--quiet",
        )[0]
        == 0
    )
    seen: list[list] = []

    class Watched(viewer_module.Viewer):
        def __init__(self, **options):
            super().__init__(**options)
            self.page = Page(self)
            self.page.say("size", width=64, height=64)
            wait(lambda: self.pages, "a page")
            self.shown: list[dict] = []

        def step(self, **values):
            """Looks at one thing after the other, and turns the camera."""
            i = self.control.iteration + 2
            self.page.look(float(i), channel=CHANNELS[i % len(CHANNELS)])
            self.page.move(float(i), yaw=0.1 * i)
            wait(lambda: CHANNELS[i % len(CHANNELS)] == self._sessions[0].options.channel, "the channel")
            session = self._sessions[0]  # as if it had been drawn, and long ago
            self._next_snapshot, session.version, session.refresh_after = 0.0, self._shown.version, 0.0
            super().step(**values)
            self.shown.append({name: getattr(self._shown, name) is not None for name in VALUES})

        def close(self):
            if not seen:
                seen.append(
                    [
                        self.page.of_type("state"),
                        self.control.iteration,
                        self.page.frame_after(0.0),
                        self.shown,
                        dict(self.control.rates),
                    ]
                )
                self.page.close()
            super().close()

    monkeypatch.setattr(viewer_module, "Viewer", Watched)
    quick = ("--steps", 8, "--faces", 400, "--texture", 32, "--frames", 0, "--quiet")
    for name, more in (("alone", ()), ("watched", ("--view", "--port", 0))):
        code, _, err = run(capsys, "reconstruct", tmp_path / "d", "--out", tmp_path / name, *quick, *more)
        assert code == 0, err
    assert (tmp_path / "alone" / "mesh.glb").read_bytes() == (tmp_path / "watched" / "mesh.glb").read_bytes()
    states, iterations, (head, _), shown, rates = seen[0]
    assert {name for s in shown for name, there in s.items() if there} == VALUES
    assert list(rates) == [f"{what} rate \N{MULTIPLICATION SIGN}" for what in ("Shape", "Colour")]
    assert iterations == 7
    assert any(state["views"] and len(state["views"]) == 8 for state in states)
    assert head["width"] == 64
