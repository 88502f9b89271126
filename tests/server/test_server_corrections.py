"""Corrections: the index follows, undone at will, nobody overwrites another, and nothing is lost."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from made_case import make_case
from shapely.geometry import box, mapping
from starlette.testclient import TestClient

from conftest import browser, client
from ki67.case import read_case
from ki67.case.corrections import MOST_AT_ONCE, Nudge, ReplaceRegion, Undo, read_corrections
from ki67.correcting import correct as correct_case
from ki67.server.state import State

CASE = "/api/cases/case"


def version_of(one: TestClient) -> str:
    return str(one.get(f"{CASE}/corrections").json()["version"])


def correct(one: TestClient, body: dict[str, Any], where: str = "corrections", **said: Any) -> Any:
    told = {"by": "A. B.", "why": "seen", "version": version_of(one)} | said
    if where == "sign-out":
        del told["why"]
    return one.post(f"{CASE}/{where}", json=told | body)


def some(one: TestClient, label: str, count: int = 1) -> list[int]:
    cells = one.get(f"{CASE}/gallery", params={"label": label, "limit": count}).json()["cells"]
    return [cell["row"] for cell in cells]


def area(*bounds: float) -> dict[str, Any]:
    return json.loads(json.dumps(mapping(box(*bounds))))


def test_a_cell_switched_moves_the_index_and_is_undone(script: TestClient) -> None:
    before = script.get(CASE).json()["automatic"]
    (row,) = some(script, "negative")
    made = correct(script, {"kind": "relabel", "row": row, "to": "positive"})
    assert made.status_code == 200, made.text
    told = made.json()
    assert told["automatic"]["index_percent"] == before["index_percent"] < told["corrected"]["index_percent"]
    assert told["corrected"]["positive"] == before["positive"] + 1
    assert told["item"]["active"]
    assert (told["can_undo"], told["can_redo"]) == (True, False)
    (short,) = script.get("/api/cases").json()
    assert short["corrected_index_percent"] == told["corrected"]["index_percent"]

    undone = correct(script, {}, "undo").json()
    assert undone["corrected"] is None
    assert script.get("/api/cases").json()[0]["corrected_index_percent"] is None
    again = correct(script, {}, "redo").json()
    assert again["corrected"] == told["corrected"]
    assert [item["kind"] for item in script.get(f"{CASE}/corrections").json()["items"]] == ["relabel", "undo", "redo"]
    assert correct(script, {}, "redo").status_code == 422


def test_a_brush_is_one_step(script: TestClient) -> None:
    before = script.get(CASE).json()["automatic"]
    rows = some(script, "negative", 300)
    made = correct(script, {"kind": "relabel", "rows": [*rows, *rows], "to": "positive"}).json()
    assert made["corrected"]["positive"] == before["positive"] + 300
    assert "300 cells at once" in made["item"]["summary"]
    keys = [script.get(f"{CASE}/cells/{row}").json()["key"] for row in rows[:2]]
    removed = correct(script, {"kind": "remove", "keys": keys}).json()
    assert removed["corrected"]["positive"] == before["positive"] + 298
    assert correct(script, {}, "undo").json()["corrected"] == made["corrected"]
    assert correct(script, {}, "undo").json()["corrected"] is None


def test_areas_and_regions_change_what_counts(script: TestClient) -> None:
    before = script.get(CASE).json()["automatic"]
    out = correct(script, {"kind": "exclude", "area": area(60, 60, 300, 540)}).json()["corrected"]
    assert out["area_mm2"] == pytest.approx(before["area_mm2"] / 2)
    assert 0 < out["cells"] < before["cells"]
    (left_out,) = script.get(f"{CASE}/regions").json()["excluded"]["features"]
    assert left_out["properties"]["kind"] == "hand"
    assert left_out["properties"]["reason"] == "left out by hand"
    back = correct(script, {"kind": "include", "area": area(0, 0, 600, 600)}).json()["corrected"]
    assert back["cells"] == before["cells"]
    drawn = correct(script, {"kind": "region", "area": area(100, 100, 200, 200)}).json()["corrected"]
    assert drawn["area_mm2"] == pytest.approx(0.01)
    there = correct(script, {"kind": "region", "slide": "he", "area": area(100, 100, 200, 200)}).json()["corrected"]
    assert there["area_mm2"] == pytest.approx(0.01, rel=0.1)
    assert there["cells"] != drawn["cells"]


def test_a_nudge_moves_region_and_pictures(script: TestClient) -> None:
    before = script.get(CASE).json()
    assert correct(script, {"kind": "nudge", "shift_um": [15, -10], "rotate_deg": 1}).status_code == 200
    after = script.get(CASE).json()
    assert after["map_digest"] != before["map_digest"]
    assert script.get(before["warped"].format(level=8, col=0, row=0)).status_code == 404
    assert script.get(after["warped"].format(level=8, col=0, row=0)).status_code == 200
    far = correct(script, {"kind": "nudge", "shift_um": [300, 0]})
    assert far.status_code == 422
    assert "Count it anew into another folder" in far.json()["needs_recount"]
    assert len(script.get(f"{CASE}/corrections").json()["items"]) == 1


def test_an_outline_that_a_person_drew_is_not_in_doubt(tmp_path: Path) -> None:
    case = make_case(tmp_path)
    automatic = read_case(case).score.intervals
    assert automatic is not None
    assert automatic.outline is not None
    said = {"by": "A", "why": "seen"}
    nudged = correct_case(case, Nudge(shift_um=(5, -5), rotate_deg=0.5), **said).score.intervals
    assert nudged is not None
    assert nudged.outline == pytest.approx(automatic.outline, abs=2)
    drawn = correct_case(case, ReplaceRegion(area=area(100, 100, 500, 500)), **said).score.intervals
    assert drawn is not None
    assert drawn.outline is None
    undone = correct_case(case, Undo(), **said).score.intervals
    assert undone == nudged
    (case / "idc" / "heatmap.tif").unlink()
    without = correct_case(case, Nudge(shift_um=(1, 0), rotate_deg=0), **said).score.intervals
    assert without is not None
    assert without.outline is None


def test_two_browsers_do_not_overwrite_each_other(state: State) -> None:
    first, second = browser(state), browser(state)
    version = version_of(first)
    (row, other) = some(first, "negative", 2)
    body = {"by": "A", "why": "seen", "version": version, "kind": "relabel", "row": row, "to": "positive"}
    assert first.post(f"{CASE}/corrections", json=body).status_code == 200
    late = second.post(f"{CASE}/corrections", json=body | {"by": "B", "row": other})
    assert late.status_code == 409
    assert late.json()["version"] == version_of(second)
    assert "was corrected by A since" in late.json()["error"]
    assert (
        second.post(f"{CASE}/corrections", json=body | {"row": other, "version": late.json()["version"]}).status_code
        == 200
    )
    assert len(read_corrections(state.places.root / "case")) == 2


def test_many_at_the_same_moment_lose_nothing(state: State) -> None:
    rows, made = some(client(state), "negative", 12), []
    # FastAPI builds a route when it is first asked for, and what keeps its warnings quiet then is not for threads.
    readers = [client(state) for _ in rows]
    for reader in readers:
        assert reader.get(CASE).status_code == reader.get("/api/openapi.json").status_code == 200

    def work(one: TestClient, row: int) -> None:
        while True:
            answer = correct(one, {"kind": "relabel", "row": row, "to": "positive"}, by=f"reader {row}")
            if answer.status_code == 200:
                made.append(answer.json()["item"]["id"])
                return
            assert answer.status_code == 409

    threads = [threading.Thread(target=work, args=pair) for pair in zip(readers, rows, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log = read_corrections(state.places.root / "case")
    assert sorted(made) == [one.number for one in log] == list(range(1, 13))
    assert {one.by for one in log} == {f"reader {row}" for row in rows}


def test_a_case_signed_out_stays_as_it_is(script: TestClient) -> None:
    correct(script, {"kind": "relabel", "row": some(script, "negative")[0], "to": "positive"})
    signed = correct(script, {}, "sign-out")
    assert signed.json()["signed_out"]
    assert signed.json()["signed_out_by"] == "A. B."
    assert not signed.json()["can_undo"]
    assert script.get("/api/cases").json()[0]["signed_out"]
    for where, body in (("corrections", {"kind": "remove", "row": 3}), ("undo", {}), ("redo", {}), ("sign-out", {})):
        refused = correct(script, body, where)
        assert refused.status_code == 409
        assert "was signed out by A. B." in refused.json()["error"]
    opened = correct(script, {}, "reopen")
    assert opened.json()["corrected"] == signed.json()["corrected"]
    assert not opened.json()["signed_out"]
    assert correct(script, {}, "reopen").status_code == 422
    assert correct(script, {}, "undo").json()["corrected"] is None


def test_a_run_in_the_folder_is_waited_for(state: State, script: TestClient) -> None:
    with FileLock(state.places.root / "case" / ".lock"):
        busy = correct(script, {"kind": "remove", "row": 3})
    assert busy.status_code == 503
    assert busy.headers["retry-after"]
    assert correct(script, {"kind": "remove", "row": 3}).status_code == 200


def test_what_another_program_corrects_is_seen(state: State, script: TestClient, ki67: Any) -> None:
    key = script.get(f"{CASE}/cells/5").json()["key"]
    told = ("--by", "C. D.", "--why", "seen", "--quiet")
    assert ki67("correct", state.places.root / "case", "remove", "--cell", key, *told).code == 0
    assert script.get(f"{CASE}/cells/5").status_code == 404
    assert ki67("correct", state.places.root / "case", "sign-out", "--by", "C. D.", "--quiet").code == 0
    assert script.get(CASE).json()["signed_out_by"] == "C. D."
    assert "open it again first" in ki67("correct", state.places.root / "case", "undo", *told).stderr
    assert ki67("correct", state.places.root / "case", "reopen", *told).code == 0


def test_texts_are_kept_and_told_as_they_are(script: TestClient) -> None:
    why = "<script>alert(1)</script> \u202e \U0001f600 " + "é" * 100
    assert correct(script, {"kind": "remove", "row": 3}, why=why, by="<b>A</b>").status_code == 200
    item = script.get(f"{CASE}/corrections").json()["items"][0]
    assert (item["why"], item["who"]) == (why.strip(), "<b>A</b>")


BAD = [
    {"kind": "relabel", "row": 1},
    {"kind": "relabel", "row": 1, "to": "red"},
    {"kind": "relabel", "row": 999_999, "to": "positive"},
    {"kind": "relabel", "row": 1, "rows": [1], "to": "positive"},
    {"kind": "relabel", "to": "positive"},
    {"kind": "relabel", "rows": [], "to": "positive"},
    {"kind": "relabel", "rows": [1] * (MOST_AT_ONCE + 1), "to": "positive"},
    {"kind": "remove", "key": 12},
    {"kind": "add", "x_um": -5, "y_um": 1, "label": "positive"},
    {"kind": "add", "x_um": 1e9, "y_um": 1, "label": "positive"},
    {"kind": "exclude", "area": {"type": "Point", "coordinates": [1, 1]}},
    {"kind": "exclude", "area": {"type": "Polygon", "coordinates": "x"}},
    {"kind": "exclude", "area": {"type": "Polygon", "coordinates": []}},
    {"kind": "exclude", "area": {"type": "Polygon", "coordinates": [[[0, 0], [1, None], [1, 1], [0, 0]]]}},
    {"kind": "exclude", "area": area(5000, 5000, 6000, 6000)},
    {"kind": "exclude", "area": {}},
    {"kind": "nudge", "shift_um": [1e5, 0]},
    {"kind": "nudge", "rotate_deg": 400},
    {"kind": "sign_out"},
    {"kind": "undo"},
    {},
]


@pytest.mark.parametrize("body", BAD, ids=[str(body)[:60] for body in BAD])
def test_what_says_nothing_leaves_no_entry(state: State, script: TestClient, body: dict[str, Any]) -> None:
    answer = correct(script, body)
    assert answer.status_code == 422, answer.text
    assert "\n" not in answer.json()["error"]
    assert not (state.places.root / "case" / "corrections.json").exists()


@pytest.mark.parametrize("said", [{"by": ""}, {"by": "  "}, {"why": ""}, {"why": "x" * 3000}, {"version": 1}])
def test_nobody_corrects_without_a_name_and_a_reason(script: TestClient, said: dict[str, Any]) -> None:
    assert correct(script, {"kind": "remove", "row": 3}, **said).status_code == 422


def test_not_a_number_in_a_body_is_refused(script: TestClient) -> None:
    text = '{"by": "A", "why": "w", "version": "%s", "kind": "exclude", "area": {"type": "Polygon", "coordinates": '
    text = text % version_of(script) + "[[[0, 0], [NaN, 5], [100, 100], [0, 0]]]}}"
    answer = script.post(f"{CASE}/corrections", content=text, headers={"content-type": "application/json"})
    assert answer.status_code == 422


def test_fields_are_counted_blind_and_kept(state: State, script: TestClient) -> None:
    fields = script.get(f"{CASE}/fields").json()
    assert fields
    assert {field["program"] for field in fields} == {None}
    assert len(fields[0]["polygon_um"]) == 64
    body = {"by": "A. B.", "positive": 30, "negative": 70}
    told = script.post(f"{CASE}/fields/{fields[0]['id']}/counts", json=body).json()
    program = told["program"]
    assert program["positive"] + program["negative"] == 100
    assert told["difference_points"] == pytest.approx(30 - program["index_percent"])
    assert told["overall"]["fields"] == 1
    again = script.get(f"{CASE}/fields").json()
    assert [field["program"] is None for field in again] == [False] + [True] * (len(fields) - 1)
    # Another reader of the same case still counts blind.
    assert {field["program"] for field in script.get(f"{CASE}/fields?by=C. D.").json()} == {None}
    script.post(f"{CASE}/fields/{fields[0]['id']}/counts", json=body | {"positive": 40})
    kept = json.loads((state.places.root / "case" / "field_counts.json").read_text())["counts"]
    assert [one["positive"] for one in kept] == [30, 40]
    for wrong in (
        {"positive": -1},
        {"positive": 0, "negative": 0},
        {"by": " "},
        {"positive": 1.5},
        {"negative": 10**9},
    ):
        assert script.post(f"{CASE}/fields/{fields[0]['id']}/counts", json=body | wrong).status_code == 422
    assert script.post(f"{CASE}/fields/nothing/counts", json=body).status_code == 422
    (state.places.root / "case" / "field_counts.json").write_text("{")
    assert script.get(f"{CASE}/fields").status_code == 422
