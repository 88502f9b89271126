"""The server as a process: it tells its link, is stopped, is killed in the middle, and runs the program."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from conftest import client
from ki67.case.corrections import read_corrections
from ki67.correcting import corrected
from ki67.server.jobs import GRACE_S, Jobs
from ki67.server.places import Places
from ki67.server.state import State


@contextmanager
def running(*words: object) -> Iterator[tuple[subprocess.Popen[str], str, str]]:
    """A server of its own: its process, its address and its secret."""
    command = [sys.executable, "-m", "ki67", "serve", *map(str, words), "--json", "--no-browser"]
    # Tests that a shell began in the background hand on that they ignore Ctrl-C.
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        assert process.stdout is not None
        base, _, token = json.loads(process.stdout.readline())["url"].partition("/?token=")
        yield process, base, token
    finally:
        process.kill()
        process.communicate()


def ask(base: str, token: str, path: str, body: dict[str, Any] | None = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
    request = urllib.request.Request(base + path, data, headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.loads(answer.read())


def test_a_server_killed_in_the_middle_loses_nothing(root: Path, finished: Path) -> None:
    acknowledged: list[int] = []
    for _ in range(2):
        with running(root, "--slides", finished / "slides") as (process, base, token):

            def work(base: str = base, token: str = token) -> None:
                try:
                    while True:
                        version = ask(base, token, "/api/cases/case/corrections")["version"]
                        row = ask(base, token, "/api/cases/case/gallery?limit=1")["cells"][0]["row"]
                        body = {"by": "A", "why": "w", "version": version, "kind": "remove", "row": row}
                        acknowledged.append(ask(base, token, "/api/cases/case/corrections", body)["item"]["id"])
                except (OSError, ValueError, http.client.HTTPException):
                    return

            before = len(acknowledged)
            worker = threading.Thread(target=work)
            worker.start()
            while len(acknowledged) < before + 3:
                assert worker.is_alive()
                time.sleep(0.01)
            process.kill()
            worker.join()
        kept = [one.number for one in read_corrections(root / "case")]
        # What was answered is there; one more may have been written whose answer the kill cut off.
        assert kept == list(range(1, len(kept) + 1))
        assert set(acknowledged) <= set(kept)
    score = corrected(root / "case")
    assert len(score.holding) == len(kept)


def test_a_link_is_told_and_ctrl_c_ends_the_server(ki67: Any, root: Path, tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    with running(root, "--log", log) as (process, base, token):
        assert base.startswith("http://127.0.0.1:")
        assert [case["id"] for case in ask(base, token, "/api/cases")] == ["case"]
        with pytest.raises(urllib.error.HTTPError, match="401"):
            ask(base, "wrong", "/api/cases")
        port = int(base.rsplit(":", 1)[1])
        assert "is in use" in ki67("serve", root, "--port", port).stderr
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert {"GET"} == {line["said"]["method"] for line in lines}
    assert [line["said"]["status"] for line in lines] == [200, 401]
    assert token not in log.read_text()


def test_what_cannot_be_served_is_told_in_one_line(
    ki67: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "is no folder" in ki67("serve", tmp_path / "nothing").stderr
    assert "is no folder" in ki67("serve", tmp_path, "--slides", tmp_path / "nothing").stderr
    assert ki67("serve", tmp_path, "--port", "70000").code == 2
    assert "cannot be written" in ki67("serve", tmp_path, "--log", tmp_path / "no" / "log").stderr
    monkeypatch.setitem(sys.modules, "fastapi", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "needs the 'serve' extra" in ki67("serve", tmp_path).stderr


def wait_for(jobs: Jobs, job_id: int) -> dict[str, Any]:
    deadline = time.monotonic() + 60
    while (told := jobs.get(job_id).told())["state"] in {"queued", "running"} or told["seconds"] is None:
        assert time.monotonic() < deadline, told
        time.sleep(0.02)
    return told


PROGRAM = """
import json, os, signal, sys, time
assert sys.argv[1] == "count" and "--json" in sys.argv
print(json.dumps({"stage": "Counting cells", "done": 3, "total": 12}), file=sys.stderr, flush=True)
print("a message", file=sys.stderr, flush=True)
print('{"broken', file=sys.stderr, flush=True)
if "hangs" in sys.argv[2]:
    time.sleep(60)
if "fails" in sys.argv[2]:
    print("ki67: error: the slide is grey", file=sys.stderr)
    sys.exit(1)
"""


@pytest.fixture
def jobs(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Jobs]:
    """Runs of a program that does in a moment what the real one takes minutes for."""
    (root / "program.py").write_text(PROGRAM)

    def begin(words: list[str]) -> subprocess.Popen[str]:
        command = [sys.executable, str(root / "program.py"), *words]
        return subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)

    monkeypatch.setattr("ki67.server.jobs._begin", begin)
    jobs = Jobs(Places(root))
    yield jobs
    jobs.close()


def test_runs_wait_their_turn_and_tell_how_far_they_are(root: Path, jobs: Jobs) -> None:
    first = jobs.start("count", [root / "hangs.tif"], root / "a", [])
    while not first.log:
        time.sleep(0.01)
    second = jobs.start("count", [root / "fails.tif"], root / "b", [])
    third = jobs.start("count", [root / "fine.tif"], root / "c", [])
    told = first.told()
    assert (told["state"], told["stage"], told["done"], told["total"]) == ("running", "Counting cells", 3, 12)
    assert second.told()["state"] == "queued"
    assert told["left_seconds"] is None
    first.stage_from, first.step_at = (first.step_at - 6, 0), first.step_at
    assert 15 < (first.left_s() or 0) <= 18
    first.step_at = first.stage_from[0] + 1
    assert first.left_s() is None
    jobs.cancel(first.job_id)
    start = time.monotonic()
    assert wait_for(jobs, first.job_id)["state"] == "cancelled"
    assert time.monotonic() - start < GRACE_S
    failed = wait_for(jobs, second.job_id)
    assert (failed["state"], failed["error"]) == ("failed", "the slide is grey")
    done = wait_for(jobs, third.job_id)
    assert (done["state"], done["error"]) == ("done", None)
    assert done["log"] == ["a message", '{"broken']
    assert jobs.cancel(third.job_id).state == "done"
    assert [job.job_id for job in jobs.all()] == [3, 2, 1]


def test_the_real_program_tells_its_progress(root: Path, state: State) -> None:
    script = client(state)
    (root / "empty.png").write_bytes(b"no picture")
    started = script.post("/api/jobs", json={"ki67": "empty.png", "out": "new case", "ki67_mpp": 0.25})
    assert started.status_code == 200, started.text
    told = wait_for(state.jobs, started.json()["id"])
    assert told["state"] == "failed"
    assert "empty.png: is not a slide" in told["error"]


BAD_JOBS = [
    ({"ki67": "../slides/x.tif", "out": "new"}, 403),
    ({"ki67": "/etc/passwd", "out": "new"}, 403),
    ({"ki67": "a.tif", "out": "../new"}, 403),
    ({"ki67": "a.tif", "out": "."}, 422),
    ({"ki67": "a.tif", "out": "full"}, 409),
    ({"ki67": "b.tif", "out": "new"}, 404),
    ({"ki67": "a.tif", "out": "new", "he_mpp": 0.5}, 422),
    ({"ki67": "a.tif", "out": "new", "ki67_mpp": -1}, 422),
    ({"ki67": "--help", "out": "new"}, 404),
    ({"ki67": "a.tif\0", "out": "new"}, 403),
]


@pytest.mark.parametrize(("body", "status"), BAD_JOBS, ids=[str(body)[:50] for body, _ in BAD_JOBS])
def test_runs_on_what_is_not_there_are_refused(root: Path, state: State, body: dict[str, Any], status: int) -> None:
    (root / "a.tif").write_bytes(b"x")
    (root / "full").mkdir()
    (root / "full" / "thesis.txt").write_text("mine")
    assert client(state).post("/api/jobs", json=body).status_code == status
    assert client(state).get("/api/jobs").json() == []


def test_progress_is_told_as_lines_where_asked(tmp_path: Path) -> None:
    code = (
        "from ki67 import progress\nprogress.configure(quiet=False)\nprogress.message('hello')\n"
        "list(progress.track(range(5), 'Counting'))\nlist(progress.track(iter('ab'), 'Going'))"
    )
    asked = {**os.environ, "KI67_PROGRESS_LINES": "1"}
    ran = subprocess.run([sys.executable, "-c", code], env=asked, capture_output=True, text=True, check=True)
    lines = [json.loads(line) for line in ran.stderr.splitlines()]
    assert lines[0] == {"stage": "hello", "done": 0, "total": None}
    assert {"stage": "Counting", "done": 5, "total": 5} in lines
    assert lines[-1] == {"stage": "Going", "done": 2, "total": None}
