"""Pages made from what they describe, into docs/generated/ before Sphinx looks for its sources."""

from sphinx.application import Sphinx

from . import api, files, gallery, texts


def generate(app: Sphinx) -> None:
    gallery.gallery()
    api.api()
    texts.command_help()
    texts.notebook()
    texts.development()
    files.remove_others()


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("builder-inited", generate)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
