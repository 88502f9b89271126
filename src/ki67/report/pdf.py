"""The report as a PDF: the first page is read in a minute, what it rests on follows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from reportlab.lib.colors import Color
from reportlab.lib.pagesizes import A4
from reportlab.lib.units import mm
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import BaseDocTemplate, Flowable, Frame, KeepTogether, PageBreak, PageTemplate, Spacer, Table

from ki67.files import atomic_path, printable
from ki67.report.content import ByPlace, Content, Number
from ki67.report.corrections import CorrectionsShown
from ki67.report.fewer_cells_chart import chart_marks
from ki67.report.fields import OUTLINE_COLORS
from ki67.report.figures import FieldFigures
from ki67.report.pdf_style import (
    ALARM,
    ALARM_WASH,
    CAUTION,
    CAUTION_WASH,
    GUTTER,
    HOT,
    INK,
    LINE,
    MARGIN,
    PAGE_WIDTH,
    RANDOM,
    SIZE,
    SOFT,
    WASH,
    boxed,
    chart,
    heading,
    labelled,
    picture,
    side_by_side,
    style,
    swatches,
    table,
    text,
)

_FOOT: Final = 9 * mm
_THUMBNAIL: Final = 72 * mm
"""Height of a slide on the first page: below number, cut-offs and a few warnings there is room for it."""

_WARNINGS_FIRST: Final = 6
"""Warnings on the first page; all of them follow where there are more."""


def write_pdf(path: str | Path, content: Content) -> None:
    """Write the report as a PDF; the same content gives the same bytes.

    Raises
    ------
    WriteError
        Where the file cannot be written.
    """
    words = content.words
    with atomic_path(path) as temporary:
        document = BaseDocTemplate(
            str(temporary),
            pagesize=A4,
            title=printable(f"{words('report.title')}: {content.title}"),
            author=f"ki67 {content.version}",
            subject=words("report.disclaimer"),
            lang=words.language.value,
            invariant=1,
        )
        frame = Frame(MARGIN, MARGIN + _FOOT, PAGE_WIDTH, A4[1] - 2 * MARGIN - _FOOT, 0, 0, 0, 0)
        document.addPageTemplates([PageTemplate(frames=[frame])])
        document.build(list(_story(content)), canvasmaker=_with_feet(content))


def _with_feet(content: Content) -> type[Canvas]:
    """A canvas whose pages say at their foot what the program is not, and which of how many they are."""
    words, look = content.words, style(SIZE - 1)

    class Pages(Canvas):  # type: ignore[misc]
        def __init__(self, *args: Any, **settings: Any) -> None:
            super().__init__(*args, **settings)
            self._states: list[dict[str, Any]] = []

        def showPage(self) -> None:  # noqa: N802 - ReportLab's name
            self._states.append(dict(self.__dict__))
            self._startPage()

        def save(self) -> None:
            for number, state in enumerate(self._states, start=1):
                self.__dict__.update(state)
                self._foot(number, len(self._states))
                super().showPage()
            super().save()

        def _foot(self, page: int, pages: int) -> None:
            self.setStrokeColor(LINE)
            self.line(MARGIN, MARGIN + _FOOT - 3 * mm, MARGIN + PAGE_WIDTH, MARGIN + _FOOT - 3 * mm)
            self.setFont(look.fontName, look.fontSize)
            self.setFillColor(SOFT)
            left = f"{words('report.disclaimer')} ki67 {content.version}, {content.made}"
            self.drawString(MARGIN, MARGIN, left)
            self.drawRightString(MARGIN + PAGE_WIDTH, MARGIN, words("report.page", page=page, pages=pages))

    return Pages


def _story(content: Content) -> Iterator[Flowable]:
    yield from _first_page(content)
    rest = list(_evidence(content))
    if rest:
        yield PageBreak()
        yield from rest


def _first_page(content: Content) -> Iterator[Flowable]:
    words = content.words
    yield text(content.title, style(14, bold=True, after=2))
    made = words("report.made", made=content.made, version=content.version)
    yield text(made, style(SIZE, color=SOFT, after=2))
    if content.details:
        yield labelled(content.details)
    yield boxed(f"{words('report.disclaimer')} {words('report.scope')}", INK, WASH, bold=False)
    for line in content.banners:
        yield boxed(line, ALARM, ALARM_WASH)
    if content.number is not None:
        yield _number(content.number, content)
    if content.corrections is not None:
        yield boxed(content.corrections.summary, RANDOM, WASH)
    if content.number is not None and content.number.note:
        yield text(content.number.note[-1], style(SIZE - 1, color=SOFT, before=2, after=2))
    warnings = content.warnings[:_WARNINGS_FIRST]
    if warnings:
        more = len(content.warnings) - len(warnings)
        lines = [*warnings, *([words("warnings.more", count=more)] if more else [])]
        yield boxed(f"{words('warnings')}: " + " · ".join(lines), CAUTION, CAUTION_WASH, bold=False)
    if content.slides:
        yield heading(words("slides.both" if len(content.slides) > 1 else "slides.one"), 3)
        if content.legend:
            yield swatches([(name, Color(*(value / 255 for value in color))) for name, color in content.legend])
        yield side_by_side(content.slides, _THUMBNAIL)


def _number(number: Number, content: Content) -> Flowable:
    words = content.words
    left = [
        text(words("score.index"), style(SIZE, bold=True)),
        text(number.index or "–", style(27, bold=True, after=2)),
        text(number.interval, style(SIZE, color=SOFT)),
    ]
    third = (PAGE_WIDTH - 2 * GUTTER) / 3
    counts = table(number.counts, (1.7, 1), numbers=[1], soft_names=True, width=third)
    glance = table(number.glance, (1.5, 1), numbers=[1], soft_names=True, width=third) if number.glance else ""
    edges = [
        ("BOX", (0, 0), (-1, -1), 0.7, LINE),
        ("VALIGN", (0, 0), (-1, -1), "MIDDLE"),
        ("LEFTPADDING", (0, 0), (-1, -1), 6),
        ("RIGHTPADDING", (0, 0), (-1, -1), 0),
        ("TOPPADDING", (0, 0), (-1, -1), 6),
        ("BOTTOMPADDING", (0, 0), (-1, -1), 4),
    ]
    widths = [third, third + GUTTER, third + GUTTER]
    return Table([[left, counts, glance]], colWidths=widths, style=edges, spaceBefore=3, spaceAfter=3, hAlign="LEFT")


def _evidence(content: Content) -> Iterator[Flowable]:
    words, number = content.words, content.number
    head: tuple[str, ...]
    if number is not None and number.note:
        yield heading(words("report.evidence"))
        yield text(" ".join(number.note), style(SIZE, color=SOFT, after=3))
        if number.causes:
            yield heading(words("causes.caption"), 3)
            head = (words("causes.cause"), words("causes.alone"), words("causes.how"))
            yield table(number.causes, (2, 1, 3.4), head=head, numbers=[1])
    if len(content.warnings) > _WARNINGS_FIRST:
        yield heading(words("warnings"))
        for line in content.warnings:
            yield text(f"– {line}")
    if content.corrections is not None:
        yield from _corrections(content.corrections, content)
    if content.checks:
        yield heading(words("checks"))
        rows = [
            (one.name, one.value, one.usual, f"{one.told}: {one.text}" if one.text else one.told)
            for one in content.checks
        ]
        head = tuple(words(f"checks.{name}") for name in ("check", "found", "usual", "verdict"))
        yield table(rows, (2.2, 1.3, 1.6, 2.8), head=head, numbers=[1, 2])
    if content.regions:
        yield heading(words("regions"), 3)
        names = ("region", "index", "interval", "positive", "negative", "other")
        head = tuple(words(f"regions.{name}") for name in names)
        yield table(content.regions, (2, 1, 1.5, 1, 1, 1), head=head, numbers=range(1, 6))
        if content.regions_left_out:
            yield text(words("regions.left_out", count=content.regions_left_out), style(SIZE - 1, color=SOFT))
    if content.by_place is not None:
        yield from _by_place(content.by_place, content)
    yield from _fields(content.fields, content)
    if content.heatmap is not None:
        yield KeepTogether([heading(words("heatmap")), *picture(content.heatmap, PAGE_WIDTH * 0.7, 110 * mm)])
    yield from _registration(content)
    yield from _run(content)


def _corrections(found: CorrectionsShown, content: Content) -> Iterator[Flowable]:
    words = content.words
    yield heading(words("corrections"))
    head = ("", words("corrections.automatic"), words("corrections.corrected"))
    yield table(found.figures, (2, 1, 1), head=head, numbers=[1, 2], soft_names=True, width=PAGE_WIDTH * 0.6)
    names = tuple(words(f"corrections.{name}") for name in ("number", "what", "who", "when", "why"))
    yield table(found.log, (0.5, 3, 1.4, 2, 2.6), head=names)
    if found.left_out:
        yield text(words("corrections.left_out", count=found.left_out), style(SIZE - 1, color=SOFT))


def _by_place(place: ByPlace, content: Content) -> Iterator[Flowable]:
    words = content.words
    title = heading(words("place"))
    if place.figure is None:
        yield title
    else:
        scale = f"{words('place.scale_alt', end=place.scale_end)}: {words('place.scale', end=place.scale_end)}"
        shown = picture(place.figure, PAGE_WIDTH * 0.75, 105 * mm)
        yield KeepTogether([title, *shown, text(scale, style(SIZE - 1, color=SOFT, after=4))])
    yield heading(words("guideline"), 3)
    head: tuple[str, ...] = (words("guideline.score"), words("regions.index"), words("guideline.how"))
    yield table(place.guideline, (2, 1, 3.2), head=head, numbers=[1])
    if place.hot_spots:
        yield heading(words("spots"), 3)
        head = (words("spots.rank"), words("regions.index"), words("spots.cells"), words("spots.tissue"))
        head += (words("spots.place"), words("spots.radius"))
        yield table(place.hot_spots, (0.7, 1, 1.2, 2, 1.6, 1.1), head=head, numbers=range(1, 6))
        yield text(words("spots.note"), style(SIZE - 1, color=SOFT, after=3))
    if place.fewer_cells:
        marks = list(chart_marks(place.fewer_cells, place.index_percent, words))
        legend = [("fewer.random", RANDOM), ("fewer.hot_first", HOT), ("fewer.all", INK)]
        named = swatches([(words(name), ink) for name, ink in legend])
        yield KeepTogether([heading(words("fewer"), 3), chart(marks, PAGE_WIDTH * 0.75), named])
    yield heading(words("cut_offs"), 3)
    rows = [
        (
            f"{row['values']} ({row['id']})",
            f"{words('cut_offs.equivocal')}: {row['doubt']}" if row["doubt"] else row["kind"],
            row["source"],
            row["population"],
        )
        for row in place.cut_offs
    ]
    head = tuple(words(f"cut_offs.{name}") for name in ("cut_off", "class", "source", "population"))
    yield table(rows, (1.7, 1.8, 3, 2), head=head)
    yield heading(words("heterogeneity"), 3)
    yield table(place.heterogeneity, (1.4, 2), soft_names=True)


def _fields(fields: list[FieldFigures], content: Content) -> Iterator[Flowable]:
    words = content.words
    if not fields:
        return
    yield heading(words("fields"))
    inks = {label: Color(*(value / 255 for value in color)) for label, color in OUTLINE_COLORS.items()}
    yield swatches([(words(f"fields.{label}"), ink) for label, ink in sorted(inks.items())])
    yield text(words("fields.note"), style(SIZE - 1, color=SOFT, after=3))
    for entry in fields:
        yield KeepTogether([side_by_side([entry.plain, entry.outlined], 82 * mm), Spacer(0, 4)])


def _registration(content: Content) -> Iterator[Flowable]:
    words, found = content.words, content.registration
    if found is None:
        return
    yield heading(words("registration"))
    if found.accepted is not None:
        said = f"{words('registration.not_accepted')} {'; '.join(found.reasons)}."
        yield text(words("registration.accepted") if found.accepted else said)
    if found.fault:
        yield boxed(found.fault, ALARM, ALARM_WASH)
    if found.figures:
        yield side_by_side(found.figures, 90 * mm)
    if found.rows:
        yield heading(words("registration.quality"), 3)
        yield table(found.rows, (2, 2), soft_names=True)


def _run(content: Content) -> Iterator[Flowable]:
    words = content.words
    if not (content.inputs or content.models or content.stages or content.versions):
        return
    yield heading(words("run"))
    if words("report.recorded"):
        yield text(words("report.recorded"), style(SIZE - 1, color=SOFT, after=3))
    for name, rows in content.inputs:
        yield heading(words("run.input", name=name), 3)
        yield table(rows, (1.4, 3), soft_names=True)
    for name, rows in content.models:
        # A card has hundreds of entries: they run on, or else they would fill half of the report.
        yield heading(words("run.model", name=name), 3)
        yield labelled(rows, style(SIZE - 1))
    if content.stages:
        yield heading(words("run.stages"), 3)
        lines = [
            (
                stage.name,
                words.number(stage.seconds, ".1f"),
                f"{words.number(stage.peak_memory_mib, '.0f')} MiB" if stage.peak_memory_mib else "–",
                "; ".join(f"{key} = {value}" for key, value in stage.parameters),
            )
            for stage in content.stages
        ]
        total = words.number(sum(stage.seconds for stage in content.stages), ".1f")
        head = tuple(words(f"run.{name}") for name in ("stage", "seconds", "memory", "parameters"))
        yield table([*lines, (words("run.total"), total, "", "")], (1.3, 0.9, 1.1, 4.4), head=head, numbers=[1, 2])
    if content.versions:
        yield heading(words("run.versions"), 3)
        yield text(", ".join(f"{name} {value}" for name, value in content.versions), style(SIZE, color=SOFT))
