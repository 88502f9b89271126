"""The report's page: one self-contained HTML file."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from ki67.files import write_text
from ki67.report.content import Content, content_of
from ki67.report.data import ReportData
from ki67.report.drawing import css_gradient
from ki67.report.fewer_cells_chart import fewer_cells_chart
from ki67.report.fields import OUTLINE_COLORS
from ki67.report.templating import environment


def write_reports(page: str | Path, pdf: str | Path, data: ReportData) -> None:
    """Write the report as a page and as a PDF; figures are drawn once.

    The page is one self-contained HTML file: no script, no font and no picture from elsewhere. Either file appears
    whole or not at all.

    Parameters
    ----------
    page, pdf
        The files.
    data
        What to show; sections without data are left out.

    Raises
    ------
    SlideError
        Where a slide cannot be read.
    WriteError
        Where a file cannot be written.
    """
    # Here, so that only those who write it wait for what draws it.
    from ki67.report.pdf import write_pdf

    content = content_of(data)
    write_text(page, render_page(content))
    write_pdf(pdf, content)


def render_report(data: ReportData, now: datetime | None = None) -> str:
    """Return the report's HTML; ``now`` is the time it says it was made at, the present one by default."""
    return render_page(content_of(data, now))


def render_page(content: Content) -> str:
    """Return the HTML of what a report holds."""
    templates = environment()
    templates.filters["css"] = _css
    place = content.by_place
    chart = None
    if place is not None and place.fewer_cells:
        chart = fewer_cells_chart(place.fewer_cells, place.index_percent, content.words)
    return templates.get_template("report.html").render(
        report=content,
        t=content.words,
        n=content.words.number,
        chart=chart,
        gradient=css_gradient(),
        colors={label: _css(color) for label, color in OUTLINE_COLORS.items()},
    )


def _css(color: tuple[int, int, int]) -> str:
    return f"rgb({color[0]}, {color[1]}, {color[2]})"
