"""How Sphinx builds the site: `make docs` writes it to docs/_build/html."""

import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parent
sys.path[:0] = [str(DOCS.parent), str(DOCS / "_extensions")]

import diffrast  # noqa: E402 - the package of this checkout

project = "diffrast"
copyright = "the diffrast contributors, Apache-2.0"
release = version = diffrast.__version__
extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_design",
    "myst_parser",
    "docstrings",
    "mathml",
    "generated",
]
exclude_patterns = ["_build", "_extensions", "first_steps.ipynb"]

# Every link is checked, except to other libraries, which would need a network, and to what is internal.
nitpicky = True
nitpick_ignore_regex = [("py:.*", r"(?!diffrast\.).*|diffrast(\.\w+){3,}"), ("py:mod", ".*")]

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_dmath_double_inline = True
myst_heading_anchors = 3
myst_links_external_new_tab = False

napoleon_use_rtype = False
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_class_signature = "mixed"
autodoc_default_options = {"members": True}
python_maximum_signature_line_length = 88
python_use_unqualified_type_names = True
add_module_names = False
toc_object_entries_show_parents = "hide"

html_theme = "furo"
html_title = f"diffrast {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_math_renderer = "mathml"
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {"navigation_with_keys": True}
pygments_style = "friendly"
pygments_dark_style = "github-dark"
highlight_language = "text"
