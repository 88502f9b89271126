"""Rows of the report's tables, from the manifest, the quality and the model cards; plain text throughout."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ki67.domain import Check

_LONGEST_VALUE: Final = 400
"""Characters of one value in a table; the whole of it is in run.json."""

_CHECK_NAMES: Final[dict[str, str]] = {
    "two_slides": "Two different slides",
    "colours": "Colours of the Ki-67 slide",
    "stain": "Share that is pink, Ki-67 slide",
    "haematoxylin": "Strength of haematoxylin",
    "dab": "Strength of DAB",
    "background": "Brown of the background",
    "focus": "Sharpness of edges",
    "cell_certainty": "Mean probability of the tumour cells",
    "nuclear_size": "Radius of nuclei, Ki-67 slide",
    "region_on_tissue": "Share of the region on tissue",
    "region_density": "Tumour cells in the region",
    "region_edge": "Cells outside the region against inside",
    "region_unregistered": "Share of the region not registered",
    "he_colours": "Colours of the H&E slide",
    "he_stain": "Share that is pink, H&E slide",
    "he_nuclear_size": "Radius of nuclei, H&E slide",
}

_QUALITY_NAMES: Final[dict[str, str]] = {
    "ncc_before": "Normalised cross-correlation (NCC) before",
    "ncc": "Normalised cross-correlation (NCC) after",
    "ncc_definition": "NCC is the",
    "ncc_mpp": "NCC measured at (µm per pixel)",
    "ncc_blur_um": "NCC measured after a blur of (µm, Gaussian sigma)",
    "ncc_density": "Correlation of the plain densities after, same pixels",
    "mutual_information": "Mutual information, same pixels (nats)",
    "tissue_dice": "Overlap of the two tissues (Dice)",
    "local_error_um": "Remaining local shift, median (µm)",
    "estimated_error_um": "Estimated error of the map, median (µm)",
    "unregistered_mm2": "Tissue of the H&E without a believable place (mm²)",
    "unregistered_share": "… as a share of the tissue",
    "agreement": "Agreement of structures that the map was not fitted to (1: the same)",
    "agreement_sigma": "… above chance (standard deviations)",
    "blocks": "Places compared for it",
    "sure_share": "Share of those places where the map is sure",
    "distinctness": "Distinctness from the next best pose (0 to 1)",
    "mode": "Kind of map",
    "way": "Found by",
    "rotation_deg": "Rotation (degrees, clockwise)",
    "mirrored": "Mirrored",
    "stretch_min": "Smallest stretch",
    "stretch_max": "Largest stretch",
    "jacobian_min": "Smallest local change of area",
    "jacobian_max": "Largest local change of area",
}
"""What the registration's figures are called in the report; others keep their key."""

_SHOWN_APART: Final = frozenset({"accepted", "reasons", "warnings", "local", "places"})
"""Verdict and warnings have their own places; block by block, the local map is for programs."""

_CARD_FIRST: Final = ("name", "version", "task", "trained_on", "data", "license", "licence", "intended_use", "use")
"""Entries of a model card shown first, in this order."""


@dataclass(frozen=True)
class StageRow:
    """One finished stage of the run."""

    name: str
    seconds: float
    peak_memory_mib: float | None
    parameters: list[tuple[str, str]]


def stage_rows(run: Mapping[str, Any]) -> list[StageRow]:
    """Finished stages in the order they began; the report's own stage is still under way and not among them."""
    done = [(name, record) for name, record in run.get("stages", {}).items() if record.get("state") == "done"]
    done.sort(key=lambda entry: str(entry[1].get("started", "")))
    return [
        StageRow(
            name=name,
            seconds=float(record.get("seconds", 0.0)),
            peak_memory_mib=record.get("peak_memory_mib"),
            parameters=list(_without_shown(record.get("parameters", {}))),
        )
        for name, record in done
    ]


def version_rows(run: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Version of the program and of each library; where stages ran with several, each with its stages."""
    found: dict[str, dict[str, list[str]]] = {}
    for name, record in run.get("stages", {}).items():
        if record.get("state") == "done":
            for library, version in record.get("versions", {}).items():
                found.setdefault(library, {}).setdefault(str(version), []).append(name)
    rows = [
        (library, next(iter(versions)) if len(versions) == 1 else _by_stage(versions))
        for library, versions in found.items()
    ]
    return rows or list(flat(run.get("versions", {})))


def _by_stage(versions: Mapping[str, Sequence[str]]) -> str:
    return ", ".join(f"{version} ({', '.join(stages)})" for version, stages in versions.items())


@dataclass(frozen=True)
class CheckRow:
    """One check of the inputs, in words."""

    name: str
    value: str
    usual: str
    verdict: str
    text: str


def check_rows(checks: Iterable[Check]) -> list[CheckRow]:
    """Return checks as rows, the known ones first and by name."""
    order = {name: place for place, name in enumerate(_CHECK_NAMES)}
    return [check_row(check) for check in sorted(checks, key=lambda check: order.get(check.name, len(order)))]


def check_row(check: Check) -> CheckRow:
    """Return a check as a row: its name, value, usual range and verdict, and what to think of it."""
    unit = f" {check.unit}" if check.unit else ""
    value = "–" if check.value is None else f"{_short(check.value)}{unit}"
    verdict = f"{check.verdict.value}, insisted upon" if check.insisted else check.verdict.value
    name = _CHECK_NAMES.get(check.name, check.name.replace("_", " ").capitalize())
    return CheckRow(name, value, _range(check.usual, unit), verdict, check.text)


def _range(usual: tuple[float | None, float | None] | None, unit: str) -> str:
    low, high = usual or (None, None)
    if low is None and high is None:
        return "–"
    if low is None:
        return f"up to {_short(high)}{unit}"
    return f"{_short(low)} to {_short(high)}{unit}" if high is not None else f"from {_short(low)}{unit}"


def _short(value: float | None) -> str:
    """Return three digits of a number, and whole thousands as people write them."""
    if value is None:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def quality_rows(quality: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Figures of the registration, the known ones first and by name."""
    known = [(name, quality[key]) for key, name in _QUALITY_NAMES.items() if key in quality]
    others = {key: value for key, value in quality.items() if key not in _QUALITY_NAMES and key not in _SHOWN_APART}
    return [(name, text_of(value)) for name, value in known] + list(flat(others))


def guideline_rows(
    guideline: Mapping[str, Any], hot_spots: Sequence[Mapping[str, Any]]
) -> list[tuple[str, str, str]]:
    """Guideline scores: what, its value, and how it came about."""
    fields, diameter = guideline["fields"], guideline["field_diameter_um"] / 1000
    counted = f"{len(fields)} fields of {guideline['field_cells']} tumour cells, high-power field {diameter:g} mm"
    shares = ", ".join(
        f"{name} {kind['area_share_percent']:.0f} % (from {kind['from_percent']:.1f} %)"
        for name, kind in sorted(guideline["types"].items(), key=lambda entry: entry[1]["from_percent"])
    )
    spot = f"{hot_spots[0]['cells']} tumour cells" if hot_spots else "too few tumour cells"
    weighted = guideline["weighted_global"]
    own, counter = (percent(weighted[key]) for key in ("index_percent", "counter_index_percent"))
    how = shares if own == counter else f"{shares}; by the group's counter {counter}"
    return [
        ("Unweighted global", percent(guideline["unweighted_global"]["index_percent"]), counted),
        ("Weighted global", own, how),
        ("Hot spot", percent(guideline["hot_spot"]["index_percent"]), spot),
    ]


def edge_rows(edge: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Index at the invasive edge and further in."""
    width = f"{edge['width_um']:g} µm along the outline"
    return [
        (f"Invasive edge ({width})", percent(edge["edge_index_percent"]), f"{edge['edge_cells']:,} tumour cells"),
        ("Centre", percent(edge["centre_index_percent"]), f"{edge['centre_cells']:,} tumour cells"),
    ]


def heterogeneity_rows(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Measures of how uneven the index is."""
    quartiles = found["index_quartiles_percent"]
    spread = "–" if quartiles is None else "{:.1f}, {:.1f}, {:.1f} %".format(*quartiles)
    hexagons = f"{found['hexagons']:,} of {found['hexagon_side_um']:g} µm, {found['minimum_cells']} cells or more"
    return [
        ("Hexagons", hexagons),
        ("Quartiles of their index", spread),
        ("Entropy of their levels (bits)", text_of(found["entropy"])),
        ("Haralick entropy of neighbours (bits)", text_of(found["haralick_entropy"])),
        ("Moran's I (0 chance, 1 high and low apart)", text_of(found["moran_i"])),
        ("Ashman's D (above 2: two populations)", text_of(found["ashman_d"])),
    ]


def percent(value: float | None) -> str:
    """Return a percentage to one decimal, a dash for none."""
    return "–" if value is None else f"{value:.1f} %"


def card_rows(card: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Entries of a model card, what and for what first."""
    order = {key: place for place, key in enumerate(_CARD_FIRST)}
    keys = sorted(card, key=lambda key: (order.get(key, len(order)), key))
    return list(flat({key: card[key] for key in keys}))


def input_rows(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What the manifest says of one slide; its warnings have their own place."""
    return list(_without_shown(facts))


def _without_shown(facts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    return flat({key: value for key, value in facts.items() if key not in _SHOWN_APART})


def flat(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested mappings as rows "a.b", "value"."""
    for key, entry in value.items():
        if isinstance(entry, Mapping) and entry:
            yield from flat(entry, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", text_of(entry)


def text_of(value: Any) -> str:
    """Show a value: numbers to four significant digits, yes and no, lists with commas; long ones cut."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, str | int):
        text = str(value)
    elif isinstance(value, list | tuple) and all(isinstance(entry, str | int | float) for entry in value):
        text = ", ".join(text_of(entry) for entry in value) or "none"
    else:
        text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 1] + "…"


_CAUSES = {
    "wilson": ("Chance in counting", "Wilson’s interval: cells as independent draws"),
    "clustered": ("Positive cells lie together", "hexagons of the section as draws; holds chance in counting too"),
    "registration": (
        "The region may be carried over wrongly",
        "the region moved as far as the registration’s estimated error; what is not registered may hold any index",
    ),
    "model": (
        "The model may count wrongly",
        "as far as it was off on patients it had not seen, around the index without its bias",
    ),
}


def cause_rows(intervals: Mapping[str, Any] | None) -> list[tuple[str, str, str]]:
    """What the interval of the index is made of: cause, its 95 % interval alone, how it is known."""
    known = intervals or {}
    return [
        (name, "not known" if known[key] is None else f"{known[key][0]:.1f}–{known[key][1]:.1f} %", how)
        for key, (name, how) in _CAUSES.items()
        if key in known and (known[key] is not None or key != "registration")
    ]
