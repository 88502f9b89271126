"""The check of nuclear size on everything labelled: false alarms, and what is caught of a wrong pixel size.

    nuclear_size.py DATA [SLIDE…]

DATA holds ``ki67_cells``, ``slides`` and ``annotations``; SLIDES are others whose own pixel size is right. Each is
read as if its pixel size were 1, 0.5, 0.67, 1.5 and 2 times what it is. Prints for each set the range of the radius,
and the share of pictures that are unusual.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path

import numpy as np

from ki67.cells import is_field
from ki67.cells.checks.nuclear_size import COARSEST_MPP, HE_RADIUS_UM, KI67_RADIUS_UM, nuclear_radius_um
from ki67.cells.checks.staining import nuclear_sample
from ki67.errors import Ki67Error
from ki67.slides import open_slide, tissue_mask

FACTORS = (1.0, 0.5, 0.67, 1.5, 2.0)
FIELDS = {
    "bcdata": ("bcdata/images/*/*.png", "bcdata/images/*.png", 0.25),
    "shidc": ("shidc/*.jpg", "", 0.25),
    "deepliif": ("deepliif/*_ihc.png", "", 0.25),
    "glioma": ("glioma/*.jpg", "", 0.1),
    "wroclaw": ("wroclaw/*[!d].png", "", 0.5),
    "nznmol": ("nznmol/[0-9].png", "", 0.5),
}
SLIDES = {
    "NanoZoomer Ki-67": "slides/os2_ki67_nanozoomer.ome.tif",
    "NanoZoomer H&E": "slides/os1_he.ome.tif",
    "Aperio H&E": "slides/cmu-1-small-region.svs",
}


def pictures(data: Path, others: list[Path]) -> list[tuple[str, Path, float | None]]:
    """Name of the set, file, and pixel size where the file has none."""
    found: list[tuple[str, Path, float | None]] = []
    for name, (pattern, other, mpp) in FIELDS.items():
        paths = [path for one in (pattern, other) if one for path in sorted((data / "ki67_cells").glob(one))]
        found += [(name, path, mpp) for path in paths]
    found += [
        ("TCGA H&E", path, 0.2456) for path in sorted((data / "annotations/he_nuclei_imagescope").glob("*.tif"))
    ]
    found += [(name, data / path, None) for name, path in SLIDES.items()]
    return found + [(path.name, path, None) for path in others]


def radius(path: Path, mpp: float | None, factor: float) -> float | None:
    """Radius of nuclei of a picture whose pixel size is taken for ``factor`` times the right one."""
    with open_slide(path, mpp) as slide:
        true_mpp = slide.mpp
    with open_slide(path, true_mpp * factor, overrides_file=True) as slide:
        blocks, read_mpp = nuclear_sample(slide, None if is_field(slide) else tissue_mask(slide))
        return nuclear_radius_um(blocks, read_mpp) if read_mpp <= COARSEST_MPP else None


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("slides", type=Path, nargs="*")
    arguments = parser.parse_args()
    radii: dict[str, list[list[float]]] = defaultdict(list)
    for name, path, mpp in pictures(arguments.data, arguments.slides):
        row = []
        for factor in FACTORS:
            try:
                row.append(radius(path, mpp, factor) or np.nan)
            except Ki67Error:
                row.append(np.nan)
        radii[name].append(row)
    print(f"usual: Ki-67 {KI67_RADIUS_UM}, H&E {HE_RADIUS_UM} µm")
    print("radius and share unusual at", *(f"x {factor:g}" for factor in FACTORS))
    for name, rows in radii.items():
        low, high = HE_RADIUS_UM if "H&E" in name or name.startswith("he") else KI67_RADIUS_UM
        values = np.array(rows)
        cells = [
            f"{np.nanmin(column):.2f}-{np.nanmax(column):.2f} {np.mean((column < low) | (column > high)):4.0%}"
            if np.isfinite(column).any()
            else "not measured"
            for column in values.T
        ]
        print(f"{name:18} {len(rows):3}", " | ".join(cells), flush=True)


if __name__ == "__main__":
    main()
