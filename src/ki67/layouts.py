"""How fields with labelled nuclei are stored; a light module, so that the command line can list the layouts."""

from __future__ import annotations

from enum import StrEnum


class Layout(StrEnum):
    """How labelled cells are stored.

    ``bcdata``: ``DIR/images/N.png`` with ``DIR/annotations/{positive,negative}/N.h5``, dataset ``coordinates``: x, y.
    ``shidc``: ``NAME.jpg`` with ``NAME.json``, a list of ``{x, y, label_id}``; 1 positive, 2 negative, 3 lymphocyte.
    ``points``: an image with a CSV of the same name beside it, columns ``x,y,label``.
    With any of them ``NAME_labelled.png`` beside the picture, white where labelling is complete, or outlines of that
    in ``NAME_labelled.geojson``, keep the rest of the picture out of training and figures.
    ``qupath``: an image with a GeoJSON of the same name beside it: detections, cells, points, or nuclei outlined by
    hand (:func:`ki67.annotations.read_cells`) with the classes of :mod:`ki67.cells.qupath_classes`.
    ``simulated``: ``DIR/NAME/`` as ``ki67 simulate`` writes it: its Ki-67 section and all its cells.
    ``deepliif``: ``NAME_ihc.png`` with ``NAME_mask.png``, nuclei filled red (positive) or blue (negative), edges
    green. ``glioma``: pictures with one ``polygons.json`` beside them: picture, class, list of polygons. These two
    label nuclei of every kind, and not all pale ones: what is negative need not be a tumour cell.
    """

    bcdata = "bcdata"
    shidc = "shidc"
    points = "points"
    qupath = "qupath"
    simulated = "simulated"
    deepliif = "deepliif"
    glioma = "glioma"
