"""The labelling project over HTTP: who may ask what, login, other sites, others' work, conflicts, blindness."""

from __future__ import annotations

import io
import re
import sqlite3
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from labelling_web import COOKIE, HOST, forgetful, logged_in, number_of, web
from PIL import Image
from starlette.testclient import TestClient

from ki67.errors import FileError, UsageError
from ki67.labelling import database as databases
from ki67.labelling.people import person_named, set_password
from ki67.labelling.words import Act, LabelKind
from ki67.server.accounts import GUESSES_OF_A_NAME, WITHIN_S, Accounts
from ki67.server.labelling_state import LabellingState
from ki67.server.reach import Reach
from ki67.server.routes import labelling_work
from labelling_office import Office, fill, point

WHO = ("nobody", "ann", "abe", "lea", "leo", "rev", "qua", "tra", "boss")
"""Nobody; the labeller; another of the group; its leader; another group's; reviewer, quality, trainer and so on."""

BODIES: dict[str, Any] = {
    "POST /api/labelling/password": {"old": "wrong password", "new": "another password"},
    "PUT /api/labelling/guideline": {"text": "Outline it."},
    "POST /api/labelling/tasks/{number}/acts": {"act": "take_review"},
    "POST /api/labelling/tasks/{number}/remarks": {"text": "Look here."},
    "PUT /api/labelling/remarks/{number}": {"settled": True},
    "POST /api/labelling/tasks/{number}/labels": {"changes": []},
    "PUT /api/labelling/tasks/{number}/labels/{uuid}": {
        k: v for k, v in point(3.0).items() if k in ("label", "geometry")
    },
    "POST /api/labelling/tasks/{number}/wand": {"x_um": 5, "y_um": 5, "um_per_px": 1},
    "POST /api/labelling/tasks/{number}/lease": {},
    "POST /api/labelling/draws": {"group": "A", "seed": 1},
    "POST /api/labelling/people": {"name": "new", "role": "reviewer"},
    "POST /api/labelling/people/{number}/password": {"password": "a new password"},
    "POST /api/labelling/assign": {"slide": "s4", "to": "abe"},
    "POST /api/labelling/assign-balanced": {"seed": 1},
    "POST /api/labelling/rois": {"seed": 1},
    "POST /api/labelling/studies": {"name": "Two", "slides": [{"slide": "s0"}], "readers": ["abe"]},
    "POST /api/labelling/studies/{number}/standard": {"standard": "slide,index_percent\ns0,9\ns1,20\n"},
    "POST /api/labelling/readings/{number}/show": {"place": 2},
    "POST /api/labelling/readings/{number}/answers": {"place": 1, "percent": 12},
}
# Status by route for each of WHO; a task of ann's on a slide for training of models that she has handed in; a study
# of tra's that is open and sealed, in which ann is reading.
TABLE = {
    "GET /api/session": "200 200 200 200 200 200 200 200 200",
    "POST /api/labelling/logout": "401 200 200 200 200 200 200 200 200",
    "POST /api/labelling/password": "401 403 403 403 403 403 403 403 403",
    "GET /api/labelling/project": "401 200 200 200 200 200 200 200 200",
    "PUT /api/labelling/guideline": "401 403 403 403 403 403 403 200 200",
    "PUT /api/labelling/guideline/pictures/{name}": "401 403 403 403 403 403 403 200 200",
    "GET /api/labelling/guideline/pictures/{name}": "401 200 200 200 200 200 200 200 200",
    "GET /api/labelling/desk": "401 200 200 200 200 200 200 200 200",
    "GET /api/labelling/tasks/{number}": "401 200 404 200 404 200 404 404 200",
    "POST /api/labelling/tasks/{number}/acts": "401 403 404 200 404 200 404 404 403",
    "GET /api/labelling/tasks/{number}/before": "401 200 404 200 404 200 404 404 200",
    "GET /api/labelling/tasks/{number}/remarks": "401 200 404 200 404 200 404 404 200",
    "POST /api/labelling/tasks/{number}/remarks": "401 200 404 200 404 200 404 404 200",
    "PUT /api/labelling/remarks/{number}": "401 200 404 200 404 200 404 404 200",
    "GET /api/labelling/tasks/{number}/labels": "401 200 404 200 404 200 404 404 200",
    "POST /api/labelling/tasks/{number}/labels": "401 403 404 403 404 403 404 404 403",
    "PUT /api/labelling/tasks/{number}/labels/{uuid}": "401 403 404 403 404 403 404 404 403",
    "DELETE /api/labelling/tasks/{number}/labels/{uuid}": "401 403 404 403 404 403 404 404 403",
    "POST /api/labelling/tasks/{number}/wand": "401 403 404 403 404 403 404 404 403",
    "POST /api/labelling/tasks/{number}/lease": "401 403 404 403 404 403 404 404 403",
    "DELETE /api/labelling/tasks/{number}/lease": "401 200 404 200 404 200 404 404 200",
    "GET /api/labelling/slides/{number}/{digest}/{level}/{column}_{row}.jpg": "401 200 404 200 404 200 404 404 200",
    "GET /api/labelling/slides/{number}/thumbnail.jpg": "401 200 404 200 404 200 404 404 200",
    "GET /api/labelling/progress": "401 200 200 200 200 200 200 200 200",
    "GET /api/labelling/draws": "401 403 403 403 403 403 200 403 403",
    "POST /api/labelling/draws": "401 403 403 403 403 403 200 403 403",
    "POST /api/labelling/draws/{number}/conclude": "401 403 403 403 403 403 403 403 403",
    "GET /api/labelling/people": "401 403 403 403 403 403 403 403 200",
    "POST /api/labelling/people": "401 403 403 403 403 403 403 403 200",
    "POST /api/labelling/people/{number}/password": "401 403 403 403 403 403 403 403 200",
    "POST /api/labelling/people/{number}/remove-name": "401 403 403 403 403 403 403 403 200",
    "GET /api/labelling/tasks": "401 403 403 403 403 403 403 403 200",
    "POST /api/labelling/assign": "401 403 403 200 403 403 403 403 200",
    "POST /api/labelling/assign-balanced": "401 403 403 403 403 403 403 403 200",
    "POST /api/labelling/tasks/{number}/unassign": "401 403 403 200 404 403 403 403 200",
    "POST /api/labelling/rois": "401 403 403 403 403 403 403 403 200",
    "POST /api/labelling/unblind": "401 403 403 403 403 403 403 403 200",
    "GET /api/labelling/studies": "401 403 403 403 403 403 403 200 200",
    "POST /api/labelling/studies": "401 403 403 403 403 403 403 200 200",
    "GET /api/labelling/studies/{number}": "401 403 403 403 403 403 403 200 200",
    "POST /api/labelling/studies/{number}/standard": "401 403 403 403 403 403 403 200 200",
    "POST /api/labelling/studies/{number}/close": "401 403 403 403 403 403 403 200 200",
    "GET /api/labelling/studies/{number}/ranking": "401 403 404 404 404 404 404 403 403",
    "GET /api/labelling/studies/{number}/files/{file}": "401 403 403 403 403 403 403 403 403",
    "GET /api/labelling/readings": "401 200 200 200 200 200 200 200 200",
    "GET /api/labelling/readings/{number}": "401 200 404 404 404 404 404 404 404",
    "POST /api/labelling/readings/{number}/begin": "401 403 404 404 404 404 404 404 404",
    "POST /api/labelling/readings/{number}/show": "401 200 404 404 404 404 404 404 404",
    "POST /api/labelling/readings/{number}/answers": "401 200 404 404 404 404 404 404 404",
    "POST /api/labelling/readings/{number}/finish": "401 200 404 404 404 404 404 404 404",
    "GET /api/labelling/blinded/{key}/{digest}/{level}/{column}_{row}.jpg": "401 200 404 404 404 404 404 404 404",
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Office, LabellingState]]:
    """A project of cells; its people have no passwords unless a test gives them some."""
    folder = tmp_path_factory.mktemp("labelling")
    database = databases.create(folder / "project", None)
    with database.session() as session:
        fill(session, folder, LabelKind.cells, 6, ("train", "train", "test"))
    database.close()
    state = LabellingState.of(folder / "project", COOKIE)
    yield Office(folder / "project", state.database), state
    state.close()


@pytest.fixture(scope="module")
def office(project: tuple[Office, LabellingState]) -> Office:
    """Shorthand for its steps: task 1 of ann is handed in, 2 of ann is new, 3 (a test slide) of ann in progress."""
    office, state = project
    first, second, test = office.tasks()[:3]
    office.act("boss", first, Act.assign, to="ann")
    office.act("ann", first, Act.begin)
    office.save("ann", first, LABEL)
    office.act("ann", first, Act.submit)
    office.to_accepted("abe", office.tasks()[3], point(1.0))
    office.act("boss", second, Act.assign, to="ann")
    office.act("boss", test, Act.assign, to="ann")
    office.act("ann", test, Act.begin)
    office.save("ann", test, point(2.0))
    assert logged_in(state, "tra").put("/api/labelling/guideline/pictures/a%20nest.jpg", content=JPEG).json()["kept"]
    posted = logged_in(state, "lea").post(f"/api/labelling/tasks/{first}/remarks", json={"text": "Here?"})
    assert posted.json()["remark"] == 1
    study = {"name": "One", "slides": [{"slide": "s0"}, {"slide": "s1"}], "readers": ["ann"]}
    assert logged_in(state, "tra").post("/api/labelling/studies", json=study).json()["study"] == 1
    assert logged_in(state, "ann").post("/api/labelling/readings/1/begin").status_code == 200
    return office


@pytest.fixture(scope="module")
def state(project: tuple[Office, LabellingState], office: Office) -> LabellingState:
    """What its requests share."""
    return project[1]


def _jpeg() -> bytes:
    made = io.BytesIO()
    Image.new("RGB", (20, 10), "red").save(made, "JPEG")
    return made.getvalue()


JPEG = _jpeg()
LABEL = point(1.0)
LABEL_NOW = f"/api/labelling/tasks/1/labels/{LABEL['uuid']}"


def everybody(state: LabellingState) -> dict[str, TestClient]:
    """A browser of each."""
    return {who: web(state) if who == "nobody" else logged_in(state, who) for who in WHO}


def test_every_route_asked_by_everybody(state: LabellingState) -> None:
    boss = logged_in(state, "boss")
    digest = boss.get("/api/labelling/tasks/1").json()["slide_facts"]["digest"]
    tiles = logged_in(state, "ann").get("/api/labelling/readings/1").json()["front"]["slide_facts"]["tiles"]
    key, blinded = tiles.split("/")[4:6]
    known = {"digest": digest, "level": "6", "column": "0", "row": "0", "uuid": LABEL["uuid"]}
    known |= {"key": key, "file": "answers.csv", "name": "a nest.jpg"}
    found, browsers = {}, everybody(state)
    with forgetful(state):
        for template, methods in boss.get("/api/openapi.json").json()["paths"].items():
            for method in (one.upper() for one in methods):
                word = f"{method} {template}"
                if word == "POST /api/labelling/login":
                    continue
                number = str(number_of(state, "tra")) if "/people/" in template else "1"
                number = "2" if template.endswith("unassign") else number
                here = known | {"number": number} | ({"digest": blinded} if "/blinded/" in template else {})
                address = re.sub(r"\{(\w+)\}", lambda match: here[match[1]], template)  # noqa: B023
                more = {"if-match": '"1"'} if "{uuid}" in template else {}
                sends: dict[str, Any] = {"json": BODIES.get(word)}
                if method == "PUT" and "/pictures/" in word:
                    sends = {"content": JPEG}
                found[word] = [
                    browsers[who].request(method, address, headers=more, **sends).status_code for who in WHO
                ]
                if word.endswith(("/logout", "/password", "/remove-name")):
                    browsers = everybody(state)
    told = {word: " ".join(map(str, row)) for word, row in found.items()}
    print("\n".join(f"{word:75} {row}" for word, row in told.items()))  # noqa: T201
    assert told == TABLE


def test_the_page_and_only_the_page_is_open_to_everybody(state: LabellingState) -> None:
    outside = web(state)
    assert outside.get("/").status_code == 200
    assert outside.get("/api/session").json()["person"] is None
    assert outside.get("/api/openapi.json").status_code == 401
    assert outside.get("/api/labelling/desk", headers={"cookie": f"{COOKIE}=guess"}).status_code == 401
    assert web(state).get("/api/session", headers={"host": "evil.example:8000"}).status_code == 421


def login(state: LabellingState, name: str, password: str, browser: Any = None, **headers: str) -> Any:
    body = {"name": name, "password": password}
    sent = {"x-csrf-token": "login", **{key.replace("_", "-"): value for key, value in headers.items()}}
    return (browser or web(state)).post("/api/labelling/login", json=body, headers=sent)


@pytest.fixture(scope="module")
def password(state: LabellingState) -> str:
    """The password of abe."""
    with state.database.session() as session:
        abe = person_named(session, "abe")
        set_password(session, person_named(session, "boss"), abe, "correct horse")
    return "correct horse"


def test_a_login_gives_a_new_session_whatever_the_browser_brought(state: LabellingState, password: str) -> None:
    browser = web(state)
    browser.cookies.set(COOKIE, "planted-by-somebody-else")
    answer = login(state, "abe", password, browser)
    cookie = answer.headers["set-cookie"]
    assert all(word in cookie for word in ("HttpOnly", "SameSite=strict", "Path=/"))
    assert "planted" not in cookie
    browser.cookies.clear()
    browser.cookies.set(COOKIE, cookie.split("=")[1].split(";")[0])
    session = browser.get("/api/session").json()
    assert session["person"]["name"] == "abe"
    # Logging in again ends the session before.
    again = login(state, "abe", password, browser)
    assert browser.get("/api/session").json()["person"] is not None
    old = web(state)
    old.cookies.set(COOKIE, cookie.split("=")[1].split(";")[0])
    assert old.get("/api/session").json()["person"] is None
    browser.cookies.clear()
    browser.cookies.set(COOKIE, again.headers["set-cookie"].split("=")[1].split(";")[0])
    browser.headers["x-csrf-token"] = browser.get("/api/session").json()["csrf"]
    assert browser.post("/api/labelling/logout").status_code == 200
    assert browser.get("/api/labelling/desk").status_code == 401


def test_another_sites_page_logs_nobody_in_and_changes_nothing(state: LabellingState, password: str) -> None:
    assert login(state, "abe", password, origin="http://evil.example").status_code == 403
    assert login(state, "abe", password, x_csrf_token="").status_code == 403
    abe = logged_in(state, "abe")
    body = {"changes": []}
    address = "/api/labelling/tasks/4/labels"
    right = abe.headers["x-csrf-token"]
    for wrong in ("", "login", logged_in(state, "ann").headers["x-csrf-token"]):
        assert abe.post(address, json=body, headers={"x-csrf-token": wrong}).status_code == 403
    evil = {"origin": "http://evil.example", "x-csrf-token": right}
    assert "another site" in abe.post(address, json=body, headers=evil).json()["error"]
    own = {"origin": f"http://{HOST}", "x-csrf-token": right}
    assert "another site" not in abe.post(address, json=body, headers=own).json().get("error", "")


def test_passwords_cannot_be_guessed_for_long_and_names_are_not_told_apart(
    state: LabellingState, password: str
) -> None:
    told = [login(state, name, "wrong password") for name in ("abe", "nobody of that name")]
    assert {(one.status_code, one.text) for one in told} == {(401, told[0].text)}
    for _ in range(GUESSES_OF_A_NAME - 1):
        assert login(state, "abe", "wrong password").status_code == 401
    blocked = login(state, "ABE ", password)
    assert blocked.status_code == 429
    assert int(blocked.headers["retry-after"]) > 0


def test_time_lets_guess_again_and_an_address_is_watched_as_well() -> None:
    now = [0.0]
    accounts = Accounts(clock=lambda: now[0])
    waits = [accounts.may_guess(f"name {number}", "10.0.0.1") for number in range(21)]
    assert waits[:20] == [0.0] * 20
    assert waits[20] > 0
    assert accounts.may_guess("name 1", "10.0.0.2") == 0.0
    now[0] = WITHIN_S
    assert accounts.may_guess("name 1", "10.0.0.1") == 0.0


def test_a_password_that_changes_ends_the_other_sessions(state: LabellingState) -> None:
    boss, bob = logged_in(state, "boss"), logged_in(state, "bob")
    address = f"/api/labelling/people/{number_of(state, 'bob')}/password"
    assert boss.post(address, json={"password": "short"}).status_code == 403
    assert bob.get("/api/labelling/desk").status_code == 200
    assert boss.post(address, json={"password": "long enough for bob"}).status_code == 200
    assert bob.get("/api/labelling/desk").status_code == 401
    bob = logged_in(state, "bob")
    body = {"old": "long enough for bob", "new": "another for bob"}
    assert bob.post("/api/labelling/password", json=body).status_code == 200
    assert bob.get("/api/labelling/desk").status_code == 200


def test_a_password_that_is_set_elsewhere_ends_the_sessions(state: LabellingState) -> None:
    tra = logged_in(state, "tra")
    assert tra.get("/api/labelling/desk").status_code == 200
    # As `ki67 label set-password`, or another server of the project.
    with state.database.session() as session:
        set_password(session, person_named(session, "boss"), person_named(session, "tra"), "long enough for tra")
    assert tra.get("/api/labelling/desk").status_code == 401
    assert tra.get("/api/session").json()["person"] is None


def test_numbers_and_names_of_others_work_tell_nothing(state: LabellingState) -> None:
    abe, leo, rev = (logged_in(state, name) for name in ("abe", "leo", "rev"))
    told = [abe.post(f"/api/labelling/tasks/{number}/unassign") for number in (1, 2, 3, 999)]
    assert {(one.status_code, one.text) for one in told} == {(403, told[0].text)}
    pairs = [("s0", "ann"), ("s1", "abe"), ("none", "abe"), ("s0", "nobody of that name")]
    told = [abe.post("/api/labelling/assign", json={"slide": slide, "to": to}) for slide, to in pairs]
    assert {(one.status_code, one.text) for one in told} == {(403, told[0].text)}
    assert "ann" not in told[0].text
    # Another group's work, and who of it has which slide.
    told = [leo.post(f"/api/labelling/tasks/{number}/unassign") for number in (1, 2, 3, 999)]
    assert {one.status_code for one in told} == {404}
    told = [leo.post("/api/labelling/assign", json={"slide": slide, "to": "ann"}) for slide in ("s0", "s4")]
    assert {(one.status_code, one.text) for one in told} == {(403, told[0].text)}
    told = [
        abe.put(f"/api/labelling/remarks/{number}", json={"settled": True}).json()["error"] for number in (1, 999)
    ]
    assert told == ["there is no remark 1", "there is no remark 999"]
    told = [rev.post(f"/api/labelling/people/{number}/remove-name") for number in (1, 999)]
    assert {(one.status_code, one.text) for one in told} == {(403, told[0].text)}


def test_labels_of_a_test_slide_are_for_nobody_but_who_draws_them(state: LabellingState) -> None:
    address = "/api/labelling/tasks/3/labels"
    answers = {who: logged_in(state, who).get(address) for who in WHO if who != "nobody"}
    assert {who: answer.status_code for who, answer in answers.items()} == {
        "ann": 200, "abe": 404, "lea": 404, "leo": 404, "rev": 404, "qua": 404, "tra": 404, "boss": 403,
    }  # fmt: skip
    for other in ("remarks", "before"):
        assert logged_in(state, "boss").get(f"/api/labelling/tasks/3/{other}").status_code == 403
    assert logged_in(state, "boss").get("/api/labelling/tasks/3").json()["labels"] is None


def test_a_label_is_saved_by_its_version_and_a_conflict_tells_both(state: LabellingState, office: Office) -> None:
    ann = logged_in(state, "ann")
    address = f"/api/labelling/tasks/3/labels/{uuid.uuid4()}"
    body = {"label": "Positive", "geometry": {"type": "Point", "coordinates": [5, 6]}}
    assert ann.post("/api/labelling/tasks/3/lease", json={"take_over": True}).status_code == 200
    assert ann.put(address, json=body).status_code == 428
    made = ann.put(address, json=body, headers={"if-match": '"0"'})
    assert (made.json()["version"], made.headers["etag"]) == (1, '"1"')
    body["label"] = "Negative"
    assert ann.put(address, json=body, headers={"if-match": '"1"'}).json()["version"] == 2
    body["label"] = "Positive"
    stale = ann.put(address, json=body, headers={"if-match": '"1"'})
    assert (stale.status_code, stale.headers["etag"]) == (409, '"2"')
    assert (stale.json()["mine"]["label"], stale.json()["theirs"]["label"]) == ("Positive", "Negative")
    assert ann.delete(address, headers={"if-match": '"1"'}).status_code == 409
    assert ann.delete(address, headers={"if-match": '"2"'}).json()["deleted"] is True


def test_a_label_beside_its_slide_is_refused_and_can_be_deleted(state: LabellingState, office: Office) -> None:
    ann = logged_in(state, "ann")
    assert ann.post("/api/labelling/tasks/3/lease", json={"take_over": True}).status_code == 200
    far = point(70_000.0)
    refused = ann.post("/api/labelling/tasks/3/labels", json={"changes": [far]})
    assert refused.status_code == 403
    assert "lies beside the slide, at (70000, 0) µm of" in refused.json()["error"]

    # As one that was kept before the slide's size was asked for.
    assert ann.delete("/api/labelling/tasks/3/lease").status_code == 200
    office.save("ann", 3, far)
    assert ann.post("/api/labelling/tasks/3/lease", json={"take_over": True}).status_code == 200
    gone = ann.post("/api/labelling/tasks/3/labels", json={"changes": [far | {"version": 1, "deleted": True}]})
    assert gone.json()["labels"][0]["deleted"] is True


def test_a_slide_is_open_in_one_window_and_taken_over_only_by_its_person(state: LabellingState) -> None:
    ann = logged_in(state, "ann")
    lease = "/api/labelling/tasks/3/lease"
    assert ann.post(lease, json={"take_over": True}).status_code == 200
    other = {"x-window": "window-two"}
    held = ann.post(lease, json={}, headers=other)
    assert held.status_code == 423
    assert "another window of yours" in held.json()["error"]
    assert ann.post(lease, json={"take_over": True}, headers=other).status_code == 200
    assert ann.post("/api/labelling/tasks/3/labels", json={"changes": []}).status_code == 423
    # Giving back what another window holds changes nothing.
    assert ann.delete(lease).status_code == 200
    assert ann.post(lease, json={}).status_code == 423
    assert ann.delete(lease, headers=other).status_code == 200
    assert ann.post(lease, json={}).status_code == 200


def test_somebody_removed_is_out_at_once(state: LabellingState) -> None:
    boss = logged_in(state, "boss")
    made = boss.post("/api/labelling/people", json={"name": "tmp", "role": "trainer", "password": "0123456789"})
    gone = logged_in(state, "tmp")
    assert gone.get("/api/labelling/project").status_code == 200
    assert boss.post(f"/api/labelling/people/{made.json()['person']}/remove-name").status_code == 200
    assert gone.get("/api/labelling/project").status_code == 401
    assert gone.get("/api/session").json()["person"] is None


def test_progress_tells_no_labels_and_nothing_of_test_slides(state: LabellingState) -> None:
    told = logged_in(state, "ann").get("/api/labelling/progress").json()
    assert told["states"]["in_progress"] == 1
    assert "coordinates" not in str(told)
    assert [point["person"] for point in told["curves"]] == ["abe"]


def test_slides_with_no_tissue_have_no_squares_to_count_in(state: LabellingState, tmp_path: Path) -> None:
    boss = logged_in(state, "boss")
    assert boss.post("/api/labelling/rois", json={"seed": 7}).json() == {"slides": 6}
    assert boss.get("/api/labelling/tasks/1").json()["rois"] == []


def test_cases_are_for_this_machine_only_and_passwords_for_no_open_network(tmp_path: Path) -> None:
    Reach().require_nothing_asked()
    Reach().require_encryption()
    Reach(host="127.0.0.2").require_encryption()
    with pytest.raises(UsageError, match="no accounts"):
        Reach(host="0.0.0.0").require_nothing_asked()
    with pytest.raises(UsageError, match="unencrypted"):
        Reach(host="0.0.0.0").require_encryption()
    Reach(host="0.0.0.0", unencrypted=True).require_encryption()
    with pytest.raises(UsageError, match="both"):
        Reach(certificate=tmp_path).require_encryption()
    with pytest.raises(FileError, match="does not exist"):
        Reach(certificate=tmp_path / "no.pem", key=tmp_path / "no.pem").require_encryption()
    named = Reach(host="0.0.0.0", names=("Ki67.example",)).hosts(8000)
    assert {"127.0.0.1:8000", "ki67.example", "ki67.example:8000"} <= named
    assert "0.0.0.0:8000" not in named


def test_an_encrypted_server_keeps_its_cookie_to_itself(state: LabellingState, password: str) -> None:
    by_proxy = login(state, "abe", password, origin=f"https://{HOST}")
    assert "Secure" in by_proxy.headers["set-cookie"]
    assert "Secure" not in login(state, "abe", password).headers["set-cookie"]


def test_a_picture_is_made_small_while_others_save(
    office: Office, state: LabellingState, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[bytes] = []

    def slow(data: bytes) -> bytes:
        with sqlite3.connect(office.folder / databases.SQLITE, timeout=1) as other:
            other.execute("BEGIN IMMEDIATE")
            other.rollback()
        made.append(data)
        return data

    monkeypatch.setattr(labelling_work, "as_jpeg", slow)
    for who, status in (("ann", 403), ("tra", 200)):
        sent = logged_in(state, who).put("/api/labelling/guideline/pictures/large.jpg", content=JPEG)
        assert sent.status_code == status
    assert made == [JPEG]
