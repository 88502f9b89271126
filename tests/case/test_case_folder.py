"""A case's folder keeps what is done, and refuses what it must not mix."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ki67.case import Case, Stage, open_case
from ki67.case.log import LOG
from ki67.case.manifest import MANIFEST
from ki67.errors import CaseError, RegionError
from ki67.files import write_text

SLIDE = {"ki67": {"path": "a.svs", "mpp": 0.25, "fingerprint": {"bytes": 1, "sha256": "00"}}}
OTHER = {"ki67": {"path": "b.svs", "mpp": 0.25, "fingerprint": {"bytes": 2, "sha256": "11"}}}
COUNT = Stage("count", 1, ("count.txt",))


def run_count(case: Case, calls: list[str], text: str = "7", **parameters: object) -> dict[str, object]:
    def work() -> dict[str, object]:
        calls.append(text)
        write_text(case.path("count.txt"), text)
        return {"count": text, "warnings": ["pale"]}

    return case.run_stage(COUNT, parameters, (), work)


def test_a_finished_stage_is_not_run_again(tmp_path: Path) -> None:
    calls: list[str] = []
    for _ in range(2):
        with open_case(tmp_path, "count", SLIDE, {}) as case:
            summary = run_count(case, calls)

    assert calls == ["7"]
    assert summary == {"count": "7", "warnings": ["pale"]}


def test_a_changed_parameter_runs_the_stage_again(tmp_path: Path) -> None:
    calls: list[str] = []
    with open_case(tmp_path, "count", SLIDE, {}) as case:
        run_count(case, calls, threshold=0.2)
        run_count(case, calls, threshold=0.3)

    assert len(calls) == 2


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_text("8")])
def test_a_lost_or_changed_output_runs_the_stage_again(tmp_path: Path, damage: object) -> None:
    calls: list[str] = []
    with open_case(tmp_path, "count", SLIDE, {}) as case:
        run_count(case, calls)
        damage(case.path("count.txt"))  # type: ignore[operator]
        run_count(case, calls)

    assert len(calls) == 2
    assert (tmp_path / "count.txt").read_text() == "7"


def test_a_changed_file_that_a_stage_reads_runs_it_again(tmp_path: Path) -> None:
    stage, calls = Stage("score", 1, ("score.txt",)), []
    with open_case(tmp_path, "count", SLIDE, {}) as case:

        def work() -> dict[str, object]:
            calls.append(1)
            write_text(case.path("score.txt"), "x")
            return {"warnings": []}

        for text in ("a", "a", "b"):
            write_text(case.path("in.txt"), text)
            case.run_stage(stage, {}, ("in.txt",), work)

    assert len(calls) == 2


def test_a_failed_stage_is_recorded_with_its_error_and_runs_again(tmp_path: Path) -> None:
    def fail() -> dict[str, object]:
        raise RegionError("no carcinoma")

    with open_case(tmp_path, "count", SLIDE, {}) as case, pytest.raises(RegionError):
        case.run_stage(COUNT, {}, (), fail)

    manifest = json.loads((tmp_path / MANIFEST).read_text())
    assert manifest["stages"]["count"]["state"] == "failed"
    assert manifest["stages"]["count"]["error"] == "no carcinoma"
    with open_case(tmp_path, "count", SLIDE, {}) as case:
        assert run_count(case, [])["count"] == "7"


def test_a_folder_that_holds_another_slide_is_refused(tmp_path: Path) -> None:
    with open_case(tmp_path, "count", SLIDE, {}):
        pass

    with (
        pytest.raises(CaseError, match=r"another slide \(a.svs, not b.svs\)"),
        open_case(tmp_path, "count", OTHER, {}),
    ):
        pass


def test_a_folder_in_use_is_refused(tmp_path: Path) -> None:
    with (
        open_case(tmp_path, "count", SLIDE, {}),
        pytest.raises(CaseError, match="in use"),
        open_case(tmp_path, "count", SLIDE, {}),
    ):
        pass


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"format": 99, "stages": {}}', '{"format": 1, "stages": []}'])
def test_a_damaged_manifest_is_refused_with_a_way_out(tmp_path: Path, text: str) -> None:
    (tmp_path / MANIFEST).write_text(text)

    with pytest.raises(CaseError, match="--out"), open_case(tmp_path, "count", SLIDE, {}):
        pass


def test_what_a_killed_writer_left_behind_is_removed(tmp_path: Path) -> None:
    leftover = tmp_path / "idc" / ".part-0_xyz123-heatmap.tif"
    leftover.parent.mkdir()
    leftover.write_text("half")

    with open_case(tmp_path, "count", SLIDE, {}, ["idc/heatmap.tif"]):
        assert not leftover.exists()


@pytest.mark.parametrize(
    "name",
    [
        ".part-mine",
        ".part-0_xyz123-thesis.doc",
        "deep/.part-0_xyz123-heatmap.tif",
        "idc/.part-toolong012-heatmap.tif",
        "idc/heatmap.tif.part",
    ],
)
def test_files_of_other_people_stay(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("precious")

    with open_case(tmp_path, "count", SLIDE, {}, ["idc/heatmap.tif", "count.txt"]) as case:
        run_count(case, [])

    assert path.read_text() == "precious"


def test_a_file_that_no_run_wrote_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "count.txt").write_text("precious")

    with (
        pytest.raises(CaseError, match="was not written by this program"),
        open_case(tmp_path, "count", SLIDE, {}, ["count.txt"]),
    ):
        pass
    assert (tmp_path / "count.txt").read_text() == "precious"


@pytest.mark.parametrize("name", ["../count.txt", "/etc/hosts", "a/../../b", "", "."])
def test_a_manifest_that_claims_files_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    with open_case(tmp_path, "count", SLIDE, {}) as case:
        run_count(case, [])
    manifest = json.loads((tmp_path / MANIFEST).read_text())
    manifest["stages"]["count"]["outputs"][name] = "00"
    (tmp_path / MANIFEST).write_text(json.dumps(manifest))

    with pytest.raises(CaseError, match="outside the folder"), open_case(tmp_path, "count", SLIDE, {}):
        pass


@pytest.mark.parametrize("entry", ["summary", "outputs", "key", "seconds", "seal", "writes", "reads", "started"])
def test_a_record_that_lacks_something_runs_its_stage_again(tmp_path: Path, entry: str) -> None:
    calls: list[str] = []
    with open_case(tmp_path, "count", SLIDE, {}, ["count.txt"]) as case:
        run_count(case, calls)
    manifest = json.loads((tmp_path / MANIFEST).read_text())
    del manifest["stages"]["count"][entry]
    (tmp_path / MANIFEST).write_text(json.dumps(manifest))

    with open_case(tmp_path, "count", SLIDE, {}, ["count.txt"]) as case:
        assert run_count(case, calls)["count"] == "7"


@pytest.mark.parametrize(
    ("entry", "instead"),
    [
        ("writes", [["count.txt"]]),
        ("reads", [{}]),
        ("writes", [3]),
        ("seconds", 10**400),
        ("seconds", "1"),
        ("peak_memory_mib", "Infinity"),
        ("peak_memory_mib", 10**400),
        ("parameters", ["he"]),
    ],
)
def test_a_record_with_entries_of_another_kind_is_refused(tmp_path: Path, entry: str, instead: object) -> None:
    with open_case(tmp_path, "count", SLIDE, {}) as case:
        run_count(case, [])
    manifest = json.loads((tmp_path / MANIFEST).read_text())
    manifest["stages"]["count"][entry] = instead
    (tmp_path / MANIFEST).write_text(json.dumps(manifest))

    with pytest.raises(CaseError, match=r"is damaged|is no finite number"), open_case(tmp_path, "count", SLIDE, {}):
        pass


@pytest.mark.parametrize("entry", ["format", "command", "inputs", "models", "versions", "stages"])
@pytest.mark.parametrize("instead", [None, [], "text", float("nan"), [[[[]]]]])
def test_a_manifest_that_lacks_something_is_refused(tmp_path: Path, entry: str, instead: object) -> None:
    with open_case(tmp_path, "count", SLIDE, {}) as case:
        run_count(case, [])
    manifest = json.loads((tmp_path / MANIFEST).read_text()) | {entry: instead}
    if entry == "command" and instead == "text":
        return
    (tmp_path / MANIFEST).write_text(json.dumps(manifest))

    with pytest.raises(CaseError, match="--out"), open_case(tmp_path, "count", SLIDE, {}):
        pass


@pytest.mark.parametrize("text", ['{"stages":' * 5000, "[" * 100_000 + "]" * 100_000, '{"a":' * 90 + "1" + "}" * 90])
def test_a_manifest_nested_without_end_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / MANIFEST).write_text(text)

    with pytest.raises(CaseError, match="--out"), open_case(tmp_path, "count", SLIDE, {}):
        pass


def test_a_lock_that_is_a_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / ".lock").mkdir()

    with pytest.raises(CaseError, match="cannot be locked"), open_case(tmp_path, "count", SLIDE, {}):
        pass


def test_folders_that_cannot_be_a_case_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for folder in (
        tmp_path / "file",
        tmp_path / "loop",
        tmp_path / "loop" / "case",
        tmp_path / ("n" * 300),
        Path("/"),
    ):
        with pytest.raises(CaseError, match="--out"), open_case(folder, "count", SLIDE, {}):
            pass


def test_a_name_that_is_not_unicode_does_not_stop_the_manifest(tmp_path: Path) -> None:
    calls: list[str] = []
    for _ in range(2):
        slide = {"ki67": SLIDE["ki67"] | {"path": "Pr\udcfcfung.svs"}}
        with open_case(tmp_path, "count", slide, {}) as case:
            run_count(case, calls, text="\ud800")

    assert calls == ["\ud800"]
    manifest = json.loads((tmp_path / MANIFEST).read_bytes())
    assert manifest["inputs"]["ki67"]["path"] == r"Pr\xfcfung.svs"


class Chain:
    """Data, a score made of it, a report made of that; the score can be refused."""

    data = Stage("data", 1, ("data.txt",))
    score = Stage("score", 1, ("score.json",), result=True)
    report = Stage("report", 1, ("report.html",), result=True)

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, value: str, *, refused: bool = False, models: dict[str, str] | None = None) -> None:
        files = [name for stage in (self.data, self.score, self.report) for name in stage.writes]
        with open_case(self.folder, "score", SLIDE, models or {}, files) as case:
            self._stage(case, self.data, None, {"value": value}, value)
            if refused:
                raise RegionError("no carcinoma")
            self._stage(case, self.score, "data.txt", {}, f"score of {value}")
            self._stage(case, self.report, "score.json", {}, f"report of score of {value}")

    def _stage(self, case: Case, stage: Stage, reads: str | None, parameters: dict[str, str], text: str) -> None:
        def work() -> dict[str, object]:
            write_text(case.path(stage.outputs[0]), text)
            return {"warnings": []}

        case.run_stage(stage, parameters, [reads] if reads else [], work)

    def content(self) -> list[str | None]:
        paths = [self.folder / name for name in ("data.txt", "score.json", "report.html")]
        return [path.read_text() if path.exists() else None for path in paths]

    def manifest(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / MANIFEST).read_text())
        return found


def test_a_refused_run_leaves_no_result_of_an_earlier_one(tmp_path: Path) -> None:
    chain = Chain(tmp_path)
    chain.run("a")
    assert chain.content() == ["a", "score of a", "report of score of a"]
    assert chain.manifest()["state"] == "done"

    with pytest.raises(RegionError):
        chain.run("b", refused=True)

    assert chain.content() == ["b", None, None]
    assert (chain.manifest()["state"], chain.manifest()["error"]) == ("failed", "no carcinoma")


def test_a_run_refused_before_anything_is_new_leaves_no_result_either(tmp_path: Path) -> None:
    chain = Chain(tmp_path)
    chain.run("a")

    with pytest.raises(RegionError):
        chain.run("a", refused=True)

    assert chain.content() == ["a", None, None]
    chain.run("a")
    assert chain.content() == ["a", "score of a", "report of score of a"]
    assert (chain.manifest()["state"], "error" in chain.manifest()) == ("done", False)


def test_a_result_that_is_refused_is_recorded_with_the_reason(tmp_path: Path) -> None:
    def few() -> dict[str, object]:
        raise RegionError("only 37 tumour cells")

    chain = Chain(tmp_path)
    chain.run("a")
    with pytest.raises(RegionError), open_case(tmp_path, "score", SLIDE, {}) as case:
        case.run_stage(Chain.score, {"few": True}, ["data.txt"], few)

    assert chain.content() == ["a", None, None]
    assert chain.manifest()["error"] == chain.manifest()["stages"]["score"]["error"] == "only 37 tumour cells"
    assert (chain.manifest()["state"], chain.manifest()["stages"]["score"]["state"]) == ("failed", "failed")


def test_results_go_before_the_manifest_names_another_model(tmp_path: Path) -> None:
    chain = Chain(tmp_path)
    chain.run("a", models={"cells": "00"})

    with open_case(tmp_path, "score", SLIDE, {"cells": "11"}):
        assert chain.content() == ["a", None, None]


def test_what_this_run_does_not_use_is_taken_away(tmp_path: Path) -> None:
    with open_case(tmp_path, "count", SLIDE, {}) as case:
        run_count(case, [])
    with open_case(tmp_path, "count", SLIDE, {}) as case:
        case.keep_only_used("report")
    assert not (tmp_path / "count.txt").exists()
    assert json.loads((tmp_path / MANIFEST).read_text())["stages"] == {}


def killed_at(event: int, work: Callable[[], None]) -> bool:
    """Do the work in a child that is killed at its n-th step on the disk; False where it was over before."""
    child = os.fork()
    if child == 0:
        steps = itertools.count()

        def hook(name: str, _arguments: object) -> None:
            if name in {"os.rename", "os.remove", "os.mkdir", "tempfile.mkstemp"} and next(steps) == event:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)
        try:
            work()
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
@pytest.mark.parametrize("refused", [False, True])
def test_killed_at_any_moment_no_result_stands_beside_other_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: bool
) -> None:
    # A killed process loses nothing that it has written, on the disk or not yet.
    monkeypatch.setattr(os, "fsync", lambda handle: None)
    monkeypatch.setattr("ki67.case.folder.library_versions", dict)
    finished = Chain(tmp_path / "finished")
    finished.run("a")
    event, killed = 0, True
    while killed:
        chain = Chain(shutil.copytree(finished.folder, tmp_path / str(event)))
        killed = killed_at(event, lambda chain=chain: chain.run("b", refused=refused))
        data, score, report = chain.content()
        assert score in {None, f"score of {data}"}
        assert report in {None, f"report of {score}"}
        chain.run("b")
        assert chain.content() == ["b", "score of b", "report of score of b"]
        assert {path.name for path in chain.folder.iterdir()} <= {
            *("data.txt", "score.json", "report.html", MANIFEST, LOG, ".lock")
        }
        event += 1
    assert event > 8
