"""Sphinx's settings for the site; `make docs` builds it."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import ipyreconnect

project = "ipyreconnect"
author = "ipyreconnect contributors"
copyright = author  # noqa: A001 - Sphinx's own name for it
version = release = ipyreconnect.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "docs.directives"]
exclude_patterns = ["_*"]
suppress_warnings: list[str] = []  # what is worth a warning is worth an error: `make docs` takes each for one

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

default_role = "code"  # as the docstrings mean it
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_class_signature = "mixed"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 88

html_theme = "furo"
html_title = f"ipyreconnect {version}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_show_copyright = False
html_copy_source = False
pygments_style = "default"
pygments_dark_style = "github-dark"
