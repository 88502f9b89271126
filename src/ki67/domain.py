"""Whether an input is what the program was validated on: one shape for every check, whichever stage makes it.

A check that finds something *unusual* warns; one that finds the input *unusable* stands against an index, unless the
user insists. A stage puts its checks under ``checks`` into its summary (:func:`checks_part`); all of them end in the
``domain`` part of ``score.json``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any


class Verdict(StrEnum):
    """What a check thinks of the input; the order is from good to bad."""

    usual = "usual"
    unusual = "unusual"
    unusable = "unusable"


@dataclass(frozen=True, slots=True)
class Check:
    """What one check found.

    Parameters
    ----------
    name
        Key in ``domain.checks``: ``nuclear_size``, ``stain``, ….
    verdict
        What to think of it.
    text
        A sentence for people: what was found, what is usual, what to do. Empty where the verdict is usual.
    value
        The measured quantity; None where it could not be measured (the text says why).
    usual
        Lowest and highest usual value; None for an open end, or where the quantity has no range.
    unit
        Unit of value and range; None for shares and ratios.
    insisted
        The user wants an index all the same; the verdict stays what it is.
    """

    name: str
    verdict: Verdict
    text: str = ""
    value: float | None = None
    usual: tuple[float | None, float | None] | None = None
    unit: str | None = None
    insisted: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, without the name."""
        return {name: value for name, value in asdict(self).items() if name != "name"}

    @classmethod
    def from_dict(cls, name: str, facts: Mapping[str, Any]) -> Check:
        """Build the check again from :meth:`to_dict`."""
        low_high = facts.get("usual")
        usual = None if low_high is None else (low_high[0], low_high[1])
        insisted = facts.get("insisted", False)
        return cls(name, Verdict(facts["verdict"]), facts["text"], facts["value"], usual, facts["unit"], insisted)

    @property
    def forbids(self) -> bool:
        """Whether there must be no index because of it."""
        return self.verdict is Verdict.unusable and not self.insisted


def worst(checks: Iterable[Check]) -> Verdict:
    """Return the worst verdict; usual where there is no check."""
    order = list(Verdict)
    return max((check.verdict for check in checks), key=order.index, default=Verdict.usual)


def insist(checks: Iterable[Check]) -> tuple[Check, ...]:
    """Return the checks with those that find the input unusable marked as insisted upon."""
    return tuple(replace(check, insisted=True) if check.verdict is Verdict.unusable else check for check in checks)


def doubts(checks: Iterable[Check]) -> list[str]:
    """Return the sentences of all checks that are not usual, the worst first."""
    order = list(Verdict)
    found = [check for check in checks if check.verdict is not Verdict.usual]
    return [check.text for check in sorted(found, key=lambda check: -order.index(check.verdict))]


def checks_part(checks: Iterable[Check]) -> dict[str, dict[str, Any]]:
    """Return every check by its name, as plain values for JSON."""
    return {check.name: check.to_dict() for check in checks}


def checks_of(part: Mapping[str, Mapping[str, Any]]) -> tuple[Check, ...]:
    """Build the checks again from :func:`checks_part`."""
    return tuple(Check.from_dict(name, facts) for name, facts in part.items())


def domain_part(checks: Iterable[Check]) -> dict[str, Any]:
    """Return the ``domain`` part of ``score.json``: the worst verdict and every check by its name."""
    checks = list(checks)
    return {"verdict": worst(checks).value, "checks": checks_part(checks)}
