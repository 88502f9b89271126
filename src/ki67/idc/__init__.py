"""Invasive ductal carcinoma on H&E: model, heat map, outline. Models are trained in :mod:`ki67.learning.idc`."""

from ki67.idc.appearance import FeatureMean
from ki67.idc.heatmap import HeatMap, read_heatmap, write_heatmap
from ki67.idc.model import SHIPPED_MODEL, IdcModel, ModelCard, load_model, read_card
from ki67.idc.outline import DEFAULT_OUTLINE, OutlineOptions, outline, probability_at
from ki67.idc.prediction import check_resolution, predict

__all__ = [
    "DEFAULT_OUTLINE",
    "SHIPPED_MODEL",
    "FeatureMean",
    "HeatMap",
    "IdcModel",
    "ModelCard",
    "OutlineOptions",
    "check_resolution",
    "load_model",
    "outline",
    "predict",
    "probability_at",
    "read_card",
    "read_heatmap",
    "write_heatmap",
]
