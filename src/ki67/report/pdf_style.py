"""How the report's PDF looks: fonts, colours, text, tables and pictures as blocks of a page.

ReportLab draws it (BSD licence; pure Python, no system library), in Bitstream Vera, which comes with it.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import cache
from typing import Any, Final
from xml.sax.saxutils import escape

from reportlab import rl_config
from reportlab.graphics.shapes import Circle, Drawing, String
from reportlab.graphics.shapes import Line as DrawnLine
from reportlab.lib.colors import Color, HexColor
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.platypus import Flowable, Image, Paragraph, Table

from ki67.files import printable
from ki67.report.fewer_cells_chart import CAP_PX, DOT_PX, HEIGHT, WIDTH, Line, Range, Text
from ki67.report.figures import Figure

rl_config.useA85 = 0
"""Streams are written as they are: as text (ASCII 85) a report is a quarter larger and takes seconds longer."""

MARGIN: Final = 14 * mm
PAGE_WIDTH: Final = A4[0] - 2 * MARGIN
GUTTER: Final = 4 * mm

INK, SOFT, LINE, WASH = (HexColor(code) for code in ("#1d2430", "#5a6473", "#d8dde4", "#f4f6f8"))
ALARM, ALARM_WASH, CAUTION, CAUTION_WASH = (HexColor(code) for code in ("#a01414", "#fdeeee", "#7a4b00", "#fff8e8"))
RANDOM, HOT = HexColor("#1f6fb2"), HexColor("#b5432a")
"""The colours of the page by day."""

_REGULAR, _BOLD = "ki67-regular", "ki67-bold"
_FILES: Final = {_REGULAR: "Vera.ttf", _BOLD: "VeraBd.ttf"}

SIZE: Final = 8.0
"""Points; Vera runs large, so that this reads like 9 of another face."""


@cache
def _letters() -> frozenset[int]:
    """Register the fonts; returns what they can draw."""
    faces = [TTFont(name, file) for name, file in _FILES.items()]
    for face in faces:
        pdfmetrics.registerFont(face)
    pdfmetrics.registerFontFamily(_REGULAR, normal=_REGULAR, bold=_BOLD, italic=_REGULAR, boldItalic=_BOLD)
    return frozenset(set.intersection(*(set(face.face.charToGlyph) for face in faces)))


def drawable(text: str) -> str:
    r"""Return text of letters that the fonts have; any other is shown by its number, as ``\u4e2d``."""
    letters, text = _letters(), printable(text)
    return "".join(one if ord(one) in letters or one.isspace() else f"\\u{ord(one):04x}" for one in text)


@cache
def style(
    size: float = SIZE, *, bold: bool = False, color: Color = INK, align: int = 0, before: float = 0, after: float = 0
) -> ParagraphStyle:
    """A style; ``align`` is 0 for left and 2 for right."""
    _letters()
    return ParagraphStyle(
        f"{size} {bold} {color} {align} {before} {after}",
        fontName=_BOLD if bold else _REGULAR,
        fontSize=size,
        leading=size * 1.38,
        textColor=color,
        alignment=align,
        spaceBefore=before,
        spaceAfter=after,
    )


def text(words: str, look: ParagraphStyle | None = None) -> Paragraph:
    """A paragraph of plain text; what stands in it is never markup."""
    return Paragraph(escape(drawable(words)), look or style())


def labelled(parts: Sequence[tuple[str, str]], look: ParagraphStyle | None = None) -> Paragraph:
    """Names and bold values, running on."""
    said = (f"{escape(drawable(name))} <b>{escape(drawable(value))}</b>" for name, value in parts)
    return Paragraph("&nbsp;&nbsp; ".join(said), look or style())


def heading(words: str, level: int = 2) -> Flowable:
    """A heading that stays with what follows."""
    size, before = {2: (11.0, 9.0), 3: (9.0, 6.0)}[level]
    look = ParagraphStyle("", parent=style(size, bold=True, before=before, after=3))
    look.keepWithNext = 1
    return text(words, look)


def boxed(words: str, ink: Color, wash: Color, *, bold: bool = True) -> Table:
    """A paragraph on a tinted ground with a bar at its left."""
    cell = text(words, style(SIZE, bold=bold, color=ink))
    grounds = [("BACKGROUND", (0, 0), (-1, -1), wash), ("LINEBEFORE", (0, 0), (0, -1), 3, ink), *_PADDING]
    return Table([[cell]], colWidths=[PAGE_WIDTH], style=grounds, spaceBefore=4, spaceAfter=4)


_PADDING: Final = [
    ("LEFTPADDING", (0, 0), (-1, -1), 6),
    ("RIGHTPADDING", (0, 0), (-1, -1), 6),
    ("TOPPADDING", (0, 0), (-1, -1), 4),
    ("BOTTOMPADDING", (0, 0), (-1, -1), 5),
]


def table(
    rows: Sequence[Sequence[str]],
    shares: Sequence[float],
    *,
    head: Sequence[str] = (),
    numbers: Sequence[int] = (),
    soft_names: bool = False,
    width: float = PAGE_WIDTH,
) -> Table:
    """A table with a line under each row.

    Parameters
    ----------
    rows
        Text of the cells.
    shares
        Widths of the columns as parts of ``width``.
    head
        Names of the columns, repeated on each page; none where empty.
    numbers
        Columns set to the right.
    soft_names
        Whether the first column holds names, in grey.
    width
        In points.
    """
    aligned = [2 if place in numbers else 0 for place in range(len(shares))]
    colors = [SOFT if soft_names and not place else INK for place in range(len(shares))]
    looks = [style(SIZE, align=side, color=color) for side, color in zip(aligned, colors, strict=True)]
    body = [[text(cell, look) for cell, look in zip(row, looks, strict=True)] for row in rows]
    names = [style(SIZE, bold=True, align=side) for side in aligned]
    top = [[text(cell, look) for cell, look in zip(row, names, strict=True)] for row in ([head] if head else [])]
    lines: list[Any] = [
        ("LINEBELOW", (0, 0), (-1, -1), 0.5, LINE),
        ("VALIGN", (0, 0), (-1, -1), "TOP"),
        ("LEFTPADDING", (0, 0), (-1, -1), 0),
        ("RIGHTPADDING", (0, 0), (-1, -1), 6),
        ("TOPPADDING", (0, 0), (-1, -1), 1.5),
        ("BOTTOMPADDING", (0, 0), (-1, -1), 2.5),
    ]
    whole = sum(shares)
    return Table(
        [*top, *body],
        colWidths=[width * share / whole for share in shares],
        repeatRows=1 if head else 0,
        splitInRow=1,
        style=lines,
        spaceAfter=4,
        hAlign="LEFT",
    )


def picture(figure: Figure, width: float, height: float) -> list[Flowable]:
    """A picture within a width and a height, and its caption."""
    scale = min(width / figure.width_px, height / figure.height_px)
    drawn = Image(io.BytesIO(figure.jpeg), figure.width_px * scale, figure.height_px * scale, hAlign="LEFT")
    return [drawn, text(figure.caption, style(SIZE - 1, color=SOFT, before=2, after=4))]


def side_by_side(figures: Sequence[Figure], height: float) -> Table:
    """Two pictures in a row; an odd one has a row of its own."""
    width = (PAGE_WIDTH - GUTTER) / 2
    cells: list[Any] = [picture(figure, width, height) for figure in figures]
    cells += [""] * (len(cells) % 2)
    rows = [cells[place : place + 2] for place in range(0, len(cells), 2)]
    no_padding = [(side, (0, 0), (-1, -1), 0) for side in ("LEFTPADDING", "RIGHTPADDING", "TOPPADDING")]
    return Table(
        rows,
        colWidths=[width + GUTTER, width],
        style=[("VALIGN", (0, 0), (-1, -1), "TOP"), *no_padding],
        hAlign="LEFT",
    )


_INKS: Final = {"grid-line": LINE, "all-cells": INK, "random": RANDOM, "hot-first": HOT}


def chart(marks: Sequence[Line | Range | Text], width: float) -> Drawing:
    """Marks of the chart of fewer cells, as a drawing of a width in points."""
    _letters()
    scale = width / WIDTH
    drawing = Drawing(width, HEIGHT * scale)
    for mark in marks:
        for shape in _shapes(mark, scale):
            drawing.add(shape)
    return drawing


def _shapes(mark: Line | Range | Text, scale: float) -> list[Any]:
    def at(x: float, y: float) -> tuple[float, float]:
        return x * scale, (HEIGHT - y) * scale

    if isinstance(mark, Text):
        look = {"fontName": _REGULAR, "fontSize": 7, "fillColor": SOFT, "textAnchor": mark.anchor}
        return [String(*at(mark.x, mark.y), drawable(mark.text), **look)]
    ink = _INKS[mark.kind]
    if isinstance(mark, Line):
        dash = {"strokeDashArray": [4, 3]} if mark.kind == "all-cells" else {}
        ends = (*at(mark.left, mark.y), *at(mark.right, mark.y))
        return [DrawnLine(*ends, strokeColor=ink, strokeWidth=0.7, **dash)]
    shapes: list[Any] = [DrawnLine(*at(mark.x, mark.low), *at(mark.x, mark.high), strokeColor=ink, strokeWidth=1.2)]
    for end in (mark.low, mark.high):
        ends = (*at(mark.x - CAP_PX, end), *at(mark.x + CAP_PX, end))
        shapes.append(DrawnLine(*ends, strokeColor=ink, strokeWidth=1.2))
    if mark.middle is not None:
        shapes.append(Circle(*at(mark.x, mark.middle), DOT_PX * scale, fillColor=ink, strokeColor=ink))
    return shapes


def swatches(parts: Sequence[tuple[str, Color]]) -> Paragraph:
    """Words, each behind a mark of its colour."""
    said = (
        f'<font color="{ink.hexval().replace("0x", "#")}">■</font> {escape(drawable(name))}' for name, ink in parts
    )
    return Paragraph("&nbsp;&nbsp; ".join(said).replace("■", "<b>–</b>"), style(SIZE - 1, after=4))
