"""One shape for every check of whether an input is what the program was validated on."""

import json

import pytest

from ki67.domain import Check, Verdict, checks_of, checks_part, domain_part, doubts, insist, worst

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


def test_an_unusable_input_forbids_an_index_until_the_user_insists() -> None:
    checks = [*CHECKS, Check("grey", Verdict.unusable, "no colour")]

    assert [check.name for check in checks if check.forbids] == ["grey"]
    assert [check.name for check in insist(checks) if check.forbids] == []
    assert domain_part(insist(checks))["verdict"] == "unusable"
    assert [check.insisted for check in insist(checks)] == [False, False, True]


def test_the_worst_doubt_is_told_first_and_nothing_of_what_is_usual() -> None:
    assert doubts([*CHECKS, Check("grey", Verdict.unusable, "no colour")]) == ["no colour", "nuclei are small"]


def test_a_stage_keeps_its_checks_as_plain_values() -> None:
    assert list(checks_of(json.loads(json.dumps(checks_part(CHECKS))))) == CHECKS
