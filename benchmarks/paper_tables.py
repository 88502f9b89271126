"""Tables 3 and 4 of the paper, recomputed from its printed numbers, and what in them does not add up.

    paper_tables.py OUT

Numbers are those of Feng et al., Diagn Pathol 2020;15:65. They are written to OUT as ``table_3.csv`` and
``table_4.csv`` and read by ``ki67 gold make`` and ``ki67 compete``; what these give is held against the sums,
averages and indices that the paper prints. Its scores cannot be recomputed: it prints neither answers nor a rule.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ki67.evaluation.compete import compete
from ki67.evaluation.gold import make_gold

# Table 3: slide, positive, negative, cells, index in percent, the two right answers.
TABLE_3 = (
    (1, 29_961, 299_428, 329_389, 9.10, (9, 10)),
    (2, 50_073, 270_593, 320_666, 15.62, (15, 16)),
    (3, 31_119, 73_719, 104_838, 29.68, (29, 30)),
    (4, 20_272, 109_013, 129_285, 15.68, (15, 16)),
    (5, 9_854, 79_026, 88_880, 11.09, (11, 12)),
    (6, 11_939, 122_641, 134_580, 8.87, (8, 9)),
    (7, 9_332, 100_608, 109_940, 8.49, (8, 9)),
    (8, 232_515, 86_582, 319_097, 72.87, (72, 73)),
    (9, 30_003, 270_266, 300_266, 9.99, (9, 10)),
    (10, 85_036, 69_088, 154_124, 55.17, (55, 56)),
)
TABLE_3_SUM = {"positive": 510_104, "negative": 1_480_964, "cells": 1_991_068}
TABLE_3_AVERAGE = {"positive": 51_010, "negative": 148_096, "cells": 199_107}
TABLE_3_INDEX = 25.62

# Table 4: scores of doctors 1 to 10, the doctors' average, the program's score; a line for each slide.
TABLE_4 = (
    (94, 84, 91, 99, 94, 96, 100, 99, 92, 80, 92.9, 100),
    (96, 86, 91, 89, 94, 95, 99, 94, 96, 95, 93.5, 98),
    (90, 98, 90, 85, 84, 69, 100, 65, 70, 88, 83.9, 97),
    (98, 92, 92, 88, 69, 89, 99, 99, 74, 99, 89.9, 99),
    (99, 91, 86, 92, 97, 90, 98, 97, 98, 93, 94.1, 99),
    (96, 93, 96, 92, 96, 99, 99, 97, 96, 97, 96.1, 100),
    (86, 93, 52, 97, 68, 88, 98, 100, 88, 78, 84.8, 99),
    (92, 98, 98, 78, 88, 88, 100, 78, 83, 98, 90.1, 98),
    (97, 100, 95, 96, 92, 96, 98, 95, 90, 90, 93.9, 99),
    (100, 70, 70, 75, 65, 93, 99, 65, 90, 68, 79.5, 100),
)
READERS = (*(f"Dr. {number}" for number in range(1, 11)), "AI")
AVERAGES = (94.8, 90.5, 86.1, 89.1, 84.7, 89.3, 99.0, 88.9, 87.7, 88.6, 98.9)
TIMES = ("28:27", "25:54", "28:56", "28:25", "20:33", "23:40", "18:46", "20:23", "26:55", "27:42", "23:19")
AVERAGE_TIME = "25:31"

# Said in the text.
TEXT_ACCURACY = 99.4
TEXT_CELLS_A_PERSON = 200_000
LABELLERS = 10


def recompute(out: Path) -> dict[str, Any]:
    """Both tables as the program gives them, and ``differences``, what of the paper does not agree with them."""
    out.mkdir(parents=True, exist_ok=True)
    rows = [",".join(map(str, row[:5])) for row in TABLE_3]
    standard = out / "table_3.csv"
    standard.write_text("\n".join(["slide,positive,negative,cells,index_percent", *rows, ""]), encoding="utf-8")
    lines = ["slide,reader,score,seconds"]
    for slide, scores in enumerate(TABLE_4, 1):
        # One time is given for all slides: it stands on the first.
        seconds = [_seconds(time) if slide == 1 else 0 for time in TIMES]
        own = (*scores[:10], scores[11])
        lines += [f"{slide},{name},{own[n]},{seconds[n]}" for n, name in enumerate(READERS)]
    answers = out / "table_4.csv"
    answers.write_text("\n".join([*lines, ""]), encoding="utf-8")
    gold = make_gold(standard, out / "gold.csv")
    ranking = compete(standard, answers)
    return {"gold": gold, "ranking": ranking, "differences": [*_of_table_3(gold), *_of_table_4(ranking)]}


def _seconds(time: str) -> int:
    minutes, seconds = time.split(":")
    return 60 * int(minutes) + int(seconds)


def _of_table_3(gold: dict[str, Any]) -> list[str]:
    found = [f"Table 3, {text}" for text in gold["warnings"]]
    found += [
        f"Table 3, slide {row[0]}: {slide['standard']} are the whole percents around the index, not {row[5]}"
        for row, slide in zip(TABLE_3, gold["slides"], strict=True)
        if slide["standard"] != row[5]
    ]
    for kind in TABLE_3_SUM:
        for name, printed in (("sum", TABLE_3_SUM), ("average", TABLE_3_AVERAGE)):
            if round(gold[name][kind]) != printed[kind]:
                found.append(f"Table 3, {name} of {kind}: {gold[name][kind]:,.1f}, not {printed[kind]:,}")
    pooled, mean = gold["pooled_percent"], gold["mean_of_slides_percent"]
    found.append(
        f"Table 3, 'average' index {TABLE_3_INDEX} %: of all cells together it is {pooled:.2f} %, of the slides' "
        f"indices {mean:.2f} %"
    )
    each = gold["sum"]["cells"] / LABELLERS
    if each < TEXT_CELLS_A_PERSON:
        found.append(f"Text, 'more than {TEXT_CELLS_A_PERSON:,} cells per person': {each:,.0f} by Table 3")
    return found


def _of_table_4(ranking: dict[str, Any]) -> list[str]:
    readers = {reader["reader"]: reader for reader in ranking["readers"]}
    found = [
        f"Table 4, average of {name}: {readers[name]['average_score']:.1f}, not {printed}"
        for name, printed in zip(READERS, AVERAGES, strict=True)
        if round(readers[name]["average_score"], 1) != printed
    ]
    for slide, scores in enumerate(TABLE_4, 1):
        mean = sum(scores[:10]) / 10
        if round(mean, 1) != scores[10]:
            found.append(f"Table 4, average of slide {slide}: {mean:.1f}, not {scores[10]}")
    mean_time = sum(readers[name]["seconds"] for name in READERS[:10]) / 10
    if round(mean_time) != _seconds(AVERAGE_TIME):
        found.append(f"Table 4, average time: {mean_time // 60:.0f}:{mean_time % 60:02.0f}, not {AVERAGE_TIME}")
    own = readers["AI"]["average_score"]
    if round(own, 1) != TEXT_ACCURACY:
        found.append(f"Abstract and text, accuracy of the program {TEXT_ACCURACY} %: {own:.1f} by Table 4")
    return found


def main() -> None:
    """Recompute and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    result = recompute(parser.parse_args().out)
    print("slide  positive  negative      cells  index %  right answers")
    for slide in result["gold"]["slides"]:
        counts = f"{slide['positive']:9,d} {slide['negative']:9,d} {slide['cells']:10,d}"
        print(f"{slide['slide']:>5s} {counts} {slide['index_percent']:8.2f}  {slide['standard']}")
    total = result["gold"]["sum"]
    print(f"  sum {total['positive']:9,d} {total['negative']:9,d} {total['cells']:10,d}\n\nrank reader  score   time")
    for reader in result["ranking"]["readers"]:
        minutes, seconds = divmod(round(reader["seconds"]), 60)
        print(f"{reader['rank']:4d} {reader['reader']:6s}  {reader['average_score']:5.1f}  {minutes}:{seconds:02d}")
    print("\nWhat does not add up:")
    for text in result["differences"]:
        print(f"- {text}")


if __name__ == "__main__":
    main()
