"""The report's wording: every sentence of it, in each language, from one file a language.

``wording/LANGUAGE.json`` holds ``words`` by key, with ``{names}`` for what is filled in; ``known``: translations
of short texts that other rooms write in English; and ``sentences``: pairs of what those record in sentences
(warnings, reasons), with ``{numbers}`` for what they fill in, and its translation. What has none stays English.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Final

from ki67.vocabulary import Language

_GERMAN: Final = str.maketrans(",.", ".,")
_PLACE: Final = re.compile(r"\{\d+\}")
_NUMBER: Final = re.compile(r"-?[\d.,]*\d ?%?")
_LONGEST: Final = 1500
"""No sentence of ours is longer; what names and labels make longer is not taken apart."""

_JOINED_BY: Final = ("; ", ": ", ", ")
"""What other rooms put between two sentences, or between what a sentence is about and the sentence."""


@dataclass(frozen=True)
class Words:
    """Wording of one language; called with a key it gives the sentence."""

    language: Language
    sentences: dict[str, str]
    translations: dict[str, str]
    patterns: tuple[tuple[re.Pattern[str], str], ...] = ()

    def __call__(self, key: str, **values: object) -> str:
        """Sentence of a key, with values filled in; a key that is not there is a defect (KeyError)."""
        return self.sentences[key].format(**values)

    def names(self, group: str) -> dict[str, str]:
        """All sentences of ``group.NAME`` by NAME, in the order of the file."""
        start = f"{group}."
        return {key.removeprefix(start): text for key, text in self.sentences.items() if key.startswith(start)}

    def known(self, text: str) -> str:
        """Translate a short text of another room; as it is where there is none."""
        return self.translations.get(text, text)

    def recorded(self, text: str) -> str:
        """Translate what another room recorded in one sentence or several; what has no translation stays as it is."""
        if len(text) > _LONGEST:
            return text
        if _NUMBER.fullmatch(text):
            return text.translate(_GERMAN) if self.language is Language.de else text
        about, colon, rest = text.partition(": ")
        if (sentence := self._sentence(text)) is not None:
            return sentence
        if colon and (sentence := self._sentence(rest)) is not None:
            return f"{about}: {sentence}"
        joint = next((joint for joint in _JOINED_BY if self.patterns and joint in text), None)
        return text if joint is None else joint.join(self.recorded(part) for part in text.split(joint))

    def _sentence(self, text: str) -> str | None:
        """Translation of one sentence; None where there is none."""
        for pattern, form in self.patterns:
            match = pattern.fullmatch(text)
            if match is not None:
                return form.format(*map(self.recorded, match.groups()))
        return None

    def number(self, value: float, form: str) -> str:
        """Write a number as the language does; ``form`` is Python's."""
        text = format(value, form)
        return text.translate(_GERMAN) if self.language is Language.de else text

    def percent(self, value: float | None) -> str:
        """Return a percentage to one decimal, a dash for none."""
        return "–" if value is None else f"{self.number(value, '.1f')} %"

    def plain(self, value: Any) -> str:
        """Show a number of any kind to four significant digits."""
        return self.number(value, ".4g") if isinstance(value, float) else str(value)


@cache
def words_of(language: Language) -> Words:
    """Wording of a language."""
    text = files("ki67.report").joinpath("wording", f"{language.value}.json").read_text(encoding="utf-8")
    content = json.loads(text)
    # Of two that fit, the one that says more itself.
    told = sorted(content["sentences"], key=lambda pair: -len(_PLACE.sub("", pair[0])))
    patterns = tuple((_pattern(recorded), form) for recorded, form in told)
    return Words(language, content["words"], content["known"], patterns)


def _pattern(recorded: str) -> re.Pattern[str]:
    fixed = map(re.escape, _PLACE.split(recorded))
    return re.compile("(.*)".join(fixed), re.DOTALL)
