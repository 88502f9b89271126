"""Where cases are run: one after another in this process, or beside one another by Dask."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Sequence
from typing import Protocol

from ki67.cohort.case_run import CaseEnd, CaseTask, run_case


class Workers(Protocol):
    """Something that runs cases, each in a process of its own."""

    count: int

    def run(self, tasks: Sequence[CaseTask], *, alone: bool) -> Iterator[tuple[CaseTask, CaseEnd]]:
        """Run cases and tell how each ended, in the order in which they end; leaving the loop stops them.

        ``alone`` runs one at a time, with as much memory as there is.
        """
        ...


class OneWorker:
    """One case after the other, with all processors; needs nothing but the base installation."""

    count = 1

    def run(self, tasks: Sequence[CaseTask], *, alone: bool) -> Iterator[tuple[CaseTask, CaseEnd]]:
        """Run cases in order; each is alone anyway."""
        del alone
        for task in tasks:
            yield task, run_case(task, worker=platform.node())
