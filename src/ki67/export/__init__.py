"""A case's result for other programs; one module per format, and a table of them."""

from __future__ import annotations

from pathlib import Path

from ki67.case import Summary
from ki67.corrected import read_corrected
from ki67.errors import WriteError
from ki67.export.formats import FORMATS, Format, format_of
from ki67.vocabulary import Layer

__all__ = ["FORMATS", "Format", "export_case", "format_of"]


def export_case(folder: str | Path, out: str | Path, layer: Layer | None = None) -> Summary:
    """Write what a case holds for another program, with its corrections; nothing is locked or changed in the case.

    Parameters
    ----------
    folder
        Folder of a case that ``score`` or ``count`` has finished.
    out
        File to write; the end of its name, one of those in :data:`FORMATS`, says as what.
    layer
        Which map, for formats with layers; the index if not given.

    Returns
    -------
    dict
        ``file``, ``format``, and what the format tells (``cells``: how many were written).

    Raises
    ------
    CaseError
        Where the folder does not hold what is asked for, its last run was refused or did not end, or it was changed.
    CorrectionError, ScoreError
        Where the case's corrections cannot be applied.
    WriteError
        Where the name ends otherwise, a layer is asked of a format without, or the file cannot be written.
    MissingExtraError
        Where the format needs a package that is not installed.
    """
    target = Path(out)
    chosen = format_of(target)
    if chosen is None:
        known = "; ".join(f"{' or '.join(one.suffixes)} ({one.what})" for one in FORMATS)
        raise WriteError(target, "says no format that a case can be exported as", f"End it in {known}.")
    if layer is not None and not chosen.layers:
        layered = " or ".join(suffix for one in FORMATS if one.layers for suffix in one.suffixes)
        raise WriteError(target, f"has no layers ({chosen.what})", f"Leave out --layer, or end it in {layered}.")
    view = read_corrected(folder)
    told = chosen.write(view, target, layer or Layer.INDEX) if chosen.layers else chosen.write(view, target)
    return {"file": str(target), "format": chosen.what, **told}
