"""How the pages are made from their templates."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined

DISCLAIMER: Final = "For research use only. Not a medical device."


def environment() -> Environment:
    """Templates of this package; every text is escaped, and a name that is not there is an error."""
    return Environment(
        loader=PackageLoader("ki67.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def told_time(now: datetime | None = None) -> str:
    """A time, the present one by default, as a page says when it was made."""
    return (now or datetime.now(tz=UTC)).strftime("%Y-%m-%d %H:%M UTC")
