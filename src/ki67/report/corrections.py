"""What people corrected, for the report: both indices side by side, and who, when and why, newest last."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from ki67.case.corrections import (
    Add,
    Correction,
    Exclude,
    Include,
    Nudge,
    Relabel,
    Remove,
    ReplaceRegion,
    Several,
    SignOut,
    signed_out,
)
from ki67.geometry import area_mm2
from ki67.report.data import CorrectedLike
from ki67.report.templating import told_time
from ki67.report.words import Words
from ki67.scoring import Score

_LISTED: Final = 100
"""Newest corrections that are listed; a case may have thousands."""


@dataclass(frozen=True)
class CorrectionsShown:
    """Corrections in words: a line for the first page, figures without and with them, and the log."""

    summary: str
    figures: list[tuple[str, str, str]]
    log: list[tuple[str, ...]]
    left_out: int


def shown_corrections(found: CorrectedLike, words: Words) -> CorrectionsShown:
    """Put corrections into words."""
    automatic, corrected = found.automatic, found.score
    said = []
    signed = signed_out(found.log)
    if signed is not None:
        said.append(words("corrections.signed", by=signed.by, when=_when(signed.when)))
    count = len(found.holding)
    if count:
        summary = words(
            "corrections.summary",
            corrections=words("corrections.one") if count == 1 else words("corrections.many", count=count),
            automatic=words.percent(automatic.index_percent),
            corrected=words.percent(corrected.index_percent),
        )
        said.append(summary)
    summary = " ".join(said) or words("corrections.none")
    hold = {one.number for one in found.holding}
    lost = {one.number for one in found.unattached}
    listed = found.log[-_LISTED:]
    log: list[tuple[str, ...]] = [
        (str(one.number), _what(one, hold, lost, words), one.by, _when(one.when), one.why) for one in listed
    ]
    return CorrectionsShown(summary, _side_by_side(automatic, corrected, words), log, len(found.log) - len(listed))


def _when(text: str) -> str:
    """Time of an entry as the page tells times; as it is where it is none."""
    try:
        return told_time(datetime.fromisoformat(text).astimezone(UTC))
    except ValueError:
        return text


def _side_by_side(automatic: Score, corrected: Score, words: Words) -> list[tuple[str, str, str]]:
    both = (automatic, corrected)

    def row(name: str, *values: str) -> tuple[str, str, str]:
        first, second = values
        return name, first, second

    def ends(score: Score) -> str:
        low, high = score.ci95_percent or (None, None)
        if low is None or high is None:
            return "–"
        return f"{words.number(low, '.1f')}–{words.number(high, '.1f')} %"

    return [
        row(words("score.index"), *(words.percent(one.index_percent) for one in both)),
        row(words("corrections.interval"), *(ends(one) for one in both)),
        row(words("counts.positive"), *(words.number(one.positive, ",") for one in both)),
        row(words("counts.negative"), *(words.number(one.negative, ",") for one in both)),
        row(words("counts.other"), *(words.number(one.other, ",") for one in both)),
        row(words("counts.area"), *(f"{words.number(one.area_mm2, '.3g')} mm²" for one in both)),
    ]


def _what(one: Correction, hold: set[int], lost: set[int], words: Words) -> str:
    what = one.what
    if isinstance(what, Relabel | Remove | Add):
        label = "" if isinstance(what, Remove) else what.to if isinstance(what, Relabel) else what.label
        told = words(f"label.{label}") if label else ""
        text = words(f"correction.{what.kind}", x=f"{what.x_um:.0f}", y=f"{what.y_um:.0f}", label=told)
    elif isinstance(what, Several):
        text = words("correction.several", count=len(what.of))
    elif isinstance(what, Exclude | Include | ReplaceRegion):
        text = words(f"correction.{what.kind}", area=words.number(area_mm2(what.geometry), ".3g"))
    elif isinstance(what, Nudge):
        x, y = (words.number(value, "g") for value in what.shift_um)
        text = words("correction.nudge", x=x, y=y, angle=words.number(what.rotate_deg, "g"))
    else:
        index = words.percent(what.index_percent) if isinstance(what, SignOut) else ""
        return words(f"correction.{what.kind}", index=index)
    if one.number in lost:
        return f"{text} ({words('corrections.unattached')})"
    return text if one.number in hold else f"{text} ({words('corrections.undone')})"
