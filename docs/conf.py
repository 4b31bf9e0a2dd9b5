"""How the documentation is built: `python -m sphinx -W --keep-going docs site`. No step needs a network."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.ext.napoleon import Config, GoogleDocstring

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
_project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

project = "parasync"
author = "the authors of parasync"
copyright = f"2026, {author}"  # noqa: A001  # the name is Sphinx's
release = version = _project["version"]

extensions = ["myst_parser", "sphinx.ext.autodoc"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_figures"]
default_role = "literal"  # docstrings write names in single backticks

# A reference that leads nowhere is a warning, and a warning ends the build. Names of the standard library and of third parties
# stand in other documentation, which could only be looked up over a network; type variables stand nowhere.
nitpicky = True
nitpick_ignore_regex = [
    ("py:.*", r"(?!parasync).*"),
    ("py:.*", r"parasync\.[\w.]*\b[KRTV](_co)?"),
    ("py:class", r"parasync\.runtime\.(_stream\.Changes|_readable\.Readable)"),
    ("py:class", r"parasync\.runtime\.(_mirror_waits\.Waits|_mirrored\.Mirrored(Object)?|_mirror_views\.Live)"),
    ("py:class", r"parasync\.runtime\.(_mirror_seat\.MirrorSeat|_mirror_stream\.MirrorChanges)"),
    ("py:class", r"parasync\.threads\._outside\.Outside"),
    ("py:class", r"parasync\.protocol\._held\.(Held|Refused)"),
    ("py:class", r"parasync\.transports\._nats_conversation\.Conversation"),
    ("py:class", r"parasync\.(runtime\._session\.(Blocking)?Reads|http\._middleware\.Middleware)"),
    ("py:class", r"parasync\.threads\._(home\.Home|changes\.(Stream|Step|_Steps))"),
]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_class_signature = "mixed"
autodoc_default_options = {"members": True, "show-inheritance": False}

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


def read_google_style(app: Sphinx, what: str, name: str, item: object, options: Any, lines: list[str]) -> None:
    """Turn a docstring in Google style into reStructuredText.

    Sphinx's own hook would take what stands before a colon in the docstring of a property for its type.
    """
    kind = "function" if what in ("attribute", "data", "property") else what
    config = Config(napoleon_numpy_docstring=False, napoleon_use_rtype=False)
    lines[:] = GoogleDocstring(list(lines), config, app, kind, name, item, options).lines()


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("autodoc-process-docstring", read_google_style)
