"""Where the time of a run goes, thread by thread, as a file that Perfetto and Chrome open.

The format is the Trace Event Format's JSON (complete events, times in µs): https://ui.perfetto.dev, ``chrome://tracing``.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ki67.files import write_json


class Trace:
    """Spans of work, each with the thread that did it."""

    def __init__(self) -> None:
        self._begun_ns = time.perf_counter_ns()
        self._spans: list[tuple[str, int, int, int]] = []
        self._names: dict[int, str] = {}
        self._lock = threading.Lock()

    @contextmanager
    def span(self, name: str) -> Iterator[None]:
        """Note what is done within, by name, beginning and length."""
        begin_ns = time.perf_counter_ns()
        try:
            yield
        finally:
            thread = threading.current_thread()
            number = thread.native_id or 0
            with self._lock:
                self._spans.append((name, begin_ns - self._begun_ns, time.perf_counter_ns() - begin_ns, number))
                self._names[number] = thread.name

    def write(self, path: str | Path) -> None:
        """Write what was noted so far.

        Raises
        ------
        WriteError
            Where the file cannot be written.
        """
        process = os.getpid()
        with self._lock:
            spans, names = list(self._spans), dict(self._names)
        events: list[dict[str, Any]] = [
            {"name": "thread_name", "ph": "M", "pid": process, "tid": number, "args": {"name": name}}
            for number, name in names.items()
        ]
        events += [
            {"name": name, "ph": "X", "ts": begin / 1e3, "dur": length / 1e3, "pid": process, "tid": number}
            for name, begin, length, number in spans
        ]
        write_json(path, {"displayTimeUnit": "ms", "traceEvents": events})
