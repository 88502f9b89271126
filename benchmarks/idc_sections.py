"""Whole sections of the public IDC set, put together again: heat map and outline beside the labels.

    KI67_DATA=../shared/data python benchmarks/idc_sections.py OUT_FOLDER

writes one picture per section (section, labels, heat map with the outline) and ``sections.json``; it needs the extra
``figures``. The pictures show pixels of the data set: keep them out of the repository.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np

from ki67.evaluation.idc_sections import PatchedSection, SectionResult, assemble, evaluate_section
from ki67.fields.patches import read_patches
from ki67.files import write_json
from ki67.idc import load_model

mpl.use("Agg")
from matplotlib import pyplot as plt


def draw(section: PatchedSection, result: SectionResult, path: Path) -> None:
    """Write the picture of one section."""
    height, width = section.pixels.shape[:2]
    extent = (0, width * section.mpp / 1000, height * section.mpp / 1000, 0)
    figure, axes = plt.subplots(1, 3, figsize=(24, 24 / 3 * height / width + 0.6), constrained_layout=True)
    names = ("section", "labels (red: IDC, blue: other)", "heat map and outline")
    truth = np.ma.masked_equal(section.truth, -1)
    for axis, name in zip(axes, names, strict=True):
        axis.imshow(section.pixels, extent=extent)
        axis.set_title(name)
    grid = (0, truth.shape[1] * section.patch_um / 1000, truth.shape[0] * section.patch_um / 1000, 0)
    axes[1].imshow(truth, extent=grid, cmap="coolwarm", alpha=0.5, vmin=0, vmax=1, interpolation="nearest")
    rows, columns = result.heatmap.probability.shape
    frame = (0, columns * result.heatmap.mpp / 1000, rows * result.heatmap.mpp / 1000, 0)
    axes[2].imshow(
        np.ma.masked_invalid(result.heatmap.probability), extent=frame, cmap="jet", alpha=0.55, vmin=0, vmax=1
    )
    for region in result.regions:
        for ring in [region.geometry.exterior, *region.geometry.interiors]:
            xy = np.asarray(ring.coords) / 1000
            axes[2].plot(xy[:, 0], xy[:, 1], "k", linewidth=2)
    figure.suptitle(f"{section.name}: " + ", ".join(f"{key} {value:.3f}" for key, value in result.measures.items()))
    figure.savefig(path, dpi=70)
    plt.close(figure)


def main(out: Path) -> None:
    """Evaluate every complete section of the data set."""
    root = Path(os.environ.get("KI67_DATA", "../shared/data")) / "idc_patches"
    rows = [row for row in read_patches(root, root / "index.csv") if row.columns["complete_slide"] == "1"]
    model = load_model()
    results = {}
    for patient in sorted({row.patient for row in rows}):
        chosen = [row for row in rows if row.patient == patient]
        section = assemble(chosen, model.card.patch_px, model.card.mpp)
        result = evaluate_section(section, model)
        out.mkdir(parents=True, exist_ok=True)
        draw(section, result, out / f"{patient}.png")
        results[patient] = result.measures
        print(patient, {key: round(value, 3) for key, value in result.measures.items()})
    write_json(out / "sections.json", results)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
