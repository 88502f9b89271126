"""A job tells how far it is, ends when it is asked to, keeps to its threads, and meets no other job."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import ki67
from ki67.annotations import read_regions
from ki67.case.artefacts import COUNTED
from ki67.errors import CancelledError, Ki67Error
from ki67.geometry import RectUm
from ki67.jobs import Pool, current, entered, job, span
from ki67.progress import beside, counted, message, track
from ki67.trace import Trace
from ki67.vocabulary import Device

COUNTING = "Counting cells"
MPP = 0.5
Seen = list[tuple[str, int, int | None]]


@pytest.fixture(scope="module")
def field(simulated_pair: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A strip of the Ki-67 slide across two tiles, as a picture of a field."""
    with ki67.open_slide(simulated_pair / "ki67.tif") as slide:
        middle = read_regions(simulated_pair / "ki67_regions.geojson", slide.frame).union().representative_point()
        pixels = slide.read(RectUm(slide.bounds_um.x_um, middle.y - 50, 1150 * MPP, 100), MPP)
    path = tmp_path_factory.mktemp("field") / "field.png"
    Image.fromarray(pixels).save(path)
    return path


def count(field: Path, out: Path) -> bytes:
    """Count, and return the score as it stands in the folder."""
    ki67.run_count(field, out, mpp=MPP)
    return (out / "score.json").read_bytes()


def test_a_cancelled_count_continues_to_the_same_numbers(field: Path, tmp_path: Path) -> None:
    whole: Seen = []
    with job(progress=lambda *told: whole.append(told), threads=1):
        expected = count(field, tmp_path / "whole")

    assert [one for one in whole if one[0] == COUNTING] == [(COUNTING, done, 2) for done in range(3)]
    assert ("writing the report", 0, None) in whole
    assert json.loads(expected)["cells"] > 0

    case, cancelled = tmp_path / "cancelled", threading.Event()

    def cancel(stage: str, done: int, total: int | None) -> None:
        if (stage, done) == (COUNTING, 1):
            cancelled.set()

    with job(progress=cancel, cancelled=cancelled), pytest.raises(CancelledError, match="same call continues"):
        count(field, case)
    manifest = json.loads((case / "run.json").read_text())
    assert manifest["state"] == manifest["stages"][COUNTED]["state"] == "running", "as a killed run leaves it"
    assert not list(case.rglob(".part-*"))
    before = {name: record for name, record in manifest["stages"].items() if name != COUNTED}
    assert before

    with job(threads=3, tile_cache_mb=1):
        assert count(field, case) == expected
    after = json.loads((case / "run.json").read_text())["stages"]
    assert {name: after[name] for name in before} == before, "what was done is not done again"


def test_cancelling_ends_work_wherever_it_reports() -> None:
    asked = iter([False, False, True])
    done = []
    with job(cancelled=lambda: next(asked)), pytest.raises(CancelledError) as raised:
        done.extend(track(range(5), "Going"))
    assert done == [0, 1]
    assert isinstance(raised.value, Ki67Error)
    with job(cancelled=lambda: True), pytest.raises(CancelledError):
        message("never said")


def test_what_has_no_end_is_told_without_one_and_a_callback_may_end_it() -> None:
    seen: Seen = []
    with job(progress=lambda *told: seen.append(told)):
        assert list(track(iter("ab"), "Going")) == ["a", "b"]
        message("resting")
    assert seen == [("Going", 0, None), ("Going", 1, None), ("Going", 2, None), ("resting", 0, None)]

    def fail(*_: object) -> None:
        raise RuntimeError("enough")

    with job(progress=fail), pytest.raises(RuntimeError, match="enough"):
        list(track("ab", "Going"))


def test_what_is_no_loop_is_counted_and_cancelled_between_its_parts() -> None:
    seen: Seen = []
    stopped = threading.Event()

    def work() -> None:
        with counted("Going", 3) as one_more:
            one_more()
            stopped.set()
            one_more()

    with job(progress=lambda *told: seen.append(told), cancelled=stopped), pytest.raises(CancelledError):
        work()
    assert seen == [("Going", 0, 3), ("Going", 1, 3)]


def test_a_trace_tells_what_each_thread_did_and_when(tmp_path: Path) -> None:
    trace = Trace()

    def nap() -> None:
        with span("inner"):
            time.sleep(0.01)

    with entered(replace(current(), trace=trace)), Pool("napping", 1) as pool, span("outer"):
        pool.submit(nap).result()
    trace.write(tmp_path / "trace.json")
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    done = {event["name"]: event for event in events if event["ph"] == "X"}
    called = {event["tid"]: event["args"]["name"] for event in events if event["ph"] == "M"}
    inner, outer = done["inner"], done["outer"]
    assert inner["dur"] >= 10_000
    assert outer["ts"] < inner["ts"] < inner["ts"] + inner["dur"] < outer["ts"] + outer["dur"]
    assert called[inner["tid"]].startswith("napping")
    assert any(name.endswith("nap") for name in done)
    with span("outside"):
        pass
    assert "outside" not in done


def test_pools_are_bounded_however_many_processors_there_are() -> None:
    with job(threads=64), Pool("many") as pool:
        assert pool._max_workers == current().workers == 8


def test_a_job_within_a_job_has_the_rest_from_it() -> None:
    seen: Seen = []
    stopped = threading.Event()
    with job(progress=lambda *told: seen.append(told), cancelled=stopped, threads=3, device="auto") as outer:
        with job(threads=1, cancelled=lambda: False, tile_cache_mb=5) as inner:
            assert (current(), inner.threads, inner.device) == (inner, 1, Device.auto)
            assert inner.tiles is not outer.tiles
            list(track("a", "Inside"))
            stopped.set()
            with pytest.raises(CancelledError):
                list(track("a", "Inside"))
        assert current() is outer
        assert outer.threads == 3
    assert seen[:2] == [("Inside", 0, 1), ("Inside", 1, 1)]
    list(track("a", "Outside"))
    assert not [one for one in seen if one[0] == "Outside"]


def test_jobs_side_by_side_do_not_mix() -> None:
    """Each in a thread of its own, with threads of its own; the second is cancelled, the first goes on."""
    seen: dict[str, Seen] = {"first": [], "second": []}
    threads: dict[str, set[int]] = {"first": set(), "second": set()}
    ended: dict[str, type[BaseException] | None] = {}
    both, stop = threading.Barrier(2), threading.Event()

    def work(name: str, count: int) -> None:
        ended[name] = None
        try:
            with (
                job(progress=lambda *told: seen[name].append(told), threads=count),
                job(cancelled=stop) if name == "second" else job(),
                Pool(name) as pool,
            ):
                assert pool._max_workers == count
                for number in track(range(10), name):
                    both.wait(10) if number < 5 else None
                    threads[name] |= set(pool.map(lambda _: current().threads, range(4)))
                    if name == "second" and number == 4:
                        stop.set()
        except CancelledError as error:
            ended[name] = type(error)

    workers = [threading.Thread(target=work, args=one) for one in (("first", 1), ("second", 2))]
    for one in workers:
        one.start()
    for one in workers:
        one.join()
    assert ended == {"first": None, "second": CancelledError}
    assert threads == {"first": {1}, "second": {2}}
    assert seen["first"] == [("first", done, 10) for done in range(11)]
    assert seen["second"] == [("second", done, 10) for done in range(6)]


@pytest.mark.parametrize(
    "wrong", [{"threads": 0}, {"tile_cache_mb": 0}, {"tile_cache_mb": np.nan}, {"device": "gpu"}]
)
def test_what_cannot_be_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"0|nan|gpu"):
        ki67.job(**wrong)  # type: ignore[arg-type]


def test_the_work_of_who_gives_up_is_stopped() -> None:
    begun, handed_in = threading.Event(), []

    def work() -> None:
        begun.set()
        while True:
            current().stop_if_cancelled()
            time.sleep(0.001)

    def give_up() -> None:
        with Pool("work", 1) as pool:
            handed_in.extend(pool.submit(work) for _ in range(2))
            begun.wait()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        give_up()

    running, waiting = handed_in
    assert isinstance(running.exception(), CancelledError)
    assert waiting.cancelled()


def test_work_beside_other_work_is_shown_when_it_is_waited_for() -> None:
    seen: Seen = []
    half, whole = threading.Event(), threading.Event()

    def work() -> int:
        message("not said")
        with counted("Beside", 2) as one_more:
            one_more()
            half.set()
            whole.wait(10)
            one_more()
        return 7

    def show(*told: object) -> None:
        seen.append(told)  # type: ignore[arg-type]
        if told == ("Beside", 1, 2):
            whole.set()

    with job(progress=show, threads=2), beside("working", work) as wait_for_it:
        half.wait(10)
        list(track("a", "Going"))
        assert seen == [("Going", 0, 1), ("Going", 1, 1)]
        assert wait_for_it() == 7
    assert seen[2] == ("Beside", 1, 2)
    assert seen[-1] == ("Beside", 2, 2)


def test_work_beside_other_work_ends_with_it() -> None:
    begun, ended = threading.Event(), []

    def work() -> None:
        begun.set()
        try:
            while True:
                current().stop_if_cancelled()
                time.sleep(0.001)
        except CancelledError:
            ended.append("stopped")
            raise

    def fail_beside() -> None:
        with beside("working", work):
            begun.wait(10)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_beside()
    assert ended == ["stopped"]


def test_what_work_beside_other_work_raises_is_raised_where_it_is_waited_for() -> None:
    def work() -> None:
        raise ZeroDivisionError

    with beside("working", work) as wait_for_it:
        time.sleep(0.01)
        with pytest.raises(ZeroDivisionError):
            wait_for_it()


def test_who_waits_for_work_beside_may_be_cancelled() -> None:
    stopped = threading.Event()

    def work() -> None:
        stopped.set()
        while True:
            current().stop_if_cancelled()
            time.sleep(0.001)

    with job(cancelled=stopped), pytest.raises(CancelledError), beside("working", work) as wait_for_it:
        wait_for_it()
