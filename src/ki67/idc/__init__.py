"""Invasive ductal carcinoma on H&E: patches, networks, heat map, outline.

Prediction needs ONNX Runtime only; ``network``, ``augment``, ``training`` and ``export`` need the training extra.
"""

from ki67.idc.appearance import FeatureMean
from ki67.idc.dataset import PatchRow, load_pixels, read_patches
from ki67.idc.heatmap import HeatMap, read_heatmap, write_heatmap
from ki67.idc.model import SHIPPED_MODEL, IdcModel, ModelCard, load_model, read_card
from ki67.idc.outline import DEFAULT_OUTLINE, OutlineOptions, outline
from ki67.idc.prediction import check_resolution, predict

__all__ = [
    "DEFAULT_OUTLINE",
    "SHIPPED_MODEL",
    "FeatureMean",
    "HeatMap",
    "IdcModel",
    "ModelCard",
    "OutlineOptions",
    "PatchRow",
    "check_resolution",
    "load_model",
    "load_pixels",
    "outline",
    "predict",
    "read_card",
    "read_heatmap",
    "read_patches",
    "write_heatmap",
]
