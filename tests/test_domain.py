"""One shape for every check of whether an input is what the program was validated on."""

import json

import pytest

from ki67.domain import Check, Verdict, domain_part, worst

CHECKS = [
    Check("stain", Verdict.usual, value=0.3, usual=(0.2, None)),
    Check("nuclear_size", Verdict.unusual, "nuclei are small", 12.0, (20.0, 90.0), "µm²"),
]


def test_the_worst_verdict_stands_on_top() -> None:
    assert domain_part(CHECKS)["verdict"] == "unusual"
    assert worst([*CHECKS, Check("grey", Verdict.unusable, "no colour")]) is Verdict.unusable


def test_nothing_checked_is_usual() -> None:
    assert domain_part([]) == {"verdict": "usual", "checks": {}}


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_a_check_comes_back_from_json_as_it_was(check: Check) -> None:
    part = json.loads(json.dumps(domain_part([check])))

    assert Check.from_dict(check.name, part["checks"][check.name]) == check
