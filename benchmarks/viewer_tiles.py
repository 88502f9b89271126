"""Latency of the viewer's tiles beside OpenSlide's own Deep Zoom generator, and the server's memory.

``python benchmarks/viewer_tiles.py SLIDE OUT [--clients 1,4,16] [--tiles 240] [--slides 20]``

Both servers run on uvicorn, each as a process of its own, asked over HTTP by the same threads for the same tiles of
the same slide: blocks of 4 x 3 neighbours at random places and levels, as a screen shows them; no tile twice.
OpenSlide's side keeps one DeepZoomGenerator, tiles of 256 px, JPEG of the viewer's quality. The two take turns, round
by round, so that what else the machine does meets both. Then cases of ``--slides`` slides, no two alike (parts of the
slide, turned and rolled, written once), are looked at by the most clients at once, and the server's memory is told.
Prints a table, and the median over the rounds of the ratio in each; OUT/viewer_tiles.json holds it all.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from ki67.case import open_case
from ki67.geometry import RectUm
from ki67.server.tiles import JPEG_QUALITY, TILE_PX, Grid
from ki67.slides import open_slide, write_pyramid
from ki67.stages import CaseSlide

ROUNDS = 3
SIDES = ("viewer", "openslide")
PART_PX = 4096
ACROSS, DOWN = 4, 3
"""Tiles of a screen."""

PEER = """
import io, sys
import openslide, uvicorn
from openslide.deepzoom import DeepZoomGenerator
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route
slide = openslide.open_slide(sys.argv[1])
zoom = DeepZoomGenerator(slide, tile_size=int(sys.argv[3]), overlap=0)
def tile(request):
    level, column, row = (int(request.path_params[name]) for name in ("level", "column", "row"))
    picture, out = zoom.get_tile(level, (column, row)), io.BytesIO()
    picture.save(out, "jpeg", quality=int(sys.argv[4]))
    return Response(out.getvalue(), media_type="image/jpeg")
app = Starlette(routes=[Route("/{level}/{column}_{row}.jpg", tile)])
uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[2]), log_level="error")
"""


class Server:
    """A server process, its address and what it is asked with."""

    def __init__(self, process: subprocess.Popen[str], address: str, template: str, headers: dict[str, str]) -> None:
        self.process, self.template, self.headers = process, template, headers
        self.host = urlsplit(address).netloc

    def memory_mib(self, name: str = "VmRSS") -> float:
        """Resident memory now, or its peak (``VmHWM``)."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith(name):
                return int(line.split()[1]) / 1024
        raise RuntimeError(f"no {name} of {self.process.pid}")


def make_slides(slide: Path, out: Path, count: int) -> list[Path]:
    """Write slides that differ in every pixel: a part of the slide, turned and rolled otherwise each time."""
    paths = [out / f"slide-{number}.tif" for number in range(count)]
    with open_slide(slide) as opened:
        side = min(PART_PX, *opened.size_px)
        x_um, y_um = ((whole - side) // 2 * opened.mpp for whole in opened.size_px)
        area = RectUm(x_um, y_um, side * opened.mpp, side * opened.mpp)
        part = opened.read(area, opened.mpp)
        for number, path in enumerate(paths):
            if not path.exists():
                other = np.roll(np.rot90(part, number), (211 * number, 97 * number), axis=(0, 1))
                write_pyramid(path, [np.ascontiguousarray(other)], (side, side), opened.mpp, tile_px=512)
    return paths


def make_case(slide: Path, folder: Path) -> Grid:
    """Make a case that holds nothing but the slide."""
    with open_slide(slide) as opened:
        facts, grid = CaseSlide(opened).facts, Grid(opened.size_px, opened.mpp)
    with open_case(folder, "count", {"ki67": {**facts, "path": str(slide.absolute())}}, {}):
        pass
    return grid


def start_viewer(out: Path, slide: Path) -> Server:
    """Start ``ki67 serve``."""
    words = [sys.executable, "-m", "ki67", "serve", out, "--slides", slide.resolve().parent, "--json"]
    process = subprocess.Popen(list(map(str, words)), stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    address, _, token = json.loads(process.stdout.readline())["url"].partition("/?token=")
    return Server(process, address, "", {"Authorization": f"Bearer {token}"})


def start_peer(slide: Path, port: int) -> Server:
    """Start OpenSlide's generator."""
    words = [sys.executable, "-c", PEER, str(slide), str(port), str(TILE_PX), str(JPEG_QUALITY)]
    process = subprocess.Popen(words, text=True)
    server = Server(process, f"http://127.0.0.1:{port}", "/{level}/{col}_{row}.jpg", {})
    for _ in range(300):
        try:
            get(http.client.HTTPConnection(server.host), server, "/0/0_0.jpg")
        except OSError:
            time.sleep(0.1)
        else:
            return server
    raise RuntimeError("OpenSlide's server does not answer")


def get(connection: http.client.HTTPConnection, server: Server, path: str) -> bytes:
    """Ask for one path on an open connection."""
    connection.request("GET", path, headers=server.headers)
    answer = connection.getresponse()
    content = answer.read()
    if answer.status != http.client.OK:
        raise RuntimeError(f"{path}: {answer.status} {content[:200]!r}")
    return content


def screens(grid: Grid, count: int, seed: int) -> list[tuple[int, int, int]]:
    """Tiles of screens at random, none twice; levels from the whole slide on one screen to its own pixels."""
    chance, seen = np.random.default_rng(seed), set[tuple[int, int, int]]()
    found: list[tuple[int, int, int]] = []
    levels = range(max(0, grid.last_level - 6), grid.last_level + 1)
    while len(found) < count:
        level = int(chance.choice(levels))
        columns, rows = (-(-side // TILE_PX) for side in grid.level_size_px(level))
        left, top = (int(chance.integers(max(1, most + 1))) for most in (columns - ACROSS, rows - DOWN))
        block = [
            (level, column, row)
            for row in range(top, min(rows, top + DOWN))
            for column in range(left, min(columns, left + ACROSS))
        ]
        fresh = [tile for tile in block if tile not in seen]
        seen.update(fresh)
        found += fresh
        if len(seen) > sum(_tiles(grid, level) for level in levels) * 0.9:
            raise RuntimeError("the slide has too few tiles; ask for fewer with --tiles")
    return found[:count]


def _tiles(grid: Grid, level: int) -> int:
    width, height = grid.level_size_px(level)
    return -(-width // TILE_PX) * -(-height // TILE_PX)


def measure(server: Server, work: list[list[str]]) -> list[float]:
    """Milliseconds of each request, clients at once, each asking one after the other."""
    times: list[list[float]] = [[] for _ in work]

    def client(number: int) -> None:
        connection = http.client.HTTPConnection(server.host, timeout=120)
        for path in work[number]:
            start = time.perf_counter()
            get(connection, server, path)
            times[number].append(1000 * (time.perf_counter() - start))

    threads = [threading.Thread(target=client, args=(number,)) for number in range(len(work))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [one for own in times for one in own]


def shared_out(tiles: list[tuple[int, int, int]], template: str, clients: int) -> list[list[str]]:
    """Screens of tiles, in turn to each client."""
    paths = [template.format(level=level, col=column, row=row) for level, column, row in tiles]
    parts = [paths[start : start + ACROSS * DOWN] for start in range(0, len(paths), ACROSS * DOWN)]
    return [[path for part in parts[number::clients] for path in part] for number in range(clients)]


def compare(viewer: Server, peer: Server, grid: Grid, clients: list[int], count: int) -> list[dict[str, Any]]:
    """Both servers with each number of clients, round by round in turn."""
    rows = []
    for number in clients:
        found: dict[str, list[list[float]]] = {"viewer": [], "openslide": []}
        for turn in range(ROUNDS):
            tiles = screens(grid, count, seed=1000 * number + turn)
            order = [("viewer", viewer), ("openslide", peer)]
            for name, server in order if turn % 2 == 0 else reversed(order):
                found[name].append(measure(server, shared_out(tiles, server.template, number)))
        row: dict[str, Any] = {"clients": number, "requests": count * ROUNDS}
        for name, rounds in found.items():
            every = sorted(one for times in rounds for one in times)
            row[name] = {"p50_ms": quantile(every, 0.5), "p95_ms": quantile(every, 0.95)}
        for share in (0.5, 0.95):
            ratios = [
                quantile(sorted(mine), share) / quantile(sorted(theirs), share)
                for mine, theirs in zip(found["viewer"], found["openslide"], strict=True)
            ]
            row[f"ratio_p{round(100 * share)}"] = statistics.median(ratios)
        rows.append(row)
        print(told(row), flush=True)
    return rows


def told(row: dict[str, Any]) -> str:
    """One line of the table."""
    both = "   ".join(f"{name} {row[name]['p50_ms']:.1f} / {row[name]['p95_ms']:.1f}" for name in SIDES)
    ratios = f"{row['ratio_p50']:.2f} / {row['ratio_p95']:.2f}"
    return f"{row['clients']:3} clients   p50 / p95 in ms: {both}   ratio {ratios}"


def quantile(ordered: list[float], share: float) -> float:
    """A quantile of sorted values."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def tiles_of(server: Server, name: str) -> str:
    """Template of a case's tiles."""
    case = json.loads(get(http.client.HTTPConnection(server.host), server, f"/api/cases/{name}"))
    return str(case["slides"]["ki67"]["tiles"])


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("slide", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--clients", default="1,4,16")
    parser.add_argument("--tiles", type=int, default=240)
    parser.add_argument("--slides", type=int, default=20)
    parser.add_argument("--port", type=int, default=8931)
    given = parser.parse_args()
    clients = [int(word) for word in given.clients.split(",")]
    given.out.mkdir(parents=True, exist_ok=True)
    begin = time.monotonic()
    grid = make_case(given.slide, given.out / "case")
    slides = make_slides(given.slide, given.out, given.slides)
    grids = {f"case-{number}": make_case(path, given.out / f"case-{number}") for number, path in enumerate(slides)}
    print(f"{len(grids)} slides in {time.monotonic() - begin:.0f} s", flush=True)
    viewer = start_viewer(given.out, given.slide)
    peer = start_peer(given.slide, given.port)
    try:
        viewer.template = tiles_of(viewer, "case")
        result: dict[str, Any] = {"slide": given.slide.name, "size_px": grid.size_px, "cores": os.cpu_count()}
        result["memory_at_start_mib"] = viewer.memory_mib()
        result["rows"] = compare(viewer, peer, grid, clients, given.tiles)
        result["memory_after_one_slide_mib"] = viewer.memory_mib()
        # At any time each client looks at another slide.
        shared = [
            shared_out(screens(own, given.tiles, seed=7 + number), tiles_of(viewer, name), max(clients))
            for number, (name, own) in enumerate(grids.items())
        ]
        many = [
            [path for turn in range(len(shared)) for path in shared[(turn + client) % len(shared)][client]]
            for client in range(max(clients))
        ]
        for turn in range(2):
            measure(viewer, many)
            result[f"memory_after_all_slides_{turn + 1}_mib"] = viewer.memory_mib()
        result["memory_peak_mib"] = viewer.memory_mib("VmHWM")
    finally:
        for server in (viewer, peer):
            server.process.terminate()
            server.process.wait()
    (given.out / "viewer_tiles.json").write_text(json.dumps(result, indent=2) + "\n")
    print(", ".join(f"{name} {value:.0f}" for name, value in result.items() if name.startswith("memory")))


if __name__ == "__main__":
    main()
