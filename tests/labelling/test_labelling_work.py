"""Saving, leases, conflicts, training, kill -9 in the middle of a save."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import sqlalchemy as sa

from ki67.errors import ConflictError, LabellingError, LeaseError, RefusedError
from ki67.labelling import database as databases
from ki67.labelling.assigning import assign_balanced, remove_person
from ki67.labelling.people import add_person, check_password, list_people, person_named, remove_name
from ki67.labelling.remarks import remark
from ki67.labelling.shapes import checked
from ki67.labelling.tables import Event, Label
from ki67.labelling.words import Act, LabelKind, Role, State
from ki67.labelling.work import LEASE_S, current_labels, hold, labels_for, task_of
from labelling_office import Office, point


def begin(office: Office, name: str = "ann", which: int = 0) -> int:
    task = office.tasks()[which]
    office.act("boss", task, Act.assign, to=name)
    office.act(name, task, Act.begin)
    return task


def test_a_save_counts_versions_and_a_stale_one_gets_both(office: Office) -> None:
    task = begin(office)
    first = point(1.0)
    assert office.save("ann", task, first)[0]["version"] == 1

    moved = point(2.0, version=1) | {"uuid": first["uuid"]}
    assert office.save("ann", task, moved)[0]["version"] == 2
    stale = point(9.0, version=1) | {"uuid": first["uuid"]}
    with pytest.raises(ConflictError) as caught:
        office.save("ann", task, stale)

    assert caught.value.mine["geometry"] == stale["geometry"]
    assert caught.value.theirs["geometry"] == moved["geometry"]
    assert caught.value.theirs["version"] == 2


def test_a_save_whose_answer_was_lost_may_be_sent_again(office: Office) -> None:
    task = begin(office)
    change = point(1.0)

    assert office.save("ann", task, change) == office.save("ann", task, change)


def test_a_save_is_whole_or_not_at_all(office: Office) -> None:
    task = begin(office)
    first = point(1.0)
    office.save("ann", task, first)

    with pytest.raises(ConflictError):
        office.save(
            "ann", task, point(5.0), point(6.0), first | {"geometry": {"type": "Point", "coordinates": [3, 3]}}
        )

    with office.database.session() as session:
        assert len(current_labels(session, task_of(session, task))) == 1


def test_deleted_labels_are_kept_in_the_log(office: Office) -> None:
    task = begin(office)
    first = point(1.0)
    office.save("ann", task, first)

    office.save("ann", task, first | {"version": 1, "deleted": True})

    with office.database.session() as session:
        assert current_labels(session, task_of(session, task)) == []
        saved = session.scalars(sa.select(Event).where(Event.act == "save_label").order_by(Event.id)).all()
        assert [row.detail["deleted"] for row in saved] == [False, True]
        assert saved[0].detail["geometry"] == first["geometry"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"uuid": "x"}, "no UUID"),
        ({"version": -1}, "which version"),
        ({"version": True}, "which version"),
        ({"version": 3}, "is not there"),
        ({"label": "Cat"}, "there are Negative, Positive"),
        ({"geometry": None}, "no geometry"),
        ({"geometry": {"type": "Polygon", "coordinates": []}}, "takes no Polygon"),
        ({"geometry": {"type": "Point", "coordinates": ["a", 1]}}, "no number"),
        ({"geometry": {"type": "Point", "coordinates": [float("nan"), 1]}}, "impossible coordinate"),
        ({"geometry": {"type": "Point", "coordinates": [5e6, 1]}}, "beyond any slide"),
        ({"geometry": {"type": "Point", "coordinates": [[1] * 300_000]}}, "."),
    ],
)
def test_what_is_no_label_is_refused_in_one_line(office: Office, change: dict[str, object], message: str) -> None:
    task = begin(office)

    with pytest.raises(RefusedError, match=message) as caught:
        office.save("ann", task, point(1.0) | change)

    assert "\n" not in str(caught.value)


def test_two_sessions_on_one_slide_do_not_write_over_each_other(office: Office) -> None:
    task = begin(office)
    office.save("ann", task, point(1.0), token="first tab")

    with pytest.raises(LeaseError, match="another window of yours"):
        office.save("ann", task, point(2.0), token="second tab")
    with office.database.session() as session:
        person, found = person_named(session, "ann"), task_of(session, task)
        ends = hold(session, person, found, "second tab", now=time.time() + LEASE_S + 1)
    assert ends > time.time() + LEASE_S
    with pytest.raises(LeaseError):
        office.save("ann", task, point(3.0), token="first tab")


def test_time_on_a_slide_counts_while_there_are_signs_of_life(office: Office) -> None:
    task = begin(office)
    start = time.time()

    for seconds in (0, 20, 40, 1000):
        with office.database.session() as session:
            hold(session, person_named(session, "ann"), task_of(session, task), "tab", now=start + seconds)

    with office.database.session() as session:
        assert task_of(session, task).seconds == pytest.approx(40 + LEASE_S)


def test_nobody_edits_what_is_handed_in_and_nobody_sees_anothers(office: Office) -> None:
    task = begin(office)
    office.save("ann", task, point(1.0))
    office.act("ann", task, Act.submit)

    with pytest.raises(RefusedError, match="cannot be changed"):
        office.save("ann", task, point(2.0))
    for name, seen in {
        "ann": 1,
        "lea": 1,
        "rev": 1,
        "boss": 1,
        "abe": 0,
        "bob": 0,
        "leo": 0,
        "qua": 0,
        "tra": 0,
    }.items():
        with office.database.session() as session:
            person, found = person_named(session, name), task_of(session, task)
            if seen:
                assert len(labels_for(session, person, found)) == 1
            else:
                with pytest.raises(RefusedError, match="not for this person"):
                    labels_for(session, person, found)
                with pytest.raises(RefusedError, match="not for this person"):
                    remark(session, person, found, "look here")


def test_the_reviewer_may_fix_and_accept(office: Office) -> None:
    task = begin(office)
    first = point(1.0)
    office.save("ann", task, first)
    office.act("ann", task, Act.submit)
    office.act("rev", task, Act.take_review)

    office.save("rev", task, first | {"version": 1, "label": "Negative"}, token="rev's")
    office.act("rev", task, Act.accept)

    with office.database.session() as session:
        assert current_labels(session, task_of(session, task))[0]["label"] == "Negative"


def test_two_people_saving_at_once_lose_nothing(office: Office) -> None:
    tasks = [begin(office, "ann", 0), begin(office, "bob", 1)]
    failed: list[BaseException] = []

    def work(name: str, task: int) -> None:
        try:
            for number in range(25):
                office.save(name, task, point(float(number)), token=name)
        except BaseException as error:  # noqa: BLE001 - shown by the assertion
            failed.append(error)

    threads = [threading.Thread(target=work, args=pair) for pair in zip(("ann", "bob"), tasks, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert not failed
    with office.database.session() as session:
        assert [len(current_labels(session, task_of(session, task))) for task in tasks] == [25, 25]


_SAVER = """
import json, sys, uuid
from pathlib import Path
from ki67.labelling.database import open_database
from ki67.labelling.people import person_named
from ki67.labelling.work import read_changes, save, task_of, terms_of
database = open_database(Path(sys.argv[1]))
print("ready", flush=True)
while True:
    changes = [{"uuid": str(uuid.uuid4()), "version": 0, "label": "Positive",
                "geometry": {"type": "Point", "coordinates": [n, 0]}} for n in range(20)]
    with database.session() as session:
        wanted = read_changes(changes, terms_of(session))
        save(session, person_named(session, "ann"), task_of(session, int(sys.argv[2])), "tab", wanted)
    print(json.dumps([one["uuid"] for one in changes]), flush=True)
"""


def test_kill_in_the_middle_of_a_save_loses_nothing_that_was_told_as_saved(office: Office) -> None:
    task = begin(office)
    told: list[str] = []

    for round_ in range(2):
        with subprocess.Popen(
            [sys.executable, "-c", _SAVER, str(office.folder), str(task)], stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            for _ in range(3):
                told += json.loads(process.stdout.readline())
            time.sleep(0.004 * round_)
            os.kill(process.pid, signal.SIGKILL)
            rest = process.stdout.read().splitlines()
            told += [one for line in rest if line.endswith("]") for one in json.loads(line)]

    with office.database.session() as session:
        kept = set(session.scalars(sa.select(Label.uuid)))
        logged = [row.detail["uuid"] for row in session.scalars(sa.select(Event).where(Event.act == "save_label"))]
    assert set(told) <= kept
    assert len(kept) % 20 == 0  # whole saves only
    assert sorted(logged) == sorted(kept)


def test_passwords_are_hashed_and_checked(office: Office) -> None:
    with office.database.session() as session:
        boss = person_named(session, "boss")
        person = add_person(session, boss, "pat", Role.reviewer, password="correct horse")
        assert "correct" not in person.password_hash
        assert person.password_hash.startswith("$argon2id$")
    with office.database.session() as session:
        found = check_password(session, "pat", "correct horse")
        assert found is not None
        assert found.name == "pat"
        for name, password in (
            ("pat", "wrong horse"),
            ("nobody", "correct horse"),
            ("ann", ""),
            ("pat", "x" * 99_999),
        ):
            assert check_password(session, name, password) is None
        with pytest.raises(RefusedError, match="10 to"):
            add_person(session, person_named(session, "boss"), "kim", Role.reviewer, password="short")


def test_a_name_goes_on_request_and_the_log_stays(office: Office) -> None:
    task = begin(office)
    office.save("ann", task, point(1.0))
    with office.database.session() as session:
        before = session.scalar(sa.select(sa.func.count()).select_from(Event))
        left = remove_name(session, person_named(session, "boss"), person_named(session, "ann"))
        with pytest.raises(RefusedError, match="only administrator"):
            remove_name(session, person_named(session, "boss"), person_named(session, "boss"))

    assert left.startswith("former member")
    with office.database.session() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(Event)) == before + 1
        assert "ann" not in {one["name"] for one in list_people(session)}
        rows = session.execute(sa.text("SELECT detail FROM event")).scalars()
        assert not any('"ann"' in str(row) for row in rows)
        with pytest.raises(RefusedError, match="no active person"):
            person_named(session, "ann")


def test_what_somebody_had_taken_on_is_given_back_when_the_name_goes(office: Office) -> None:
    handed_in, begun, waiting = begin(office, "abe"), begin(office, which=1), office.tasks()[2]
    office.act("abe", handed_in, Act.submit)
    office.act("rev", handed_in, Act.take_review)
    office.act("boss", waiting, Act.assign, to="ann")
    with office.database.session() as session:
        boss = person_named(session, "boss")
        remove_person(session, boss, person_named(session, "rev"))
        remove_person(session, boss, person_named(session, "ann"))
    # Labels that were begun stay with the number they belong to.
    assert [office.state(task) for task in (handed_in, begun, waiting)] == [
        State.submitted,
        State.in_progress,
        State.new,
    ]
    office.act("lea", handed_in, Act.take_review)
    assert office.act("lea", handed_in, Act.accept) == State.accepted
    with office.database.session() as session:
        assert waiting in {task.id for task in assign_balanced(session, person_named(session, "boss"), seed=1)}
    with office.database.session() as session, pytest.raises(RefusedError, match="for administrators"):
        remove_person(session, person_named(session, "lea"), person_named(session, "bob"))


def test_nobody_is_named_as_somebody_who_left_and_names_are_one_line(office: Office) -> None:
    with office.database.session() as session:
        boss = person_named(session, "boss")
        # It would keep the name of that number from being taken away.
        with pytest.raises(RefusedError, match="stands for somebody"):
            add_person(session, boss, "former member 2", Role.reviewer)
        with pytest.raises(RefusedError, match="one line"):
            add_person(session, boss, "kim", Role.labeller, group="A\0\nB")


def test_an_area_that_vanishes_in_rounding_is_no_label() -> None:
    corners = [[1, 1], [1.0004, 1], [1.0004, 1.0004], [1, 1]]
    with pytest.raises(RefusedError, match="no area"):
        checked(LabelKind.regions, {"type": "Polygon", "coordinates": [corners]})


def test_a_folder_without_a_project_or_with_a_damaged_one_is_told(tmp_path: Path, office: Office) -> None:
    with pytest.raises(LabellingError, match="does not exist"):
        databases.open_database(tmp_path / "nothing")
    with pytest.raises(LabellingError, match="holds a labelling project"):
        databases.create(office.folder, None)
    office.database.close()
    (office.folder / databases.SQLITE).write_bytes(b"this is no database at all" * 100)
    for suffix in ("-wal", "-shm"):
        (office.folder / (databases.SQLITE + suffix)).unlink(missing_ok=True)
    with pytest.raises(LabellingError, match=r"not a database.*ki67 label restore"):
        databases.open_database(office.folder)
    (office.folder / databases.SQLITE).unlink()
    with pytest.raises(LabellingError, match="restore"):
        databases.open_database(office.folder)


def test_a_project_is_for_its_owner_only(office: Office) -> None:
    for name in (databases.SETTINGS, databases.SQLITE):
        assert (office.folder / name).stat().st_mode & 0o077 == 0


def test_states_survive(office: Office) -> None:
    task = begin(office)
    office.database.close()

    again = databases.open_database(office.folder)
    with again.session() as session:
        assert task_of(session, task).state == State.in_progress
    again.close()
