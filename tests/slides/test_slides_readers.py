"""Readers of further formats, as an installed package would offer them."""

import importlib.metadata
from types import SimpleNamespace

import numpy as np
import pytest
from slide_pictures import tissue, write_tiff

from ki67.errors import PixelSizeError, SlideError
from ki67.slides import open_slide
from ki67.slides.pixel_size import Found
from ki67.slides.sources import ArraySource, Opened

RGB = tissue()
MAGIC = b"RAWRGB"


class RawReader:
    """A format of this test alone: six letters, width, height, the pixels."""

    def sniff(self, path, head):
        return head.startswith(MAGIC)

    def open(self, path):
        data = path.read_bytes()
        width, height = (int.from_bytes(data[at : at + 2], "big") for at in (6, 8))
        if len(data) != 10 + width * height * 3:
            raise SlideError(path, "is cut short", "Copy it again")
        pixels = np.frombuffer(data, np.uint8, offset=10).reshape(height, width, 3)
        return Opened(ArraySource("raw", pixels), [Found(0.5, 0.5, "the test")], ["it is a test"])


@pytest.fixture
def install(monkeypatch):
    """Make ``importlib.metadata`` tell of one installed reader."""

    def installed(reader, name="raw"):
        def load():
            if isinstance(reader, Exception):
                raise reader
            return reader

        entry = SimpleNamespace(name=name, load=load, dist=SimpleNamespace(name="ki67-raw", version="1.2"))
        monkeypatch.setattr(
            importlib.metadata, "entry_points", lambda *, group: [entry] * (group == "ki67.slide_readers")
        )

    return installed


@pytest.fixture
def raw(tmp_path):
    path = tmp_path / "slide.raw"
    path.write_bytes(MAGIC + RGB.shape[1].to_bytes(2, "big") + RGB.shape[0].to_bytes(2, "big") + RGB.tobytes())
    return path


def test_an_installed_reader_reads_its_format(install, raw):
    install(RawReader())
    with open_slide(raw) as slide:
        np.testing.assert_array_equal(slide.read(slide.bounds_um, 0.5), RGB)
        assert (slide.mpp, slide.reader, slide.warnings) == (0.5, "plug-in:raw", ("it is a test",))
    with pytest.raises(PixelSizeError):
        open_slide(raw, 0.25)


def test_without_it_the_file_is_no_slide(raw):
    with pytest.raises(SlideError, match="not a slide or a picture"):
        open_slide(raw)


def test_a_folder_may_be_a_slide_of_a_reader(install, tmp_path, raw):
    class FolderReader(RawReader):
        def sniff(self, path, head):
            return path.is_dir() and (path / "slide.raw").exists()

        def open(self, path):
            return super().open(path / "slide.raw")

    install(FolderReader())
    with open_slide(tmp_path) as slide:
        assert slide.size_px == (384, 256)


def test_known_formats_are_not_offered_to_readers(install, tmp_path):
    install(RuntimeError("must not be loaded"))
    with open_slide(write_tiff(tmp_path / "a.tif", RGB)) as slide:
        assert slide.reader == "tifffile"


def test_a_readers_own_refusal_is_told_as_it_is(install, raw):
    install(RawReader())
    raw.write_bytes(raw.read_bytes()[:-1])
    with pytest.raises(SlideError, match="is cut short"):
        open_slide(raw)


def failing_on(**methods):
    return type("Failing", (RawReader,), methods)()


def failing_source(answer):
    def open_with(self, path):
        source = ArraySource("raw", RGB)
        source.read = answer
        return Opened(source)

    return failing_on(open=open_with)


def raising(*_):
    raise ZeroDivisionError("by\nzero")


@pytest.mark.parametrize(
    "reader",
    [
        ImportError("no module"),
        failing_on(sniff=raising),
        failing_on(open=raising),
        failing_on(open=lambda self, path: "a slide"),
        failing_source(raising),
        failing_source(lambda *_: np.zeros((3, 3), np.uint8)),
        failing_source(lambda level, x, y, width, height: np.zeros((height, width, 3), float)),
        failing_on(open=lambda self, path: Opened(SimpleNamespace(name="x", level_sizes_px=()))),
        failing_on(open=lambda self, path: Opened(SimpleNamespace(name="x", level_sizes_px=((5, 5), (9, 9))))),
    ],
)
def test_a_reader_that_fails_is_named_in_one_line(install, raw, reader):
    install(reader)
    with pytest.raises(SlideError, match=r"slide reader raw of ki67-raw 1\.2: .*uninstall") as refused:
        open_slide(raw, 0.5)
    assert "\n" not in str(refused.value)
