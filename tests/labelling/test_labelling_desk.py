"""What lies before a person, remarks, earlier versions, learning curves, squares to count in, labels beforehand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ki67.errors import AbsentError, RefusedError
from ki67.labelling.desk import desk_of, facts_of, slide_for, task_for
from ki67.labelling.overview import progress
from ki67.labelling.past import labels_before
from ki67.labelling.people import person_named
from ki67.labelling.prelabels import prelabel
from ki67.labelling.project import set_guideline, the_project
from ki67.labelling.quality import draw_for_quality
from ki67.labelling.remarks import remark, remarks_for, settle
from ki67.labelling.rois import places
from ki67.labelling.words import Act
from ki67.labelling.work import perform_by_hand, task_of
from ki67.slides import open_slide
from labelling_office import Office, point


def test_a_desk_holds_what_came_back_first_and_what_waits_for_review(office: Office) -> None:
    first, second = office.tasks()[:2]
    office.to_accepted("ann", second, point(1.0))
    office.act("boss", first, Act.assign, to="ann")
    office.act("ann", first, Act.begin)
    office.act("ann", first, Act.submit)
    office.act("rev", first, Act.take_review)
    office.act("rev", first, Act.send_back, reason="Look again.")
    with office.database.reading() as session:
        own = desk_of(session, person_named(session, "ann"))["own"]
        assert [(one["task"], one["reason"]) for one in own] == [(first, "Look again."), (second, None)]
        assert own[0]["acts"] == ["begin"]
    office.act("ann", first, Act.begin)
    office.act("ann", first, Act.submit)
    with office.database.reading() as session:
        told = {
            name: desk_of(session, person_named(session, name))["review"] for name in ("rev", "lea", "leo", "abe")
        }
    assert {name: [one["task"] for one in tasks] for name, tasks in told.items()} == {
        "rev": [first], "lea": [first], "leo": [], "abe": [],
    }  # fmt: skip


def test_what_is_anothers_is_as_if_it_were_not_there(office: Office) -> None:
    task = office.tasks()[0]
    office.act("boss", task, Act.assign, to="ann")
    with office.database.reading() as session:
        slide = task_of(session, task).slide_id
        assert slide_for(session, person_named(session, "ann"), slide).id == slide
        for name in ("abe", "lea", "rev", "qua", "tra"):
            with pytest.raises(AbsentError):
                task_for(session, person_named(session, name), task)
            with pytest.raises(AbsentError):
                slide_for(session, person_named(session, name), slide)


def test_labels_are_shown_as_they_were_handed_in_before(office: Office) -> None:
    task = office.tasks()[0]
    first = point(1.0)
    office.act("boss", task, Act.assign, to="ann")
    office.act("ann", task, Act.begin)
    office.save("ann", task, first)
    office.act("ann", task, Act.submit)

    def before(name: str) -> list[float]:
        with office.database.reading() as session:
            found = labels_before(session, person_named(session, name), task_of(session, task))
            return [one["geometry"]["coordinates"][0] for one in found["labels"]]

    assert before("rev") == []
    office.act("rev", task, Act.take_review)
    office.act("rev", task, Act.send_back, reason="Move it.")
    assert before("rev") == []
    office.act("ann", task, Act.begin)
    assert before("ann") == [1.0]
    office.save("ann", task, first | {"version": 1, "geometry": {"type": "Point", "coordinates": [2.0, 0.0]}})
    assert before("ann") == [1.0]
    office.act("ann", task, Act.submit)
    assert before("rev") == [1.0]


def test_a_remark_is_settled_by_who_may_see_the_labels(office: Office) -> None:
    task = office.tasks()[0]
    office.to_accepted("ann", task, point(1.0))
    with office.database.session() as session:
        rev, ann, found = person_named(session, "rev"), person_named(session, "ann"), task_of(session, task)
        made = remark(session, rev, found, " Look here. ", (1.0, 2.0))
        settle(session, ann, made.id, settled=True)
        told = remarks_for(session, ann, found)
        assert [(one["text"], one["by"], one["x_um"], one["settled"]) for one in told] == [
            ("Look here.", "rev", 1.0, True)
        ]
        with pytest.raises(AbsentError):
            settle(session, person_named(session, "bob"), made.id, settled=False)


def test_a_learning_curve_compares_what_was_handed_in_first_with_what_was_accepted(office: Office) -> None:
    task, other, test = office.tasks()[:3]
    first, second = point(1.0), point(50.0)
    office.act("boss", task, Act.assign, to="ann")
    office.act("ann", task, Act.begin)
    office.save("ann", task, first, second)
    office.act("ann", task, Act.submit)
    office.act("rev", task, Act.take_review)
    office.save("rev", task, second | {"version": 1, "deleted": True})
    office.act("rev", task, Act.accept)
    office.to_accepted("ann", other, point(1.0))
    office.to_accepted("ann", test, point(1.0))
    with office.database.reading() as session:
        curves = progress(session)["curves"]
    assert [(one["person"], one["agreement"]) for one in curves] == [("ann", pytest.approx(2 / 3)), ("ann", 1.0)]


def test_nobody_is_told_how_far_quality_control_agrees_before_it_has_compared(office: Office) -> None:
    task = office.tasks()[0]
    office.to_accepted("ann", task, point(1.0))
    with office.database.session() as session:
        draw_for_quality(session, person_named(session, "qua"), "A", seed=1)
    (check,) = (one for one in range(1, 20) if one not in office.tasks() and _is_task(office, one))
    office.act("qua", check, Act.begin)
    office.save("qua", check, point(1.0))
    office.act("qua", check, Act.submit)
    with office.database.reading() as session:
        assert progress(session)["agreement"] == []


def _is_task(office: Office, number: int) -> bool:
    with office.database.reading() as session:
        try:
            task_of(session, number)
        except AbsentError:
            return False
        return True


def test_what_follows_from_draws_and_grading_is_not_done_by_hand(office: Office) -> None:
    task = office.tasks()[0]
    office.to_accepted("ann", task, point(1.0))
    with office.database.session() as session, pytest.raises(RefusedError, match="by hand"):
        perform_by_hand(session, person_named(session, "qua"), task_of(session, task), Act.select)


def test_the_guideline_is_for_trainers_and_administrators(office: Office) -> None:
    with office.database.session() as session:
        set_guideline(session, person_named(session, "tra"), "Anew.")
        assert the_project(session).guideline == "Anew."
        with pytest.raises(RefusedError):
            set_guideline(session, person_named(session, "rev"), "Mine.")


def test_labels_of_a_model_need_a_project_that_allows_them_and_are_told(office: Office) -> None:
    task, _, test = office.tasks()[:3]
    labels = [point(1.0), point(2.0, label="Negative")]
    with office.database.session() as session:
        boss = person_named(session, "boss")
        with pytest.raises(RefusedError, match="forbids"):
            prelabel(session, boss, task_of(session, task), labels, "ki67 0.1")
        the_project(session).prelabels_allowed = True
        assert prelabel(session, boss, task_of(session, task), labels, "ki67 0.1") == 2
        with pytest.raises(RefusedError, match="already"):
            prelabel(session, boss, task_of(session, task), labels, "ki67 0.1")
        with pytest.raises(RefusedError, match="test slide"):
            prelabel(session, boss, task_of(session, test), labels, "ki67 0.1")
        with pytest.raises(RefusedError, match="administrators"):
            prelabel(session, person_named(session, "tra"), task_of(session, task), labels, "ki67 0.1")
    office.act("boss", task, Act.assign, to="ann")
    with office.database.reading() as session:
        told = facts_of(session, person_named(session, "ann"), task_of(session, task))
    assert (told["prelabelled"], told["labels"]) == ("ki67 0.1", 2)
    office.act("ann", task, Act.begin)
    with office.database.session() as session, pytest.raises(RefusedError, match="not begun"):
        prelabel(session, person_named(session, "boss"), task_of(session, task), labels, "ki67 0.1")


def test_squares_lie_on_tissue_apart_and_the_same_for_the_same_seed(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    pixels = np.full((1200, 1200, 3), 240, np.uint8)
    weight = np.kron(random.uniform(0.3, 1, (80, 60)), np.ones((15, 15)))[..., None]
    pixels[:, 300:] = (weight * [150, 60, 130] + (1 - weight) * 240).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "slide.png")
    with open_slide(tmp_path / "slide.png", 1.0) as slide:
        found = places(slide, seed=3, side_um=150.0)
        assert found == places(slide, seed=3, side_um=150.0) != places(slide, seed=4, side_um=150.0)
    assert len(found) == 10
    assert all(x >= 300 - 0.2 * 150 - 30 for x, _, _ in found)
    assert all(
        abs(x - a) >= 150 or abs(y - b) >= 150
        for i, (x, y, _) in enumerate(found)
        for a, b, _ in found[:i]
    )  # fmt: skip
