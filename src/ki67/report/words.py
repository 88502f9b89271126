"""The report's wording: every sentence of it, in each language, from one file a language.

``wording/LANGUAGE.json`` holds ``words`` by key, with ``{names}`` for what is filled in, and ``known``: translations
of short texts that other rooms write in English. What those record in sentences (warnings, verdicts) stays English.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Final

from ki67.vocabulary import Language

_GERMAN: Final = str.maketrans(",.", ".,")


@dataclass(frozen=True)
class Words:
    """Wording of one language; called with a key it gives the sentence."""

    language: Language
    sentences: dict[str, str]
    translations: dict[str, str]

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
    return Words(language, content["words"], content["known"])
