"""The files of a case, and the stages that later ones ask for by name."""

from __future__ import annotations

from typing import Final

from ki67 import registration

HEATMAP: Final = "idc/heatmap.tif"
OTHER_CLASSES: Final = "idc/other_classes.tif"
REGIONS_HE: Final = "idc/regions.geojson"
TRANSFORM: Final = "registration/transform.json"
DISPLACEMENTS: Final = tuple(f"registration/{name}" for name in registration.FIELD_NAMES)
QUALITY: Final = "registration/quality.json"
REGIONS_KI67: Final = "regions_ki67.geojson"
CELLS: Final = "cells.parquet"
UNREGISTERED: Final = "unregistered.geojson"
EXCLUDED: Final = "excluded.geojson"
SCORE: Final = "score.json"
REPORT: Final = "report.html"
REPORT_PDF: Final = "report.pdf"

FILES: Final = (
    HEATMAP,
    OTHER_CLASSES,
    REGIONS_HE,
    TRANSFORM,
    *DISPLACEMENTS,
    QUALITY,
    REGIONS_KI67,
    CELLS,
    UNREGISTERED,
    EXCLUDED,
    SCORE,
    REPORT,
    REPORT_PDF,
)
"""All that is written into a case's folder, beside its manifest."""

IDC: Final = "idc"
"""Stage that finds the carcinoma on the H&E slide."""

JUDGED: Final = "domain"
"""Stage that judges the slides themselves."""

REGIONS_TAKEN, REGION_JUDGED = "regions", "region_density"
"""Stages that judge the region: whether it lies on tissue, and whether the tumour cells are in it."""

REGION_CARRIED: Final = "regions_ki67"
"""Stage that carries the region over from the H&E to the Ki-67 slide."""

COUNTED, SCORED = "cells", "score"
"""Stages that count, and score what was counted."""

REPORTED: Final = "report"
"""Stage that writes the report."""
