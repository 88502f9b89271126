"""``ki67 simulate``: a pair of serial sections whose every cell is known."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ki67.cli.common import Json, Quiet, begin, emit
from ki67.simulate.options import SimulationOptions

_DEFAULT = SimulationOptions()


def simulate(
    directory: Annotated[Path, typer.Argument(help="Folder for he.tif, ki67.tif and the truth.")],
    seed: Annotated[int, typer.Option("--seed", help="Seed of everything that is drawn.")] = _DEFAULT.seed,
    size_mm: Annotated[
        tuple[float, float], typer.Option("--size-mm", help="Width and height of the H&E slide in mm.")
    ] = _DEFAULT.size_mm,
    mpp: Annotated[float, typer.Option("--mpp", help="Pixel size in µm.")] = _DEFAULT.mpp,
    cells: Annotated[
        int | None, typer.Option("--cells", help="Invasive tumour cells on the Ki-67 section; default: as they fit.")
    ] = _DEFAULT.cells,
    index: Annotated[float, typer.Option("--index", help="Ki-67 index in percent.")] = _DEFAULT.index_percent,
    hot_spot: Annotated[
        float, typer.Option("--hot-spot", help="Strength of the index's variation in space; 0 for none.")
    ] = _DEFAULT.hot_spot,
    rotation_deg: Annotated[
        float | None, typer.Option("--rotation-deg", help="Turn of the Ki-67 section; default: drawn.")
    ] = _DEFAULT.rotation_deg,
    shift_um: Annotated[
        tuple[float, float] | None, typer.Option("--shift-um", help="Shift of the Ki-67 section; default: drawn.")
    ] = None,
    deformation_um: Annotated[
        float, typer.Option("--deformation-um", help="Largest displacement of the smooth deformation.")
    ] = _DEFAULT.deformation_um,
    grade: Annotated[int, typer.Option("--grade", min=1, max=3, help="Nuclear grade.")] = _DEFAULT.grade,
    folds: Annotated[int, typer.Option("--folds", help="Folds on each slide.")] = _DEFAULT.folds,
    tears: Annotated[int, typer.Option("--tears", help="Tears on each slide.")] = _DEFAULT.tears,
    pen: Annotated[int, typer.Option("--pen", help="Pen marks on each slide.")] = _DEFAULT.pen,
    out_of_focus: Annotated[
        int, typer.Option("--out-of-focus", help="Out-of-focus patches on each slide.")
    ] = _DEFAULT.out_of_focus,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Simulate an H&E and a Ki-67 section with the whole truth beside them."""
    from ki67.simulate.pair import simulate_pair

    begin(quiet=quiet)
    options = SimulationOptions(
        seed=seed,
        size_mm=size_mm,
        mpp=mpp,
        cells=cells,
        index_percent=index,
        hot_spot=hot_spot,
        rotation_deg=rotation_deg,
        shift_um=shift_um,
        deformation_um=deformation_um,
        grade=grade,  # type: ignore[arg-type]  # the range is checked by the command line and again by the options
        folds=folds,
        tears=tears,
        pen=pen,
        out_of_focus=out_of_focus,
    )
    truth = simulate_pair(directory, options)
    result = {
        "he": str(directory / "he.tif"),
        "ki67": str(directory / "ki67.tif"),
        "index_percent": truth.index_percent,
        "positive": truth.positive,
        "negative": truth.negative,
        "transform_um": [list(map(float, row)) for row in truth.matrix],
    }
    lines = [
        f"true index: {truth.index_percent:.2f} % ({truth.positive:,} positive, {truth.negative:,} negative)",
        f"slides: {result['he']}, {result['ki67']}",
    ]
    emit(result, as_json=as_json, lines=lines)
