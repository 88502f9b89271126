"""Shipped networks in whole numbers: ``recipes/int8_graphs.py cells GRAPH.onnx SECTIONS``, ``… idc GRAPH.onnx``.

Writes the graph of eight bits beside a network that is there already, and into the card its SHA-256 and what it does
on patients that it has not seen; trainings do so themselves. Ranges are taken from what the network learnt from: of a
cell network the labelled training fields, of other organs too, and the simulated sections, which are drawn into the
folder SECTIONS; of an IDC network patches of training patients.
"""

from __future__ import annotations

import sys
from pathlib import Path

import cells_network_deviation
from cells_network import data_root, draw_sections, patient, teaching_sets, training_sets, write_judged
from ki67.errors import ModelError
from ki67.fields.patches import INDEX_FILE, read_patches
from ki67.files import read_json
from ki67.idc import load_model
from ki67.learning.cells.recipe import read_labels, read_pixels
from ki67.learning.idc.recipe import add_appearance, add_surroundings, split_rows
from ki67.learning.idc.training import PatchSet
from ki67.learning.quantisation import add_int8, patches_pixels
from ki67.progress import configure


def cells(graph: Path, sections: Path) -> None:
    """A cell network."""
    draw_sections(sections)
    card = read_json(graph.with_suffix(".json"), ModelError, "")
    fields = read_pixels(read_labels([*training_sets(sections), *teaching_sets()], patient))
    write_judged(graph, card, card["fields"], fields)
    cells_network_deviation.main(graph, write=True)


def idc(graph: Path) -> None:
    """An IDC network, and what is measured of it."""
    folder = data_root().parent / "idc_patches"
    edge = load_model(graph).card.patch_px
    training, validation = split_rows(read_patches(folder, folder / INDEX_FILE), folder / INDEX_FILE)
    known, patches = (PatchSet.load(rows, edge) for rows in (training, validation))
    add_int8(graph, patches_pixels(known.pixels))
    add_appearance(graph, known, patches)
    add_surroundings(graph, validation, patches)


if __name__ == "__main__":
    configure(quiet=False)
    kind, network, *rest = sys.argv[1:]
    if kind == "cells":
        cells(Path(network), Path(*rest))
    else:
        idc(Path(network))
