"""Tiles are the slide's own pixels; the H&E lies where the map says; maps are drawn on their grid."""

from __future__ import annotations

import asyncio
import shutil
import threading
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from made_case import MPP, SIDE_PX, SIDE_UM, make_case, turned
from shapely.geometry import MultiPolygon, box
from starlette.testclient import TestClient

from conftest import PORT, client
from ki67.geometry import RectUm
from ki67.registration import Piece, PiecewiseTransform
from ki67.server.app import create_app
from ki67.server.library import EncodedTiles
from ki67.server.overlay import SectionMap
from ki67.server.routes.common import CLIENT_GONE
from ki67.server.slide_pool import SlidePool
from ki67.server.state import State
from ki67.server.tiles import Grid, read_tile
from ki67.slides import open_slide


def slide_of(state: State, role: str) -> Path:
    return Path(state.library.case("case").record(role).path)


def test_tiles_of_all_levels_are_the_slide(looked_at: State, reader: TestClient) -> None:
    facts = reader.get("/api/cases/case").json()["slides"]["ki67"]
    with open_slide(slide_of(looked_at, "ki67")) as slide:
        for level, side in ((facts["max_level"], SIDE_PX), (facts["max_level"] - 1, SIDE_PX // 2), (8, 150), (0, 1)):
            last = (side - 1) // 256
            answer = reader.get(facts["tiles"].format(level=level, col=last, row=last))
            pixels = imagecodecs.jpeg8_decode(answer.content)
            width = side - 256 * last
            mpp = MPP * 2 ** (facts["max_level"] - level)
            expected = slide.read(RectUm(last * 256 * mpp, last * 256 * mpp, width * mpp, width * mpp), mpp)
            assert pixels.shape == expected.shape
            assert np.abs(pixels.astype(int) - expected).mean() < 2


def test_a_grid_counts_as_deep_zoom_does() -> None:
    grid = Grid((1001, 300), 0.25)
    assert grid.last_level == 10
    assert [grid.level_size_px(level) for level in (10, 9, 8, 1, 0)] == [
        (1001, 300), (501, 150), (251, 75), (2, 1), (1, 1)
    ]  # fmt: skip
    assert Grid((1, 1), 0.25).last_level == 0
    assert Grid((2, 2), 0.25).last_level == 1


def test_a_browser_keeps_tiles_for_ever_and_asks_for_new_ones(reader: TestClient) -> None:
    tiles = reader.get("/api/cases/case").json()["slides"]["ki67"]["tiles"]
    address = tiles.format(level=8, col=0, row=0)
    answer = reader.get(address)
    assert answer.headers["cache-control"] == "private, max-age=31536000, immutable"
    again = reader.get(address, headers={"if-none-match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    for wrong in ("0" * 20, "../case", "z" * 20):
        digest = tiles.split("/")[-3]
        assert reader.get(address.replace(digest, wrong)).status_code in {404, 422}


@pytest.mark.parametrize("place", ["99/0_0", "8/1_0", "8/0_1", "8/-1_0", "8/99999999999_0", "x/0_0", "8/0_0.5"])
def test_there_are_no_other_tiles(reader: TestClient, place: str) -> None:
    tiles = reader.get("/api/cases/case").json()["slides"]["ki67"]["tiles"]
    assert reader.get(tiles.replace("{level}/{col}_{row}", place)).status_code in {404, 422}


@pytest.mark.parametrize("role", ["label", "macro", "overview", "..", "KI67"])
def test_only_the_scan_is_shown(reader: TestClient, role: str) -> None:
    assert reader.get(f"/api/cases/case/slides/{role}/thumbnail.jpg").status_code in {404, 422}


def test_a_slide_that_changes_is_not_mixed_with_what_it_was(finished: Path, tmp_path: Path) -> None:
    make_case(tmp_path, "case", count=500)
    script = client(State.of(tmp_path))
    tiles = script.get("/api/cases/case").json()["slides"]["he"]["tiles"]
    assert script.get(tiles.format(level=9, col=0, row=0)).status_code == 200
    shutil.copyfile(next((finished / "slides").glob("*ki67.tif")), next((tmp_path / "slides").glob("*he.tif")))
    answer = script.get(tiles.format(level=10, col=0, row=0))
    assert answer.status_code == 422
    assert "is not the slide that the case" in answer.json()["error"]


PAIRS = {
    "quarter": turned(90),
    "mirrored": turned(30, mirrored=True),
    "bent": turned(-75, bent_um=15),
    "mirrored and bent": turned(200, mirrored=True, bent_um=15),
}


@pytest.mark.parametrize("name", PAIRS)
def test_points_map_there_and_back_with_scale_and_angle(name: str) -> None:
    transform = PAIRS[name]
    found = SectionMap(PiecewiseTransform.whole(transform), np.eye(3))
    points = np.random.default_rng(0).uniform(100, 500, (20, 2))
    there = found.described(points, to_ki67=True)
    back = found.described(np.array(there["points_um"]), to_ki67=False)
    assert np.abs(np.array(back["points_um"]) - points).max() < 0.2
    assert there["mirrored"] is back["mirrored"] is transform.mirrored
    assert set(there["mirrored_at"]) == {transform.mirrored}
    # A step along x on one slide goes that way and that far on the other.
    step = np.array([2.0, 0.0])
    ahead = np.array(found.described(points + step, to_ki67=True)["points_um"]) - np.array(there["points_um"])
    angle = np.radians(there["angle_deg"])
    guess = 2 * np.array(there["scale"])[:, None] * np.column_stack([np.cos(angle), np.sin(angle)])
    assert np.abs(ahead - guess).max() < 0.4


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("level", [8, 10, 11])
def test_the_he_lies_on_the_ki67_where_the_map_says(looked_at: State, name: str, level: int) -> None:
    transform = PiecewiseTransform.whole(PAIRS[name])
    found = SectionMap(transform, np.eye(3))
    grid = Grid((SIDE_PX, SIDE_PX), MPP)
    side = grid.level_size_px(level)[0]
    place = grid.place(level, side // 512, side // 512)
    with open_slide(slide_of(looked_at, "he")) as he:
        tile = found.warped(he, place)
        whole = he.read(he.bounds_um, place.mpp).astype(float)
        centres = place.centres_um().reshape(-1, 2)
        there = transform.inverse_points(centres)
        inside = ((there > 4 * place.mpp) & (there < SIDE_UM - 4 * place.mpp)).all(axis=1)
        column, row = (there / place.mpp - 0.5).T
        x, y = column[inside], row[inside]
        left, top = np.floor(x).astype(int), np.floor(y).astype(int)
        dx, dy = (x - left)[:, None], (y - top)[:, None]
        expected = (whole[top, left] * (1 - dx) + whole[top, left + 1] * dx) * (1 - dy)
        expected += (whole[top + 1, left] * (1 - dx) + whole[top + 1, left + 1] * dx) * dy
        seen = tile.reshape(-1, 3)[inside].astype(float)
    assert inside.mean() > 0.5
    assert np.abs(seen - expected).mean() < 1.0
    assert (tile.reshape(-1, 3)[(there < -place.mpp).any(axis=1)] == 255).all()


def test_pieces_go_their_own_ways(looked_at: State) -> None:
    left, right = box(0, 0, 300, 600), box(300, 0, 600, 600)
    shifted = turned(0)
    down = type(shifted)(np.array([[1.0, 0, 0], [0, 1, 50], [0, 0, 1]]))
    pieces = (
        Piece(shifted, MultiPolygon([left]), MultiPolygon([left])),
        Piece(down, MultiPolygon([right]), MultiPolygon([right])),
    )
    lost = MultiPolygon([box(0, 0, 100, 100)])
    found = SectionMap(PiecewiseTransform(pieces, lost), np.eye(3))
    mapped = found.described(np.array([[150.0, 300], [450, 300], [50, 50]]), to_ki67=True)["points_um"]
    assert mapped == [[150, 300], [450, 350], None]
    grid = Grid((SIDE_PX, SIDE_PX), MPP)
    place = grid.place(9, 0, 0)
    with open_slide(slide_of(looked_at, "he")) as he:
        tile, plain = found.warped(he, place), read_tile(he, place)
    assert np.abs(tile[:, 60:140].astype(int) - plain[:, 60:140]).mean() < 1
    assert (tile[:45, :45] == 255).all()
    down_px = round(50 / place.mpp)
    assert np.abs(tile[down_px:, 155:].astype(int) - plain[:-down_px, 155:]).mean() < 1


def test_a_nudge_moves_the_he_too(looked_at: State) -> None:
    motion = np.array([[1.0, 0, 20], [0, 1, -10], [0, 0, 1]])
    found = SectionMap(PiecewiseTransform.whole(turned(0)), motion)
    assert found.described(np.array([[100.0, 100.0]]), to_ki67=True)["points_um"] == [[120, 90]]
    assert found.described(np.array([[120.0, 90.0]]), to_ki67=False)["points_um"] == [[100, 100]]


@pytest.mark.parametrize("points", [[], [[1]], [["a", "b"]], [[1e9, 0]], [[None, 0]], [[0, 0]] * 1001])
def test_points_that_are_none_are_refused(reader: TestClient, points: list[object]) -> None:
    body = {"direction": "he_to_ki67", "points_um": points}
    assert reader.post("/api/cases/case/map", json=body).status_code == 422


def test_maps_are_transparent_where_they_say_nothing(reader: TestClient) -> None:
    case = reader.get("/api/cases/case").json()
    for layer in case["layers"]:
        answer = reader.get(layer["tiles"].format(level=layer["max_level"] - 3, col=0, row=0))
        pixels = imagecodecs.png_decode(answer.content)
        assert pixels.shape == (150, 150, 4)
        assert set(np.unique(pixels[..., 3])) <= {0, 255}
        assert (pixels[..., 3] == 255).any()
        assert (pixels[..., 3] == 0).any() is np.bool_(layer["id"] != "agreement")


def test_slides_share_a_pool_and_are_closed_when_idle(finished: Path) -> None:
    paths = sorted((finished / "slides").glob("*.tif"))
    pool, opened = SlidePool(most_open=1), []

    def opening(path: Path) -> object:
        opened.append(path)
        return open_slide(path)

    with pool.slide(paths[0], lambda: opening(paths[0])) as first:
        with pool.slide(paths[1], lambda: opening(paths[1])) as second:
            assert first.read(RectUm(0, 0, 50, 50), MPP).shape == second.read(RectUm(0, 0, 50, 50), MPP).shape
        with pool.slide(paths[0], lambda: opening(paths[0])) as again:
            assert again is first
    with pool.slide(paths[1], lambda: opening(paths[1])):
        pass
    assert opened == [paths[0], paths[1], paths[1]]
    pool.close()


def test_many_threads_open_a_slide_once(finished: Path) -> None:
    path = next((finished / "slides").glob("*he.tif"))
    pool, opened, seen = SlidePool(), [], []

    def look() -> None:
        with pool.slide(path, lambda: (opened.append(1), open_slide(path))[1]) as slide:
            seen.append(int(slide.read(RectUm(100, 100, 64, 64), 1.0).sum()))

    threads = [threading.Thread(target=look) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(opened) == 1
    assert len(set(seen)) == 1
    assert len(seen) == 8
    pool.close()


def test_sent_tiles_stay_within_their_limit() -> None:
    kept = EncodedTiles(1000)
    made = []
    for number in [*range(20), 19, 0]:
        kept.get(number, lambda number=number: (made.append(number), b"x" * 100)[1])
    assert made == [*range(20), 0]


def test_a_browser_that_has_gone_on_gets_nothing_read(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request whose connection is closed while it waits: no tile is read for it."""
    address = client(state).get("/api/cases/case").json()["slides"]["ki67"]["tiles"].format(level=8, col=0, row=0)
    read: list[object] = []
    monkeypatch.setattr("ki67.server.routes.tiles.read_tile", lambda *_: read.append(1))
    sent: list[dict[str, object]] = []
    headers = [(b"host", b"127.0.0.1:8000"), (b"authorization", f"Bearer {state.keys.token}".encode())]
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "root_path": "",
        "path": address,
        "raw_path": address.encode(),
        "query_string": b"",
        "headers": headers,
    }
    coming = iter([{"type": "http.request", "body": b"", "more_body": False}])

    async def receive() -> dict[str, object]:
        return next(coming, {"type": "http.disconnect"})

    async def send(message: dict[str, object]) -> None:
        sent.append(message)

    asyncio.run(create_app(state, PORT)(scope, receive, send))
    assert sent[0]["status"] == CLIENT_GONE
    assert read == []
