"""The human-machine competition: readers' answers for each slide against the gold standard (paper, Table 4)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, Final

from ki67.csv_rows import csv_text, read_rows
from ki67.errors import DataSetError
from ki67.evaluation.limits import LIMITS_Z
from ki67.evaluation.rules import Rule
from ki67.evaluation.standard import read_standard, standard_interval
from ki67.files import atomic_path

ANSWERS_LAYOUT: Final = (
    "Give a CSV file with the columns slide,reader,index_percent,seconds (or score in place of index_percent), one "
    "line for each reader and slide; of a slide that was looked at and not answered, slide,reader and seconds."
)
IMRMC_COLUMNS: Final = ("readerID", "caseID", "modalityID", "score")
"""Columns of reader studies as the FDA's iMRMC and HTT tools read them."""

_SAME_SCORE: Final = 9
"""Decimals to which two average scores are the same: sums of a few numbers in another order differ by less."""


def answer_score(answer_percent: float, gold_percent: float, rule: Rule = Rule.interval) -> float:
    """Score of one answer, 0 to 100, by a :class:`Rule`; both indices in percent."""
    off = abs(answer_percent - gold_percent)
    if rule is Rule.relative:
        if gold_percent == 0:
            return 100.0 if off == 0 else 0.0
        return max(0.0, 100.0 - 100.0 * off / gold_percent)
    if rule is Rule.interval:
        low, high = standard_interval(gold_percent)
        off = max(low - answer_percent, answer_percent - high, 0.0)
    return max(0.0, 100.0 - off)


@dataclass(frozen=True)
class Answer:
    """What one reader said of one slide; ``index_percent`` is None where the file gives scores only.

    ``answered`` is False where the reader looked at the slide and gave no answer: its time counts, its score is 0.
    """

    slide: str
    reader: str
    modality: str
    index_percent: float | None
    score: float
    seconds: float | None
    answered: bool = True


def compete(
    standard_csv: str | Path,
    answers_csv: str | Path,
    *,
    rule: Rule = Rule.interval,
    imrmc: Path | None = None,
    key: Path | None = None,
) -> dict[str, Any]:
    """Rank readers by their average score over all slides, then by their time (the paper's Table 4).

    A slide that a reader did not answer counts as 0: time may have run out. It is named in ``warnings``.

    Parameters
    ----------
    standard_csv
        Columns ``slide`` and ``index_percent``, or ``positive`` and ``negative`` (the counts go before a printed
        index; where the two, or a column ``cells``, disagree, ``warnings`` says so).
    answers_csv
        Columns ``slide``, ``reader``, ``index_percent`` or ``score``, and perhaps ``seconds`` and ``modality``; or a
        folder of such files. A line with ``seconds`` only is of a slide that was looked at and not answered.
    rule
        How an answer is scored.
    imrmc
        Where to write the scores for reader-study software (:data:`IMRMC_COLUMNS`); None writes nothing.
    key
        Which slide each code of a reader-study kit stands for (columns ``code``, ``slide``), where the answers name
        codes; None where they name slides.

    Returns
    -------
    dict
        As :func:`ranking`.

    Raises
    ------
    DataSetError
        Where a file cannot be read, a line makes no sense, or an answer is for a slide without a standard.
    """
    standards, warnings = read_standard(Path(standard_csv))
    gold = {slide: standard.index_percent for slide, standard in standards.items()}
    answers = read_answers(Path(answers_csv), gold, rule, {} if key is None else read_key(key))
    result = ranking(gold, answers, rule)
    if imrmc is not None:
        write_imrmc(imrmc, answers)
    return result | {"warnings": warnings + result["warnings"]}


def ranking(gold: Mapping[str, float], answers: Sequence[Answer], rule: Rule) -> dict[str, Any]:
    """Rank readers by their scored answers.

    Parameters
    ----------
    gold
        Gold index in percent of each slide.
    answers
        Scored by ``rule``; of one reader at least one.

    Returns
    -------
    dict
        ``rule``; ``readers``: list by rank of ``reader``, ``rank`` (equal for equal score and time),
        ``average_score``, ``seconds`` (sum; None where a time is missing), ``answered``, ``bias_points`` (mean of
        answer − gold), ``limits_points`` (bias ± 1.96 SD; Bland and Altman 1986), ``scores`` by slide;
        ``slides``: list of ``slide``, ``index_percent``, ``standard`` (the two whole percents), ``average_score``,
        ``average_answer_percent``; ``average_score`` over all readers; ``warnings``.
    """
    readers = _ranked([_reader(name, own, gold) for name, own in _by_reader(answers).items()])
    return {
        "rule": rule.value,
        "readers": readers,
        "slides": [_slide(name, index, answers, len(readers)) for name, index in gold.items()],
        "average_score": fmean(reader["average_score"] for reader in readers),
        "warnings": [_unanswered(reader, gold) for reader in readers if reader["answered"] < len(gold)],
    }


def read_key(path: Path) -> dict[str, str]:
    """Slide of each code.

    Raises
    ------
    DataSetError
        Where the file cannot be read, or names a code twice.
    """
    key: dict[str, str] = {}
    for row in read_rows(path, ("code", "slide"), "Give the KIT.key.csv that `ki67 compete kit` wrote."):
        if row.text("code") in key:
            raise row.error(f"names the code {row.text('code')!r} again")
        key[row.text("code")] = row.text("slide")
    return key


def read_answers(
    path: Path, gold: Mapping[str, float], rule: Rule, key: Mapping[str, str] | None = None
) -> list[Answer]:
    """Answers of all readers, each scored; every slide must have a standard. ``path`` may be a folder of files."""
    files = sorted(path.glob("*.csv")) if path.is_dir() else [path]
    rows = [row for file in files for row in read_rows(file, ("slide", "reader"), ANSWERS_LAYOUT)]
    if not rows:
        raise DataSetError(path, "holds no answer", ANSWERS_LAYOUT)
    answers: dict[tuple[str, str], Answer] = {}
    for row in rows:
        named, reader = row.text("slide"), row.text("reader")
        slide = key.get(named, named) if key else named
        if slide not in gold:
            raise row.error(f"answers for the slide {slide!r}, which the standard does not hold")
        if (slide, reader) in answers:
            raise row.error(f"is a second answer of {reader!r} for the slide {slide!r}")
        index = row.number_or_none("index_percent", 0, 100)
        score = row.number_or_none("score", 0, 100)
        seconds = row.number_or_none("seconds", 0, math.inf)
        answered = index is not None or score is not None
        if not answered and seconds is None:
            raise row.error("has neither an index_percent nor a score (leave the line out for a slide not answered)")
        if index is not None and score is not None:
            raise row.error("has both an index_percent and a score: which of them counts is not clear")
        answers[slide, reader] = Answer(
            slide,
            reader,
            row.values.get("modality") or "competition",
            index,
            answer_score(index, gold[slide], rule) if index is not None else float(score or 0.0),
            seconds,
            answered,
        )
    return list(answers.values())


def _by_reader(answers: Sequence[Answer]) -> dict[str, list[Answer]]:
    readers: dict[str, list[Answer]] = {}
    for answer in answers:
        readers.setdefault(answer.reader, []).append(answer)
    return readers


def _reader(name: str, answers: Sequence[Answer], gold: Mapping[str, float]) -> dict[str, Any]:
    own = {answer.slide: answer for answer in answers}
    scores = {slide: own[slide].score if slide in own else 0.0 for slide in gold}
    times = [answer.seconds for answer in answers]
    known = [seconds for seconds in times if seconds is not None]
    off = [answer.index_percent - gold[answer.slide] for answer in answers if answer.index_percent is not None]
    bias = fmean(off) if off else None
    return {
        "reader": name,
        "average_score": fmean(scores.values()),
        "seconds": sum(known) if len(known) == len(times) else None,
        "answered": sum(answer.answered for answer in answers),
        "bias_points": bias,
        "limits_points": None if bias is None or len(off) < 2 else _limits(bias, stdev(off)),
        "scores": scores,
    }


def _limits(bias: float, spread: float) -> tuple[float, float]:
    return bias - LIMITS_Z * spread, bias + LIMITS_Z * spread


def _ranked(readers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    def order(reader: Mapping[str, Any]) -> tuple[float, float]:
        seconds = reader["seconds"]
        return -round(reader["average_score"], _SAME_SCORE), math.inf if seconds is None else seconds

    places = sorted(order(reader) for reader in readers)
    ranked = [{"reader": reader["reader"], "rank": 1 + places.index(order(reader))} | reader for reader in readers]
    return sorted(ranked, key=lambda reader: int(reader["rank"]))


def _unanswered(reader: Mapping[str, Any], gold: Mapping[str, float]) -> str:
    count = len(gold) - reader["answered"]
    slides = "slide" if count == 1 else "slides"
    return f"{reader['reader']} did not answer {count} {slides} of {len(gold)}: scored 0 there"


def _slide(name: str, index: float, answers: Sequence[Answer], readers: int) -> dict[str, Any]:
    own = [answer for answer in answers if answer.slide == name]
    said = [answer.index_percent for answer in own if answer.index_percent is not None]
    return {
        "slide": name,
        "index_percent": index,
        "standard": standard_interval(index),
        "average_score": sum(answer.score for answer in own) / readers,
        "average_answer_percent": fmean(said) if said else None,
    }


def imrmc_text(answers: Sequence[Answer]) -> str:
    """What readers answered (their scores where no index was given) as a CSV with :data:`IMRMC_COLUMNS`."""
    rows: list[Sequence[str]] = [IMRMC_COLUMNS]
    for answer in answers:
        if answer.answered:
            value = answer.score if answer.index_percent is None else answer.index_percent
            rows.append((answer.reader, answer.slide, answer.modality, f"{value:g}"))
    return csv_text(rows)


def write_imrmc(path: Path, answers: Sequence[Answer]) -> None:
    """Write :func:`imrmc_text`."""
    with atomic_path(path) as beside:
        beside.write_text(imrmc_text(answers), encoding="utf-8")
