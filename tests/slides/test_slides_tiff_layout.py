"""Which picture and which levels of a TIFF are read."""

import numpy as np
import pytest
import tifffile
from slide_pictures import HALF_UM, OME_HALF_UM, halved, tissue, write_ome, write_tiff

from ki67.errors import PixelSizeError, SlideError
from ki67.slides import open_slide

RGB = tissue()
OTHER = tissue(seed=1)
PLANES = np.ascontiguousarray(np.moveaxis(RGB, -1, 0))


def read(path, mpp=None):
    with open_slide(path, mpp) as slide:
        return slide.read(slide.bounds_um, slide.mpp), slide


def sizes(slide):
    return [level.size_px for level in slide.levels]


@pytest.mark.parametrize(
    "tags",
    [{}, {"resolution": (72, 72), "resolutionunit": 2}, {"resolution": (40000, 40000), "resolutionunit": 3}],
)
def test_a_tiled_ome_tiff_has_the_size_of_its_xml_and_the_levels_of_its_sub_directories(tmp_path, tags):
    path = write_ome(tmp_path / "a.ome.tif", (RGB, OME_HALF_UM), levels=2, **tags)
    pixels, slide = read(path)
    np.testing.assert_array_equal(pixels, RGB)
    assert slide.mpp == 0.5
    assert sizes(slide) == [(384, 256), (192, 128), (96, 64)]
    assert any("OME-XML" in text and "resolution tags" in text for text in slide.warnings) == bool(tags)


@pytest.mark.parametrize("tile", [(64, 64), None])
def test_three_grey_planes_of_an_ome_tiff_are_red_green_and_blue(tmp_path, tile):
    path = write_ome(
        tmp_path / "a.ome.tif", (PLANES, OME_HALF_UM | {"axes": "CYX"}), levels=1, photometric="minisblack", tile=tile
    )
    pixels, slide = read(path)
    np.testing.assert_array_equal(pixels, RGB)
    assert sizes(slide) == ([(384, 256), (192, 128)] if tile else [(384, 256)])
    assert any("grey planes" in text for text in slide.warnings)


@pytest.mark.parametrize(
    ("planes", "facts"),
    [
        (PLANES, {"axes": "CYX", "Channel": {"Name": ["DAPI", "FITC", "Cy3"]}}),
        (np.concatenate([PLANES, PLANES[:1]]), {"axes": "CYX"}),
        (PLANES, {"axes": "ZYX"}),
    ],
)
def test_channels_and_focal_planes_are_refused(tmp_path, planes, facts):
    path = write_ome(tmp_path / "a.ome.tif", (planes, OME_HALF_UM | facts), photometric="minisblack")
    with pytest.raises(SlideError, match="stack or separate channels"):
        open_slide(path)


def test_three_grey_pages_without_ome_xml_are_refused(tmp_path):
    pages = [(plane, {"photometric": "minisblack"}) for plane in PLANES]
    with pytest.raises(SlideError, match="3 grey pictures"):
        open_slide(write_tiff(tmp_path / "a.tif", *pages))


def test_of_two_pages_of_one_size_the_first_is_read_and_both_are_told(tmp_path):
    description = "Aperio Image Library v12\r\n384x256 [0,0 384x256] (64x64) JPEG/RGB Q=70|AppMag = 20|MPP = 0.5"
    files = [
        write_tiff(tmp_path / "second.tif", RGB, OTHER),
        write_tiff(tmp_path / "strips.tif", RGB, OTHER, tile=None),
        write_ome(tmp_path / "series.ome.tif", (RGB, OME_HALF_UM), (OTHER, OME_HALF_UM)),
        write_tiff(
            tmp_path / "planes.svs",
            (RGB, {"description": description}),
            (OTHER, {"description": f"{description}|Z = 1"}),
        ),
    ]
    for path in files:
        pixels, slide = read(path, 0.5)
        np.testing.assert_array_equal(pixels, RGB)
        assert any("2 pictures" in text for text in slide.warnings), path


def test_a_thumbnail_before_the_picture_is_a_level_of_it(tmp_path):
    pixels, slide = read(write_tiff(tmp_path / "a.tif", halved(RGB, 4), RGB, halved(RGB)))
    np.testing.assert_array_equal(pixels, RGB)
    assert sizes(slide) == [(384, 256), (192, 128), (96, 64)]
    assert slide.warnings == ()


def test_masks_and_untiled_labels_are_no_levels(tmp_path):
    mask = np.ones((256, 384), bool)
    pages = [
        RGB,
        (mask, {"photometric": "mask", "subfiletype": 4}),
        (halved(RGB), {"subfiletype": 1}),
        (halved(mask[..., None]).astype(bool)[..., 0], {"photometric": "mask", "subfiletype": 5}),
        (halved(OTHER, 4), {"tile": None}),
    ]
    assert sizes(read(write_tiff(tmp_path / "a.tif", *pages))[1]) == [(384, 256), (192, 128)]


def test_a_page_of_another_picture_is_no_level_though_it_has_the_shape_of_one(tmp_path):
    _, slide = read(write_tiff(tmp_path / "a.tif", RGB, halved(OTHER), halved(RGB, 4)))
    assert sizes(slide) == [(384, 256), (96, 64)]
    assert any("another picture" in text for text in slide.warnings)


def test_of_the_pictures_of_an_ome_tiff_the_scan_is_read_not_the_label_or_the_overview(tmp_path):
    overview = OME_HALF_UM | {"Name": "macro image", "PhysicalSizeX": 8, "PhysicalSizeY": 8}
    label = OME_HALF_UM | {"Name": "label", "PhysicalSizeX": 10, "PhysicalSizeY": 10}
    scan = OME_HALF_UM | {"Name": "scan"}
    path = write_ome(tmp_path / "a.ome.tif", (halved(OTHER), overview), (RGB, scan), (tissue(400, 500), label))
    pixels, slide = read(path)
    np.testing.assert_array_equal(pixels, RGB)
    assert (slide.mpp, slide.warnings) == (0.5, ())


def ome_text(tmp_path):
    path = write_ome(tmp_path / "for_its_xml.ome.tif", (RGB, OME_HALF_UM))
    with tifffile.TiffFile(path) as tiff:
        return tiff.pages[0].description


def test_ome_xml_about_a_picture_of_another_size_gives_no_pixel_size(tmp_path):
    path = write_tiff(tmp_path / "shrunk.tif", (halved(RGB), {"description": ome_text(tmp_path).encode()}))
    with pytest.raises(PixelSizeError, match=r"384 x 256 px and holds one of 192 x 128 px.*--mpp"):
        open_slide(path)
    assert read(path, 1.0)[1].mpp == 1.0


@pytest.mark.parametrize(
    "change",
    [
        lambda xml: xml[: len(xml) // 2],
        lambda xml: '<!DOCTYPE x [<!ENTITY a "aaaa">]>' + xml.partition("?>")[2],
        lambda xml: xml.replace('SizeX="384"', 'SizeX="many"'),
    ],
)
def test_ome_xml_that_cannot_be_read_gives_no_pixel_size(tmp_path, change):
    path = write_tiff(tmp_path / "a.tif", (RGB, {"description": change(ome_text(tmp_path)).encode()}))
    with pytest.raises(PixelSizeError, match="OME-XML that cannot be read"):
        open_slide(path)


def test_absurd_numbers_in_ome_xml_cost_nothing(tmp_path):
    xml = ome_text(tmp_path).replace('SizeC="3"', 'SizeC="2000000000"').replace('SizeT="1"', 'SizeT="2000000000"')
    with pytest.raises(SlideError, match="stack"):
        open_slide(write_tiff(tmp_path / "a.tif", (RGB, {"description": xml.encode()})))


def test_a_part_of_an_ome_tiff_in_several_files_is_refused_and_a_renamed_file_is_not(tmp_path):
    xml = ome_text(tmp_path)
    place = '<TiffData IFD="0" PlaneCount="1"/>'
    assert place in xml

    def written(name, uuid):
        said = f'<TiffData IFD="0" PlaneCount="1"><UUID FileName="b.ome.tif">{uuid}</UUID></TiffData>'
        text = xml.replace(place, said).replace("<OME ", '<OME UUID="urn:uuid:1" ') if "UUID=" not in xml else None
        text = text or xml.replace(place, said)
        return write_tiff(tmp_path / name, (RGB, {"description": text.encode()}))

    own = xml.partition('UUID="')[2].partition('"')[0] or "urn:uuid:1"
    with pytest.raises(SlideError, match=r"one file of several.*b\.ome\.tif"):
        open_slide(written("part.ome.tif", "urn:uuid:2"))
    np.testing.assert_array_equal(read(written("renamed.ome.tif", own))[0], RGB)


@pytest.mark.parametrize(
    "facts",
    [
        {"PhysicalSizeX": 500, "PhysicalSizeXUnit": "nm", "PhysicalSizeY": 500, "PhysicalSizeYUnit": "nm"},
        {"PhysicalSizeX": 5e-4, "PhysicalSizeXUnit": "mm", "PhysicalSizeY": 5e-4, "PhysicalSizeYUnit": "mm"},
        {"PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5},
    ],
)
def test_units_of_ome_xml(tmp_path, facts):
    assert read(write_ome(tmp_path / "a.ome.tif", (RGB, {"axes": "YXS"} | facts)))[1].mpp == pytest.approx(0.5)


def test_a_unit_that_is_no_length_is_no_pixel_size(tmp_path):
    facts = OME_HALF_UM | {"PhysicalSizeXUnit": "pixel", "PhysicalSizeYUnit": "pixel"}
    with pytest.raises(PixelSizeError, match="does not say"):
        open_slide(write_ome(tmp_path / "a.ome.tif", (RGB, facts)))


@pytest.mark.parametrize("axes", ["ZYXS", "CYX"])
def test_imagej_stacks_are_refused(tmp_path, axes):
    stack = np.stack([RGB, OTHER]) if axes == "ZYXS" else PLANES
    tifffile.imwrite(tmp_path / "a.tif", stack, imagej=True, metadata={"axes": axes})
    with pytest.raises(SlideError, match="ImageJ"):
        open_slide(tmp_path / "a.tif", 0.5)


@pytest.mark.parametrize(
    "common",
    [
        {"bigtiff": True, "byteorder": ">"},
        {"compression": "lzma"},
        {"compression": "zstd"},
        {"compression": "lzw", "predictor": True},
        {"compression": "webp", "compressionargs": {"lossless": True}},
        {"compression": "jpegxl", "compressionargs": {"lossless": True}},
        {"compression": "jpeg2000", "compressionargs": {"level": 0}},
        {"compression": "png"},
    ],
)
def test_tiles_of_many_kinds_are_read_as_they_are(tmp_path, common):
    pixels, slide = read(write_tiff(tmp_path / "a.tif", RGB, **common))
    np.testing.assert_array_equal(pixels, RGB)
    assert (slide.reader, slide.mpp) == ("tifffile", 0.5)


@pytest.mark.parametrize("common", [{}, {"tile": None}, {"compression": "jpeg"}])
def test_colours_in_separate_planes(tmp_path, common):
    path = write_tiff(tmp_path / "a.tif", PLANES, planarconfig="separate", **common)
    assert np.abs(read(path, 0.5)[0].astype(int) - RGB).mean() < 3


def test_a_compression_that_is_not_read_is_named_and_not_called_damage(tmp_path):
    path = write_tiff(tmp_path / "a.tif", RGB, compression="lerc")
    with pytest.raises(SlideError, match=r"compression .LERC. is not supported") as refused:
        open_slide(path)
    assert "damaged" not in str(refused.value)


@pytest.mark.parametrize("code", [33003, 33004, 33005, 34712])
def test_jpeg_2000_outside_aperios_files_holds_what_its_stream_says(tmp_path, code):
    import imagecodecs

    tiles = [
        imagecodecs.jpeg2k_encode(
            np.ascontiguousarray(RGB[y : y + 64, x : x + 64]), level=0, codecformat="j2k", mct=True, reversible=True
        )
        for y in range(0, 256, 64)
        for x in range(0, 384, 64)
    ]
    tifffile.imwrite(
        tmp_path / "a.tif", iter(tiles), shape=RGB.shape, dtype=np.uint8, tile=(64, 64), photometric="rgb",
        compression=code, metadata=None, **HALF_UM,
    )  # fmt: skip
    np.testing.assert_array_equal(read(tmp_path / "a.tif")[0], RGB)
