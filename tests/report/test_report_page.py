"""The page: self-contained, safe, complete, and honest about what is missing."""

import base64
import io
import re
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from shapely.geometry import Point

from ki67.annotations import Region, Regions
from ki67.errors import RegistrationError
from ki67.report import ReportData, render_report, write_reports
from ki67.vocabulary import Language

NOW = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
VOID = {"meta", "img", "br", "circle", "link", "input"}


class Page(HTMLParser):
    """Collects images and text, and refuses tags that do not match."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.images: list[dict[str, str]] = []
        self.links: list[str] = []
        self.tags: list[str] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(html)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.tags.append(tag)
        self.links += [value for name, value in found.items() if name in {"src", "href", "srcset", "data", "action"}]
        if tag == "img":
            self.images.append(found)
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def test_the_page_shows_the_number_with_its_interval_and_counts(data: ReportData) -> None:
    text = Page(render_report(data, NOW)).text

    assert "Ki-67 index 37.7 % 95 % interval 35.5 to 39.8 %" in text
    assert "Positive tumour cells 800" in text
    assert "Tumour cells counted 2,125" in text
    assert "Area counted 1.54 mm²" in text
    assert text.count("For research use only. Not a medical device.") == 2


def test_nothing_is_loaded_from_elsewhere(data: ReportData) -> None:
    html = render_report(data, NOW)
    page = Page(html)

    assert all(link.startswith("data:image/jpeg;base64,") for link in page.links)
    assert "script" not in page.tags
    assert not re.search(r"https?://|@import|url\(", html)


def test_every_picture_can_be_opened_and_has_a_text_in_its_place(data: ReportData) -> None:
    page = Page(render_report(data, NOW))

    # Two slides, four fields twice, the heat map, the checkerboard; the slides are too small for a detail.
    assert len(page.images) >= 10
    for image in page.images:
        assert image["alt"]
        picture = Image.open(io.BytesIO(base64.b64decode(image["src"].split(",")[1])))
        assert picture.size == (int(image["width"]), int(image["height"]))


def test_what_was_run_is_told(data: ReportData) -> None:
    text = Page(render_report(data, NOW)).text

    assert "c0ffee" in text
    assert "forest 1" in text
    assert "margin_um = 50" in text
    assert "812 MiB" in text
    assert "numpy 2.0" in text
    assert "Normalised cross-correlation (NCC) before 0.2" in text
    assert "NCC measured at (µm per pixel) 8" in text
    assert "Total 12.7" in text


def test_warnings_of_score_and_stages_are_shown_once(data: ReportData) -> None:
    text = Page(render_report(data, NOW)).text

    assert text.count("the tissue is torn") == 1
    assert text.count("pale slide") == 1


@pytest.mark.parametrize(
    "nasty", ['<script>alert("1")</script>', "a&b<i>.tif", "'><img src=x onerror=y>", "{{ 7*7 }}"]
)
def test_names_from_the_user_are_only_text(data: ReportData, nasty: str) -> None:
    slide = replace(data.ki67, path=Path(nasty.replace("/", ":")))
    score = {**data.score, "warnings": [nasty]}
    run = {"inputs": {nasty: {"path": nasty}}, "models": {nasty: nasty}, "versions": {nasty: nasty}, "stages": {}}

    html = render_report(replace(data, title=nasty, ki67=slide, score=score, run=run), NOW)

    assert nasty in "".join(Page(html).words)
    assert {"script", "i"} & set(Page(html).tags) <= {"i"}
    assert "onerror=y>" not in html.replace("onerror=y&gt;", "")
    assert "49" not in Page(html).text.split("Warnings")[0].split("index")[0]


def test_without_h_and_e_the_report_of_a_count_is_whole(data: ReportData) -> None:
    count = replace(data, he=None, regions_he=None, regions_ki67=None, heatmap=None, transform=None, quality=None)

    page = Page(render_report(count, NOW))

    assert "no region given, all tissue counted" in page.text
    assert "Registration" not in page.text
    assert "37.7 %" in page.text


def test_a_prediction_alone_has_slide_and_heat_map(data: ReportData) -> None:
    alone = ReportData("he.tif", he=data.he, regions_he=data.regions_he, heatmap=data.heatmap)

    page = Page(render_report(alone, NOW))

    assert len(page.images) == 2
    assert "Ki-67 index" not in page.text


def test_a_model_of_several_classes_tells_what_was_not_counted(data: ReportData) -> None:
    told = [{"name": "DCIS", "area_mm2": 0.31}, {"name": "<i>", "area_mm2": 1.5}]
    stages = data.run["stages"] | {"idc": {"state": "done", "summary": {"other_classes": told}}}
    several = replace(data, run={**data.run, "stages": stages})

    assert "not counted: DCIS 0.31 mm²; <i> 1.5 mm²" in Page(render_report(several, NOW)).text
    german = Page(render_report(replace(several, language=Language.de), NOW)).text
    assert "nicht gezählt: DCIS 0,31 mm²" in german


def test_an_empty_report_still_says_what_it_is_not() -> None:
    assert "Not a medical device" in Page(render_report(ReportData("nothing"), NOW)).text


def test_a_registration_that_is_not_believable_is_flagged_first(data: ReportData) -> None:
    quality = {**data.quality, "accepted": False, "reasons": ["NCC is low", "scale is 2"]}

    text = Page(render_report(replace(data, quality=quality), NOW)).text

    assert text.index("The registration is not believable (NCC is low; scale is 2)") < text.index("Ki-67 index 37.7")
    assert "Not accepted: NCC is low; scale is 2" in text


def test_an_index_on_few_cells_or_none_is_flagged(data: ReportData) -> None:
    few = {**data.score, "cells": 120}
    none = {**data.score, "cells": 0, "positive": 0, "negative": 0, "index_percent": None, "ci95_percent": None}

    assert "Only 120 tumour cells were counted" in Page(render_report(replace(data, score=few), NOW)).text
    empty = Page(render_report(replace(data, score=none, cells=data.cells.slice(0, 0)), NOW)).text
    assert "No tumour cell was found: there is no index" in empty
    assert "None" not in empty


def test_figures_of_the_registration_are_told_and_its_blocks_left_to_programs(data: ReportData) -> None:
    quality = {**data.quality, "warnings": ["the overlap is small"], "local": {"peak": [0.1234] * 9}, "novel": 3.5}

    text = Page(render_report(replace(data, quality=quality), NOW)).text

    assert text.count("the overlap is small") == 1
    assert "novel 3.5" in text
    assert "0.1234" not in text


def test_regions_are_listed_with_their_own_index(data: ReportData) -> None:
    row = {
        "index_percent": 12.34,
        "ci95_percent": (10.0, 15.0),
        "positive": 5,
        "negative": 6,
        "other": 7,
        "cells": 11,
    }
    empty = row | {"index_percent": None, "ci95_percent": None, "region_id": "idc-2", "cells": 0}
    score = {**data.score, "regions": [row | {"region_id": "idc-1"}, empty]}

    text = Page(render_report(replace(data, score=score), NOW)).text

    assert "idc-1 12.3 % 10.0–15.0 % 5 6 7" in text
    assert "idc-2 – – 5 6 7" in text


def test_of_many_regions_those_with_most_cells_are_listed(data: ReportData) -> None:
    row = {"index_percent": 12.34, "ci95_percent": (10.0, 15.0), "positive": 5, "negative": 6, "other": 7}
    score = {**data.score, "regions": [row | {"region_id": f"part<{cells}>", "cells": cells} for cells in range(40)]}

    text = Page(render_report(replace(data, score=score), NOW)).text

    assert "part<39>" in text
    assert "part<3>" not in text
    assert "15 regions with fewer tumour cells are not listed" in text


class Folded:
    """A registration that cannot be inverted."""

    def inverse_points(self, points_um: NDArray[np.float64]) -> NDArray[np.float64]:
        raise RegistrationError("it folds")


def test_a_checkerboard_that_cannot_be_drawn_is_said_so(data: ReportData) -> None:
    text = Page(render_report(replace(data, transform=Folded()), NOW)).text

    assert "The checkerboard cannot be drawn: it folds" in text
    assert "Normalised cross-correlation (NCC) after 0.91" in text


def test_the_same_data_give_the_same_page(data: ReportData, tmp_path: Path) -> None:
    assert render_report(data, NOW) == render_report(data, NOW)

    write_reports(tmp_path / "report.html", tmp_path / "report.pdf", data)
    written = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "37.7 %" in written
    assert len(written) < 6_000_000


def test_odd_values_in_the_manifest_are_shown_as_text(data: ReportData) -> None:
    odd: dict[str, Any] = {"none": None, "yes": True, "list": [1, 2.5], "deep": {"a": {"b": []}}, "long": "x" * 1000}

    text = Page(render_report(replace(data, run={"inputs": {"he": odd}}), NOW)).text

    assert "yes yes" in text
    assert "list 1, 2.5" in text
    assert "deep.a.b none" in text
    assert "x" * 1000 not in text


def test_what_was_not_counted_is_told_by_kind_and_drawn(data: ReportData) -> None:
    lost = {"pen": 0.0, "fold": 0.021, "focus": 0.4}
    regions = Regions([Region("Out of focus", Point(1000, 1000).buffer(200), "focus")])
    plain = Page(render_report(data, NOW))
    page = Page(
        render_report(replace(data, score={**(data.score or {}), "area_lost_mm2": lost}, excluded=regions), NOW)
    )
    assert "Area not counted: in folds 0.021 mm²" in page.text
    assert "Area not counted: out of focus 0.4 mm²" in page.text
    assert "under pen" not in page.text
    assert "Area not counted" not in plain.text
    assert "Out of focus" in page.text
    assert page.images[1]["src"] != plain.images[1]["src"]


def test_a_score_without_any_counted_area_is_shown(data: ReportData) -> None:
    empty = {"index_percent": None, "ci95_percent": None, "positive": 0, "negative": 0, "other": 0, "cells": 0}
    score = {**(data.score or {}), **empty, "area_mm2": 0.0, "area_lost_mm2": {"focus": 1.5}}
    text = Page(render_report(replace(data, score=score), NOW)).text
    assert "Area counted 0 mm²" in text
    assert "Tumour cells per mm²" not in text
