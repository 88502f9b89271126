"""Labelled slides and fields as an open data set: made, described, checked."""

from ki67.opendata.check import check_dataset
from ki67.opendata.description import Description
from ki67.opendata.export import export_dataset

__all__ = ["Description", "check_dataset", "export_dataset"]
