"""What users install is under licences that go with MIT: nothing under the GPL, and nothing without a word on it."""

from __future__ import annotations

import re
from importlib.metadata import Distribution, PackageNotFoundError, distribution

import pytest

EXTRAS = ("", "serve", "cohort", "dicom", "figures", "notebook", "url")
GPL = re.compile(r"(?<!L)A?GPL|(?<!Lesser )General Public License", re.IGNORECASE)


def licence_of(package: Distribution) -> str:
    facts = package.metadata
    named = [text.split("::")[-1] for text in facts.get_all("Classifier") or [] if text.startswith("License ::")]
    return facts.get("License-Expression") or "; ".join(named) or (facts.get("License") or "").strip()


def installed(name: str, extras: tuple[str, ...], found: dict[str, Distribution]) -> dict[str, Distribution]:
    """A package and all that it asks for, by name; what is not installed is passed over."""
    requirements = pytest.importorskip("packaging.requirements")
    try:
        package = distribution(name)
    except PackageNotFoundError:
        return found
    known = package.metadata["Name"].lower()
    if known in found and extras == ("",):
        return found
    found[known] = package
    for line in package.requires or []:
        asked = requirements.Requirement(line)
        wanted = asked.marker is None or any(asked.marker.evaluate({"extra": extra}) for extra in extras)
        if wanted and asked.name.lower() != "ki67":
            installed(asked.name, ("", *sorted(asked.extras)), found)
    return found


def under_gpl(licence: str) -> bool:
    """Whether a licence leaves no other choice: of ``A OR B`` one is enough."""
    parts = re.split(r"\s+AND\s+|;", licence)
    return any(all(GPL.search(one) for one in re.split(r"\s+OR\s+", part)) for part in parts)


def test_nothing_is_under_the_gpl_and_everything_says_its_licence() -> None:
    packages = installed("ki67", EXTRAS, {})
    assert len(packages) > 40
    licences = {name: licence_of(package) for name, package in packages.items()}
    assert [name for name, licence in licences.items() if not licence] == []
    assert {name: licence for name, licence in licences.items() if under_gpl(licence)} == {}


@pytest.mark.parametrize(
    ("licence", "expected"),
    [
        ("GPL-3.0-only", True),
        ("GNU Affero General Public License v3", True),
        ("MIT AND AGPL-3.0", True),
        ("LGPL-2.1-only AND (BSD-3-Clause OR GPL-2.0-only)", False),
        ("GNU Lesser General Public License v2", False),
        ("Apache-2.0 OR BSD-2-Clause", False),
    ],
)
def test_a_choice_and_the_lesser_licence_are_no_gpl(licence: str, expected: bool) -> None:
    assert under_gpl(licence) is expected
