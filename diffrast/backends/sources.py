"""Finds the kernel and shader sources: beside the package in a checkout or editable install, inside it in a wheel."""

from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]


def source_folder(name: str) -> Path:
    """The folder of sources called `name` ("cuda" or "shaders").

    Raises FileNotFoundError when the installation lacks it.
    """
    places = (PACKAGE / "_sources" / name, PACKAGE.parent / name)
    for place in places:
        if place.is_dir():
            return place
    looked = " and ".join(str(place) for place in places)
    raise FileNotFoundError(f"diffrast's sources {name!r} are missing (looked in {looked}); reinstall diffrast")
