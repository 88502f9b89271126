"""The outlined invasive region of a whole section against one drawn by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from shapely.geometry import MultiPolygon

from ki67.annotations import Region, Regions, check_inside, choose_regions, color_of, read_regions
from ki67.geometry import area_mm2
from ki67.idc import read_heatmap
from ki67.slides import Slide, open_slide

HEATMAP_BESIDE = "heatmap.tif"
"""What ``ki67 idc predict`` calls the heat map that lies beside its regions."""

HAND_COLOR = (0, 0, 0)
"""Black, which neither the model's red nor the heat map has."""


def evaluate_region(
    he: str | Path,
    regions: str | Path,
    truth: str | Path,
    mpp: float | None = None,
    *,
    overrides_file: bool = False,
    label: str | None = None,
    figure: str | Path | None = None,
) -> dict[str, Any]:
    """Compare the region found on a slide with the one drawn by hand.

    Parameters
    ----------
    he
        The H&E slide that both lie on.
    regions
        What was found: ``idc/regions.geojson`` of a case, or any region file. It may be empty.
    truth
        The gold standard, a region file.
    mpp
        Pixel size of the slide, where its file has none.
    overrides_file
        Take ``mpp`` although the slide's file says otherwise.
    label
        Label to compare; None takes the one for invasive carcinoma, as ``ki67 score --regions`` does.
    figure
        PNG of the slide and of the heat map, where one lies beside ``regions``, with both outlines; None draws none.

    Returns
    -------
    dict
        What :func:`compare_regions` gives, and ``warnings``.

    Raises
    ------
    MissingExtraError
        Where figures are asked for and the extra ``figures`` is not installed.
    SlideError, AnnotationError
        Where a file cannot be read.
    RegionError
        Where a file lacks the label, or a region lies outside the slide.
    """
    if figure is not None:
        # Here, so that the work is not done in vain where matplotlib is missing.
        from ki67.evaluation.idc_figures import draw_region
    with open_slide(he, mpp, overrides_file=overrides_file) as slide:
        warnings = list(slide.named_warnings)
        found, notes = _read(Path(regions), slide, label, may_be_empty=True)
        true, more = _read(Path(truth), slide, label)
        result: dict[str, Any] = compare_regions(found.union(), true.union())
        if figure is not None:
            heatmap = Path(regions).parent / HEATMAP_BESIDE
            outlines = Regions(
                [Region("found", region.geometry, region.region_id, color=color_of("IDC")) for region in found]
                + [Region("drawn by hand", region.geometry, region.region_id, color=HAND_COLOR) for region in true]
            )
            draw_region(figure, slide, read_heatmap(heatmap) if heatmap.exists() else None, outlines, result)
    return result | {"warnings": [*warnings, *notes, *more]}


def _read(path: Path, slide: Slide, label: str | None, *, may_be_empty: bool = False) -> tuple[Regions, list[str]]:
    regions = read_regions(path, slide.frame)
    if may_be_empty and not regions:
        return regions, [f"{path.name}: holds no region"]
    chosen, notes = choose_regions(regions, label, path)
    inside, clipped = check_inside(chosen, slide.shown_um, slide.mpp)
    return inside, [*notes, *clipped]


def compare_regions(found: MultiPolygon, true: MultiPolygon) -> dict[str, float]:
    """Compare two areas in µm.

    Parameters
    ----------
    found, true
        The region found, and the gold standard.

    Returns
    -------
    dict
        ``dice``: twice the area in common over the sum of both (Dice 1945); ``area_mm2``, ``true_area_mm2``,
        ``common_area_mm2``; ``area_error_percent`` of the true area. NaN where the true area is empty.
    """
    common, area, true_area = (area_mm2(one) for one in (found.intersection(true), found, true))
    return {
        "dice": 2 * common / (area + true_area) if area + true_area else float("nan"),
        "area_mm2": area,
        "true_area_mm2": true_area,
        "common_area_mm2": common,
        "area_error_percent": 100 * (area - true_area) / true_area if true_area else float("nan"),
    }
