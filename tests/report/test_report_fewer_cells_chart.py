import re
from xml.etree import ElementTree as ET

from ki67.report.fewer_cells_chart import fewer_cells_chart
from ki67.report.words import words_of
from ki67.vocabulary import Language


def row(cells, low, high, first=None):
    ends = None if first is None else (first - 3, first + 3)
    return {
        "cells": cells,
        "random_percent": (low, high),
        "hot_spot_first_percent": first,
        "hot_spot_first_ci95_percent": ends,
    }


def heights(name, drawing):
    root = ET.fromstring(drawing)
    paths = [path.get("d") for path in root.iter("path") if path.get("class") == name]
    return [[float(value) for value in re.match(r"M[\d.]+ ([\d.]+)V([\d.]+)", path).groups()] for path in paths]


def test_ranges_stand_at_their_heights():
    drawing = str(fewer_cells_chart([row(100, 10, 30, 40), row(500, 16, 24, 35)], 20.0, words_of(Language.en)))
    (low, high), (narrow_low, narrow_high) = heights("random", drawing)
    assert high < narrow_high < narrow_low < low
    (first_low, first_high), _ = heights("hot-first", drawing)
    assert first_high < first_low < high
    assert ">500<" in drawing


def test_an_index_of_nothing_is_drawn_too():
    drawing = str(fewer_cells_chart([row(100, 0.0, 0.0)], 0.0, words_of(Language.en)))
    assert heights("hot-first", drawing) == []
    assert len(heights("random", drawing)) == 1
