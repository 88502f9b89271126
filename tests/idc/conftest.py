"""What the tests of carcinoma share with those of learning."""

from __future__ import annotations

from idc_fixtures import green_model, patch_folder, write_slide

__all__ = ["green_model", "patch_folder", "write_slide"]
