"""Cases in the list and one by one: damaged ones named, none outside the folder, whatever names say."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.exceptions import HTTPException
from starlette.testclient import TestClient

from conftest import client
from ki67.server.places import Places
from ki67.server.state import State


def test_a_case_in_short_and_whole(reader: TestClient) -> None:
    (short,) = reader.get("/api/cases").json()
    assert (short["id"], short["kind"], short["state"]) == ("case", "score", "finished")
    assert short["corrected_index_percent"] is None
    assert short["ci95_percent"][0] < short["index_percent"] < short["ci95_percent"][1]
    whole = reader.get("/api/cases/case").json()
    assert whole["index_percent"] == short["index_percent"] == whole["automatic"]["index_percent"]
    assert whole["corrected"] is None
    assert whole["slides"]["ki67"]["width_um"] == 600
    assert whole["slides"]["he"]["available"]
    assert whole["registration"]["mirrored"]
    assert whole["registration"]["deformable"]
    assert {layer["id"] for layer in whole["layers"]} == {"heatmap", "index", "agreement"}
    assert {place["kind"] for place in whole["places"]} == {"hot_spot", "guideline"}
    assert json.loads(json.dumps(whole["score"]))["cells"] == short["cells"]


def test_damaged_and_unfinished_cases_are_named(root: Path, script: TestClient) -> None:
    for name in ("broken", "half", "changed", "corrected badly", "old"):
        shutil.copytree(root / "case", root / "more" / name)
    (root / "more" / "broken" / "run.json").write_text("{")
    manifest = json.loads((root / "case" / "run.json").read_text())
    (root / "more" / "half" / "run.json").write_text(json.dumps(manifest | {"state": "running"}))
    (root / "more" / "changed" / "score.json").write_text("{}")
    (root / "more" / "corrected badly" / "corrections.json").write_text('{"format": 9}')
    (root / "more" / "old" / "run.json").write_text(json.dumps(manifest | {"format": 0}))
    (root / "empty").mkdir()

    cases = {case["name"]: case for case in script.get("/api/cases").json()}

    assert {name: case["state"] for name, case in cases.items()} == {
        "case": "finished",
        "more/broken": "damaged",
        "more/half": "unfinished",
        "more/changed": "damaged",
        "more/corrected badly": "damaged",
        "more/old": "damaged",
    }
    assert "not valid JSON" in cases["more/broken"]["error"]
    assert script.get(f"/api/cases/{cases['more/broken']['id']}").status_code == 409
    assert script.get(f"/api/cases/{cases['more/changed']['id']}").status_code == 422
    half = script.get(f"/api/cases/{cases['more/half']['id']}").json()
    assert half["state"] == "unfinished"
    assert half["automatic"] is None
    assert script.get(f"/api/cases/{cases['more/half']['id']}/cells").status_code == 422


HOSTILE = ["a~b", "100%", "%7E", "=7E", "ä ö", "<img src=x onerror=alert(1)>", "a;b&c=d?e#f", "x..", "~"]


@pytest.mark.parametrize("name", HOSTILE)
def test_any_name_of_a_folder_reaches_its_case(root: Path, script: TestClient, name: str) -> None:
    (root / "case").rename(root / name)
    (case,) = script.get("/api/cases").json()
    assert case["name"] == name
    assert script.get(f"/api/cases/{quote(case['id'], safe='')}").json()["name"] == name
    tiles = script.get(f"/api/cases/{quote(case['id'], safe='')}").json()["slides"]["ki67"]["tiles"]
    assert script.get(tiles.format(level=8, col=0, row=0)).status_code == 200


def test_a_case_may_be_the_folder_itself(root: Path, finished: Path) -> None:
    script = client(State.of(root / "case", (finished / "slides",)))
    (case,) = script.get("/api/cases").json()
    assert case["id"] == "~"
    assert script.get("/api/cases/~/corrections").status_code == 200


@given(
    st.lists(
        st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=8),
        min_size=1,
        max_size=3,
    )
)
def test_names_in_addresses_are_names_of_one_folder(parts: list[str]) -> None:
    if any(part in {".", ".."} for part in parts):
        return
    places = Places(Path("/served"))
    name = places.case_id(Path("/served").joinpath(*parts))
    assert "/" not in name
    with pytest.raises(HTTPException) as refused:
        places.case_folder(name)  # of which there is none on this disk
    assert refused.value.status_code == 404
    assert len({places.case_id(Path("/served").joinpath(*parts)), "~".join(parts)}) <= 2


@pytest.mark.parametrize(
    "case_id", ["..", "..~..", ".", "~~", "%2E%2E", "a~..~case", "/etc", "", "\0", "case~", "%00"]
)
def test_no_address_leads_out_of_the_folder(looked_at: State, case_id: str) -> None:
    with pytest.raises(HTTPException) as refused:
        looked_at.places.case_folder(case_id)
    assert refused.value.status_code == 404


def test_links_out_of_the_folder_lead_nowhere(root: Path, finished: Path, script: TestClient) -> None:
    (root / "link").symlink_to(finished / "case")
    (root / "up").symlink_to(root.parent)
    assert [case["id"] for case in script.get("/api/cases").json()] == ["case"]
    assert script.get("/api/cases/link").status_code == 404
    (root.parent / "other").mkdir()
    for folder in ("link", "up", "..", "/etc", "case/../..", "up/other", "x" * 300):
        assert script.get("/api/files", params={"dir": folder}).status_code == 403, folder
    assert [entry["name"] for entry in script.get("/api/files").json()["entries"]] == ["case"]


def test_a_slide_outside_the_folder_is_not_shown(root: Path) -> None:
    script = client(State.of(root))
    slide = script.get("/api/cases/case").json()["slides"]["ki67"]
    assert not slide["available"]
    assert "--slides" in slide["why_not"]
    assert script.get(slide["tiles"].format(level=8, col=0, row=0)).status_code == 404
    manifest = json.loads((root / "case" / "run.json").read_text())
    manifest["inputs"]["ki67"]["path"] = "/nowhere/slide.tif"
    (root / "case" / "run.json").write_text(json.dumps(manifest))
    assert "lies no longer at" in script.get("/api/cases/case").json()["slides"]["ki67"]["why_not"]


def test_files_are_listed_by_what_they_are(root: Path, script: TestClient) -> None:
    (root / "a.svs").write_bytes(b"x")
    (root / "region.geojson").write_text("{}")
    (root / "notes.txt").write_text("secret")
    (root / ".hidden").mkdir()
    os.mkfifo(root / "pipe.tif")
    kinds = {entry["name"]: entry["kind"] for entry in script.get("/api/files").json()["entries"]}
    assert kinds == {"a.svs": "slide", "case": "case", "pipe.tif": "slide", "region.geojson": "regions"}
    assert script.get("/api/files", params={"dir": "nothing"}).status_code == 404


def test_reports_and_exports_are_downloads(reader: TestClient) -> None:
    assert "<title>report" in reader.get("/api/cases/case/report").text
    for one in reader.get("/api/cases/case/exports").json():
        if one["format"] in {"csv", "geojson", "parquet", "dsa.json"}:
            answer = reader.get("/api/cases/case/export", params={"format": one["format"]})
            assert answer.status_code == 200, answer.text
            assert f'filename="case.{one["format"]}"' in answer.headers["content-disposition"]
            assert len(answer.content) > 1000
    assert reader.get("/api/cases/case/export", params={"format": "../x"}).status_code == 422


def test_a_report_follows_corrections(root: Path, script: TestClient) -> None:
    body = {"by": "A. B.", "why": "seen", "kind": "remove", "row": 3}
    body["version"] = script.get("/api/cases/case/corrections").json()["version"]
    assert script.post("/api/cases/case/corrections", json=body).status_code == 200
    assert not (root / "case" / "report.html").exists()
    answer = script.get("/api/cases/case/report")
    assert answer.status_code == 200, answer.text
    assert "A. B." in answer.text
    assert script.get("/api/cases/case/report.pdf").content.startswith(b"%PDF")
    assert script.get("/api/cases/case").json()["corrected"]["cells"] > 0


def test_regions_are_in_micrometres(reader: TestClient) -> None:
    told = reader.get("/api/cases/case/regions").json()
    for name in ("he", "ki67", "counted"):
        corners = told[name]["features"][0]["geometry"]["coordinates"]
        assert str(540.0) in str(corners)
    assert told["excluded"]["features"] == []
