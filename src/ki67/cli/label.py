"""``ki67 label``: the labelling process from the command line."""

from __future__ import annotations

import sys
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ki67.cli import label_study
from ki67.cli.common import App, Json, Quiet, begin, emit, number
from ki67.cli.label_project import By, Folder, Seed, open_project, require_extra
from ki67.cli.label_project import who as whose
from ki67.files import read_text
from ki67.labelling.words import Delivery, LabelKind, QualityRule, Role

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from ki67.labelling.tables import Person, Task

app = App(help="The labelling process: people, slides, labels, review, quality control.", no_args_is_help=True)
app.add_typer(label_study.app, name="study")

Password = Annotated[
    bool, typer.Option("--password-stdin", help="Read a password for the web pages from standard input, one line.")
]


def _password(wanted: bool) -> str:
    return sys.stdin.readline().rstrip("\r\n") if wanted else ""


@app.command()
def init(
    folder: Folder,
    administrator: Annotated[str, typer.Option("--administrator", help="Name of the first administrator.")],
    kind: Annotated[LabelKind, typer.Option("--kind", help="What is labelled.")] = LabelKind.regions,
    classes: Annotated[
        list[str] | None,
        typer.Option("--class", help="NAME=#rrggbb, once for each; IDC red, DCIS green, Normal blue by default."),
    ] = None,
    guideline: Annotated[
        Path | None,
        typer.Option(
            "--guideline", help="Text file that labellers see; !\\[what it shows](FILE) is a picture beside it."
        ),
    ] = None,
    name: Annotated[str, typer.Option("--name", help="Of the project; by default the folder's.")] = "",
    allow_prelabels: Annotated[
        bool, typer.Option("--allow-prelabels", help="Let a model's labels be mended; this biases people.")
    ] = False,
    database: Annotated[
        str | None,
        typer.Option("--database", help="postgresql+pg8000://USER:PASSWORD@HOST/NAME; without, SQLite in DIR."),
    ] = None,
    password_stdin: Password = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Make a project."""
    require_extra()
    from ki67.errors import AnnotationError
    from ki67.labelling.database import create, discard
    from ki67.labelling.pictures import add_pictures_of_text
    from ki67.labelling.project import make_project, the_project

    begin(quiet=quiet)
    text = read_text(guideline, AnnotationError, "Give a text file.") if guideline else ""
    chosen = {label: colour for label, _, colour in (one.rpartition("=") for one in classes)} if classes else None
    password = _password(password_stdin)
    made = create(folder, database)
    try:
        with made.session() as session:
            who = make_project(
                session,
                name or folder.absolute().name,
                kind,
                administrator,
                classes=chosen,
                guideline=text,
                prelabels_allowed=allow_prelabels,
                password=password,
            )
            if guideline:
                the_project(session).guideline = add_pictures_of_text(session, who, text, guideline)
    except Exception:
        discard(folder, made)
        raise
    made.close()
    result = {"folder": str(folder), "kind": kind, "administrator": administrator}
    emit(result, as_json=as_json, lines=[f"a project of {kind} in {folder}, administrator {administrator}"])


@app.command("add-slides")
def add_slides(
    folder: Folder,
    slides: Annotated[
        Path,
        typer.Argument(help="CSV with slide, patient, perhaps split (train, val, test, training), mpp and answer."),
    ],
    seed: Seed = 2020,
    by: By = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Add slides; splits that are not given are drawn by patient, as the paper's."""
    begin(quiet=quiet)
    with open_project(folder) as session:
        from ki67.labelling.project import add_slides as add

        added = add(session, whose(session, by), slides, seed=seed)
        splits: dict[str, int] = {}
        for slide in added:
            splits[slide.split] = splits.get(slide.split, 0) + 1
        result = {"added": [slide.name for slide in added], "splits": splits}
    told = ", ".join(f"{count} {split}" for split, count in splits.items())
    emit(result, as_json=as_json, lines=[f"added {len(added)} slides: {told}"])


@app.command("add-person")
def add_person(
    folder: Folder,
    name: Annotated[str, typer.Argument(help="As it is shown.")],
    role: Annotated[Role, typer.Option("--role", help="What the person may do.")],
    group: Annotated[str | None, typer.Option("--group", help="Labellers and leaders have one.")] = None,
    password_stdin: Password = False,
    by: By = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Add a person with a role."""
    begin(quiet=quiet)
    password = _password(password_stdin)
    with open_project(folder) as session:
        from ki67.labelling.people import add_person as add

        person = add(session, whose(session, by), name, role, group=group, password=password)
        result = {"person": person.id, "name": person.name, "role": role, "group": group}
    emit(result, as_json=as_json, lines=[f"{name} is {role}" + (f" in {group}" if group else "")])


@app.command("set-password")
def set_password(
    folder: Folder,
    name: Annotated[str, typer.Argument(help="Whose.")],
    by: By = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Give a person a password for the web pages, read from standard input, one line."""
    begin(quiet=quiet)
    password = _password(True)
    with open_project(folder) as session:
        from ki67.labelling.people import person_named
        from ki67.labelling.people import set_password as give

        give(session, whose(session, by), person_named(session, name), password)
    emit({"name": name}, as_json=as_json, lines=[f"{name} can log in"])


@app.command("remove-name")
def remove_name(
    folder: Folder,
    name: Annotated[str, typer.Argument(help="Of the person who asks for it.")],
    by: By = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Take a person's name and password away; log and labels keep a number."""
    begin(quiet=quiet)
    with open_project(folder) as session:
        from ki67.labelling.assigning import remove_person
        from ki67.labelling.people import person_named

        left = remove_person(session, whose(session, by), person_named(session, name))
    emit({"shown_as": left}, as_json=as_json, lines=[f"the name is gone; shown as '{left}'"])


@app.command()
def assign(
    folder: Folder,
    slide: Annotated[str | None, typer.Option("--slide", help="Name of one slide, for --to.")] = None,
    to: Annotated[str | None, typer.Option("--to", help="Who labels it.")] = None,
    seed: Seed = 2020,
    by: By = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Assign one slide by hand, or all new ones in balance, and training slides to who has not passed them."""
    begin(quiet=quiet)
    if (slide is None) != (to is None):
        raise typer.BadParameter("give both --slide and --to, or neither for all in balance", param_hint="--slide")
    with open_project(folder) as session:
        from ki67.labelling.assigning import assign as assign_one
        from ki67.labelling.assigning import assign_balanced, assign_training
        from ki67.labelling.people import person_named

        who = whose(session, by)
        if slide is not None and to is not None:
            tasks = [assign_one(session, who, slide, person_named(session, to))]
        else:
            tasks = assign_training(session, who) + assign_balanced(session, who, seed=seed)
        session.flush()
        result = {"tasks": [{"task": task.id, "person": task.labeller_id, "kind": task.kind} for task in tasks]}
    emit(result, as_json=as_json, lines=[f"assigned {len(tasks)} tasks"])


@app.command("draw-squares")
def draw_squares(
    folder: Folder,
    seed: Seed,
    by: By = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Draw ten squares to count cells in on every slide that has none, at random where there is tissue."""
    begin(quiet=quiet)
    with open_project(folder) as session:
        from ki67.labelling.rois import draw_rois

        slides = draw_rois(session, whose(session, by), seed=seed)
        result = {"slides": {slide.name: len(slide.rois or []) for slide in slides}}
    emit(result, as_json=as_json, lines=[f"{name}: {count} squares" for name, count in result["slides"].items()])


@app.command()
def act(
    folder: Folder,
    task: Annotated[int, typer.Argument(help="Number of the task, as `ki67 label list` shows it.")],
    what: Annotated[
        str, typer.Argument(help="begin, submit, take_review, leave_review, accept, send_back or unassign.")
    ],
    by: Annotated[str, typer.Option("--by", help="Who does it.")],
    labels: Annotated[
        Path | None,
        typer.Option("--labels", help="Region or cell file of any program; takes the place of the task's labels."),
    ] = None,
    reason: Annotated[str, typer.Option("--reason", help="Why it is sent back.")] = "",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Do one step of the process, with labels drawn in another program where there are some."""
    begin(quiet=quiet)
    with open_project(folder) as session:
        from ki67.labelling.words import BY_HAND, Act
        from ki67.labelling.work import perform, task_of

        if what not in Act.__members__ or what not in BY_HAND:
            raise typer.BadParameter(f"{what} is no step that is done by hand", param_hint="WHAT")
        who, found = whose(session, by), task_of(session, task)
        saved = 0 if labels is None else _take(session, who, found, labels)
        state = perform(session, who, found, Act(what), reason=reason)
        result = {"task": task, "state": state.value, "saved": saved}
    emit(result, as_json=as_json, lines=[f"task {task} is {state.value}" + (f", {saved} labels" if labels else "")])


def _labels_of(session: Session, task: Task, path: Path) -> list[dict[str, Any]]:
    """Labels of a file, on the slide of a task."""
    from ki67.labelling.project import labels_of_file, the_project
    from ki67.labelling.tables import Slide
    from ki67.slides import open_slide

    project, slide = the_project(session), session.get_one(Slide, task.slide_id)
    with open_slide(slide.path, slide.mpp) as opened:
        classes = {one["name"] for one in project.classes}
        return labels_of_file(path, opened, LabelKind(project.kind), classes)


def _take(session: Session, who: Person, task: Task, path: Path) -> int:
    """Put the labels of a file in the place of a task's own, in the same transaction."""
    from ki67.labelling.work import current_labels, read_changes, save, terms_of

    found = _labels_of(session, task, path)
    changes: list[dict[str, Any]] = [{**old, "deleted": True} for old in current_labels(session, task)]
    changes += [{"uuid": str(uuid.uuid4()), "version": 0, **one} for one in found]
    terms = terms_of(session)
    for start in range(0, len(changes), 1000):
        wanted = read_changes(changes[start : start + 1000], terms)
        save(session, who, task, f"command line {uuid.getnode()}", wanted)
    return len(found)


@app.command()
def prelabel(
    folder: Folder,
    task: Annotated[int, typer.Argument(help="Number of the task, as `ki67 label list` shows it; not begun yet.")],
    labels: Annotated[Path, typer.Argument(help="Region or cell file of any program, as `ki67 export` writes them.")],
    source: Annotated[str, typer.Option("--source", help="What made the labels; labellers are told.")],
    by: By = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Put labels of a model into a task, to be mended; only in a project made with --allow-prelabels."""
    begin(quiet=quiet)
    with open_project(folder) as session:
        from ki67.labelling.prelabels import prelabel as put
        from ki67.labelling.work import task_of

        who, found = whose(session, by), task_of(session, task)
        count = put(session, who, found, _labels_of(session, found, labels), source)
    emit({"task": task, "labels": count}, as_json=as_json, lines=[f"{count} labels put into task {task}"])


@app.command()
def draw(
    folder: Folder,
    group: Annotated[str, typer.Option("--group", help="Whose accepted slides.")],
    by: Annotated[str, typer.Option("--by", help="The quality controller who labels them again.")],
    seed: Seed,
    share: Annotated[float, typer.Option("--share", help="Of the accepted slides, at least 0.05.")] = 0.05,
    rule: Annotated[
        QualityRule,
        typer.Option("--rule", help="What lies above the limit: point (the agreement) or interval (its low end)."),
    ] = QualityRule.point,
    limit: Annotated[float, typer.Option("--limit", help="The agreement needed.")] = 0.95,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Draw slides for quality control; the controller labels them again without seeing the first labels."""
    begin(quiet=quiet)
    with open_project(folder) as session:
        from ki67.labelling.quality import draw_for_quality

        made = draw_for_quality(session, whose(session, by), group, seed=seed, share=share, rule=rule, limit=limit)
        result = {"draw": made.id, "seed": seed}
    emit(
        result, as_json=as_json, lines=[f"draw {result['draw']}: see `ki67 label list` for the tasks to label again"]
    )


@app.command()
def conclude(
    folder: Folder,
    drawn: Annotated[int, typer.Argument(metavar="DRAW", help="Number of the draw.")],
    by: Annotated[str, typer.Option("--by", help="The quality controller.")],
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Compare what was drawn with what was labelled again; the group's work passes, or all of it goes back."""
    begin(quiet=quiet)
    with open_project(folder) as session:
        from ki67.labelling.quality import conclude as end

        result = end(session, whose(session, by), drawn)
    ci = result["ci95"]
    interval = "" if ci is None else f" (95 % {ci[0]:.4f} to {ci[1]:.4f})"
    lines = [
        f"agreement {number(result['agreement'])}{interval} on {result['slides']} slides: "
        + ("passed" if result["passed"] else f"failed, {result['reopened']} more slides go back"),
        result["reason"],
    ]
    emit(result, as_json=as_json, lines=lines)


@app.command()
def unblind(folder: Folder, by: By = None, as_json: Json = False, quiet: Quiet = False) -> None:
    """Let the labels of test slides be seen and exported; kept in the log, and not to be undone."""
    begin(quiet=quiet)
    with open_project(folder) as session:
        from ki67.labelling.project import unblind as open_all

        open_all(session, whose(session, by))
    emit({"unblinded": True}, as_json=as_json, lines=["the labels of test slides are open now"])


@app.command()
def export(
    folder: Folder,
    out: Annotated[Path, typer.Argument(help="Folder to write.")],
    delivery: Annotated[
        Delivery,
        typer.Option("--as", help="idc (for `idc sample`), cells (for `cells train`) or gold (for `gold make`)."),
    ],
    by: By = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write accepted labels for the program's own commands; test slides only after unblinding."""
    begin(quiet=quiet)
    with open_project(folder) as session:
        from ki67.labelling.delivering import pack

        parcel = pack(session, whose(session, by), delivery)
    with open_project(folder, looks=True) as session:
        result = parcel.write(session, out)
    left = ", ".join(f"{count} {why.replace('_', ' ')}" for why, count in result["left_out"].items() if count)
    lines = [f"{result['slides']} slides, {result['labels']} labels: {out}"] + ([f"left out: {left}"] if left else [])
    emit(result, as_json=as_json, lines=lines)


@app.command()
def backup(
    folder: Folder,
    file: Annotated[Path, typer.Argument(help="File to write; it holds names and password hashes.")],
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write the whole project into one file, also while people work."""
    require_extra()
    from ki67.labelling.backup import back_up
    from ki67.labelling.database import open_database

    begin(quiet=quiet)
    database = open_database(folder)
    try:
        result = back_up(database, file)
    finally:
        database.close()
    emit(result, as_json=as_json, lines=[f"{sum(result['rows'].values()):,} rows: {file}"])


@app.command()
def restore(
    file: Annotated[Path, typer.Argument(help="What `ki67 label backup` wrote.")],
    folder: Folder,
    database: Annotated[
        str | None, typer.Option("--database", help="Another database than SQLite in DIR; an empty one.")
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Make a project of a backup."""
    require_extra()
    from ki67.labelling.backup import restore as make

    begin(quiet=quiet)
    result = make(file, folder, database)
    emit(result, as_json=as_json, lines=[f"{sum(result['rows'].values()):,} rows: {folder}"])


@app.command("list")
def list_(
    folder: Folder,
    people: Annotated[bool, typer.Option("--people", help="People in place of tasks.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """List tasks, or people."""
    begin(quiet=quiet)
    with open_project(folder, looks=True) as session:
        from ki67.labelling.overview import list_tasks
        from ki67.labelling.people import list_people

        rows = list_people(session) if people else list_tasks(session)
    lines = ["  ".join(f"{number(value)}" for value in row.values()) for row in rows]
    head = ["  ".join(rows[0])] if rows else []
    emit({"people" if people else "tasks": rows}, as_json=as_json, lines=head + lines)


@app.command()
def status(folder: Folder, as_json: Json = False, quiet: Quiet = False) -> None:
    """Tell how far the project is, and how far labellers agree."""
    begin(quiet=quiet)
    with open_project(folder, looks=True) as session:
        from ki67.labelling.overview import status as tell

        result = tell(session)
    states = ", ".join(f"{count} {state}" for state, count in result["states"].items())
    lines = [f"{result['project']}: {result['slides']} slides, {result['done']} done; tasks: {states or 'none'}"]
    for person in result["people"]:
        own = ", ".join(f"{count} {state}" for state, count in person["tasks"].items())
        minutes = person["minutes_per_slide"]
        pace = "" if minutes is None else f"; {minutes:.1f} min a slide"
        lines.append(f"{person['name']} ({person['role']}): {own or 'no slides'}{pace}")
    for row in result["agreement"]:
        ci = row["ci95"]
        interval = "" if ci is None else f" (95 % {ci[0]:.3f} to {ci[1]:.3f})"
        lines.append(
            f"{row['first']} and {row['second']}: {number(row['agreement'], '.3f')}{interval}, {row['slides']} slides"
        )
    emit(result, as_json=as_json, lines=lines)
