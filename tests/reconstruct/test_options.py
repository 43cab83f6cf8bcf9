"""Cameras, exposures and material through the whole pipeline; baselines; options that make no sense."""

import re
from dataclasses import replace

import pytest
import torch
from helpers.ring import SMALL

from diffrast.io import load_mesh
from diffrast.reconstruct import reconstruct
from diffrast.reconstruct.options import Options, check


def test_material_cameras_and_exposure_together(finished_with_all):
    out, metrics = finished_with_all
    assert metrics["held_out"]["psnr"] > 18
    assert metrics["steps"]["material"] > 0
    assert set(metrics["findings"]) == {"light", "exposure"}
    (data,) = load_mesh(out / "mesh.glb").material_list()
    assert data.metallic_roughness_texture is not None and data.has_occlusion
    assert data.base_color_texture is not None and float(data.base_color_texture[..., :3].std()) > 0.05


def test_a_run_that_stops_in_the_material_goes_on_to_the_same_result(dataset, all_options, finished_with_all, tmp_path):
    def interrupt(stage, step):
        if stage == "material" and step == 5:
            raise KeyboardInterrupt

    stopped = reconstruct(dataset, tmp_path / "run", all_options, callback=interrupt)
    assert stopped["interrupted"] and stopped["steps"]["material"] == 6
    again = reconstruct(dataset, tmp_path / "run", replace(all_options, resume=True))
    out, metrics = finished_with_all
    assert (tmp_path / "run" / "mesh.glb").read_bytes() == (out / "mesh.glb").read_bytes()
    assert again["views"] == metrics["views"]  # cameras and exposures are the same, too


@pytest.mark.parametrize("baseline", ["adam-vertices", "no-remeshing"])
def test_baselines(dataset, tmp_path, baseline):
    small = replace(SMALL, steps=40, frames=0, init="sphere", texture=64)
    metrics = reconstruct(dataset, tmp_path / "run", replace(small, baseline=baseline))
    mesh = load_mesh(tmp_path / "run" / "mesh.glb")
    assert bool(torch.isfinite(mesh.vertices).all())
    assert metrics["options"]["baseline"] == baseline
    assert metrics["mesh"]["faces"] > 500


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"baseline": "magic"}, "--baseline must be adam-vertices or no-remeshing or nothing; got 'magic'"),
        ({"normal_map": True}, "--normal-map is a part of the material that --pbr finds; give both"),
    ],
)
def test_options_that_make_no_sense(given, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        check(Options(**given))
