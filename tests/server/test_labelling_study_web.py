"""Reader studies over HTTP: blinded, timed by the server; the paper's ten doctors read and get their Table 4."""

from __future__ import annotations

import json
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from labelling_web import COOKIE, logged_in, web
from starlette.testclient import TestClient

from ki67.evaluation.compete import compete
from ki67.evaluation.standard import standard_interval
from ki67.labelling import database as databases
from ki67.labelling.people import add_person, person_named
from ki67.labelling.project import add_slides, make_project
from ki67.labelling.tables import Slide
from ki67.labelling.words import LabelKind, Role
from ki67.server.labelling_state import LabellingState
from labelling_office import write_slides

PAPER = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "paper_tables.py"))
DOCTORS = PAPER["READERS"][:10]
SLIDES = 10


class Clock:
    """The server's clock, put forward by hand."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


def names(state: LabellingState) -> list[str]:
    with state.database.reading() as session:
        return list(session.scalars(sa.select(Slide.name).order_by(Slide.id)))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A project with ten slides, ten doctors, a trainer and an administrator."""
    database = databases.create(tmp_path / "project", None)
    with database.session() as session:
        boss = make_project(session, "test", LabelKind.cells, "boss")
        add_person(session, boss, "tra", Role.trainer)
        for doctor in DOCTORS:
            add_person(session, boss, doctor, Role.reviewer)
        add_slides(session, boss, write_slides(tmp_path / "slides", SLIDES))
    database.close()
    return tmp_path / "project"


@pytest.fixture
def state(folder: Path) -> Iterator[LabellingState]:
    state = LabellingState.of(folder, COOKIE)
    state.clock = Clock()
    yield state
    state.close()


def start(state: LabellingState, readers: list[str], slides: int = SLIDES, **more: Any) -> int:
    body = {"name": "One", "slides": [{"slide": name} for name in names(state)[:slides]], "readers": readers}
    answer = logged_in(state, "tra").post("/api/labelling/studies", json=body | more)
    assert answer.status_code == 200, answer.text
    number: int = answer.json()["study"]
    return number


def step(reader: TestClient, study: int, act: str, **body: int) -> dict[str, Any]:
    answer = reader.post(f"/api/labelling/readings/{study}/{act}", json=body)
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


def order(state: LabellingState, reader: str) -> list[str]:
    """Names of the slides in a reader's own order, which the reader is not told."""
    text = sa.text(
        "SELECT slide.name FROM reading_slide JOIN reading ON reading.id = reading_id "
        "JOIN slide ON slide.id = reading_slide.slide_id WHERE reading.person_id = :p ORDER BY reading_slide.place"
    )
    with state.database.reading() as session:
        return list(session.scalars(text, {"p": person_named(session, reader).id}))


def answer_that_scores(score: int, gold: float) -> int:
    """A whole percent that is scored so; the paper prints scores and no answers."""
    low, high = standard_interval(gold)
    off = 100 - score
    return high + off if high + off <= 100 else low - off


def test_the_papers_ten_doctors_get_its_table_4(state: LabellingState, tmp_path: Path) -> None:
    slides, clock = names(state), state.clock
    assert isinstance(clock, Clock)
    gold = {slide: 100 * row[1] / (row[1] + row[2]) for slide, row in zip(slides, PAPER["TABLE_3"], strict=True)}
    rows = [f"{slide},{row[1]},{row[2]}" for slide, row in zip(slides, PAPER["TABLE_3"], strict=True)]
    study = start(state, list(DOCTORS), standard="\n".join(["slide,positive,negative", *rows, ""]))
    for number, doctor in enumerate(DOCTORS):
        reader, took = logged_in(state, doctor), PAPER["_seconds"](PAPER["TIMES"][number])
        step(reader, study, "begin")
        for place, slide in enumerate(order(state, doctor), 1):
            step(reader, study, "show", place=place)
            clock.now += took / SLIDES
            score = PAPER["TABLE_4"][slides.index(slide)][number]
            step(reader, study, "answers", place=place, percent=answer_that_scores(score, gold[slide]))
        assert step(reader, study, "finish")["state"] == "finished"

    tra = logged_in(state, "tra")
    assert tra.post(f"/api/labelling/studies/{study}/close").status_code == 200
    result = tra.get(f"/api/labelling/studies/{study}/ranking").json()

    # What the page shows is what `ki67 compete` makes of the files, and of the paper's own scores and times.
    for name in ("standard.csv", "answers.csv"):
        (tmp_path / name).write_text(tra.get(f"/api/labelling/studies/{study}/files/{name}").text)
    again = compete(tmp_path / "standard.csv", tmp_path / "answers.csv")
    assert result == json.loads(json.dumps(again)) | {"own": None}
    paper = PAPER["recompute"](tmp_path / "paper")["ranking"]
    doctors = [one for one in paper["readers"] if one["reader"] in DOCTORS]
    assert [one["reader"] for one in result["readers"]] == [one["reader"] for one in doctors]
    for found, printed in zip(result["readers"], doctors, strict=True):
        assert found["average_score"] == pytest.approx(printed["average_score"])
        assert found["seconds"] == pytest.approx(printed["seconds"])
        assert list(found["scores"].values()) == pytest.approx(list(printed["scores"].values()))
    assert (result["readers"][0]["reader"], result["readers"][0]["average_score"]) == ("Dr. 7", 99.0)


def test_no_name_of_a_slide_leaves_the_server_for_a_reader(state: LabellingState) -> None:
    ring = [[5, 5], [20, 5], [20, 20], [5, 5]]
    feature = {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [ring]}, "properties": {}}
    feature["properties"] = {
        "objectType": "annotation",
        "name": "s0 of Mrs Example",
        "classification": {"name": "IDC"},
    }
    regions = json.dumps({"type": "FeatureCollection", "features": [feature]})
    slides = [{"slide": name, "regions": regions} for name in names(state)[:2]]
    body = {"name": "One", "slides": slides, "readers": [DOCTORS[0]]}
    study = logged_in(state, "tra").post("/api/labelling/studies", json=body).json()["study"]
    reader = logged_in(state, DOCTORS[0])
    said, pictures = [], []
    for told in (step(reader, study, "begin"), step(reader, study, "show", place=2)):
        assert len(told["front"]["regions"]) == 1
        facts = told["front"]["slide_facts"]
        assert facts["file"] == f"Slide {told['front']['place']} of 2"
        tile = reader.get(facts["tiles"].format(level=6, col=0, row=0))
        assert tile.status_code == 200
        said += [json.dumps(told), str(tile.headers)]
        pictures.append(facts)
    said += [reader.get(f"/api/labelling/{one}").text for one in ("readings", f"readings/{study}")]
    assert all(word not in text for text in said for word in ("s0", "s1", "Example", "slides/", ".png", "p0"))
    # The same slide has other words for somebody who may know its name.
    known = {
        logged_in(state, "boss").get(f"/api/labelling/tasks/{task}").json()["slide_facts"]["digest"]
        for task in (1, 2)
    }
    assert known.isdisjoint(one["digest"] for one in pictures)


def test_a_slide_that_cannot_be_read_is_not_named(state: LabellingState, folder: Path) -> None:
    study = start(state, [DOCTORS[0]], 1)
    (folder.parent / "slides" / "s0.png").write_bytes(b"no picture")
    told = step(logged_in(state, DOCTORS[0]), study, "begin")
    assert told["front"]["slide_facts"]["available"] is False
    assert "s0" not in json.dumps(told)


def test_the_clock_is_the_servers_and_survives_it(state: LabellingState, folder: Path) -> None:
    study, clock = start(state, list(DOCTORS[:2]), 2, minutes=5), state.clock
    assert isinstance(clock, Clock)
    reader = logged_in(state, DOCTORS[0])
    assert reader.get(f"/api/labelling/readings/{study}").json()["seconds_left"] is None
    assert step(reader, study, "begin")["seconds_left"] == 300
    clock.now += 100
    again = LabellingState.of(folder, COOKIE)
    again.clock = clock
    try:
        reader = logged_in(again, DOCTORS[0])
        assert reader.get(f"/api/labelling/readings/{study}").json()["seconds_left"] == 200
        refused = reader.post(f"/api/labelling/readings/{study}/begin")
        assert (refused.status_code, refused.json()["error"].split(";")[-1]) == (403, " its clock is started once")
        facts = step(reader, study, "answers", place=1, percent=7)["front"]["slide_facts"]
        address = facts["tiles"].format(level=6, col=0, row=0)
        assert reader.get(address).status_code == 200
        clock.now += 200
        late = reader.post(f"/api/labelling/readings/{study}/answers", json={"place": 1, "percent": 8})
        assert late.status_code == 403
        assert "the time is over" in late.json()["error"]
        assert reader.get(address).status_code == 404
        told = reader.get(f"/api/labelling/readings/{study}").json()
        assert (told["state"], told["front"], told["places"][0]["percent"]) == ("time_up", None, 7)
    finally:
        again.close()


def test_tiles_are_for_their_reader_and_answers_carry_the_token(state: LabellingState) -> None:
    study = start(state, list(DOCTORS[:2]), 2)
    first, second = (logged_in(state, name) for name in DOCTORS[:2])
    addresses = [
        step(one, study, "begin")["front"]["slide_facts"]["tiles"].format(level=6, col=0, row=0)
        for one in (first, second)
    ]
    assert addresses[0] != addresses[1]
    assert [second.get(one).status_code for one in addresses] == [404, 200]
    assert logged_in(state, "boss").get(addresses[0]).status_code == 404
    assert web(state).get(addresses[0]).status_code == 401
    body, there = {"place": 1, "percent": 10}, f"/api/labelling/readings/{study}/answers"
    assert first.post(there, json=body, headers={"x-csrf-token": "guess"}).status_code == 403
    assert first.post(there, json=body, headers={"origin": "http://evil.example"}).status_code == 403
    for wrong in ({"place": 1, "percent": 10.5}, {"place": 1, "percent": 101}, {"place": 1, "percent": True}, {}):
        assert first.post(there, json=wrong).status_code == 422
    assert first.post(there, json={"place": 2, "percent": 10}).status_code == 403
    assert first.get(addresses[0]).status_code == 200
    step(first, study, "finish")
    assert first.get(addresses[0]).status_code == 404


def test_what_makes_no_study_is_refused_whole_and_tells_no_place_on_the_machine(state: LabellingState) -> None:
    tra = logged_in(state, "tra")
    good = {"name": "One", "slides": [{"slide": "s0"}], "readers": [DOCTORS[0]]}
    far = {"type": "Polygon", "coordinates": [[[500, 500], [900, 500], [900, 900], [500, 500]]]}
    beside = json.dumps({"type": "Feature", "geometry": far, "properties": {"classification": {"name": "IDC"}}})
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"standard": "slide\ns0\n"}, "standard: "),
        ({"standard": "slide,index_percent\nelsewhere,4\n"}, "says nothing of s0"),
        ({"slides": [{"slide": "s0", "regions": "no file of regions"}]}, "regions of s0: "),
        ({"slides": [{"slide": "s0", "regions": beside}]}, "outside the slide"),
        ({"slides": [{"slide": "s0"}, {"slide": "s0"}]}, "named twice"),
        ({"readers": ["boss"]}, "choose other readers"),
    ]
    for change, said in wrong:
        answer = tra.post("/api/labelling/studies", json=good | change)
        assert answer.status_code == 403, answer.text
        assert said in answer.json()["error"]
        assert "/tmp" not in answer.text
    listed = tra.get("/api/labelling/studies").json()
    assert listed["studies"] == []
    assert [one["name"] for one in listed["people"]] == list(DOCTORS)
