"""Registering the two sections of a case."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

from ki67 import registration
from ki67.case import Case, Stage, Summary
from ki67.case.artefacts import DISPLACEMENTS, QUALITY, TRANSFORM
from ki67.errors import RegistrationError
from ki67.files import write_json
from ki67.jobs import current
from ki67.options import Adjustment, Options
from ki67.progress import beside, message
from ki67.stages.opened import CaseSlide
from ki67.vocabulary import RegistrationMode


def register(
    case: Case, he: CaseSlide, ki67: CaseSlide, mode: RegistrationMode, adjustment: Adjustment | None
) -> Summary:
    """Write the transform and its quality, believable or not."""
    with registering(case, he, ki67, mode, adjustment) as end:
        return end()


@contextmanager
def registering(
    case: Case, he: CaseSlide, ki67: CaseSlide, mode: RegistrationMode, adjustment: Adjustment | None
) -> Iterator[Callable[[], Summary]]:
    """Register two sections beside what is done within; what it yields writes what :func:`register` writes.

    Registration asks for no region, and for long keeps one processor busy only. On one thread, or where it has been
    done, nothing is begun before its time.
    """
    by_hand = adjustment.read(he.slide, ki67.slide) if adjustment else None
    stage = Stage("registration", 8, (TRANSFORM, QUALITY), DISPLACEMENTS)
    parameters = _parameters(he, ki67, mode) | ({"adjustment": adjustment.identity} if adjustment else {})
    told = "registering the two sections"
    find = _finding((he, ki67), mode, by_hand)
    if current().threads == 1 or case.is_current(stage, parameters, ()):
        yield partial(_write_found, case, stage, parameters, find, told)
        return
    # Found here, since both stages ask for it.
    _ = he.tissue, ki67.tissue
    with beside(told, find) as found:
        yield partial(_write_found, case, stage, parameters, found, told)


def register_block(case: Case, slides: Sequence[CaseSlide], mode: RegistrationMode) -> Summary:
    """Register every two sections of a block, and reach each from the first by the best way.

    Returns
    -------
    dict
        ``sections``: of each but the first ``through`` (numbers of those between), ``accepted``, ``transform`` and
        ``quality``, the names of its files.
    """
    pairs = list(combinations(range(len(slides)), 2))
    for number, (a, b) in enumerate(pairs, start=1):
        files = pair_files(a, b)
        stage = Stage(f"registration of {a + 1} and {b + 1}", 7, files[:2], files[2:])
        told = f"registering sections {a + 1} and {b + 1} (pair {number} of {len(pairs)})"
        pair = slides[a], slides[b]
        _write_found(case, stage, _parameters(*pair, mode), _finding(pair, mode, None), told, tell=False)

    def work() -> Summary:
        message("looking for the best way to each section")
        known = {pair: _read(case, pair_files(*pair)) for pair in pairs}
        entries, warnings = [], []
        for section, through in registration.ways(known, len(slides)).items():
            fixed, moving = slides[0], slides[section]
            both = registration.sections(fixed.slide, moving.slide, fixed.tissue, moving.tissue)
            found = registration.reach(*both, section, through, known)
            transform, quality, *_ = files = section_files(section)
            _write(case, files, found.transform, found.quality)
            warnings += [f"section {section + 1}: {text}" for text in found.quality.warnings]
            entries.append({
                "through": [step + 1 for step in found.through],
                "accepted": found.quality.accepted,
                "transform": transform,
                "quality": quality,
            })  # fmt: skip
        return {"sections": entries, "warnings": warnings}

    written = [section_files(section) for section in range(1, len(slides))]
    outputs = tuple(name for files in written for name in files[:2])
    fields = tuple(name for files in written for name in files[2:])
    reads = [name for pair in pairs for name in pair_files(*pair)[:2]]
    parameters = {"slides": [one.identity for one in slides], "mode": mode}
    return case.run_stage(Stage("registration", 8, outputs, fields), parameters, reads, work)


def block_files(sections: int) -> tuple[str, ...]:
    """All files that :func:`register_block` may write for so many sections, but those of two alone."""
    pairs = [pair_files(a, b) for a, b in combinations(range(sections), 2)]
    return tuple(name for files in (*pairs, *map(section_files, range(2, sections))) for name in files)


def pair_files(a: int, b: int) -> tuple[str, ...]:
    """Transform, quality and displacement fields of two sections of a block, by their numbers from 0."""
    return _files(f"registration/{a + 1}-{b + 1}")


def section_files(section: int) -> tuple[str, ...]:
    """Transform, quality and displacement fields from the first section of a block to another."""
    return (TRANSFORM, QUALITY, *DISPLACEMENTS) if section == 1 else _files(f"registration/section-{section + 1}")


def _files(folder: str) -> tuple[str, ...]:
    return tuple(f"{folder}/{Path(name).name}" for name in (TRANSFORM, QUALITY, *DISPLACEMENTS))


def _parameters(fixed: CaseSlide, moving: CaseSlide, mode: RegistrationMode) -> dict[str, Any]:
    return {"he": fixed.identity, "ki67": moving.identity, "mode": mode}


def _finding(
    pair: tuple[CaseSlide, CaseSlide], mode: RegistrationMode, by_hand: registration.ByHand | None
) -> Callable[[], registration.Registered]:
    fixed, moving = pair

    def register_them() -> registration.Registered:
        return registration.register(
            fixed.slide, moving.slide, fixed.tissue, moving.tissue, mode=mode, by_hand=by_hand
        )

    return register_them


def _write_found(
    case: Case,
    stage: Stage,
    parameters: Mapping[str, Any],
    find: Callable[[], registration.Registered],
    told: str,
    *,
    tell: bool = True,
) -> Summary:
    """Write what is found of two sections; ``tell`` False keeps what is said of the pair to its quality."""

    def work() -> Summary:
        message(told)
        transform, quality = find()
        _write(case, stage.outputs, transform, quality)
        warnings = list(quality.warnings) if tell else []
        return {"accepted": quality.accepted, "ncc": quality.ncc, "warnings": warnings}

    return case.run_stage(stage, parameters, (), work)


def _write(
    case: Case,
    files: Sequence[str],
    transform: registration.PiecewiseTransform,
    quality: registration.RegistrationQuality,
) -> None:
    registration.write_transform(case.path(files[0]), transform)
    write_json(case.path(files[1]), quality.to_dict())


def _read(case: Case, files: Sequence[str]) -> registration.Registered:
    quality = registration.RegistrationQuality.from_dict(case.read_json(files[1]))
    return registration.read_transform(case.path(files[0])), quality


def require_believable(case: Case, options: Options) -> None:
    """Stop at a registration that was not accepted, unless the user wants it.

    Raises
    ------
    RegistrationError
        With the reasons, and what to do.
    """
    quality = case.read_json(QUALITY)
    if quality["accepted"] or options.use_unaccepted_registration:
        return
    msg = (
        f"the registration is not believable: {'; '.join(quality['reasons'])}. Check that the slides are serial "
        "sections of one block; then help with pairs of places seen on both (--landmarks FILE), or outline the "
        "region on the Ki-67 slide and use 'ki67 count --regions', or accept this registration with "
        "--use-unaccepted-registration"
    )
    raise RegistrationError(msg)
