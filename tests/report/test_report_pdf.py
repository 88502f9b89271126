"""The PDF: the page's figures and words, its first page whole, whatever the case holds."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pypdfium2
import pytest

from ki67.case.details import CaseDetails
from ki67.report import ReportData, render_report
from ki67.report.content import content_of
from ki67.report.pdf import write_pdf
from ki67.report.pdf_style import drawable
from ki67.vocabulary import Language

NOW = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)


def pages(path: Path, data: ReportData) -> list[str]:
    write_pdf(path, content_of(data, NOW))
    document = pypdfium2.PdfDocument(path)
    texts = []
    for page in document:
        text = page.get_textpage()
        texts.append(" ".join(text.get_text_range().split()))
        text.close()
        page.close()
    document.close()
    return texts


def test_the_first_page_holds_what_is_read_in_a_minute(data: ReportData, tmp_path: Path) -> None:
    details = CaseDetails(accession="A26-17", block="2B", antibody="MIB-1", scanner="GT 450")
    first, *rest = pages(tmp_path / "r.pdf", replace(data, details=details))

    for said in ("37.7 %", "95 % interval 35.5 to 39.8 %", "2,125", "the tissue is torn", "pale slide"):
        assert said in first
    for said in (
        "A26-17",
        "2B",
        "MIB-1",
        "GT 450",
        "Not a medical device",
        "core biopsies",
        "H&E: he.tif",
        "Ki-67: ki67",
    ):
        assert said in first
    assert "Page 1 of" in first
    assert any("Registration of the two sections" in page for page in rest)
    assert any("c0ffee" in page for page in rest)


def test_it_has_the_figures_of_the_page(data: ReportData, tmp_path: Path) -> None:
    write_pdf(tmp_path / "r.pdf", content_of(data, NOW))
    document = pypdfium2.PdfDocument(tmp_path / "r.pdf")
    found = sum(sum(one.type == 3 for one in page.get_objects()) for page in document)
    assert found == render_report(data, NOW).count("<img ")


def test_german_leaves_no_english_sentence(data: ReportData, tmp_path: Path) -> None:
    german = replace(data, language=Language.de)
    text = " ".join(pages(tmp_path / "r.pdf", german))
    html = render_report(german, NOW)
    for said in ("37,7 %", "Gezählte Tumorzellen", "2.125", "Kein Medizinprodukt", "Höchster Index"):
        assert said in text
        assert said in html
    assert '<html lang="de">' in html
    for english in ("Tumour cells", "interval", "Counted cells", "Highest index", "medical device", "What was run"):
        assert english not in text
        assert english not in html


def test_the_same_content_gives_the_same_bytes(data: ReportData, tmp_path: Path) -> None:
    for name in ("a.pdf", "b.pdf"):
        write_pdf(tmp_path / name, content_of(data, NOW))
    assert (tmp_path / "a.pdf").read_bytes() == (tmp_path / "b.pdf").read_bytes()


@pytest.mark.parametrize("nasty", ["<b>bold</b> & <x", "{{ 7*7 }}", "中文", "a\tb", "x" * 400])
def test_any_text_is_only_text(data: ReportData, tmp_path: Path, nasty: str) -> None:
    score = {**(data.score or {}), "warnings": [nasty]}
    first = pages(tmp_path / "r.pdf", replace(data, title=nasty, score=score))[0]
    squeezed = first.replace(" ", "")
    assert drawable(nasty).replace("\t", "").replace(" ", "") in squeezed


def test_a_parameter_longer_than_a_page_is_cut_over_pages(data: ReportData, tmp_path: Path) -> None:
    stage = {"state": "done", "seconds": 1.0, "parameters": {f"key_{n}": "word " * 70 for n in range(80)}}
    text = pages(tmp_path / "r.pdf", replace(data, run={**data.run, "stages": {"long": stage}}))
    assert "key_79" in text[-1]


def test_an_empty_report_is_one_page(tmp_path: Path) -> None:
    (only,) = pages(tmp_path / "r.pdf", ReportData("nothing"))
    assert "Not a medical device" in only


def test_many_warnings_leave_the_first_page_a_page(data: ReportData, tmp_path: Path) -> None:
    score = {**(data.score or {}), "warnings": [f"warning {n} " + "long " * 20 for n in range(20)]}
    first, second, *_ = pages(tmp_path / "r.pdf", replace(data, score=score))
    assert "and 15 more on the next pages" in first
    assert "Ki-67: ki67.tif" in first
    assert "warning 19" in second
