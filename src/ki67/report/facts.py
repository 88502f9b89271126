"""Rows of the report's tables, from score, manifest, quality and model cards; plain text throughout."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ki67.domain import Check
from ki67.report.words import Words, words_of
from ki67.vocabulary import Language

_LONGEST_VALUE: Final = 400
"""Characters of one value in a table; the whole of it is in run.json."""

_SHOWN_APART: Final = frozenset({"accepted", "reasons", "warnings", "local", "places"})
"""Verdict and warnings have their own places; block by block, the local map is for programs."""

_RECORDED: Final = words_of(Language.en)
"""What files hold is shown as they hold it."""

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
    """One check of the inputs: ``verdict`` as the program has it, ``told`` in words."""

    name: str
    value: str
    usual: str
    verdict: str
    told: str
    text: str


def check_rows(checks: Iterable[Check], words: Words) -> list[CheckRow]:
    """Return checks as rows, the known ones first and by name."""
    order = {name: place for place, name in enumerate(words.names("check"))}
    return [_check_row(check, words) for check in sorted(checks, key=lambda check: order.get(check.name, len(order)))]


def _check_row(check: Check, words: Words) -> CheckRow:
    unit = f" {words.known(check.unit)}" if check.unit else ""
    value = "–" if check.value is None else f"{_short(check.value, words)}{unit}"
    verdict = words(f"verdict.{check.verdict.value}")
    told = words("verdict.insisted", verdict=verdict) if check.insisted else verdict
    name = words.names("check").get(check.name, check.name.replace("_", " ").capitalize())
    return CheckRow(
        name, value, _range(check.usual, unit, words), check.verdict.value, told, words.recorded(check.text)
    )


def _range(usual: tuple[float | None, float | None] | None, unit: str, words: Words) -> str:
    low, high = usual or (None, None)
    if low is None and high is None:
        return "–"
    if low is None:
        return words("range.up_to", high=f"{_short(high, words)}{unit}")
    if high is None:
        return words("range.from", low=f"{_short(low, words)}{unit}")
    return words("range.between", low=_short(low, words), high=f"{_short(high, words)}{unit}")


def _short(value: float | None, words: Words) -> str:
    """Return three digits of a number, and whole thousands as people write them."""
    if value is None:
        return "–"
    return words.number(value, ",.0f" if abs(value) >= 1000 else ".3g")


def quality_rows(quality: Mapping[str, Any], words: Words) -> list[tuple[str, str]]:
    """Figures of the registration, the known ones first and by name."""
    names = words.names("quality")
    known = [(name, quality[key]) for key, name in names.items() if key in quality]
    others = {key: value for key, value in quality.items() if key not in names and key not in _SHOWN_APART}
    return [(name, text_of(value, words)) for name, value in known] + list(flat(others))


def guideline_rows(
    guideline: Mapping[str, Any], hot_spots: Sequence[Mapping[str, Any]], words: Words
) -> list[tuple[str, str, str]]:
    """Guideline scores: what, its value, and how it came about."""
    counted = words(
        "guideline.fields",
        fields=len(guideline["fields"]),
        cells=guideline["field_cells"],
        diameter=words.number(guideline["field_diameter_um"] / 1000, "g"),
    )
    shares = ", ".join(
        words(
            "guideline.share",
            type=words(f"type.{name}"),
            share=words.number(kind["area_share_percent"], ".0f"),
            from_percent=words.number(kind["from_percent"], ".1f"),
        )
        for name, kind in sorted(guideline["types"].items(), key=lambda entry: entry[1]["from_percent"])
    )
    spot = words("guideline.cells", cells=hot_spots[0]["cells"]) if hot_spots else words("guideline.few")
    weighted = guideline["weighted_global"]
    own, counter = (words.percent(weighted[key]) for key in ("index_percent", "counter_index_percent"))
    how = shares if own == counter else words("guideline.counter", shares=shares, counter=counter)
    return [
        (words("guideline.unweighted"), words.percent(guideline["unweighted_global"]["index_percent"]), counted),
        (words("guideline.weighted"), own, how),
        (words("guideline.hot_spot"), words.percent(guideline["hot_spot"]["index_percent"]), spot),
    ]


def edge_rows(edge: Mapping[str, Any], words: Words) -> list[tuple[str, str, str]]:
    """Index at the invasive edge and further in."""
    width = words("edge.width", width=words.number(edge["width_um"], "g"))

    def row(name: str, part: str) -> tuple[str, str, str]:
        cells = words("guideline.cells", cells=words.number(edge[f"{part}_cells"], ","))
        return name, words.percent(edge[f"{part}_index_percent"]), cells

    return [row(words("edge.edge", width=width), "edge"), row(words("edge.centre"), "centre")]


def heterogeneity_rows(found: Mapping[str, Any], words: Words) -> list[tuple[str, str]]:
    """Measures of how uneven the index is."""
    quartiles = found["index_quartiles_percent"]
    joint = "; " if words.language is not Language.en else ", "
    spread = "–" if quartiles is None else f"{joint.join(words.number(one, '.1f') for one in quartiles)} %"
    hexagons = words(
        "heterogeneity.hexagons_value",
        count=words.number(found["hexagons"], ","),
        side=words.number(found["hexagon_side_um"], "g"),
        cells=found["minimum_cells"],
    )
    measured = (
        ("entropy", "entropy"), ("haralick", "haralick_entropy"), ("moran", "moran_i"), ("ashman", "ashman_d")
    )  # fmt: skip
    return [
        (words("heterogeneity.hexagons"), hexagons),
        (words("heterogeneity.quartiles"), spread),
        *((words(f"heterogeneity.{name}"), text_of(found[key], words)) for name, key in measured),
    ]


def intensity_rows(found: Mapping[str, Any] | None, words: Words) -> list[tuple[str, str]]:
    """How brown the positive cells are; nothing where there are none, or an older version scored."""
    if not found:
        return []
    joint = "; " if words.language is not Language.en else ", "
    graded = {name: count for name, count in found["cells"].items() if name != "0"}
    total = sum(graded.values())
    if not total:
        return []
    shares = joint.join(f"{name} {words.number(100 * count / total, '.0f')} %" for name, count in graded.items())
    low, high = (words.number(cut, "g") for cut in found["cuts_od"])
    return [(words("heterogeneity.intensity", low=low, high=high), shares)]


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


def text_of(value: Any, words: Words = _RECORDED) -> str:
    """Show a value: numbers to four significant digits, yes and no, lists with commas; long ones cut."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return words("text.yes" if value else "text.no")
    if isinstance(value, float):
        return words.number(value, ".4g")
    if isinstance(value, str | int):
        text = str(value)
    elif isinstance(value, list | tuple) and all(isinstance(entry, str | int | float) for entry in value):
        text = ", ".join(text_of(entry) for entry in value) or words("text.none")
    else:
        text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 1] + "…"


_CAUSES: Final = ("wilson", "clustered", "registration", "outline", "model")


def cause_rows(
    intervals: Mapping[str, Any] | None, words: Words, own_validation: Mapping[str, Any] | None = None
) -> list[tuple[str, str, str]]:
    """What the interval of the index is made of: cause, its 95 % interval alone, how it is known."""
    known = intervals or {}
    how = {key: words(f"cause.{key}.how") for key in _CAUSES}
    if own_validation is not None:
        name = own_validation["laboratory"] or words("cause.unnamed")
        how["model"] = words("cause.model.how_validated", cases=own_validation["cases"], laboratory=name)
    return [
        (
            words(f"cause.{key}"),
            words("causes.unknown") if known[key] is None else interval(known[key], words),
            how[key],
        )
        for key in _CAUSES
        if key in known and (known[key] is not None or key not in {"registration", "outline"})
    ]


def interval(ends: Sequence[float] | None, words: Words) -> str:
    """Return both ends of an interval in percent, a dash for none."""
    if ends is None:
        return "–"
    return f"{words.number(ends[0], '.1f')}–{words.number(ends[1], '.1f')} %"
