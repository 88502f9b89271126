"""The browser that tests of pages run in, and when they cannot."""

from __future__ import annotations

import os
import shutil

import pytest

from ki67.server.app import STATIC

CHROMIUM = os.environ.get("KI67_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")

NEEDS_A_PAGE = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine (name it in KI67_CHROMIUM)"),
    pytest.mark.skipif(not (STATIC / "index.html").is_file(), reason="the page was not built (KI67_PAGE=build)"),
]
