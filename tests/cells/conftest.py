"""What the tests of cells share with those of learning."""

from __future__ import annotations

from cells_fixtures import cell_data, fields, save

__all__ = ["cell_data", "fields", "save"]
