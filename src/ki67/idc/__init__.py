"""Invasive ductal carcinoma on H&E: model, heat map, outline. Models are trained in :mod:`ki67.learning.idc`."""

from ki67.idc.appearance import FeatureMean
from ki67.idc.classes import areas_beside_mm2
from ki67.idc.heatmap import HeatMap, read_heatmap, read_heatmaps, write_heatmap, write_heatmaps
from ki67.idc.model import SHIPPED_MODEL, TUMOUR_CLASS, IdcModel, ModelCard, load_model, read_card
from ki67.idc.outline import DEFAULT_OUTLINE, OutlineOptions, outline, probability_at
from ki67.idc.prediction import check_resolution, predict, predict_classes

__all__ = [
    "DEFAULT_OUTLINE",
    "SHIPPED_MODEL",
    "TUMOUR_CLASS",
    "FeatureMean",
    "HeatMap",
    "IdcModel",
    "ModelCard",
    "OutlineOptions",
    "areas_beside_mm2",
    "check_resolution",
    "load_model",
    "outline",
    "predict",
    "predict_classes",
    "probability_at",
    "read_card",
    "read_heatmap",
    "read_heatmaps",
    "write_heatmap",
    "write_heatmaps",
]
