"""Open slides of a case, and whether they are what the program was validated on; nothing here needs a folder."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from ki67 import cells
from ki67.annotations import Regions, judge_on_tissue, read_regions
from ki67.domain import Check, Verdict
from ki67.errors import NoTissueError, RegionError, StainError, TissueError
from ki67.files import printable, sha256_of
from ki67.jobs import Pool
from ki67.progress import message
from ki67.slides import READING_VERSION, Slide, TissueMask, same_picture
from ki67.slides.frame import CORNER
from ki67.slides.pixel_size import size_text
from ki67.slides.tissue import mask_of

REGION_CHECKS = frozenset({"region_on_tissue", "region_density"})
"""Checks on the region."""


@dataclass
class CaseSlide:
    """One open slide of a case, with its tissue found once and only when it is needed."""

    slide: Slide
    drawn: Path | None = None
    """File of the regions that a person drew on it: where no tissue can be told from glass, they are the tissue."""
    outlined: Regions | None = None
    """Those regions, where they are in no file."""
    _read: tuple[str, Regions] | None = field(default=None, repr=False, compare=False)

    @cached_property
    def tissue(self) -> TissueMask:
        """Tissue mask; found at the first use."""
        message(f"finding the tissue on {self.slide.path.name}")
        try:
            return self.slide.tissue
        except NoTissueError:
            drawn = self.outlined if self.drawn is None else self.regions(self.drawn)
            if drawn is None:
                raise
            return mask_of(drawn.union(), self.slide)

    def regions(self, path: Path) -> Regions:
        """Regions of a file of the case, in µm; of thousands the reading takes seconds, so the last are kept."""
        content = sha256_of(path)
        if self._read is None or self._read[0] != content:
            self._read = content, read_regions(path, self.slide.frame)
        return self._read[1]

    @cached_property
    def facts(self) -> dict[str, Any]:
        """What the manifest tells of the slide."""
        own = self.slide.pixel_size.own
        return {
            "path": printable(str(self.slide.path.resolve())),
            "reader": self.slide.reader,
            "size_px": list(self.slide.size_px),
            "mpp": self.slide.mpp,
            "mpp_source": self.slide.mpp_source,
            "mpp_contradicts_file": self.slide.pixel_size.contradicts,
            "mpp_of_file": None if own is None else size_text(own),
            "origin_px": list(self.slide.frame.origin_px),
            "fingerprint": self.slide.fingerprint(),
            "warnings": list(self.slide.named_warnings),
        }

    @property
    def identity(self) -> dict[str, Any]:
        """What of the slide decides a stage's result; the origin of other programs where it is not the corner."""
        known = {"fingerprint": self.facts["fingerprint"], "mpp": self.slide.mpp, "reading": READING_VERSION}
        origin_px = self.slide.frame.origin_px
        return known if origin_px == CORNER else known | {"origin_px": list(origin_px)}


def judge_slides(ki67: CaseSlide | None, he: CaseSlide | None = None) -> tuple[Check, ...]:
    """Judge whether slides are what the program was validated on: what a score rests on, and what ``check`` says.

    Raises
    ------
    TissueError
        Where one shows no tissue.
    """
    ways = [(cells.judge_ki67, ki67), (cells.judge_he, he)]
    # The tissue is found here, where progress is told.
    given = [(judge, one.slide, None if cells.is_field(one.slide) else one.tissue) for judge, one in ways if one]
    with Pool("judging") as pool:
        at_work = [pool.submit(judge, slide, tissue) for judge, slide, tissue in given]
        checks = tuple(check for one in at_work for check in one.result())
    return (_judge_pair(ki67, he, checks), *checks) if ki67 and he else checks


def _judge_pair(ki67: CaseSlide, he: CaseSlide, checks: tuple[Check, ...]) -> Check:
    text = ""
    if ki67.facts["fingerprint"] == he.facts["fingerprint"]:
        text = "the H&E and the Ki-67 slide are one and the same: the file given twice, or a copy of it"
    elif same_picture(ki67.slide, he.slide):
        text = "the H&E and the Ki-67 slide show the same picture, saved twice"
    elif cells.wrong_order(checks):
        text = "the slides seem to be swapped: the one given as H&E looks like Ki-67, the other like H&E"
    return Check("two_slides", Verdict.unusable if text else Verdict.usual, text)


def refusal(checks: Iterable[Check], path: Path) -> StainError | None:
    """Why there must be no index of a slide, with what to do; None where no check forbids one."""
    reasons = [check.text for check in checks if check.forbids]
    if not reasons:
        return None
    return StainError(
        path,
        f"gives no index, because {'; '.join(reasons)}",
        "Check that both are the right slides, the H&E first, exported in their true colours; or insist with "
        "--use-unusable-stain",
    )


def judge_region(regions: Regions, section: CaseSlide) -> tuple[Check, ...]:
    """Judge whether a user's regions lie on the tissue; not where none is found, for then they know better."""
    if cells.is_field(section.slide):
        return ()
    try:
        tissue = section.tissue
    except TissueError:
        return ()
    return (judge_on_tissue(regions.union(), tissue, section.slide.frame),)


def misfit(checks: Iterable[Check], drawn_in: Path) -> RegionError | None:
    """Why there must be no number of a region, with what to do; None where it fits its slide."""
    reasons = [check.text for check in checks if check.name in REGION_CHECKS and check.forbids]
    if not reasons:
        return None
    return RegionError(
        f"{drawn_in}: the region does not fit the slide: {'; '.join(reasons)}. Check that it was drawn on this very "
        "slide (the H&E for 'score', the Ki-67 slide for 'count') and that its coordinates are pixels of level 0; or "
        "insist with --use-doubtful-region"
    )
