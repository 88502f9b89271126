"""Wording: complete in every language, and nothing left in another."""

import re
from string import Formatter

import pytest

from ki67.report.words import words_of
from ki67.vocabulary import EXCLUSION_KINDS, Language

EN, DE = words_of(Language.en), words_of(Language.de)


def places(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name}


def test_every_language_has_every_sentence_with_the_same_places() -> None:
    assert list(EN.sentences) == list(DE.sentences)
    for key, text in EN.sentences.items():
        assert places(text) == places(DE.sentences[key]), key
    assert [key for key, text in DE.sentences.items() if not text] == []
    assert [key for key, text in EN.sentences.items() if not text] == ["report.recorded"]


def test_every_kind_of_exclusion_has_its_words() -> None:
    assert EN.names("exclusion") == {kind.name: kind.sentence for kind in EXCLUSION_KINDS.values()}
    assert all(kind.label in DE.translations for kind in EXCLUSION_KINDS.values())


@pytest.mark.parametrize(("form", "value", "german"), [(",", 1234567, "1.234.567"), (".1f", 3.25, "3,2")])
def test_numbers_are_written_as_the_language_does(form: str, value: float, german: str) -> None:
    assert EN.number(value, form) == format(value, form)
    assert DE.number(value, form) == german


def test_a_key_that_is_not_there_is_a_defect() -> None:
    with pytest.raises(KeyError):
        EN("no.such.key")


def test_no_sentence_of_the_template_is_outside_the_wording() -> None:
    from jinja2 import PackageLoader

    source = PackageLoader("ki67.report").get_source(None, "report.html")[0]  # type: ignore[arg-type]
    bare = re.sub(r"{[%{].*?[%}]}", " ", source, flags=re.DOTALL)
    bare = re.sub(r"<style>.*?</style>|<[^>]*>", " ", bare, flags=re.DOTALL)
    words = set(re.findall(r"[A-Za-z]{3,}", bare))
    assert words <= {"MiB"}
