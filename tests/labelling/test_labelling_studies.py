"""Reader studies: people who read under a clock, and what comes out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from ki67.errors import AbsentError, DataSetError, RefusedError
from ki67.evaluation.compete import compete
from ki67.labelling.people import person_named, remove_name
from ki67.labelling.readings import facts_for, readings_for, slide_of_key, take_step
from ki67.labelling.studies import close_study, give_standard, regions_on, start_study, studies_for
from ki67.labelling.study_results import file_of, ranking_for, write_files
from ki67.labelling.tables import Event, ReadingEvent, ReadingSlide, Slide
from ki67.labelling.words import ReadingAct, StudyFile
from labelling_office import Office


class Readers:
    """Shorthand: a study of three slides with two readers, one step after another on a clock of its own."""

    def __init__(self, office: Office) -> None:
        self.office, self.now = office, 1000.0

    def start(self, by: str = "tra", slides: tuple[str, ...] = ("s0", "s1", "s2"), **more: Any) -> int:
        readers = more.pop("readers", ["ann", "bob"])
        with self.office.database.session() as session:
            chosen: dict[str, list[Any]] = {name: [] for name in slides}
            person = person_named(session, by)
            return start_study(session, person, "One", chosen, readers, now=self.now, **more).id

    def step(self, name: str, act: str, place: int | None = None, percent: int | None = None, study: int = 1) -> None:
        with self.office.database.session() as session:
            person = person_named(session, name)
            take_step(session, person, study, ReadingAct(act), place=place, percent=percent, now=self.now)

    def ask(self, name: str, what: Callable[..., Any], *words: Any) -> Any:
        with self.office.database.session() as session:
            return what(session, person_named(session, name), *words, now=self.now)

    def standard(self, tmp_path: Path, text: str, by: str = "tra", study: int = 1) -> list[str]:
        file = tmp_path / "standard.csv"
        file.write_text(text)
        with self.office.database.session() as session:
            return give_standard(session, person_named(session, by), study, file)

    def order(self, name: str, study: int = 1) -> list[str]:
        found = sa.select(Slide.name).join(ReadingSlide, ReadingSlide.slide_id == Slide.id)
        with self.office.database.session() as session:
            person = person_named(session, name)
            rows = session.execute(
                sa.text("SELECT id FROM reading WHERE study_id = :s AND person_id = :p"),
                {"s": study, "p": person.id},
            )
            reading = rows.scalar_one()
            return list(session.scalars(found.where(ReadingSlide.reading_id == reading).order_by(ReadingSlide.place)))

    def read(self, name: str, answers: dict[str, int], seconds: float = 10.0, study: int = 1) -> None:
        self.step(name, "begin", study=study)
        for place, slide in enumerate(self.order(name, study), 1):
            self.step(name, "show", place, study=study)
            self.now += seconds
            if slide in answers:
                self.step(name, "answer", place, answers[slide], study=study)
        self.step(name, "finish", study=study)


@pytest.fixture
def readers(office: Office) -> Readers:
    return Readers(office)


STANDARD = "slide,index_percent\ns0,9.1\ns1,20\ns2,30\nelsewhere,5\n"


def test_who_may_start_one_and_of_what(readers: Readers) -> None:
    for name in ("ann", "lea", "rev", "qua"):
        with pytest.raises(RefusedError, match="administrators and trainers"):
            readers.start(by=name)
    for wrong, said in (
        ({"readers": []}, "readers"),
        ({"readers": ["ann", "ann"]}, "each named once"),
        ({"readers": ["tra"]}, "knows slides by name"),
        ({"readers": ["nobody"]}, "no active person"),
        ({"slides": ("s0", "none")}, "no slide named 'none'"),
        ({"slides": ()}, "1 to 200 slides"),
        ({"minutes": 0.5}, "minutes"),
    ):
        with pytest.raises(RefusedError, match=said):
            readers.start(**wrong)
    assert readers.start(by="boss") == 1
    with readers.office.database.session() as session:
        row = session.scalars(sa.select(Event).where(Event.act == "start_study")).one()
        assert row.detail["seed"] == 2020
        assert {len(order) for order in row.detail["orders"].values()} == {3}


def test_each_reader_has_an_order_of_the_own_that_the_seed_gives_again(readers: Readers) -> None:
    slides = tuple(f"s{number}" for number in range(6))
    for seed in (1, 1, 2):
        readers.start(slides=slides, seed=seed)
    orders = {(name, study): readers.order(name, study) for name in ("ann", "bob") for study in (1, 2, 3)}
    assert orders["ann", 1] == orders["ann", 2] != orders["ann", 3]
    assert orders["ann", 1] != orders["bob", 1]
    assert all(sorted(order) == list(slides) for order in orders.values())
    with readers.office.database.session() as session:
        keys = list(session.scalars(sa.select(ReadingSlide.key)))
    assert len(set(keys)) == len(keys) == 36


def test_nothing_is_seen_before_begin_and_nothing_of_others_ever(readers: Readers) -> None:
    readers.start()
    facts = readers.ask("ann", facts_for, 1)
    assert (facts["state"], facts["front"], facts["seconds_left"]) == ("waiting", None, None)
    with readers.office.database.session() as session:
        keys = dict(session.execute(sa.select(ReadingSlide.place, ReadingSlide.key).limit(3)).all())  # type: ignore[arg-type]
    with pytest.raises(AbsentError):
        readers.ask("ann", slide_of_key, keys[1])
    readers.step("ann", "begin")
    assert readers.ask("ann", slide_of_key, keys[1])[0].name == readers.order("ann")[0]
    for name, key in (("ann", keys[2]), ("bob", keys[1]), ("boss", keys[1]), ("ann", "0" * 32)):
        with pytest.raises(AbsentError, match="no such slide now"):
            readers.ask(name, slide_of_key, key)
    for name in ("abe", "boss", "tra"):
        with pytest.raises(AbsentError):
            readers.ask(name, facts_for, 1)
        assert readers.ask(name, readings_for) == []
    told = json.dumps(readers.ask("ann", facts_for, 1))
    assert all(name not in told for name in ("s0", "s1", "s2", "bob"))
    readers.now += 30 * 60
    with pytest.raises(AbsentError):
        readers.ask("ann", slide_of_key, keys[1])


def test_every_answer_is_kept_and_the_last_one_counts(readers: Readers, tmp_path: Path) -> None:
    readers.start()
    readers.step("ann", "begin")
    for percent in (10, 10, 12, 9):
        readers.now += 5
        readers.step("ann", "answer", 1, percent)
    for wrong in (None, -1, 101):
        with pytest.raises(RefusedError, match="whole percent"):
            readers.step("ann", "answer", 1, wrong)
    readers.step("ann", "show", 2)
    readers.step("ann", "show", 2)
    assert readers.ask("ann", facts_for, 1)["places"][0] == {"place": 1, "shown": True, "percent": 9}
    with pytest.raises(Exception, match="only added to"), readers.office.database.session() as session:
        session.execute(sa.text("UPDATE reading_event SET percent = 1"))
    with readers.office.database.session() as session:
        rows = session.execute(sa.select(ReadingEvent.act, ReadingEvent.percent).order_by(ReadingEvent.id)).all()
    assert [tuple(row) for row in rows] == [
        ("begin", None), ("answer", 10), ("answer", 12), ("answer", 9), ("show", None)
    ]  # fmt: skip


def test_a_clock_that_was_set_back_gives_no_time_and_takes_none(readers: Readers) -> None:
    readers.start()
    readers.step("ann", "begin")
    readers.now += 20
    readers.step("ann", "show", 2)
    readers.now -= 15
    readers.step("ann", "answer", 2, 5)
    readers.now += 25
    readers.step("ann", "finish")
    (told,) = readers.ask("tra", studies_for)
    assert told["readers"][0]["seconds"] == pytest.approx(30)


def test_ranks_are_those_of_compete_and_of_its_files(readers: Readers, tmp_path: Path) -> None:
    readers.start()
    assert readers.standard(tmp_path, STANDARD) == []
    readers.read("ann", {"s0": 10, "s1": 22, "s2": 30})
    readers.read("bob", {"s0": 10, "s2": 30}, seconds=4)
    for name, said in (("ann", "sealed"), ("tra", "sealed"), ("boss", "sealed")):
        with pytest.raises(RefusedError, match=said):
            readers.ask(name, ranking_for, 1)
    with pytest.raises(RefusedError, match="before the study is closed"):
        readers.ask("tra", file_of, 1, StudyFile.answers)
    readers.ask("tra", close_study, 1)
    with pytest.raises(RefusedError, match="closed"):
        readers.ask("tra", close_study, 1)

    result = readers.ask("tra", ranking_for, 1)
    with readers.office.database.session() as session:
        written = write_files(session, person_named(session, "boss"), 1, tmp_path / "out")
    assert written == ["answers.csv", "standard.csv", "imrmc.csv", "entries.csv"]
    out, imrmc = tmp_path / "out", tmp_path / "again.csv"
    again = compete(out / "standard.csv", out / "answers.csv", imrmc=imrmc)
    assert result == again | {"own": None}
    assert [(one["reader"], one["rank"], one["seconds"], one["answered"]) for one in again["readers"]] == [
        ("ann", 1, 30.0, 3),
        ("bob", 2, 12.0, 2),
    ]
    assert again["readers"][0]["average_score"] == pytest.approx((100 + 98 + 100) / 3)
    assert again["warnings"] == ["bob did not answer 1 slide of 3: scored 0 there"]
    assert (out / "imrmc.csv").read_text() == imrmc.read_text()
    assert (out / "imrmc.csv").read_text().startswith("readerID,caseID,modalityID,score\nann,s0,competition,10\n")
    assert "ann,begin,1000.000,1," in (out / "entries.csv").read_text()

    # A reader sees the own order's numbers in place of names; others see nothing of the study.
    own = readers.ask("ann", ranking_for, 1)
    assert [one["slide"] for one in own["slides"]] == ["Slide 1", "Slide 2", "Slide 3"]
    assert own["readers"][0]["scores"]["Slide 1"] == again["readers"][0]["scores"][readers.order("ann")[0]]
    assert "s0" not in json.dumps(own)
    with pytest.raises(AbsentError):
        readers.ask("abe", ranking_for, 1)


def test_a_live_ranking_tells_a_reader_the_own_place_after_the_end_only(readers: Readers, tmp_path: Path) -> None:
    readers.start(live=True)
    readers.read("ann", {"s0": 12, "s1": 22, "s2": 30})
    with pytest.raises(RefusedError, match="no gold standard yet"):
        readers.ask("ann", ranking_for, 1)
    readers.standard(tmp_path, STANDARD)
    assert readers.ask("ann", ranking_for, 1) == {"place": 1, "of": 1}
    readers.step("bob", "begin")
    with pytest.raises(RefusedError, match="when you have finished"):
        readers.ask("bob", ranking_for, 1)
    for place, slide in enumerate(readers.order("bob"), 1):
        readers.step("bob", "show", place)
        readers.step("bob", "answer", place, {"s0": 10, "s1": 20, "s2": 30}[slide])
    readers.now += 30 * 60
    assert readers.ask("bob", ranking_for, 1) == {"place": 1, "of": 2}
    assert readers.ask("ann", ranking_for, 1) == {"place": 2, "of": 2}
    told = readers.ask("tra", ranking_for, 1)
    assert [one["reader"] for one in told["readers"]] == ["bob", "ann"]
    assert "scores" not in told["readers"][0]
    assert "slides" not in told


def test_the_time_of_a_reader_who_answers_nothing_counts_too(readers: Readers, tmp_path: Path) -> None:
    readers.start(minutes=1)
    readers.standard(tmp_path, STANDARD)
    readers.read("ann", {"s0": 10, "s1": 20, "s2": 30})
    readers.step("bob", "begin")
    readers.now += 90
    with pytest.raises(RefusedError, match="time is over"):
        readers.step("bob", "answer", 1, 10)
    readers.ask("boss", close_study, 1)
    ranked = readers.ask("boss", ranking_for, 1)["readers"]
    assert [(one["reader"], one["seconds"], one["average_score"]) for one in ranked] == [
        ("ann", 30.0, 100.0),
        ("bob", 60.0, 0.0),
    ]


def test_closing_ends_what_runs_and_lets_nobody_begin(readers: Readers) -> None:
    readers.start()
    readers.step("ann", "begin")
    readers.now += 7
    readers.ask("tra", close_study, 1)
    readers.now += 100
    with pytest.raises(RefusedError, match="closed"):
        readers.step("ann", "answer", 1, 10)
    with pytest.raises(RefusedError, match="closed"):
        readers.step("bob", "begin")
    (told,) = readers.ask("tra", studies_for)
    assert [(one["state"], one["seconds"]) for one in told["readers"]] == [("closed", 7.0), ("missed", None)]


def test_a_standard_must_know_every_slide_and_is_told_to_nobody_before(readers: Readers, tmp_path: Path) -> None:
    readers.start()
    with pytest.raises(RefusedError, match="says nothing of s2"):
        readers.standard(tmp_path, "slide,index_percent\ns0,9\ns1,9\n")
    with pytest.raises(DataSetError):
        readers.standard(tmp_path, "slide\ns0\n")
    with pytest.raises(RefusedError):
        readers.standard(tmp_path, STANDARD, by="ann")
    readers.standard(tmp_path, STANDARD.replace("9.1", "77.77"))
    readers.step("ann", "begin")
    told = [readers.ask("tra", studies_for), readers.ask("ann", facts_for, 1), readers.ask("ann", readings_for)]
    assert "77.77" not in json.dumps(told)
    with readers.office.database.session() as session:
        assert all("77.77" not in json.dumps(row.detail) for row in session.scalars(sa.select(Event)))
    readers.standard(tmp_path, "slide,positive,negative\ns0,10,90\ns1,1,4\ns2,3,7\n")
    readers.ask("boss", close_study, 1)
    with pytest.raises(RefusedError, match="stands"):
        readers.standard(tmp_path, STANDARD)
    text = readers.ask("boss", file_of, 1, StudyFile.standard)
    assert text == "slide,index_percent,positive,negative\ns0,10.0,10,90\ns1,20.0,1,4\ns2,30.0,3,7\n"


def test_the_days_since_an_earlier_study_are_kept(readers: Readers) -> None:
    readers.start(slides=("s0", "s1"))
    readers.step("ann", "begin")
    readers.step("ann", "finish")
    seen = readers.order("ann")[0]
    readers.now += 14 * 86_400
    second = readers.start(slides=("s0", "s1", "s2"))
    readers.read("ann", {"s0": 1, "s1": 2, "s2": 3}, study=second)
    readers.read("bob", {"s0": 1, "s1": 2, "s2": 3}, study=second)
    told = readers.ask("boss", studies_for)[0]["readers"]
    assert [(one["washout_days"], one["seen_before"]) for one in told] == [(pytest.approx(14), 1), (None, 0)]
    readers.ask("boss", close_study, second)
    rows = readers.ask("boss", file_of, second, StudyFile.answers).splitlines()
    assert rows[0] == "slide,reader,index_percent,seconds,washout_days"
    assert {row.split(",")[0] for row in rows if row.endswith(",14.0")} == {seen}


def test_a_name_that_went_is_replaced_in_what_is_handed_out(readers: Readers) -> None:
    readers.start()
    readers.read("ann", {"s0": 1, "s1": 2, "s2": 3})
    with readers.office.database.session() as session:
        gone = remove_name(session, person_named(session, "boss"), person_named(session, "ann"))
    readers.ask("boss", close_study, 1)
    text = readers.ask("boss", file_of, 1, StudyFile.answers)
    assert gone in text
    assert "ann" not in text


def test_regions_are_outlines_without_names(office: Office, tmp_path: Path) -> None:
    ring = [[10, 10], [40, 10], [40, 40], [10, 40], [10, 10]]
    feature = {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": {"objectType": "annotation", "name": "Mrs Example", "classification": {"name": "IDC"}},
    }
    file = tmp_path / "regions.geojson"
    file.write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    (found,) = regions_on(file, tmp_path / "slides" / "s0.png", 0.5)
    assert found["type"] == "Polygon"
    assert {tuple(corner) for corner in found["coordinates"][0]} == {(5, 5), (20, 5), (20, 20), (5, 20)}
    assert "Example" not in json.dumps(found)


def test_the_command_line_holds_a_study(office: Office, ki67: Any, tmp_path: Path) -> None:
    standard = tmp_path / "standard.csv"
    standard.write_text(STANDARD)
    words = ["label", "study", "start", office.folder, "One", "--slide", "s0", "--slide", "s1", "--slide", "s2"]
    words += ["--reader", "ann", "--reader", "bob", "--minutes", "20", "--standard", standard, "--by", "tra"]
    assert ki67(*words, "--json").json["study"] == 1
    refused = ki67("label", "study", "rank", office.folder, 1)
    assert refused.code == 1
    assert "before the study is closed" in refused.stderr
    readers = Readers(office)
    readers.read("ann", {"s0": 10, "s1": 20, "s2": 30})
    told = ki67("label", "study", "status", office.folder).stdout
    assert "ann: finished, 3 of 3 answered, 0.5 min" in told
    assert "bob: waiting, 0 of 3 answered" in told
    assert ki67("label", "study", "close", office.folder, 1).code == 0
    ranked = ki67("label", "study", "rank", office.folder, 1)
    assert "   1  ann" in ranked.stdout
    assert ki67("label", "study", "export", office.folder, 1, tmp_path / "out").code == 0
    again = ki67("compete", tmp_path / "out" / "standard.csv", tmp_path / "out" / "answers.csv")
    assert again.stdout == ranked.stdout
