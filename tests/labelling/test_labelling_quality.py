"""Draws of quality control, agreement, assignment, training, overview."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa

from ki67.errors import DataSetError, RefusedError
from ki67.labelling import database as databases
from ki67.labelling.agreement import compare, pooled
from ki67.labelling.assigning import assign, assign_balanced, assign_training, remove_person
from ki67.labelling.delivering import pack
from ki67.labelling.overview import list_tasks, status
from ki67.labelling.people import add_person, person_named
from ki67.labelling.project import add_slides, unblind
from ki67.labelling.quality import conclude, draw_for_quality
from ki67.labelling.tables import Draw, Event, Slide, Task
from ki67.labelling.words import Act, Delivery, LabelKind, QualityRule, Role, State, TaskKind
from ki67.labelling.work import labels_for, task_of
from labelling_office import Office, fill, point, write_slides


def square(x: float, y: float, side: float, label: str = "IDC") -> dict[str, object]:
    ring = [[x, y], [x + side, y], [x + side, y + side], [x, y + side], [x, y]]
    return {"label": label, "geometry": {"type": "Polygon", "coordinates": [ring]}}


def test_agreement_of_regions_is_dice_and_distance_of_boundaries() -> None:
    result = compare(LabelKind.regions, [square(0, 0, 100)], [square(10, 0, 100), square(500, 500, 10, "DCIS")])

    assert result["classes"] == {"DCIS": 0.0, "IDC": pytest.approx(0.9)}
    assert result["agreement"] == pytest.approx(2 * 9000 / (20_000 + 100))
    assert result["boundary_um"]["IDC"]["median"] < result["boundary_um"]["IDC"]["p95"] <= 10.0
    assert result["boundary_um"]["DCIS"] is None
    assert compare(LabelKind.regions, [], [])["agreement"] is None


def test_agreement_of_cells_is_f1_within_a_radius_kappa_and_index() -> None:
    first = [point(100.0 * n, label="Positive" if n < 2 else "Negative") for n in range(10)]
    second = [point(100.0 * n + 3, label="Positive" if n < 3 else "Negative") for n in range(10)]

    result = compare(LabelKind.cells, first, second)

    assert result["classes"]["Positive"] == pytest.approx(2 * 2 / 5)
    assert result["agreement"] == pytest.approx(0.9)
    assert result["index_percent"] == [20.0, 30.0]
    assert result["index_difference_points"] == 10.0
    assert result["kappa"] == pytest.approx((0.9 - (0.06 + 0.56)) / (1 - (0.06 + 0.56)))
    assert compare(LabelKind.cells, first, [], 5.0)["agreement"] == 0.0


def test_95_of_100_only_means_89_to_98_percent() -> None:
    total = pooled(LabelKind.cells, [{"counts": [95, 10]}])

    assert total["agreement"] == pytest.approx(0.95)
    assert total["ci95"] == pytest.approx([0.888, 0.978], abs=0.001)
    assert pooled(LabelKind.regions, [{"counts": [95, 10]}])["ci95"] is None


def accepted(office: Office) -> list[int]:
    tasks = office.tasks()
    for number, task in enumerate(tasks):
        office.to_accepted(("ann", "abe")[number % 2], task, *(point(50.0 * n) for n in range(20)))
    return tasks


def draw(office: Office, **options: object) -> int:
    with office.database.session() as session:
        return draw_for_quality(session, person_named(session, "qua"), "A", seed=5, **options).id  # type: ignore[arg-type]


def label_again(office: Office, same: bool) -> None:
    for check in office.tasks(TaskKind.check):
        office.act("qua", check, Act.begin)
        office.save("qua", check, *(point(50.0 * n + (1 if same else 30)) for n in range(20)), token="qua")
        office.act("qua", check, Act.submit)


def end(office: Office, number: int, name: str = "qua") -> dict[str, object]:
    with office.database.session() as session:
        return conclude(session, person_named(session, name), number)


def test_a_draw_is_blind_kept_with_its_seed_and_passes_what_agrees(office: Office) -> None:
    tasks = accepted(office)
    number = draw(office, share=0.2)
    selected = [task for task in tasks if office.state(task) is State.qc_selected]

    assert len(selected) == 2  # 20 % of 6, rounded up
    with office.database.session() as session:
        for task in selected:
            with pytest.raises(RefusedError):
                labels_for(session, person_named(session, "qua"), task_of(session, task))
    with pytest.raises(RefusedError, match="not all is labelled again"):
        end(office, number)
    label_again(office, same=True)
    result = end(office, number)

    assert result["passed"] is True
    assert result["agreement"] == 1.0
    assert [office.state(task) for task in selected] == [State.qc_passed] * 2
    with office.database.session() as session:
        assert session.get_one(Draw, number).seed == 5
    with pytest.raises(RefusedError, match="no open draw"):
        end(office, number)


def test_the_same_seed_draws_the_same(office: Office, tmp_path: Path) -> None:
    accepted(office)
    draw(office, share=0.5)
    with office.database.session() as session:
        first = session.scalars(sa.select(Event.detail).where(Event.act == "draw")).one()["tasks"]
    other = databases.create(tmp_path / "again", None)
    with other.session() as session:
        fill(session, tmp_path / "more", LabelKind.cells, 6, ("train",))
    second_office = Office(tmp_path / "again", other)
    accepted(second_office)
    draw(second_office, share=0.5)
    with other.session() as session:
        assert session.scalars(sa.select(Event.detail).where(Event.act == "draw")).one()["tasks"] == first
    other.close()


def test_a_failed_draw_reopens_all_of_the_group(office: Office) -> None:
    tasks = accepted(office)
    number = draw(office)
    label_again(office, same=False)

    result = end(office, number)

    assert result["passed"] is False
    assert result["reopened"] == 5
    states = [office.state(task) for task in tasks]
    assert states.count(State.qc_failed) == 1
    assert states.count(State.returned) == 5
    office.act("ann", tasks[0], Act.begin)
    assert office.state(tasks[0]) is State.in_progress


def test_the_stated_rule_decides(office: Office) -> None:
    accepted(office)
    number = draw(office, rule=QualityRule.interval)
    label_again(office, same=True)

    result = end(office, number)

    assert result["agreement"] == 1.0
    assert result["passed"] is False  # 20 of 20 leave room down to 84 %
    assert "lower end" in str(result["reason"])


def test_what_cannot_be_drawn_is_told(office: Office) -> None:
    with office.database.session() as session:
        qua, ann = person_named(session, "qua"), person_named(session, "ann")
        with pytest.raises(RefusedError, match="no accepted slide"):
            draw_for_quality(session, qua, "A", seed=1)
        with pytest.raises(RefusedError, match=r"0\.05 to 1"):
            draw_for_quality(session, qua, "A", seed=1, share=0.01)
        with pytest.raises(RefusedError, match="no group"):
            draw_for_quality(session, qua, "Z", seed=1)
        with pytest.raises(RefusedError, match="for quality control"):
            draw_for_quality(session, ann, "A", seed=1)


def test_balanced_assignment_gives_each_about_as_many_and_keeps_patients_together(office: Office) -> None:
    with office.database.session() as session:
        tasks = assign_balanced(session, person_named(session, "boss"), seed=3)
        loads = np.unique([task.labeller_id for task in tasks], return_counts=True)[1]
    assert len(tasks) == 6
    assert loads.max() - loads.min() <= 1
    with office.database.session() as session:
        assert assign_balanced(session, person_named(session, "boss"), seed=3) == []
        with pytest.raises(RefusedError, match="for administrators"):
            assign_balanced(session, person_named(session, "ann"), seed=3)


def test_nobody_gets_a_slide_twice(office: Office) -> None:
    task = office.tasks()[0]
    office.act("boss", task, Act.assign, to="ann")
    with office.database.session() as session:
        session.add(Task(slide_id=task_of(session, task).slide_id, kind="label", state="new", seconds=0.0))
    with pytest.raises(RefusedError, match="has the slide already"):
        office.act("boss", office.tasks()[-1], Act.assign, to="ann")


def test_training_slides_are_passed_before_others_are_begun(office: Office, tmp_path: Path) -> None:
    folder = tmp_path / "training"
    write_slides(folder, 1)
    cells = [{"type": "Feature", "geometry": {"type": "MultiPoint", "coordinates": [[10, 10], [50, 50]]},
              "properties": {"classification": {"name": "Tumor: Positive"}}}]  # fmt: skip
    (folder / "a.geojson").write_text(str({"type": "FeatureCollection", "features": cells}).replace("'", '"'))
    (folder / "t.csv").write_text("slide,patient,split,mpp,answer\ns0.png,t0,training,0.5,a.geojson\n")
    with office.database.session() as session:
        boss, ann = person_named(session, "boss"), person_named(session, "ann")
        ann.trained = False
        add_slides(session, boss, folder / "t.csv")
        training = [task.id for task in assign_training(session, boss)]
    task = office.tasks()[0]
    office.act("boss", task, Act.assign, to="ann")

    with pytest.raises(RefusedError, match="training slides have to be passed"):
        office.act("ann", task, Act.begin)
    assert len(training) == 1
    office.act("ann", training[0], Act.begin)
    assert office.act("ann", training[0], Act.submit) is State.returned
    office.act("ann", training[0], Act.begin)
    office.save("ann", training[0], point(5, 5), point(25, 25))
    assert office.act("ann", training[0], Act.submit) is State.accepted
    assert office.act("ann", task, Act.begin) is State.in_progress


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("slide,patient\nabsent.png,p\n", "absent"),
        ("slide,patient,split\ns0.png,p,blind\n", "line 2 has the split"),
        ("slide,patient,split,mpp\ns0.png,p,train,0.5\ns1.png,p,test,0.5\n", "line 3 puts patient p into test"),
        ("slide,patient,mpp\ns0.png,p,0.5\ns0.png,p,0.5\n", "line 3 names a slide that is in the project already"),
        ("slide,patient,split,mpp\ns0.png,p,training,0.5\n", "without an answer"),
        ("slide,patient\ns0.png,../../etc\n", "cannot be a folder's name"),
        ("slide\ns0.png\n", "patient"),
    ],
)
def test_a_faulty_list_adds_no_slide(office: Office, tmp_path: Path, text: str, message: str) -> None:
    write_slides(tmp_path / "more", 2)
    (tmp_path / "more" / "list.csv").write_text(text)

    with pytest.raises((DataSetError, Exception), match=message), office.database.session() as session:
        add_slides(session, person_named(session, "boss"), tmp_path / "more" / "list.csv")

    with office.database.session() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(Slide)) == 6


def test_splits_are_drawn_by_patient(office: Office, tmp_path: Path) -> None:
    write_slides(tmp_path / "more", 12)
    rows = [f"s{number}.png,q{number // 2},0.5" for number in range(12)]
    (tmp_path / "more" / "list.csv").write_text("slide,patient,mpp\n" + "\n".join(rows))

    with office.database.session() as session:
        added = add_slides(session, person_named(session, "boss"), tmp_path / "more" / "list.csv", seed=1)
        splits = {(slide.patient, slide.split) for slide in added}

    assert len(splits) == 6
    assert {split for _, split in splits} == {"train", "val", "test"}


def test_the_overview_tells_who_is_where_and_how_far_people_agree(office: Office) -> None:
    task = office.tasks()[0]
    office.to_accepted("ann", task, *(point(50.0 * n) for n in range(10)))
    with office.database.session() as session:
        slide = task_of(session, task).slide_id
        session.add(Task(slide_id=slide, kind="label", state="new", seconds=0.0))
    office.to_accepted("bob", office.tasks()[-1], *(point(50.0 * n) for n in range(5)))

    with office.database.session() as session:
        told = status(session)
        assert len(list_tasks(session)) == 7

    assert told["done"] == 2
    row = told["agreement"][0]
    assert (row["first"], row["second"], row["slides"]) == ("ann", "bob", 1)
    assert row["agreement"] == pytest.approx(2 / 3)
    assert row["ci95"] == pytest.approx([0.35, 0.85], abs=0.1)


def test_labels_of_test_slides_are_hidden_until_unblinding(office: Office) -> None:
    with office.database.session() as session:
        test = session.scalar(sa.select(Task.id).join(Slide).where(Slide.split == "test"))
    assert test is not None
    office.to_accepted("ann", test, point(1.0))

    for name in ("ann", "lea", "rev", "boss"):
        with office.database.session() as session, pytest.raises(RefusedError):
            labels_for(session, person_named(session, name), task_of(session, test))
    with office.database.session() as session:
        with pytest.raises(RefusedError, match="for administrators"):
            unblind(session, person_named(session, "rev"))
        unblind(session, person_named(session, "boss"))
    with office.database.session() as session:
        assert len(labels_for(session, person_named(session, "rev"), task_of(session, test))) == 1


def test_the_draw_of_a_controller_who_left_is_given_back_for_another(office: Office) -> None:
    tasks = accepted(office)
    number = draw(office, share=0.2)
    with office.database.session() as session:
        boss = person_named(session, "boss")
        remove_person(session, boss, person_named(session, "qua"))
        other = add_person(session, boss, "quinn", Role.quality).name
    assert {office.state(task) for task in tasks} == {State.accepted}
    with office.database.session() as session:
        again = draw_for_quality(session, person_named(session, other), "A", seed=6, share=0.2)
        assert again.id != number
    assert sum(office.state(task) is State.qc_selected for task in tasks) == 2


@pytest.mark.parametrize("name", ["ann", "lea", "rev", "qua", "tra"])
def test_whoever_is_given_a_slide_by_hand_can_begin_it_where_there_is_no_training(office: Office, name: str) -> None:
    with office.database.session() as session:
        person_named(session, name).trained = False
        task = assign(session, person_named(session, "boss"), "s0", person_named(session, name)).id

    assert office.act(name, task, Act.begin) is State.in_progress


def test_who_labels_nothing_is_given_nothing(office: Office) -> None:
    with office.database.session() as session, pytest.raises(RefusedError, match="'administrator' labels nothing"):
        assign(session, person_named(session, "boss"), "s0", person_named(session, "boss"))


def test_whoever_was_given_a_slide_by_hand_gets_the_training_too(office: Office, tmp_path: Path) -> None:
    write_slides(tmp_path / "training", 1)
    (tmp_path / "training" / "a.geojson").write_text('{"type": "FeatureCollection", "features": []}')
    (tmp_path / "training" / "t.csv").write_text("slide,patient,split,mpp,answer\ns0.png,t0,training,0.5,a.geojson\n")
    with office.database.session() as session:
        boss, rev = person_named(session, "boss"), person_named(session, "rev")
        add_slides(session, boss, tmp_path / "training" / "t.csv")
        rev.trained = False
        task = assign(session, boss, "s1", rev).id
        assert not rev.trained
        training = [one for one in assign_training(session, boss) if one.labeller_id == rev.id]
        assert [one.kind for one in training] == [TaskKind.training]
    with pytest.raises(RefusedError, match="an administrator assigns them"):
        office.act("rev", task, Act.begin)


def test_an_export_with_nothing_but_test_slides_says_how_they_are_opened(office: Office, tmp_path: Path) -> None:
    with office.database.session() as session:
        test = session.scalar(sa.select(Task.id).join(Slide).where(Slide.split == "test"))
    assert test is not None
    office.to_accepted("ann", test, point(1.0))

    with (
        office.database.session() as session,
        pytest.raises(RefusedError, match="2 test slides stay closed until: ki67 label unblind"),
    ):
        pack(session, person_named(session, "boss"), Delivery.gold).write(session, tmp_path / "out")
