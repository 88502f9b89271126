"""How the documentation is built: ``sphinx-build -W docs OUT`` (extra ``docs``).

Pages are Markdown; the reference comes from docstrings. The notebooks are run while the pages are built, on a
simulated pair of sections; what their cells give, and the pictures of their case's report, show this version: a
minute or two.
``-D ki67_pictures=0`` goes without them, for a check of the text alone.
"""

from __future__ import annotations

import sys
from pathlib import Path

import ki67

sys.path.insert(0, str(Path(__file__).parent))

project = "ki67"
release = version = ki67.__version__
extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "myst_parser", "made_pictures"]
html_theme = "furo"
html_title = f"ki67 {release}"
exclude_patterns = ["pictures"]
myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence"]
# Decisions go from their title to paragraphs that begin in bold, or to a heading of any depth.
suppress_warnings = ["myst.header"]
autodoc_typehints = "description"
autodoc_member_order = "bysource"
napoleon_google_docstring = False
napoleon_use_ivar = True
