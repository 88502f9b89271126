"""Ki-67 index of invasive breast carcinoma from two serial whole-slide images.

One way through the house: the H&E slide gives the invasive region (:mod:`ki67.idc`), registration carries it
to the Ki-67 slide (:mod:`ki67.registration`), cells are found and classified there (:mod:`ki67.cells`), the
index is computed (:mod:`ki67.scoring`) and reported (:mod:`ki67.report`).

The steps are functions of this package, which loads what they need when they are first asked for::

    import ki67

    he, ihc = ki67.open_slide("he.svs"), ki67.open_slide("ki67.svs")
    reg = ki67.register(he, ihc)
    cells = ki67.count(ihc, reg.map(ki67.find_carcinoma(he)))
    ki67.score(cells).index_percent

Every position inside the program is in micrometres in the slide's own frame: origin at the top left corner of
level 0, x to the right, y down, float64.
"""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ki67.api import (
        Adjustment,
        CaseView,
        CountedCells,
        Options,
        Registration,
        Score,
        SimulationOptions,
        Slide,
        count,
        find_carcinoma,
        find_tissue,
        job,
        open_slide,
        read_case,
        register,
        run_count,
        run_score,
        score,
        simulate_pair,
    )

__version__ = version("ki67")

__all__ = [
    "Adjustment",
    "CaseView",
    "CountedCells",
    "Options",
    "Registration",
    "Score",
    "SimulationOptions",
    "Slide",
    "count",
    "find_carcinoma",
    "find_tissue",
    "job",
    "open_slide",
    "read_case",
    "register",
    "run_count",
    "run_score",
    "score",
    "simulate_pair",
]


def __getattr__(name: str) -> Any:
    """Load the interface when one of its names is first asked for (PEP 562): ``import ki67`` alone is quick."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("ki67.api"), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
