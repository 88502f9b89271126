"""The log: every act one row, added in the transaction of what it tells of."""

from __future__ import annotations

import time
from typing import Any

from sqlalchemy.orm import Session

from ki67.labelling.tables import Event


def note(
    session: Session,
    person: int | None,
    act: str,
    *,
    task: int | None = None,
    before: str = "",
    after: str = "",
    detail: dict[str, Any] | None = None,
) -> None:
    """Add a row; names of people never go into ``detail``, numbers do."""
    session.add(
        Event(
            at=time.time(),
            person_id=person,
            task_id=task,
            act=act,
            before=before,
            after=after,
            detail=detail or {},
        )
    )
