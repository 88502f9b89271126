"""The law of the process by itself: every state, act, role and relation; then any sequence of attempts."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ki67.errors import RefusedError
from ki67.labelling import database as databases
from ki67.labelling.law import RULES, Actor, Work, judge, may_edit, may_see
from ki67.labelling.tables import Event, Task
from ki67.labelling.words import Act, LabelKind, Role, State, TaskKind
from ki67.labelling.work import task_of
from labelling_office import PEOPLE, Office, fill, point

EVERY = [
    (Actor(1, role, group), Work(state, kind, labeller, reviewer, 7, test))
    for role, group, state, kind, labeller, reviewer, test in itertools.product(
        Role, (7, 8), State, TaskKind, (1, 2), (None, 1, 2), (False, True)
    )
]


@pytest.mark.parametrize("act", list(Act))
def test_an_act_leads_where_its_rule_says_or_is_refused(act: Act) -> None:
    done = 0
    for actor, work in EVERY:
        try:
            after = judge(act, actor, work, "because")
        except RefusedError:
            continue
        done += 1
        assert work.state in RULES[act].sources
        assert after is RULES[act].target
        assert actor.role in RULES[act].roles
    assert done > 0


def test_nobody_judges_their_own_work() -> None:
    for act in (Act.take_review, Act.accept, Act.send_back, Act.select, Act.qc_pass, Act.qc_fail):
        for actor, work in EVERY:
            if work.labeller == actor.person:
                with pytest.raises(RefusedError):
                    judge(act, actor, work, "because")


def test_an_administrator_neither_labels_nor_judges() -> None:
    for act in set(Act) - {Act.assign, Act.unassign}:
        for actor, work in EVERY:
            if actor.role is Role.administrator:
                with pytest.raises(RefusedError):
                    judge(act, actor, work, "because")


def test_a_labeller_sees_no_labels_of_others() -> None:
    for actor, work in EVERY:
        if actor.role is Role.labeller and work.labeller != 1 and work.reviewer != 1:
            assert not may_see(actor, work, unblinded=True)


def test_test_labels_are_seen_by_nobody_but_who_works_on_them_before_unblinding() -> None:
    for actor, work in EVERY:
        if work.test and may_see(actor, work, unblinded=False):
            drawing = work.labeller == 1 and work.state in (
                State.assigned, State.in_progress, State.returned, State.qc_failed
            )  # fmt: skip
            assert drawing or (work.reviewer == 1 and work.state is State.in_review)


def test_quality_control_sees_first_labels_only_after_it_has_compared() -> None:
    for actor, work in EVERY:
        if actor.role is Role.quality and 1 not in (work.labeller, work.reviewer):
            seen = may_see(actor, work, unblinded=True)
            assert not seen or work.state in (State.qc_passed, State.qc_failed)


def test_labels_are_edited_in_progress_by_the_labeller_and_in_review_by_the_reviewer() -> None:
    for actor, work in EVERY:
        try:
            may_edit(actor, work)
        except RefusedError:
            continue
        assert (work.state, 1) in ((State.in_progress, work.labeller), (State.in_review, work.reviewer))
        assert work.state is State.in_progress or work.labeller != 1


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    folder: Path = tmp_path_factory.mktemp("law")
    database = databases.create(folder / "project", None)
    with database.session() as session:
        fill(session, folder, LabelKind.cells, 2, ("train", "test"))
    yield Office(folder / "project", database)
    database.close()


names = st.sampled_from(["boss", *PEOPLE])
attempts = st.lists(
    st.tuples(names, st.integers(0, 1), st.sampled_from(list(Act)), names, st.booleans()), max_size=25
)


@given(steps=attempts)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_sequence_of_attempts_leaves_a_legal_state_and_a_whole_log(
    shared: Office, steps: list[tuple[str, int, Act, str, bool]]
) -> None:
    tasks = shared.tasks()
    done: list[tuple[int, Act, State, State]] = []
    with shared.database.session() as session:
        first = session.scalar(sa.select(sa.func.max(Event.id))) or 0

    for name, which, act, to, reasoned in steps:
        task = tasks[which]
        before = shared.state(task)
        try:
            after = shared.act(name, task, act, "because" if reasoned else "", to if act is Act.assign else "")
        except RefusedError:
            assert shared.state(task) is before
            continue
        assert before in RULES[act].sources
        assert after is RULES[act].target
        done.append((task, act, before, after))
        if after is State.in_progress:
            shared.save(name, task, point(1.0))

    with shared.database.session() as session:
        rows = session.scalars(sa.select(Event).where(Event.id > first, Event.act != "save_label").order_by(Event.id))
        logged = [(row.task_id, Act(row.act), State(row.before), State(row.after)) for row in rows]
        for task in tasks:
            found = task_of(session, task)
            history = session.scalars(sa.select(Event).where(Event.task_id == task).order_by(Event.id)).all()
            states = [(row.before, row.after) for row in history if row.act != "save_label"]
            chain = [State.new.value, *(after for _, after in states)]
            assert [before for before, _ in states] == chain[:-1]
            assert found.state == chain[-1]
            assert found.labeller_id != found.reviewer_id or found.labeller_id is None
            assert (found.labeller_id is None) == (found.state == State.new)
    assert logged == done


def test_the_log_cannot_be_changed(office: Office) -> None:
    for text in ("UPDATE event SET act = 'x'", "DELETE FROM event"):
        with pytest.raises(Exception, match="only added to"), office.database.session() as session:
            session.execute(sa.text(text))
    with office.database.session() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(Event)) > 0
        assert session.scalar(sa.select(sa.func.count()).select_from(Task)) == 6
