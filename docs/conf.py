"""How the documentation is built: `python -m sphinx -W --keep-going docs site`. No step needs a network."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
_project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

project = "parasync"
author = "the authors of parasync"
copyright = f"2026, {author}"  # noqa: A001  # the name is Sphinx's
release = version = _project["version"]

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_figures"]
default_role = "literal"  # docstrings write names in single backticks

# A reference that leads nowhere is a warning, and a warning ends the build. Names of the standard library and of third parties
# stand in other documentation, which could only be looked up over a network.
nitpicky = True
nitpick_ignore_regex = [
    ("py:.*", r"(?!parasync)[\w.]+"),
    ("py:.*", r"parasync\.[\w.]*\b[TV](_co)?"),
]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_class_signature = "mixed"
autodoc_default_options = {"members": True, "show-inheritance": False}
napoleon_numpy_docstring = False
napoleon_use_rtype = False

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = f"parasync {release}"
html_static_path = ["_static"]
html_css_files = ["parasync.css"]
html_show_sphinx = False
html_copy_source = False
html_theme_options = {"navigation_with_keys": True}
pygments_style = "default"
