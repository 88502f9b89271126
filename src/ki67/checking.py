"""What the program sees of a slide, or of a pair, before anything is scored, and what it would refuse.

``score`` and ``count`` open and judge through the same functions, so that a check never says otherwise than they do.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from ki67 import cells, idc
from ki67.case import Summary
from ki67.domain import Check, checks_part, doubts
from ki67.errors import Ki67Error, PixelSizeError, SlideError
from ki67.geometry import area_mm2
from ki67.slides import Slide, open_slide
from ki67.slides.addresses import slide_address
from ki67.slides.pixel_size import SMALLEST_MPP, size_text
from ki67.stages import CaseSlide, judge_slides, refusal

LEAST_SIDE_UM: Final = 20.0
"""Smaller than two tumour cells side by side, a picture is no section: a broken file or a wrong pixel size."""

Role = Literal["he", "ki67"]
NAMES: Final[dict[Role, str]] = {"he": "H&E", "ki67": "Ki-67"}

_SIZE_WAY_OUT: Final = "Check the pixel size, or give it with --mpp (--he-mpp, --ki67-mpp)."
_ANY_MPP: Final = SMALLEST_MPP
"""Opens a slide whose pixel size is refused, to tell its reader and its levels in pixels; nothing is measured."""


@contextmanager
def section(path: str | Path, mpp: float | None, *, overrides_file: bool) -> Iterator[CaseSlide]:
    """Open a slide that is to be scored, counted, registered or searched for carcinoma.

    Raises
    ------
    SlideError
        Where it cannot be opened, or is too small to be a section.
    PixelSizeError
        As :func:`ki67.slides.open_slide`.
    """
    with open_slide(path, mpp, overrides_file=overrides_file) as slide:
        refuse_tiny(slide)
        yield CaseSlide(slide)


def refuse_tiny(slide: Slide) -> None:
    """Refuse a slide on which no two cells would lie side by side.

    Raises
    ------
    SlideError
        Where it is smaller than :data:`LEAST_SIDE_UM`.
    """
    bounds = slide.bounds_um
    if min(bounds.width_um, bounds.height_um) < LEAST_SIDE_UM:
        size = f"{bounds.width_um:.1f} x {bounds.height_um:.1f} µm"
        raise SlideError(slide.path, f"is {size}, expected at least {LEAST_SIDE_UM:.0f} µm a side", _SIZE_WAY_OUT)


@dataclass
class _Seen:
    """One slide as far as it could be looked at: in ``section`` where its pixel size is known."""

    path: Path
    role: Role
    facts: dict[str, Any]
    section: CaseSlide | None = None
    problems: list[str] = field(default_factory=list)

    @contextmanager
    def noting(self) -> Iterator[None]:
        """Note what is refused and go on."""
        try:
            yield
        except Ki67Error as error:
            if str(error) not in self.problems:
                self.problems.append(str(error))


def check_slides(
    first: str | Path,
    ki67: str | Path | None = None,
    *,
    first_mpp: float | None = None,
    ki67_mpp: float | None = None,
    overrides_file: bool = False,
) -> Summary:
    """Look at a pair of slides, or at one, and say what would become of it.

    Parameters
    ----------
    first
        The H&E slide; alone it may be either, and is judged as what it looks like.
    ki67
        The Ki-67 slide.
    first_mpp, ki67_mpp
        Pixel sizes, where the files have none.
    overrides_file
        Take them although a file says otherwise.

    Returns
    -------
    dict
        ``usable``; ``problems``, what ``score`` (``count`` for one Ki-67 slide) would refuse, as it would
        say it; ``warnings``; ``checks``, as in the ``domain`` part of ``score.json``; ``slides``, for each ``path``,
        ``role``, ``reader``, ``size_px``, ``levels`` (``size_px``, ``mpp``), ``mpp``, ``mpp_source``,
        ``mpp_of_file``, ``origin_px``, ``stain``, ``tissue_mm2``, ``pieces``, ``focus``, ``nuclear_radius_um``,
        ``warnings`` and ``problems``. What could not be found out is None.

    Raises
    ------
    SlideError
        Where a file cannot be opened as a slide at all.
    """
    with ExitStack() as stack:
        seen = [_look(stack, slide_address(first), "he", first_mpp, overrides_file=overrides_file)]
        if ki67 is not None:
            seen.append(_look(stack, slide_address(ki67), "ki67", ki67_mpp, overrides_file=overrides_file))
        for one in seen:
            _sample(one, alone=ki67 is None)
        checks = _judge(seen)
    for one in seen:
        one.facts["nuclear_radius_um"] = _nuclear_radius(checks, one.role)
        one.facts["problems"] = one.problems
    problems = [text for one in seen for text in one.problems]
    warnings = doubts(check for check in checks if not check.forbids)
    warnings += [text for one in seen for text in one.facts["warnings"]]
    return {
        "usable": not problems,
        "problems": list(dict.fromkeys(problems)),
        "warnings": list(dict.fromkeys(warnings)),
        "checks": checks_part(checks),
        "slides": [one.facts for one in seen],
    }


def _look(stack: ExitStack, path: Path, role: Role, mpp: float | None, *, overrides_file: bool) -> _Seen:
    try:
        slide = stack.enter_context(open_slide(path, mpp, overrides_file=overrides_file))
    except PixelSizeError as error:
        with open_slide(path, _ANY_MPP, overrides_file=True) as unmeasured:
            seen = _Seen(path, role, _facts_of(unmeasured, role, measured=False))
        seen.problems.append(str(error))
        return seen
    seen = _Seen(path, role, _facts_of(slide, role, measured=True), CaseSlide(slide))
    with seen.noting():
        refuse_tiny(slide)
    if seen.problems:
        seen.section = None
    return seen


def _facts_of(slide: Slide, role: Role, *, measured: bool) -> dict[str, Any]:
    own = slide.pixel_size.own
    return {
        "path": str(slide.path),
        "role": role,
        "reader": slide.reader,
        "size_px": list(slide.size_px),
        "levels": [
            {"size_px": list(level.size_px), "mpp": level.mpp if measured else None} for level in slide.levels
        ],
        "mpp": slide.mpp if measured else None,
        "mpp_source": slide.mpp_source if measured else None,
        "mpp_of_file": None if own is None else size_text(own),
        "origin_px": list(slide.frame.origin_px),
        "stain": None,
        "tissue_mm2": None,
        "pieces": None,
        "focus": None,
        "nuclear_radius_um": None,
        "warnings": list(slide.named_warnings) if measured else [],
    }


def _sample(seen: _Seen, *, alone: bool) -> None:
    """Find tissue, stain and focus; what is refused on the way is noted, as ``score`` would say it."""
    if seen.section is None:
        return
    slide, facts = seen.section.slide, seen.facts
    # A field that a person chose is counted whole; for the registration of a pair its tissue must be found.
    field_of_view = alone and cells.is_field(slide)
    with seen.noting():
        tissue = None if field_of_view else seen.section.tissue
        if tissue is None:
            facts |= {"tissue_mm2": area_mm2(slide.bounds_um.polygon), "pieces": 1}
        else:
            facts |= {"tissue_mm2": tissue.area_mm2, "pieces": len(tissue.geometry.geoms)}
            facts["warnings"] += tissue.warnings
        _refuse_coarse(slide, seen.role)
        looks = cells.appearance(slide, tissue)
        facts |= {"stain": looks.stain, "focus": looks.sharpness}
        if alone and not looks.is_he:
            seen.role = facts["role"] = "ki67"
            _refuse_coarse(slide, seen.role)


def _refuse_coarse(slide: Slide, role: Role) -> None:
    if role == "ki67":
        cells.check_resolution(slide.path, slide.mpp)
    else:
        idc.check_resolution(slide.path, slide.mpp, idc.load_model().card)


def _judge(seen: list[_Seen]) -> tuple[Check, ...]:
    """Judge as a score does; what was refused already is judged no further."""
    ready = {one.role: one.section for one in seen if not one.problems}
    judged = next((one for one in seen if one.role == "ki67"), seen[0])
    checks: tuple[Check, ...] = ()
    with judged.noting():
        checks = judge_slides(ready.get("ki67"), ready.get("he"))
        error = refusal(checks, judged.path)
        if error is not None:
            raise error
    return checks


def _nuclear_radius(checks: tuple[Check, ...], role: Role) -> float | None:
    name = "nuclear_size" if role == "ki67" else "he_nuclear_size"
    return next((check.value for check in checks if check.name == name), None)
