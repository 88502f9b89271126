"""``python -m ki67.cli.case_process``: a command in a process of its own, for a program that waits for it.

It ends as the plain command ends, with three things more: it ends with the program that waits, however that ends; it
keeps to its share of the processors; and before the line that tells of an error it writes one that names its kind.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from typing import Final

from ki67.cli import ending
from ki67.files import remove_unfinished
from ki67.processors import usable_processors

CPU_SHARE: Final = "KI67_CPU_SHARE"
"""Variable of the environment: ``k/n`` keeps the process to the k-th of n equal parts of the processors, from 0."""

_WAITING_PROGRAM_GONE: Final = 143


def main() -> None:
    """Run the command that the words of the command line name."""
    threading.Thread(target=_end_with_the_other_side, daemon=True, name="other side").start()
    _keep_to_share(os.environ.get(CPU_SHARE, ""))
    ending.run(_noting_its_kind, sys.argv[1:])


def _end_with_the_other_side() -> None:
    """Wait for the end of standard input, which the system closes even where the waiting program was killed."""
    while os.read(0, 4096):
        pass
    remove_unfinished()
    os._exit(_WAITING_PROGRAM_GONE)


def _keep_to_share(text: str) -> None:
    number, _, of = text.partition("/")
    if not of or not hasattr(os, "sched_setaffinity"):
        return
    own = sorted(os.sched_getaffinity(0))
    start = int(number) * max(1, len(own) // int(of)) % len(own)
    os.sched_setaffinity(0, own[start : start + max(1, usable_processors() // int(of))])


def _noting_its_kind(words: list[str]) -> None:
    from ki67.cli import run_words

    try:
        run_words(words)
    except Exception as error:
        sys.stderr.write(json.dumps({"kind": type(error).__name__}) + "\n")
        raise


if __name__ == "__main__":
    main()
