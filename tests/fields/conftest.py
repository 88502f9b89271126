"""What these tests share with those of learning."""

from __future__ import annotations

from cells_fixtures import cell_data, fields, save
from idc_fixtures import green_model, patch_folder, write_slide

__all__ = ["cell_data", "fields", "green_model", "patch_folder", "save", "write_slide"]
