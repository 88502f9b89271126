"""Wording: complete in every language, and nothing left in another."""

import ast
import re
from pathlib import Path
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


def templates() -> list[re.Pattern[str]]:
    """What the program's source can write, as patterns: every text in it, with whatever is filled in."""
    found = []
    for path in (Path(__file__).parents[2] / "src" / "ki67").rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(re.compile(re.escape(node.value), re.DOTALL))
            elif isinstance(node, ast.JoinedStr):
                parts = [str(part.value) if isinstance(part, ast.Constant) else None for part in node.values]
                parts[0] = parts[0] and parts[0].removeprefix("; ")
                fixed = "".join(part or "" for part in parts)
                if len(re.findall("[a-z]", fixed)) >= 4:
                    found.append(
                        re.compile("".join("(.*)" if part is None else re.escape(part) for part in parts), re.DOTALL)
                    )
    return found


def test_every_sentence_that_is_translated_is_one_that_the_program_writes() -> None:
    written = templates()
    examples = [example(pattern) for pattern, _ in DE.patterns]
    unknown = {text for text in examples if not any(one.fullmatch(text) for one in written)}
    assert unknown <= {f"{kind.sentence} X" for kind in EXCLUSION_KINDS.values()}


def example(pattern: re.Pattern[str]) -> str:
    return re.sub(r"\\(.)", r"\1", pattern.pattern.replace("(.*)", "X"))


def test_translations_fill_in_what_the_sentence_does() -> None:
    for pattern, form in DE.patterns:
        assert {int(name) for name in places(form)} == set(range(pattern.groups)), form


@pytest.mark.parametrize(
    ("recorded", "german"),
    [
        (
            "he.tif: no empty glass found: the usual white was taken as background",
            "he.tif: kein leeres Glas",
        ),
        ("a.geojson: counted 'IDC'; left out 'Vein'", "a.geojson: gezählt: 'IDC'; ausgelassen: 'Vein'"),
        (
            "12% of the region was not counted (under pen 0.12, in folds 1.30 mm²)",
            "(unter Stift 0,12, in Falten",
        ),
        ("the rigid stage was left out: mutual information fell from 1.285 to 1.280", "fiel von 1,285 auf 1,280"),
        (
            "the H&E slide: the picture is grey: it has no colour by which stains are told apart",
            "der HE-Schnitt:",
        ),
        ("a.xml: 'Vein' lies over 0.0017 mm² of 'IDC', counted all the same", "a.xml: 'Vein' liegt über 0,0017 mm²"),
        ("nobody knows this: sentence, 1.5; at all", "nobody knows this: sentence, 1,5; at all"),
    ],
)
def test_what_other_rooms_record_is_translated(recorded: str, german: str) -> None:
    assert german in DE.recorded(recorded)
    assert EN.recorded(recorded) == recorded
