"""DICOM slides: which files of a folder are one, and whether they say their colours right."""

import os

import imagecodecs
import numpy as np
import pydicom
import pytest
from pydicom.uid import ImplicitVRLittleEndian, JPEGBaseline8Bit
from slide_pictures import halved, tissue

from dicom_slides import write_dicom, ycbcr_jpeg
from ki67.errors import SlideError
from ki67.slides import open_slide
from ki67.slides.dicom import read_head

RGB = tissue(256, 384)


def rgb_jpeg(tile):
    return bytes(imagecodecs.jpeg_encode(tile, level=95, colorspace="RGB", outcolorspace="RGB"))


def write(path, rgb=RGB, *arguments, **facts):
    return write_dicom(path, rgb, *arguments, **facts)


def refusal(path):
    with pytest.raises(SlideError) as refused:
        open_slide(path, 0.5)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_the_head_of_a_file_is_read_past_nested_sequences(tmp_path):
    head = read_head(write(tmp_path / "a.dcm", ContainerIdentifier="S-7"))
    assert head is not None
    assert (head.series, head.container, head.is_volume, head.size_px) == ("1.2.3", "S-7", True, (384, 256))
    assert (head.photometric, head.syntax) == ("YBR_FULL_422", str(JPEGBaseline8Bit))


def test_a_folder_with_two_slides_is_refused_and_both_are_named(tmp_path):
    write(tmp_path / "IM000001.dcm", series="1.2.3")
    write(tmp_path / "IM000002.dcm", tissue(300, 500, seed=1), series="1.2.4")
    text = refusal(tmp_path)
    assert "holds 2 slides (IM000001.dcm, IM000002.dcm)" in text
    with open_slide(tmp_path / "IM000002.dcm") as slide:
        assert slide.size_px == (500, 300)


def test_so_are_two_glasses_in_one_series(tmp_path):
    write(tmp_path / "a.dcm", ContainerIdentifier="A")
    write(tmp_path / "b.dcm", tissue(300, 500), ContainerIdentifier="B")
    assert "holds 2 slides (a.dcm, b.dcm)" in refusal(tmp_path)


def test_two_pictures_of_one_size_in_one_series_are_refused_from_the_folder_and_from_the_file(tmp_path):
    write(tmp_path / "a.dcm")
    write(tmp_path / "b.dcm", RGB[:, ::-1])
    for path in (tmp_path, tmp_path / "a.dcm"):
        assert "2 different pictures of 384 x 256 px in one series (a.dcm, b.dcm)" in refusal(path)


def test_a_folder_with_a_slide_its_levels_and_its_label_is_one_slide(tmp_path):
    write(tmp_path / "c.dcm")
    write(tmp_path / "b.dcm", halved(RGB), 1.0)
    write(tmp_path / "a.dcm", tissue(100, 100), 5.0, flavour="LABEL")
    (tmp_path / "notes.txt").write_text("nothing")
    with open_slide(tmp_path) as slide:
        assert [level.size_px for level in slide.levels] == [(384, 256), (192, 128)]
        assert slide.mpp == 0.5


def test_slides_of_other_formats_in_a_folder_are_named(tmp_path):
    (tmp_path / "b.mrxs").write_bytes(b"x")
    assert "b.mrxs" in refusal(tmp_path)
    (tmp_path / "a.svs").write_bytes(b"x")
    assert "holds 2 slides (a.svs, b.mrxs)" in refusal(tmp_path)
    write(tmp_path / "c.dcm")
    assert "holds 3 slides" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("photometric", "jpeg", "told"),
    [
        ("RGB", ycbcr_jpeg, "says RGB, but its JPEG frames hold YCbCr"),
        ("YBR_FULL_422", rgb_jpeg, "says YBR_FULL_422, but its JPEG frames hold RGB"),
    ],
)
def test_colours_that_are_not_what_the_file_says_are_refused(tmp_path, photometric, jpeg, told):
    assert told in refusal(write(tmp_path / "a.dcm", photometric=photometric, jpeg=jpeg))


@pytest.mark.parametrize(("photometric", "jpeg"), [("RGB", rgb_jpeg), ("YBR_FULL_422", ycbcr_jpeg)])
def test_colours_that_are_what_the_file_says_are_shown(tmp_path, photometric, jpeg):
    with open_slide(write(tmp_path / "a.dcm", photometric=photometric, jpeg=jpeg)) as slide:
        assert np.abs(slide.read(slide.bounds_um, 0.5).astype(int) - RGB).mean() < 3


@pytest.mark.parametrize("part", [0.02, 0.2, 0.9])
def test_a_file_cut_short_is_refused(tmp_path, part):
    data = write(tmp_path / "whole.dcm").read_bytes()
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / "a.dcm").write_bytes(data[: int(len(data) * part)])
    refusal(tmp_path / "cut" / "a.dcm")
    refusal(tmp_path / "cut")


def test_a_pipe_beside_a_dicom_slide_is_told_and_not_waited_for(tmp_path):
    write(tmp_path / "a.dcm")
    os.mkfifo(tmp_path / "pipe")
    assert "lies beside pipe" in refusal(tmp_path / "a.dcm")
    assert "lies beside pipe" in refusal(tmp_path)


def test_a_head_without_kinds_of_values_is_read_too(tmp_path):
    path = write(tmp_path / "a.dcm")
    slide = pydicom.dcmread(path)
    del slide.PixelData
    slide.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    slide.save_as(path, implicit_vr=True)
    head = read_head(path)
    assert head is not None
    assert (head.series, head.size_px) == ("1.2.3", (384, 256))


@pytest.mark.parametrize("value", [0, 10**6, 2**32 - 1])
@pytest.mark.parametrize("class_too", [False, True])
def test_a_table_of_frames_that_leads_elsewhere_is_refused_before_it_is_followed(tmp_path, value, class_too):
    path = write(tmp_path / "a.dcm")
    data = bytearray(path.read_bytes())
    if class_too:
        data[data.index(b"1.2.840.10008.5.1.4.1.1.77.1.6", 400)] = 0xCB
    table = data.index(b"\xe0\x7f\x10\x00OB\0\0\xff\xff\xff\xff") + 12 + 8
    data[table + 20 : table + 24] = value.to_bytes(4, "little")
    path.write_bytes(data)
    assert "table of frames" in refusal(path)


@pytest.mark.parametrize("place", [4, 8, 11])
def test_pixels_that_cannot_be_found_are_told(tmp_path, place):
    path = write(tmp_path / "a.dcm")
    data = bytearray(path.read_bytes())
    data[data.index(b"\xe0\x7f\x10\x00OB\0\0\xff\xff\xff\xff") + place] ^= 0x55
    path.write_bytes(data)
    refusal(path)
