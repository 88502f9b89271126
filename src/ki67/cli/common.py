"""Options that many commands share, and how results are printed."""

from __future__ import annotations

import importlib.util
import logging
import math
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from typer.core import TyperCommand

from ki67 import progress
from ki67.domain import checks_of
from ki67.errors import MissingExtraError
from ki67.files import json_text, printable
from ki67.jobs import trace_into
from ki67.trace import Trace
from ki67.vocabulary import Device, EngineName, Language

if TYPE_CHECKING:
    from ki67.case.details import CaseDetails
    from ki67.idc import OutlineOptions


def slide_of(name: str) -> Path:
    """What a slide is named by, for typer: as it was typed, which a :class:`pathlib.Path` of a URL is not."""
    from ki67.slides.addresses import slide_address

    return slide_address(name)


HeSlide = Annotated[Path, typer.Argument(parser=slide_of, help="The H&E slide: a file, or the URL of a TIFF.")]
Ki67Slide = Annotated[Path, typer.Argument(parser=slide_of, help="The Ki-67 slide: a file, or the URL of a TIFF.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout and nothing else there.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress and no messages on stderr.")]
Out = Annotated[Path, typer.Option("--out", help="The case's folder; a killed run continues in it.")]
Mpp = Annotated[float | None, typer.Option("--mpp", help="Pixel size in µm of level 0, where the file has none.")]
HeMpp = Annotated[float | None, typer.Option("--he-mpp", help="Pixel size in µm of the H&E slide.")]
MppOverridesFile = Annotated[
    bool,
    typer.Option(
        "--mpp-overrides-file",
        help="Take the pixel size given although the file says one more than 2 % away; the report is marked.",
    ),
]
Ki67Mpp = Annotated[float | None, typer.Option("--ki67-mpp", help="Pixel size in µm of the Ki-67 slide.")]
Label = Annotated[str | None, typer.Option("--label", help="Label of the regions to count (default: IDC).")]


F = TypeVar("F", bound=Callable[..., Any])

MAY_BE_EMPTY = frozenset({"--rest", "--images"})
"""Options for which an empty text says something: no such class, all fields."""


class Command(TyperCommand):
    """A command that refuses what no option means: an empty name (of a file, a label) and a number that is none."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Check the words before and the numbers after they are taken apart."""
        for before, word in zip(["", *args], args, strict=False):
            if before == "--":
                break
            name, given, value = word.partition("=") if word.startswith("--") else (before, "=", word)
            if given and not value and name not in MAY_BE_EMPTY:
                hint = name if name.startswith("-") else None
                raise typer.BadParameter("is empty; name a file, a folder or a value", ctx=ctx, param_hint=hint)
        rest: list[str] = super().parse_args(ctx, args)
        for name, value in ctx.params.items():
            for number in value if isinstance(value, tuple | list) else [value]:
                if isinstance(number, float):
                    hint = "--" + name.replace("_", "-")
                    if not math.isfinite(number):
                        raise typer.BadParameter(f"must be a finite number, found {number}", ctx, param_hint=hint)
        return rest


class App(typer.Typer):
    """A group of such commands."""

    def command(self, name: str | None = None, **settings: Any) -> Callable[[F], F]:
        """Register a command."""
        return super().command(name, **{"cls": Command, **settings})


FieldMpp = Annotated[
    float | None,
    typer.Option(
        "--mpp",
        help="Pixel size of the fields in µm; if not given the files' own, and of the public sets 0.25 (glioma 0.1).",
    ),
]

EngineOption = Annotated[
    EngineName, typer.Option("--engine", help="What finds the cells: the network, or the paper's random forest.")
]

DeviceOption = Annotated[
    Device,
    typer.Option(
        "--device", help="Where the models run: the processor, a graphics card (cuda), or one if there is one (auto)."
    ),
]

CellModel = Annotated[
    Path | None, typer.Option("--cell-model", help="Another model of the engine, from `ki67 cells train`.")
]


Validation = Annotated[
    Path | None,
    typer.Option(
        "--validation",
        help="laboratory.json of your own validation (`ki67 validate CASES.csv --out DIR`): the interval then tells "
        "how far the index was off in your laboratory, not where the model was made.",
    ),
]


def validation_of(path: Path | None, dab_threshold: float | None) -> Path | None:
    """The validation's file, unless a threshold overrules the model that it speaks of."""
    if path is not None and dab_threshold is not None:
        told = "it tells of the model's own calls, which --dab-threshold overrules: leave one of the two out"
        raise typer.BadParameter(told, param_hint="--validation")
    return path


DabThreshold = Annotated[
    float | None,
    typer.Option(
        "--dab-threshold",
        min=0,
        max=3,
        help="Mean DAB density (OD) from which a tumour nucleus is positive; default: any brown, however pale.",
    ),
]
Profile = Annotated[
    Path | None,
    typer.Option("--profile", help="File for a trace of where the time goes (.json), for ui.perfetto.dev."),
]
IntensityCuts = Annotated[
    tuple[float, float] | None,
    typer.Option(
        "--intensity-cuts",
        metavar="OD OD",
        help="Mean DAB density from which a positive cell is 2+ and 3+; default: 0.4 0.6. Nothing is counted again.",
    ),
]
KeepArtefacts = Annotated[
    bool, typer.Option("--keep-artefacts", help="Count cells under pen, in folds and out of focus like all others.")
]

LanguageOption = Annotated[Language, typer.Option("--language", help="Language of the report.")]
Accession = Annotated[str | None, typer.Option("--accession", help="Accession number of the case, for the report.")]
Block = Annotated[str | None, typer.Option("--block", help="Block that the sections are of, for the report.")]
Stain = Annotated[str | None, typer.Option("--stain", help="What the counted slide is stained with, for the report.")]
Antibody = Annotated[str | None, typer.Option("--antibody", help="Antibody clone, for the report.")]
Scanner = Annotated[str | None, typer.Option("--scanner", help="Scanner of the counted slide, for the report.")]

DoubtfulRegion = Annotated[
    bool,
    typer.Option(
        "--use-doubtful-region",
        help="Go on with a region beside the tissue, where the tumour cells are not, or found on an H&E unlike those "
        "that the model knows; flagged.",
    ),
]
OutlineThreshold = Annotated[
    float | None,
    typer.Option(
        "--outline-threshold",
        min=0.01,
        max=0.99,
        help="Probability from which a place is carcinoma; default: the model's.",
    ),
]
OutlineSmoothing = Annotated[
    float | None,
    typer.Option(
        "--outline-smoothing", min=0, max=1000, help="Smoothing of the outline in µm (Gaussian); default: 100."
    ),
]
OutlineLeastArea = Annotated[
    float | None,
    typer.Option("--outline-least-area", min=0, max=1000, help="Smaller regions are dropped, mm²; default: 0.1."),
]
OutlineLeastHole = Annotated[
    float | None,
    typer.Option("--outline-least-hole", min=0, max=1000, help="Smaller holes are filled, mm²; default: 0.05."),
]
UnusableStain = Annotated[
    bool,
    typer.Option("--use-unusable-stain", help="Report an index on a stain or colours known to be unusable, flagged."),
]


def outline_of(
    threshold: float | None, smoothing: float | None, least_area: float | None, least_hole: float | None
) -> OutlineOptions:
    """How the carcinoma is outlined; what is None is left as it is by default."""
    from ki67.idc import OutlineOptions

    told = {
        "threshold": threshold,
        "smoothing_um": smoothing,
        "min_area_mm2": least_area,
        "min_hole_mm2": least_hole,
    }
    return OutlineOptions(**{name: value for name, value in told.items() if value is not None})


def details_of(**told: str | None) -> CaseDetails:
    """What was told of the case: accession, block, stain, antibody, scanner."""
    from ki67.case.details import LONGEST_DETAIL, CaseDetails

    for name, value in told.items():
        if value is not None and (len(value) > LONGEST_DETAIL or not value.isprintable()):
            msg = f"must be one line of at most {LONGEST_DETAIL} characters"
            raise typer.BadParameter(msg, param_hint=f"--{name}")
    return CaseDetails(**told)


def begin(*, quiet: bool) -> None:
    """Switch progress and messages on, or off under ``--quiet``; every command calls it first.

    What tifffile logs on damaged files is kept off stderr: the error that follows says it in one line.
    """
    progress.configure(quiet=quiet)
    logging.getLogger("tifffile").setLevel(logging.CRITICAL + 1)


@contextmanager
def profiled(path: Path | None) -> Iterator[None]:
    """Write where the time of what is done within went, whether it succeeds or not; nothing without a file."""
    if path is None:
        yield
        return
    trace = Trace()
    trace_into(trace)
    try:
        yield
    finally:
        trace.write(path)


def require_training(what: str) -> None:
    """Stop where the training extra is not installed.

    Raises
    ------
    MissingExtraError
        Says how to install it.
    """
    if any(importlib.util.find_spec(name) is None for name in ("torch", "onnx", "sklearn")):
        raise MissingExtraError("train", what)


def emit(result: Mapping[str, Any], *, as_json: bool, lines: list[str]) -> None:
    """Print a result: the JSON object, or the lines for people."""
    if as_json:
        unicode = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
        lines = [json_text(result, ascii_only=not unicode)]
    sys.stdout.write("".join(f"{printable(line)}\n" for line in lines))


def index_line(result: Mapping[str, Any]) -> str:
    """One line that tells the index with its interval and counts, or why there is none."""
    if result["index_percent"] is None:
        if not result["cells"]:
            return "no index, because no tumour cell was found"
        forbidding = [check.text for check in checks_of(result["domain"]["checks"]) if check.forbids]
        return f"no index, because {'; '.join(forbidding)} (--use-unusable-stain insists)"
    low, high = result["ci95_percent"]
    return (
        f"Ki-67 index: {result['index_percent']:.1f} % (95 % interval {low:.1f}-{high:.1f} %), "
        f"{result['positive']:,} positive of {result['cells']:,} tumour cells in {result['area_mm2']:.3g} mm²"
    )


def intensity_cuts_of(given: tuple[float, float] | None) -> tuple[float, float]:
    """Cuts that were given, or the usual ones.

    Raises
    ------
    typer.BadParameter
        Where they are no densities or do not rise.
    """
    from ki67.intensity import INTENSITY_CUTS_OD

    if given is None:
        return INTENSITY_CUTS_OD
    if not 0 < given[0] < given[1] <= 3:
        raise typer.BadParameter(
            "two densities above 0 and up to 3 are expected, the second higher", param_hint="--intensity-cuts"
        )
    return given


def field_names(text: str | None) -> list[str] | None:
    """Names of fields, commas between; None, all of them, for nothing."""
    return [name.strip() for name in text.split(",")] if text else None


def warning_lines(result: Mapping[str, Any]) -> list[str]:
    """One line per warning."""
    return [f"warning: {text}" for text in result.get("warnings", [])]


def number(value: Any, form: str = ".4g") -> str:
    """Text of a figure; a dash where there is none."""
    if value is None:
        return "–"
    return format(value, form) if isinstance(value, float) else str(value)
