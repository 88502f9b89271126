"""Faults that others drew: folders with a ``make.py`` each, found through KI67_FAULTS; run, not kept here."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

from hostile.fault import Draw, Result, Right, Sound, command, fault, index, refused, same, told
from hostile.faults_slides import UNSUPPORTED, tif

FOLDER: Final = Path(os.environ.get("KI67_FAULTS", Path(__file__).parents[3] / "shared" / "faults"))
TRUE: Final[Right] = index(18.5, 21.5, (2300, 2950))
REGION: Final = " --regions {sim}/ki67_regions.geojson"


def sample(name: str, *arguments: str) -> Draw:
    """Run a sample's own drawing; what stops it is the reason why it is passed over."""

    def draw(folder: Path, sim: Path) -> None:
        script = FOLDER / name / "make.py"
        if not script.is_file():
            raise FileNotFoundError(f"no {script}")
        words = [one.format(sim=sim, other=sim.parent / "other", i=folder) for one in arguments]
        done = subprocess.run(
            [sys.executable, str(script), *words, str(folder)], check=False, capture_output=True, text=True
        )
        if done.returncode:
            raise RuntimeError((done.stderr.strip().splitlines() or ["failed"])[-1])

    return draw


def counting(path: str) -> tuple[str, ...]:
    """Count a file that the sample drew."""
    return command(f"count {{i}}/{path} --out {{out}}")


def middle(folder: Path, sim: Path) -> None:
    """Write the field that the sample of JPEG 2000 takes, without loss."""
    import tifffile

    pixels = tifffile.imread(sim / "ki67.tif", level=0)[1500:2524, 1500:2524]
    tifffile.imwrite(
        folder / "m.tif", pixels, tile=(256, 256), photometric="rgb", resolution=(20000, 20000), resolutionunit=3
    )


def _small(result: Result, _: Sound) -> bool:
    """Whether the region counted is the child's alone, 200 x 200 px of 0.5 µm."""
    area = result.json.get("area_mm2")
    return area is not None and 0.009 < area < 0.0105


def _with_field(draw: Draw) -> Draw:
    def drawn(folder: Path, sim: Path) -> None:
        tif("f.tif")(folder, sim)
        draw(folder, sim)

    return drawn


TILED, SCN = sample("ome-tiff-tiled", "{sim}"), sample("scn-bounds-offset", "{sim}")
PAGES, J2K = sample("same-size-second-page", "{sim}"), sample("jpeg2000-tiled", "{sim}")
QUPATH = _with_field(sample("qupath-child-objects"))
WHICH: Final = "disagree|0\\.25.*0\\.5|0\\.5.*0\\.25|72|352"
# fmt: off
FAULTS: Final = [
    fault(3, "SCN, QuPath's region", counting("ki67.scn --regions {i}/qupath.geojson"), TRUE, "19.9 % of 2,630", SCN),
    fault(3, "SCN, the canvas's region", counting("ki67.scn --regions {i}/canvas.geojson"),
        (refused("."), told("tissue|frame|outside|clip|dens"), TRUE), "said, or understood", SCN),
    *[fault(4, f"ome-tiff-tiled: {name}", counting(f"{name}.ome.tif"), index(5, 60, (900, 6000)), "0.5 µm",
        TILED) for name in ("size_in_xml", "size_in_xml_print_tags")],
    fault(4, "ome-tiff-tiled: size_in_xml_wrong_tags", counting("size_in_xml_wrong_tags.ome.tif"), told(WHICH),
        "0.5 µm, said", TILED),
    fault(4, "ome-tiff-tiled: three_channels", counting("three_channels.ome.tif"), (index(5, 60, (900, 6000)),
        refused("channel")), "RGB, or refused", TILED),
    *[fault(4, f"same-size-second-page: {name}", counting(name + REGION),
        (TRUE, refused("page|series|plane|picture|focal")), "19.9 % of 2,629, or refused", PAGES,
        ) for name in ("second_page.tif", "two_series.ome.tif", "planes.svs")],
    fault(0, "middle", counting("m.tif"), index(5, 60, (50, 2000)), "an index", middle, sound=True),
    *[fault(4, f"jpeg2000-tiled: {name}", counting(name), (same("middle", 0.15), UNSUPPORTED),
        "right, or not supported", J2K,) for name in ("rgb_33003.tif", "rgb_33004.tif", "rgb_33005.tif",
        "rgb_34712.tif", "webp.tif")],
    fault(8, "qupath-child-objects: parent_with_child", counting("f.tif --regions {i}/parent_with_child.geojson"),
        _small, "the child, 0.01 mm²", QUPATH),
    fault(8, "qupath-child-objects: root", counting("f.tif --regions {i}/root.geojson"), _small,
        "the child, 0.01 mm²",
        QUPATH),
    fault(2, "red-blue-swapped", counting("bgr.tif" + REGION), (told("red and blue"), refused("red and blue")),
        "recognised", sample("red-blue-swapped", "{sim}")),
    fault(12, "a folder with two DICOM slides", "count {i}", refused("(2|two) (DICOM )?slides"),
        "refused, both named", sample("dicom-folder-two-slides", "{sim}")),
    fault(12, "one of the two by name", counting("IM000002.dcm"), index(17, 23, (2400, 3300)), "19.7 % of 2,868",
        sample("dicom-folder-two-slides", "{sim}")),
    fault(14, "non-utf8-file-name", ("count", "{i}/Pr\udcfcfung_Ki67.tif", "--regions", "{sim}/ki67_regions.geojson",
        "--out", "{out}", "--json", "--quiet"), (TRUE, refused(".")), "right, or one line",
        sample("non-utf8-file-name", "{sim}/ki67.tif")),
    fault(17, "two-pieces-moved-apart", "score {i}/he.tif {i}/ki67.tif --regions {i}/he_regions.geojson",
        (index(39, 44, (5000, 6200)), refused("piece|believ"), told("piece")), "41.3 % of 5,629, or said",
        sample("two-pieces-moved-apart", "{sim}", "{other}")),
]
# fmt: on
