"""Stands for a case's process: does what the text of its H&E file says, without the half minute of a real case.

``score HE KI67 --out FOLDER …``; a word before a colon happens at the first attempt only where it begins with "once".
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path


def end_with_the_other_side() -> None:
    while os.read(0, 4096):
        pass
    os._exit(143)


def fail(code: int, kind: str, text: str) -> None:
    sys.stderr.write(json.dumps({"kind": kind}) + f"\nki67: error: {text}\n")
    sys.exit(code)


def main() -> None:
    threading.Thread(target=end_with_the_other_side, daemon=True).start()
    he, ki67 = Path(sys.argv[2]), Path(sys.argv[3])
    folder = Path(sys.argv[sys.argv.index("--out") + 1])
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "attempts.txt").open("a") as stream:
        stream.write(
            f"{os.getpid()} {os.environ.get('KI67_CPU_SHARE', '')} {os.environ.get('OMP_NUM_THREADS', '')}\n"
        )
    attempts = len((folder / "attempts.txt").read_text().splitlines())
    if not he.exists():
        fail(1, "SlideError", f"{he}: does not exist. Check the path")
    what = he.read_text()
    if what.startswith("once "):
        what = what.removeprefix("once ") if attempts == 1 else ""
    if what.startswith("sleep"):
        time.sleep(float(what.split()[1]))
    elif what.startswith("signal"):
        os.kill(os.getpid(), getattr(signal, what.split()[1]))
        time.sleep(10)
    elif what == "memory":
        fail(75, "MemoryError", "out of memory; close other programs")
    elif what == "disk":
        fail(75, "DiskFullError", "cells.parquet: the disk is full. Free some space")
    elif what == "damaged":
        fail(1, "SlideError", 'slide.svs: is damaged.\x1b Line one\u2028line two, "quoted"')
    elif what == "defect":
        fail(1, "ZeroDivisionError", "this is a defect of the program: ZeroDivisionError: division by zero")
    elif what == "nothing":
        return
    number = int(ki67.read_text())
    (folder / "score.json").write_text("{}")
    result = {
        "index_percent": number / 10, "ci95_percent": [1.0, 30.0], "positive": number, "negative": 1000 - number,
        "cells": 1000, "area_mm2": 1.5, "registration": {"ncc": 0.9, "accepted": True},
        "domain": {"checks": {"stain": {"verdict": "unusual"}, "focus": {"verdict": "usual"}}},
        "warnings": [f"stain: {number} % is odd\nand more"],
    }  # fmt: skip
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
