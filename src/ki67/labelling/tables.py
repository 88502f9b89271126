"""Tables of a labelling project; one database holds one project. Times are seconds since 1970, UTC."""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, Double, ForeignKey, Index, Text, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    """All tables."""

    type_annotation_map = {dict[str, Any]: JSON, list[Any]: JSON, float: Double}  # noqa: RUF012 - as SQLAlchemy wants it


class Project(Base):
    """The project, one row: what is labelled, by which words, and the rules of quality control."""

    __tablename__ = "project"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    kind: Mapped[str]
    classes: Mapped[list[Any]]
    guideline: Mapped[str]
    prelabels_allowed: Mapped[bool]
    unblinded: Mapped[bool]
    created: Mapped[float]


class Picture(Base):
    """A picture of the guideline; ``content`` is a JPEG in base64, as backups keep text."""

    __tablename__ = "picture"

    name: Mapped[str] = mapped_column(primary_key=True)
    content: Mapped[str] = mapped_column(Text)


class Group(Base):
    """A group of labellers."""

    __tablename__ = "team"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)


class Person(Base):
    """Somebody with a role; the log knows people by number, so that a name can be taken away."""

    __tablename__ = "person"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    role: Mapped[str]
    group_id: Mapped[int | None] = mapped_column(ForeignKey("team.id"))
    password_hash: Mapped[str]
    active: Mapped[bool]
    trained: Mapped[bool]


class Slide(Base):
    """A slide; ``split`` is train, val, test or training.

    ``answer`` holds the known labels of a training slide, ``rois`` the squares [x, y, side] in µm in which cells are
    counted, once they are drawn.
    """

    __tablename__ = "slide"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    path: Mapped[str] = mapped_column(unique=True)
    patient: Mapped[str]
    split: Mapped[str]
    mpp: Mapped[float | None]
    answer: Mapped[list[Any] | None]
    rois: Mapped[list[Any] | None]


class Task(Base):
    """One person's work on one slide."""

    __tablename__ = "task"
    __table_args__ = (Index("ix_task_slide", "slide_id"), Index("ix_task_labeller", "labeller_id"))

    id: Mapped[int] = mapped_column(primary_key=True)
    slide_id: Mapped[int] = mapped_column(ForeignKey("slide.id"))
    kind: Mapped[str]
    state: Mapped[str]
    labeller_id: Mapped[int | None] = mapped_column(ForeignKey("person.id"))
    reviewer_id: Mapped[int | None] = mapped_column(ForeignKey("person.id"))
    seconds: Mapped[float]


class Label(Base):
    """One label as it stands now; GeoJSON geometry in µm in the slide's frame."""

    __tablename__ = "label"
    __table_args__ = (Index("ix_label_task", "task_id"),)

    uuid: Mapped[str] = mapped_column(primary_key=True)
    task_id: Mapped[int] = mapped_column(ForeignKey("task.id"))
    version: Mapped[int]
    label: Mapped[str]
    geometry: Mapped[dict[str, Any]]
    deleted: Mapped[bool]
    person_id: Mapped[int] = mapped_column(ForeignKey("person.id"))
    changed: Mapped[float]


class Event(Base):
    """Who did what, when; rows are added and never changed (a trigger of the database refuses it)."""

    __tablename__ = "event"
    __table_args__ = (Index("ix_event_task", "task_id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[float]
    person_id: Mapped[int | None] = mapped_column(ForeignKey("person.id"))
    task_id: Mapped[int | None] = mapped_column(ForeignKey("task.id"))
    act: Mapped[str]
    before: Mapped[str]
    after: Mapped[str]
    detail: Mapped[dict[str, Any]]


class Lease(Base):
    """Which session of which person works on a task now."""

    __tablename__ = "lease"

    task_id: Mapped[int] = mapped_column(ForeignKey("task.id"), primary_key=True)
    person_id: Mapped[int] = mapped_column(ForeignKey("person.id"))
    session: Mapped[str]
    seen: Mapped[float]


class Comment(Base):
    """A word of review, pinned to a place."""

    __tablename__ = "remark"

    id: Mapped[int] = mapped_column(primary_key=True)
    task_id: Mapped[int] = mapped_column(ForeignKey("task.id"))
    person_id: Mapped[int] = mapped_column(ForeignKey("person.id"))
    at: Mapped[float]
    x_um: Mapped[float | None]
    y_um: Mapped[float | None]
    text: Mapped[str]
    settled: Mapped[bool]


class Draw(Base):
    """A draw of quality control: the seed, the rule and how it ended."""

    __tablename__ = "quality_draw"

    id: Mapped[int] = mapped_column(primary_key=True)
    group_id: Mapped[int | None] = mapped_column(ForeignKey("team.id"))
    person_id: Mapped[int] = mapped_column(ForeignKey("person.id"))
    at: Mapped[float]
    seed: Mapped[int]
    share: Mapped[float]
    rule: Mapped[str]
    limit: Mapped[float]
    passed: Mapped[bool | None]
    figures: Mapped[dict[str, Any] | None]


class Drawn(Base):
    """A task that was drawn, and the task in which it is labelled again."""

    __tablename__ = "drawn"
    __table_args__ = (UniqueConstraint("check_id"),)

    draw_id: Mapped[int] = mapped_column(ForeignKey("quality_draw.id"), primary_key=True)
    task_id: Mapped[int] = mapped_column(ForeignKey("task.id"), primary_key=True)
    check_id: Mapped[int] = mapped_column(ForeignKey("task.id"))


class Study(Base):
    """A reader study: what is read, how long, and whether readers learn their place before it is closed.

    ``standard`` holds the gold standard by name of the slide: index in percent, positive and negative cells (None
    where it has no counts).
    """

    __tablename__ = "study"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    person_id: Mapped[int] = mapped_column(ForeignKey("person.id"))
    at: Mapped[float]
    minutes: Mapped[float]
    live: Mapped[bool]
    seed: Mapped[int]
    standard: Mapped[dict[str, Any] | None]
    closed: Mapped[float | None]


class StudySlide(Base):
    """A slide of a study; ``place`` counts from 1 as they were given, ``regions`` are GeoJSON geometries in µm."""

    __tablename__ = "study_slide"
    __table_args__ = (UniqueConstraint("study_id", "slide_id"),)

    study_id: Mapped[int] = mapped_column(ForeignKey("study.id"), primary_key=True)
    place: Mapped[int] = mapped_column(primary_key=True)
    slide_id: Mapped[int] = mapped_column(ForeignKey("slide.id"))
    regions: Mapped[list[Any]]


class Reading(Base):
    """One reader's part in a study; all that she or he does in it is in :class:`ReadingEvent`."""

    __tablename__ = "reading"
    __table_args__ = (UniqueConstraint("study_id", "person_id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("study.id"))
    person_id: Mapped[int] = mapped_column(ForeignKey("person.id"))


class ReadingSlide(Base):
    """A slide in the order of one reader.

    ``key`` stands for it in addresses; ``seen`` is when this reader had it in front in an earlier study, known when
    the reading begins.
    """

    __tablename__ = "reading_slide"

    reading_id: Mapped[int] = mapped_column(ForeignKey("reading.id"), primary_key=True)
    place: Mapped[int] = mapped_column(primary_key=True)
    slide_id: Mapped[int] = mapped_column(ForeignKey("slide.id"))
    key: Mapped[str] = mapped_column(unique=True)
    seen: Mapped[float | None]


class ReadingEvent(Base):
    """What a reader did, when; rows are added and never changed (a trigger of the database refuses it)."""

    __tablename__ = "reading_event"
    __table_args__ = (Index("ix_reading_event_reading", "reading_id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    reading_id: Mapped[int] = mapped_column(ForeignKey("reading.id"))
    at: Mapped[float]
    act: Mapped[str]
    place: Mapped[int | None]
    percent: Mapped[int | None]
