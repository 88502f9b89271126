"""How often a program of known error passes a laboratory's validation, by the default limits.

    validation_power.py [--runs 100]

Manual indices are drawn from a gamma distribution (shape 2, mean 24 %, at most 95 %), the program's are off by a bias
and a normal error in points that grows as the root of the index does, 0 at 0 % and the standard deviation told at
25 %. Prints the share of runs that pass at one cut-off of 20 %, and at all published ones together.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ki67.evaluation.validation import validate
from ki67.scoring.cut_offs import CUT_OFFS, CutOff, own_cut_off

CASES = (30, 60)
BIAS_AND_SD = ((0, 2), (0, 4), (0, 6), (2, 4), (4, 4))
CHOICES: dict[str, Sequence[CutOff]] = {"20 %": (own_cut_off(20),), "all published": CUT_OFFS}


def passes(random: np.random.Generator, cases: int, bias: float, sd: float, folder: Path) -> dict[str, bool]:
    """Whether one drawn validation passes, by the choice of cut-offs."""
    manual = np.minimum(random.gamma(2, 12, cases), 95)
    found = np.clip(manual + bias + sd * np.sqrt(manual / 25) * random.normal(size=cases), 0, 100)
    rows = [f"{number},{a:.2f},{b:.2f}" for number, (a, b) in enumerate(zip(manual, found, strict=True))]
    path = folder / "cases.csv"
    path.write_text("\n".join(["case,manual_percent,index_percent", *rows]))
    return {name: validate(path, cut_offs=cut_offs)["passed"] for name, cut_offs in CHOICES.items()}


def main() -> None:
    """Draw, validate and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=100)
    runs = parser.parse_args().runs
    random = np.random.default_rng(1)
    print("cases  bias  SD   " + "   ".join(CHOICES))
    with tempfile.TemporaryDirectory() as folder:
        for cases in CASES:
            for bias, sd in BIAS_AND_SD:
                drawn = [passes(random, cases, bias, sd, Path(folder)) for _ in range(runs)]
                shares = "   ".join(f"{np.mean([run[name] for run in drawn]):{len(name)}.0%}" for name in CHOICES)
                print(f"{cases:5d}  {bias:4g}  {sd:2g}   {shares}", flush=True)


if __name__ == "__main__":
    main()
