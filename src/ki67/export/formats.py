"""What a case can be exported as: one table, by the end of the file's name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ki67.case import Summary
from ki67.export.dicom_annotations import write_annotations
from ki67.export.dicom_report import write_report
from ki67.export.dsa import write_dsa
from ki67.export.fhir import write_fhir
from ki67.export.geojson import write_geojson
from ki67.export.geoparquet import write_geoparquet
from ki67.export.ome_tiff import write_ome_tiff
from ki67.export.spatialdata import write_spatialdata
from ki67.export.spreadsheet import write_csv


@dataclass(frozen=True)
class Format:
    """A format of other programs.

    Parameters
    ----------
    suffixes
        Ends of a file's name that ask for it, in small letters.
    what
        What is in it and for which program, for help and messages.
    write
        Writes it and tells what was written; takes a layer as well where ``layers``.
    layers
        Whether one of several layers is written.
    folder
        Whether it is a folder rather than a file.
    """

    suffixes: tuple[str, ...]
    what: str
    write: Callable[..., Summary]
    layers: bool = False
    folder: bool = False


FORMATS: Final = (
    Format((".geojson", ".geojson.gz"), "cells for QuPath", write_geojson),
    Format((".csv",), "cells for a spreadsheet", write_csv),
    Format((".parquet",), "cells as GeoParquet, for GeoPandas, DuckDB or R", write_geoparquet),
    Format((".zarr",), "cells and region as SpatialData, a folder", write_spatialdata, folder=True),
    Format((".dsa.json",), "cells for the Digital Slide Archive (HistomicsUI)", write_dsa),
    Format((".ann.dcm",), "cells as DICOM bulk annotations", write_annotations),
    Format((".sr.dcm",), "index and region as a DICOM structured report", write_report),
    Format((".fhir.json",), "index as a FHIR Observation", write_fhir),
    Format(
        (".ome.tif", ".ome.tiff"), "map of the index or of the carcinoma as OME-TIFF", write_ome_tiff, layers=True
    ),
)
"""All of them."""


def format_of(path: Path) -> Format | None:
    """Format that a file's name asks for; None for none."""
    name = path.name.lower()
    return next((one for one in FORMATS if name.endswith(one.suffixes)), None)
