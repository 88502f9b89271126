"""Slides at URLs, from a server on this machine that counts what it hands out and fails as servers do."""

from __future__ import annotations

import base64
import pickle
import re
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Lock, Thread
from time import sleep
from typing import Any, ClassVar

import numpy as np
import pytest
import tifffile
from PIL import Image

import synthetic
from framed_slides import write_scn, write_sparse_tiff
from ki67 import job
from ki67.case import read_case
from ki67.cohort import CohortOptions, plan_cohort, running
from ki67.cohort.case_run import CaseEnd, CaseTask
from ki67.cohort.cases import CohortCase, read_cases
from ki67.cohort.ledger import open_ledger
from ki67.cohort.running import case_key
from ki67.errors import CaseError, Ki67Error, MissingExtraError, SlideAwayError, SlideError
from ki67.files import without_secrets
from ki67.geometry import RectUm
from ki67.options import Options
from ki67.pipeline import run_count, run_report
from ki67.progress import configure
from ki67.slides import open_slide, read_ahead, url_bytes, write_pyramid
from ki67.slides.addresses import SlideUrl, slide_address
from ki67.slides.sources import DOWNLOAD
from ki67.slides.url_bytes import UrlBytes

fsspec = pytest.importorskip("fsspec")
MemoryFileSystem = pytest.importorskip("fsspec.implementations.memory").MemoryFileSystem
pytest.importorskip("aiohttp")

SECRET = "X-Amz-Signature=TOPSECRET"
SIDE_PX = 4096
SVS = "cmu-1-small-region.svs"


@dataclass
class Server:
    """A server of the files in a folder; ``mood`` is how it fails."""

    folder: Path
    url: str = ""
    mood: str = ""
    login: str = ""
    sent: int = 0
    awake: Event = field(default_factory=Event)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    state = Server(tmp_path)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self.answer(b"")

        def do_GET(self) -> None:
            self.answer(None)

        def answer(self, body: bytes | None) -> None:
            name = self.path.partition("?")[0].strip("/")
            file = state.folder / name
            if state.mood == "silent":
                state.awake.wait(20)
            status = int(state.mood) if state.mood.isdigit() else 200 if file.is_file() else 404
            if state.login and self.headers.get("Authorization") != state.login:
                status = 401
            content = file.read_bytes() if status == 200 else b""
            found = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
            if found and status == 200 and state.mood != "whole files":
                status, content = 206, content[int(found[1]) : int(found[2]) + 1]
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("ETag", f'"{file.stat().st_mtime_ns if file.is_file() else 0}"')
            self.end_headers()
            if body is None:
                half = state.mood == "truncated" and len(content) > 1
                self.wfile.write(content[: len(content) // 2] if half else content)
                state.sent += len(content)
                self.close_connection = half

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as served:
        served.daemon_threads = True
        served.handle_error = lambda *_: None  # type: ignore[method-assign]  # of readers that had enough
        state.url = f"http://127.0.0.1:{served.server_port}"
        Thread(target=served.serve_forever, daemon=True).start()
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.setattr(url_bytes, "PAUSE_S", 0.01)
        monkeypatch.setattr(url_bytes, "SILENT_S", 0.3)
        yield state
        state.awake.set()
        served.shutdown()


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pyramid of noise, which takes many bytes."""
    path = tmp_path_factory.mktemp("big") / "big.tif"
    noise = np.random.default_rng(1)
    bands = (noise.integers(0, 255, (512, SIDE_PX, 3), np.uint8) for _ in range(SIDE_PX // 512))
    write_pyramid(path, bands, (SIDE_PX, SIDE_PX), 0.5, tile_px=256)
    return path


@pytest.fixture
def small(server: Server) -> Path:
    path = server.folder / "small.tif"
    write_pyramid(path, [synthetic.field((800, 800))[0]], (800, 800), 0.25, tile_px=256)
    return path


@pytest.fixture
def wide(server: Server) -> Path:
    """Enough tissue for 64 patches."""
    path = server.folder / "wide.tif"
    write_pyramid(path, [np.tile(synthetic.field((800, 800))[0], (4, 4, 1))], (3200, 3200), 0.5, tile_px=256)
    return path


def refusal(url: str | Path, kind: type[Ki67Error] = SlideError) -> str:
    with pytest.raises(kind) as caught:
        open_slide(url)
    text = str(caught.value)
    assert type(caught.value) is kind
    assert "\n" not in text
    assert "SECRET" not in text
    return text


def test_a_thumbnail_takes_a_fraction_of_the_bytes(server: Server, big: Path) -> None:
    server.folder = big.parent
    with open_slide(f"{server.url}/big.tif") as slide, open_slide(big) as local:
        assert np.array_equal(slide.thumbnail(8.0), local.thumbnail(8.0))
        assert server.sent < 0.5 * big.stat().st_size
        before = server.sent
        assert slide.fingerprint() == local.fingerprint()
        assert server.sent - before <= 64 * 65536


def test_threads_read_the_same_and_ask_once(server: Server, big: Path) -> None:
    server.folder = big.parent
    rects = [RectUm(x, y, 128, 128) for y in range(0, 512, 128) for x in range(0, 1024, 128)]
    with job(threads=8), open_slide(f"{server.url}/big.tif") as slide, open_slide(big) as local:
        for rect, pixels in read_ahead(slide, rects, 0.5):
            assert np.array_equal(pixels, local.read(rect, 0.5))
        before = server.sent
        slide.read(rects[0], 0.5)
        assert server.sent == before


def test_a_slide_at_a_url_is_what_its_file_is(server: Server, small: Path) -> None:
    with open_slide(f"{server.url}/small.tif?{SECRET}") as slide, open_slide(small) as local:
        assert (slide.path.name, slide.frame, slide.levels) == ("small.tif", local.frame, local.levels)
        assert slide.fingerprint() == local.fingerprint()
        assert "SECRET" not in f"{slide!r} {slide.path} {slide.path!r}"
        with pickle.loads(pickle.dumps(slide)) as again:
            assert np.array_equal(again.thumbnail(2.0), local.thumbnail(2.0))
    with open_slide(small.as_uri()) as slide:
        assert slide.path == small


def test_a_user_and_a_password_reach_the_server_only(server: Server, small: Path) -> None:
    server.login = "Basic " + base64.b64encode(b"me:SECRET@").decode()
    with open_slide(server.url.replace("://", "://me:SECRET%40@") + "/small.tif") as slide:
        assert str(slide.path) == server.url.replace("://", "://***@") + "/small.tif"
    assert "401" in refusal(server.url.replace("://", "://me:OLDSECRET@") + "/small.tif")
    assert "%2F" in refusal("http://me:SECRET/1@host/small.tif")


@pytest.mark.parametrize(
    ("mood", "found"),
    [
        ("403", "answers 403. Check the user"),
        ("400", "answers 400"),
        ("404", "is not there, its server answers 404. Check the URL"),
        ("whole files", "hands out whole files only (no range requests). Download it"),
    ],
)
def test_what_a_server_refuses_is_told(server: Server, small: Path, mood: str, found: str) -> None:
    server.mood = mood

    assert found in refusal(f"{server.url}/small.tif?{SECRET}")


@pytest.mark.parametrize(
    ("mood", "found"),
    [("503", "answers 503"), ("429", "answers 429"), ("silent", "within 0.3 s"), ("truncated", "broke off")],
)
def test_what_passes_is_told_as_such(server: Server, small: Path, mood: str, found: str) -> None:
    server.mood = mood

    text = refusal(f"{server.url}/small.tif?{SECRET}", SlideAwayError)
    assert found in text
    assert "later" in text


def test_a_server_that_goes_away_while_it_is_read(server: Server, big: Path) -> None:
    server.folder = big.parent
    with open_slide(f"{server.url}/big.tif") as slide:
        server.mood = "truncated"
        with pytest.raises(SlideAwayError):
            slide.read(RectUm(300, 700, 300, 300), 0.5)
        server.mood = ""
        assert slide.read(RectUm(300, 700, 300, 300), 0.5).shape == (600, 600, 3)


def test_a_server_or_a_kind_of_address_that_is_not_there(server: Server) -> None:
    assert "server is away" in refusal("http://127.0.0.1:9/a.tif", SlideAwayError)
    assert "no host of that name" in refusal("http://nowhere.invalid/a.tif")
    assert "unknown kind" in refusal("gopher://host/a.tif")
    assert "memory://none.tif: is not there" in refusal("memory://none.tif")
    assert "server is away" in refusal("ftp://me:SECRET@127.0.0.1:9/a.tif", SlideAwayError)


@pytest.mark.parametrize("url", ["reference://x", "dir://x", "zip://x", "tar://x", "jupyter://x"])
def test_kinds_of_address_that_lack_something_are_refused(server: Server, url: str) -> None:
    assert url in refusal(url)


CHAINS = [
    "zip://d/small.tif::http://me:PWSECRET@127.0.0.1:1/a.zip?sig=QSECRET",
    "simplecache::http://me:PWSECRET@127.0.0.1:1/a.tif?sig=QSECRET",
    "reference://a.tif::http://127.0.0.1:1/SECRET.json",
    "http://me:PW::SECRET@127.0.0.1:1/a.tif",
]


@pytest.mark.parametrize("url", CHAINS)
def test_chains_of_addresses_are_refused_and_hidden(server: Server, url: str) -> None:
    assert f"://***@: is a chain of addresses (::), which is not taken. {DOWNLOAD}" in refusal(url)
    assert "SECRET" not in without_secrets(f"{url}: no") + str(slide_address(url, "/folder"))
    case = CohortCase("A", slide_address(url, "/folder"), slide_address(url, "/folder"))
    assert "SECRET" not in f"{case} {case.to_dict()}"


def test_a_record_that_names_a_chain_is_refused(server: Server, small: Path) -> None:
    case = server.folder / "case"
    run_count(f"{server.url}/small.tif", case, Options())
    manifest = case / "run.json"
    text = manifest.read_text()
    assert f"{server.url}/small.tif" in text
    manifest.write_text(text.replace(f"{server.url}/", f"reference://small.tif::{server.url}/"))
    with pytest.raises(SlideError, match="chain of addresses"):
        read_case(case).open_slide("ki67")


def test_a_file_system_of_one_connection_is_asked_by_one_thread_at_a_time(server: Server, small: Path) -> None:
    class OneConnection(MemoryFileSystem):  # type: ignore[misc]  # fsspec has no types
        """As ``ftp:`` is: who asks while another is answered gets what is not theirs."""

        protocol = "oneconnection"
        store: ClassVar[dict[str, Any]] = {}
        busy = Lock()

        @classmethod
        def _strip_protocol(cls, path: str) -> str:
            text: str = super()._strip_protocol(path.replace("oneconnection://", "/"))
            return text

        def cat_file(self, *args: Any, **more: Any) -> bytes:
            assert self.busy.acquire(blocking=False)
            try:
                sleep(0.01)
                data: bytes = super().cat_file(*args, **more)
            finally:
                self.busy.release()
            return data

    fsspec.register_implementation("oneconnection", OneConnection, clobber=True)
    for name in ("a", "b"):
        fsspec.filesystem("oneconnection").pipe_file(f"/{name}.tif", small.read_bytes())
    shown = Path("a.tif")
    both = [UrlBytes(shown, f"oneconnection://{name}.tif") for name in ("a", "b")]
    with ThreadPoolExecutor(8) as pool:
        pieces = list(pool.map(lambda at: both[at % 2].read(1000 * at, 300_000), range(16)))
    assert pieces == [small.read_bytes()[1000 * at : 1000 * at + 300_000] for at in range(16)]


def test_only_tiffs_that_need_no_openslide_are_read(server: Server) -> None:
    pixels = np.full((400, 400, 3), 200, np.uint8)
    Image.fromarray(pixels).save(server.folder / "field.png")
    (server.folder / "notes.svs").write_text("These are notes.")
    write_scn(server.folder / "leica.scn", pixels, 0.25, (256, 128))
    write_sparse_tiff(server.folder / "sparse.tif", pixels, 0.25, (256, 128))
    for name in ("field.png", "notes.svs", "leica.scn", "sparse.tif"):
        assert "Download it and name the file" in refusal(f"{server.url}/{name}")


@pytest.mark.parametrize(
    ("tag", "text"), [(271, "Huron"), (305, "Philips DP"), (305, "MedScan"), (65000, "<Argos/>")]
)
def test_vendors_of_their_own_are_refused(server: Server, tag: int, text: str) -> None:
    pixels = np.zeros((256, 256, 3), np.uint8)
    tags = [(tag, "s", 0, text, True)]
    tifffile.imwrite(
        server.folder / "a.tif", pixels, tile=(256, 256), photometric="rgb", software=False, extratags=tags
    )

    assert "vendor's own" in refusal(f"{server.url}/a.tif")


def test_real_slides_are_read_or_refused_as_their_format_asks(server: Server, data: Path) -> None:
    server.folder = data / "slides"
    with open_slide(f"{server.url}/{SVS}") as slide, open_slide(server.folder / SVS) as local:
        assert (slide.mpp, slide.frame, slide.reader) == (local.mpp, local.frame, local.reader)
        assert np.array_equal(slide.thumbnail(4.0), local.thumbnail(4.0))
    assert "vendor's own" in refusal(f"{server.url}/fluorescence.ndpi")


def test_a_case_notes_no_secret_and_asks_for_the_url_again(server: Server, small: Path) -> None:
    url, case = f"{server.url}/small.tif?{SECRET}", server.folder / "case"
    run_count(url, case, Options())

    assert not [file for file in case.rglob("*") if file.is_file() and b"TOPSECRET" in file.read_bytes()]
    record = read_case(case).record.inputs["ki67"]
    assert record.path == f"{server.url}/small.tif".replace("://", "://***@")
    with pytest.raises(SlideError, match="Give the whole URL again"):
        read_case(case).open_slide("ki67")
    run_report(case, ki67=f"{server.url}/small.tif?X-Amz-Signature=NEWSECRET")
    score = (case / "score.json").read_bytes()
    run_count(small, server.folder / "of the file", Options())
    assert score == (server.folder / "of the file" / "score.json").read_bytes()


def test_a_slide_that_changed_on_the_server_is_noticed(server: Server, small: Path) -> None:
    url, case = f"{server.url}/small.tif", server.folder / "case"
    run_count(url, case, Options())
    read_case(case).open_slide("ki67").close()

    write_pyramid(small, [synthetic.field((800, 800), seed=1)[0]], (800, 800), 0.25, tile_px=256)
    with pytest.raises(CaseError, match="another slide"):
        run_count(url, case, Options())
    with pytest.raises(CaseError, match="is not the slide"):
        read_case(case).open_slide("ki67")


def test_a_cohorts_table_names_urls(server: Server, small: Path) -> None:
    table = server.folder / "cases.csv"

    def key(signature: str) -> str:
        url = f"{server.url}/small.tif?{signature}"
        table.write_text(f"case,he,ki67\nA,{url},small.tif\n")
        (case,) = read_cases(table)
        assert case.words == [url, str(small)]
        assert "SECRET" not in str(case.to_dict())
        return case_key(case, [])

    before = key(SECRET)
    assert key("X-Amz-Signature=NEWSECRET") == before
    server.mood = "503"
    assert before.startswith(key(SECRET))
    server.mood = ""
    small.touch()
    assert key(SECRET) != before


def test_commands_take_urls_and_print_no_secret(ki67: Callable[..., object], server: Server, small: Path) -> None:
    url = f"{server.url}/small.tif?{SECRET}"
    checked = ki67("check", url, "--json", "--quiet")
    assert checked.json["slides"][0]["size_px"] == [800, 800]  # type: ignore[attr-defined]
    server.mood = "503"
    outcomes = [
        (75, ki67("count", url, "--out", server.folder / "case", "--quiet")),
        (75, ki67("idc", "predict", url, "--out", server.folder / "case", "--debug")),
        (75, ki67("score", url, url, "--out", server.folder / "case")),
        (2, ki67("count", url, url, "--out", server.folder / "case")),
        (1, ki67("export", url, server.folder / "a.csv", "--debug")),
    ]
    for code, outcome in outcomes:
        assert outcome.code == code  # type: ignore[attr-defined]
        assert "TOPSECRET" not in outcome.stderr + outcome.stdout  # type: ignore[attr-defined]


@pytest.mark.parametrize("mood", ["503", "403"])
def test_a_finished_case_stays_in_its_cohort_while_its_server_is_away(
    server: Server, small: Path, mood: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    table, out = server.folder / "cases.csv", server.folder / "out"
    url = f"{server.url}/small.tif?{SECRET}"
    table.write_text(f"case,he,ki67\nA,{url},small.tif\nB,{url},small.tif\n")
    (case, _) = read_cases(table)
    done = CaseEnd(code=0, seconds=1.0)
    task = CaseTask("A", case_key(case, []), tuple(case.words), "")
    assert "SECRET" not in repr(task)
    with open_ledger(out, CohortOptions().shard) as ledger:
        ledger.append(running._entry(task, done, 1))
    (out / "cases" / "A").mkdir(parents=True)
    (out / "cases" / "A" / "score.json").write_text("{}")

    assert plan_cohort(table, out, CohortOptions())["finished"] == 1
    assert "stay as they are" not in capsys.readouterr().err
    server.mood = mood
    configure(quiet=False)
    plan = plan_cohort(table, out, CohortOptions())
    assert (plan["finished"], plan["to_run"]) == (1, 1)
    said = capsys.readouterr().err
    assert "1 finished cases stay as they are" in said
    assert said.count("\n") == 1
    assert plan_cohort(table, out, CohortOptions(score_words=("--allow-few-cells",)))["finished"] == 0


def test_every_slide_of_a_command_may_be_a_url_and_no_secret_is_recorded(
    ki67: Callable[..., Any], server: Server, small: Path, wide: Path
) -> None:
    url = f"{server.url}/small.tif?{SECRET}"
    missing = f"{server.url}/no such o'slide.tif?{SECRET}"
    out = server.folder / "out"
    landmarks = server.folder / "landmarks.csv"
    landmarks.write_text(",X,Y\n0,1,1\n1,2,2\n2,9,5\n")
    outcomes = [
        ki67("cells", "suggest", url, "--out", out / "suggested", "--fields", 1),
        ki67("idc", "adapt", "shipped", url.replace("small", "wide"), "--out", out / "m.onnx", "--patches", 80),
        ki67("annotations", "convert", out / "a.geojson", out / "a.xml", "--slide", url, "--to", "asap"),
        ki67("evaluate", "idc-region", missing, out / "a.geojson", out / "b.geojson"),
        ki67("evaluate", "registration", missing, missing, landmarks, landmarks),
        ki67("export", missing, out / "a.csv"),
        ki67("export", url, out / "a.csv", "--debug"),
    ]
    for outcome in outcomes:
        assert "TOPSECRET" not in outcome.stderr + outcome.stdout
        assert "Give the whole URL again" not in outcome.stderr
    assert [outcome.code for outcome in outcomes] == [0, 0, 1, 1, 1, 1, 1]
    assert "wide.tif" in (out / "m.json").read_text()
    assert not [file for file in out.rglob("*") if file.is_file() and b"TOPSECRET" in file.read_bytes()]


def test_an_adapted_models_card_names_the_slide_only(server: Server, wide: Path) -> None:
    pytest.importorskip("torch")
    from ki67.idc import load_model
    from ki67.learning.idc.adaptation import AdaptOptions, draw_slides

    url = Path(f"{server.url}/{wide.name}?{SECRET}")
    _, seen, _ = draw_slides([url], load_model().card, AdaptOptions(patches=80))
    assert [one["slide"] for one in seen] == ["wide.tif"]


def test_without_the_extra_its_name_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fsspec", None)

    assert "pip install 'ki67[url]'" in refusal("https://host/a.tif", MissingExtraError)


@pytest.mark.parametrize("name", ["C:\\x.tif", "c:/x.tif", "c://x.tif", "x.tif", "host:/x.tif", "/a/https://b"])
def test_paths_stay_paths(name: str) -> None:
    assert not isinstance(slide_address(name), SlideUrl)
    assert slide_address(name, "/folder") == Path("/folder", name)


def test_urls_stay_whole_and_are_shown_bare() -> None:
    address = slide_address("HTTPS://me:pw@host:80/a//b/he.svs?to=https://x//y", "/folder")
    assert isinstance(address, SlideUrl)
    assert address.url == "https://me:pw@host:80/a//b/he.svs?to=https://x//y"
    assert str(address) == "https://***@host:80/a//b/he.svs"
    assert (address.name, address.suffix) == ("he.svs", ".svs")
    assert address.resolve() == address.absolute() == pickle.loads(pickle.dumps(address)) == address
    assert whole(slide_address(Path("s3://bucket/he.svs"))) == "s3://bucket/he.svs"
    assert (
        without_secrets("'https://h/a?b' and ftp://u:p@[::1]:2/c: no")
        == "'https://***@h/a' and ftp://***@[::1]:2/c: no"
    )


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://me:1/SECRET@host/x", "http://***@"),
        ("http://me:1?SECRET@host/x", "http://***@"),
        ("http://me;SECRET@host/x", "http://***@host/x"),
        ("https://h/a.svs;token=SECRET", "https://***@h/a.svs"),
        ("azure://box/a.svs;AccountKey=SECRET/x", "azure://***@box/a.svs"),
        ("azure://box;AccountKey=SECRET", "azure://***@"),
        ("http://H/my slide.tif?sig=SECRET", "http://***@H/my slide.tif"),
        ("http://H/o'neil's slide.tif?SECRET", "http://***@H/o'neil's slide.tif"),
        ("http://me:my SECRET@host/x", "http://***@host/x"),
    ],
)
def test_what_may_be_secret_is_left_out_wherever_it_stands(url: str, shown: str) -> None:
    assert str(slide_address(url)) == shown
    assert without_secrets(f"{url}: is not there") == f"{shown}: is not there"
    assert without_secrets(f"{shown}: no; {shown}: no; mend it") == f"{shown}: no; {shown}: no; mend it"


def test_paths_derived_from_a_url_have_a_text_and_are_not_read() -> None:
    address = slide_address("https://me:SECRET@host/a/he.svs?sig=SECRET")
    for derived in (address.parent, address / "x", address.with_suffix(".xml"), address.with_name("y")):
        assert str(derived).startswith("https:/***@host/a")
        assert "SECRET" not in f"{derived} {derived!r} {pickle.loads(pickle.dumps(derived))}"
        with pytest.raises(SlideError):
            open_slide(derived)


def whole(path: Path) -> str:
    assert isinstance(path, SlideUrl)
    return path.url
