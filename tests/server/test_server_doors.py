"""Who is let in: every route asked by nobody, with a wrong secret and with the right one; links, other sites."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from conftest import BASE, PORT, browser, client
from ki67.server.app import create_app
from ki67.server.guard import MOST_BODY_BYTES
from ki67.server.keys import FAILURES_WITHIN_S, LONGEST_IDLE_S, MOST_FAILURES, Keys
from ki67.server.state import State

POINTS = {"direction": "he_to_ki67", "points_um": [[300, 300]]}
BY = {"by": "A. B.", "version": "0-0"}
BODIES = {
    "PUT /api/session": {"name": "A. B."},
    "POST /api/cases/{case_id}/map": POINTS,
    "POST /api/cases/{case_id}/corrections": {**BY, "why": "seen", "kind": "relabel", "row": 1, "to": "positive"},
    "POST /api/cases/{case_id}/undo": BY,
    "POST /api/cases/{case_id}/redo": BY,
    "POST /api/cases/{case_id}/sign-out": BY,
    "POST /api/cases/{case_id}/reopen": {**BY, "why": "more to see"},
    "POST /api/cases/{case_id}/fields/{field_id}/counts": {"by": "A. B.", "positive": 1, "negative": 2},
    "POST /api/jobs": {"ki67": "no such slide.svs", "out": "new"},
}
QUERIES = {
    "GET /api/cases/{case_id}/export": "?format=csv",
    "GET /api/cases/{case_id}/cells/outlines": "?x0=0&y0=0&x1=100&y1=100",
}
# What the right secret gets: everything is there, but for what these requests ask of it.
RIGHT = {
    "POST /api/cases/{case_id}/corrections": 409,
    "POST /api/cases/{case_id}/undo": 409,
    "POST /api/cases/{case_id}/redo": 409,
    "POST /api/cases/{case_id}/sign-out": 409,
    "POST /api/cases/{case_id}/reopen": 409,
    "POST /api/cases/{case_id}/fields/{field_id}/counts": 422,
    "POST /api/jobs": 404,
    "GET /api/jobs/{job_id}": 404,
    "POST /api/jobs/{job_id}/cancel": 404,
}


def requests_of(state: State) -> dict[str, str]:
    """Every route with an address that names something real, by method and template."""
    script = client(state)
    case = script.get("/api/cases/case").json()
    layers = {layer["id"]: layer["digest"] for layer in case["layers"]}
    found = {}
    for template, methods in script.get("/api/openapi.json").json()["paths"].items():
        digest = case["map_digest"] if "/warped/" in template else case["slides"]["ki67"]["digest"]
        digest = layers["index"] if "/layers/" in template else digest
        known = {"case_id": "case", "role": "ki67", "digest": digest, "level": "8", "column": "0", "row": "0"}
        known |= {"name": "index", "field_id": "1", "job_id": "1"}
        address = re.sub(r"\{(\w+)\}", lambda match: known[match[1]], template)  # noqa: B023
        for method in methods:
            word = f"{method.upper()} {template}"
            found[word] = address + QUERIES.get(word, "")
    return found | {"GET /": "/", "GET /api/openapi.json": "/api/openapi.json", "GET /nothing": "/nothing"}


def test_every_route_asked_by_nobody_with_a_wrong_secret_and_with_the_right_one(state: State) -> None:
    nobody, right = client(state, ""), client(state)
    table = {}
    for word, address in requests_of(state).items():
        method, body = word.split()[0], BODIES.get(word)
        statuses = [one.request(method, address, json=body).status_code for one in (nobody, right)]
        fresh = client(State.of(state.places.root), "wrong")
        table[word] = (statuses[0], fresh.request(method, address, json=body).status_code, statuses[1])

    print("\n".join(f"{word:70} {nobody} {wrong} {right}" for word, (nobody, wrong, right) in table.items()))  # noqa: T201
    assert len(table) >= 35
    assert {word: row[:2] for word, row in table.items() if row[:2] != (401, 401)} == {}
    expected = {word: RIGHT.get(word, 404 if word == "GET /nothing" else 200) for word in table}
    assert {word: row[2] for word, row in table.items()} == expected


def test_a_link_lets_one_browser_in_once(state: State) -> None:
    first, second = client(state, ""), client(state, "")
    answer = first.get(f"/?token={state.keys.token}")
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"]
    assert all(word in cookie for word in (f"ki67_{PORT}=", "HttpOnly", "SameSite=strict", "Path=/"))
    assert state.keys.token not in cookie
    assert first.get("/api/cases").status_code == 200
    assert second.get(f"/?token={state.keys.token}").status_code == 401
    assert second.get("/api/cases").status_code == 401
    # Who is in already is not thrown out by the used link, as after a reload of the first address.
    assert first.get(f"/?token={state.keys.token}").status_code == 303
    url = browser(state).post("/api/session/links").json()["url"]
    assert second.get(url.removeprefix(BASE)).status_code == 303
    assert second.get("/api/session").json()["name"] is None


def test_another_sites_page_changes_nothing(state: State) -> None:
    one = browser(state)
    body = {"name": "A. B."}
    csrf = one.headers["x-csrf-token"]
    assert one.put("/api/session", json=body).json()["name"] == "A. B."
    assert one.put("/api/session", json=body, headers={"origin": BASE}).status_code == 200
    assert one.put("/api/session", json=body, headers={"origin": "http://evil.example"}).status_code == 403
    for wrong in ("", "x" * len(csrf)):
        assert one.put("/api/session", json=body, headers={"x-csrf-token": wrong}).status_code == 403
    other = browser(state)
    assert other.put("/api/session", json=body, headers={"x-csrf-token": csrf}).status_code == 403


def test_another_hosts_name_is_refused(looked_at: State) -> None:
    app = create_app(looked_at, PORT)
    headers = {"authorization": f"Bearer {looked_at.keys.token}"}
    for host in ("http://evil.example:8000", "http://127.0.0.1:8001", "http://127.0.0.1", "http://[::1]:8000"):
        assert TestClient(app, host, headers=headers).get("/api/cases").status_code == 421
    assert TestClient(app, "http://localhost:8000", headers=headers).get("/api/cases").status_code == 200


def test_wrong_secrets_are_slowed_down_and_sessions_go_on(state: State) -> None:
    inside, outside = browser(state), client(state, "wrong")
    statuses = [outside.get("/api/cases").status_code for _ in range(MOST_FAILURES + 2)]
    assert statuses == [401] * MOST_FAILURES + [429] * 2
    assert int(outside.get("/api/cases").headers["retry-after"]) > 0
    assert client(state).get("/api/cases").status_code == 429
    assert client(state, "").get(f"/?token={state.keys.token}").status_code == 429
    assert inside.get("/api/cases").status_code == 200


def test_time_lets_in_again_and_ends_what_nobody_uses() -> None:
    now = [0.0]
    keys = Keys(clock=lambda: now[0])
    for _ in range(MOST_FAILURES):
        assert keys.by_bearer("wrong") is None
    assert keys.blocked_s() > 0
    now[0] = FAILURES_WITHIN_S
    assert keys.blocked_s() == 0
    name = keys.enter(keys.token)
    assert name is not None
    assert keys.by_cookie(name) is not None
    now[0] += LONGEST_IDLE_S + 1
    assert keys.by_cookie(name) is None


@pytest.mark.parametrize("cookie", ["ki67_8000=\xff", "ki67_8000", "a=b; ki67_8000=;;", 'ki67_8000="\\'])
def test_a_broken_cookie_is_nobody(looked_at: State, cookie: str) -> None:
    assert client(looked_at, "").get("/api/cases", headers={"cookie": cookie.encode("latin-1")}).status_code == 401


def test_large_requests_are_refused(script: TestClient) -> None:
    large = b" " * (MOST_BODY_BYTES + 1)
    headers = {"content-type": "application/json"}
    assert script.post("/api/jobs", content=large, headers=headers).status_code == 413

    def in_parts() -> object:
        for _ in range(MOST_BODY_BYTES // 65536 + 1):
            yield b" " * 65536

    assert script.post("/api/jobs", content=in_parts(), headers=headers).status_code == 413
    for length in ("-1", "x", "9" * 30):
        refused = script.post("/api/jobs", content=b"{}", headers={**headers, "content-length": length})
        assert refused.status_code == 400


@pytest.mark.parametrize(
    "body",
    [
        "",
        "{",
        "[" * 100_000,
        '{"ki67": NaN}',
        '{"ki67": 1, "out": "x"}',
        '{"ki67": "a", "out": "b", "more": 1}',
        "null",
    ],
)
def test_malformed_requests_are_told_in_one_line(script: TestClient, body: str) -> None:
    answer = script.post("/api/jobs", content=body, headers={"content-type": "application/json"})
    assert answer.status_code in {400, 422}
    assert "\n" not in answer.json()["error"]


def test_answers_forbid_what_pages_do_not_need(looked_at: State, reader: TestClient) -> None:
    for answer in (reader.get("/api/cases"), reader.get("/nothing"), client(looked_at, "").get("/")):
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert "access-control-allow-origin" not in answer.headers
    report = reader.get("/api/cases/case/report")
    assert "sandbox" in report.headers["content-security-policy"]
    assert "script" not in report.headers["content-security-policy"]


def test_a_page_that_is_not_there_is_told_in_words(looked_at: State, tmp_path: Path) -> None:
    app = create_app(looked_at, PORT, static=tmp_path / "none")
    answer = TestClient(app, BASE, headers={"authorization": f"Bearer {looked_at.keys.token}"}).get("/")
    assert answer.status_code == 200
    assert "KI67_PAGE=build pip install" in answer.text


def test_the_page_is_served_and_nothing_beside_it(looked_at: State, tmp_path: Path) -> None:
    static = tmp_path / "static"
    (static / "assets").mkdir(parents=True)
    (static / "index.html").write_text("<!doctype html><title>ki67</title>")
    (static / "assets" / "app-1a2b.js").write_text("0")
    (tmp_path / "secret.txt").write_text("secret")
    (static / "assets" / "out.txt").symlink_to(tmp_path / "secret.txt")
    app = create_app(looked_at, PORT, static=static)
    one = TestClient(app, BASE, headers={"authorization": f"Bearer {looked_at.keys.token}"})
    assert one.get("/").text.startswith("<!doctype html>")
    assert "immutable" in one.get("/assets/app-1a2b.js").headers["cache-control"]
    for path in (
        "/assets/../../secret.txt",
        "/assets/%2e%2e/%2e%2e/secret.txt",
        "/assets/out.txt",
        "/index.htm",
        "/assets/",
    ):
        assert one.get(path).status_code == 404, path
    assert TestClient(app, BASE).get("/assets/app-1a2b.js").status_code == 401
