"""Fit a model to another laboratory's slides by a few strokes: tumour here, none there.

Only the last layer moves. Its answer, the log-odds of carcinoma, gets a linear correction in the features that the
network sees there, held small (L2) so that a dozen strokes move it and do not replace it; a logistic regression whose
offset is what the model says already. Neither PyTorch nor a graphics card is needed: the graph gives the features,
and the weights are put into it where the old ones lay.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit, logit

from ki67.annotations import Regions, read_regions, tumour_label
from ki67.annotations.regions import UNCLASSIFIED
from ki67.errors import DataSetError, ModelError
from ki67.fields.metrics import rank_auc
from ki67.files import atomic_path, sha256_of, write_json
from ki67.geometry import RectUm
from ki67.idc.model import MEASURED, IdcModel, load_model
from ki67.idc.prediction import check_resolution
from ki67.onnx_graph import read_weights, replace_weights
from ki67.progress import message, track
from ki67.slides import Slide, read_ahead

HELD = 0.03
"""Weight of half the correction's squared length beside the mean loss, in features that together have unit length.
Held less, strokes of two patients did other patients harm (docs/decisions/030)."""

STEP_SHARE = 0.25
"""Patches of a stroke lie this share of a patch's edge apart: strokes are thinner than patches."""

PATCHES_PER_STROKE = 150
"""More of one stroke repeat each other."""

LEAST_STROKES = 2
"""Of each kind: with one, nothing is left to measure by when it is held out."""

LEAST_PROBABILITY = 1e-6
"""Log-odds are those of probabilities kept this far off 0 and 1."""

MOST_APART = 0.02
"""Probabilities may differ by this from what was fitted: weights are stored in half precision."""

_WEIGHT, _BIAS, _HALF = "network.head.weight", "network.head.bias", ".half"
RETRAIN = "Train or export the model with this version of the program."


@dataclass(frozen=True)
class Strokes:
    """Patches under strokes.

    Parameters
    ----------
    features
        What the last layer sees, float64 (N, channels).
    log_odds
        What the model says of them, float64 (N,).
    tumour
        Whether the stroke says tumour, bool (N,).
    stroke
        Number of each patch's stroke, int64 (N,).
    """

    features: NDArray[np.float64]
    log_odds: NDArray[np.float64]
    tumour: NDArray[np.bool_]
    stroke: NDArray[np.int64]

    def without(self, stroke: int) -> Strokes:
        """All but one stroke."""
        return self._part(self.stroke != stroke)

    def only(self, stroke: int) -> Strokes:
        """One stroke."""
        return self._part(self.stroke == stroke)

    def _part(self, chosen: NDArray[np.bool_]) -> Strokes:
        return Strokes(self.features[chosen], self.log_odds[chosen], self.tumour[chosen], self.stroke[chosen])

    def weights(self) -> NDArray[np.float64]:
        """Weight of each patch: both kinds alike, strokes of a kind alike; sums to 1."""
        result = np.zeros(len(self.stroke))
        for kind in (True, False):
            strokes = np.unique(self.stroke[self.tumour == kind])
            for stroke in strokes:
                own = self.stroke == stroke
                result[own] = 1 / (2 * len(strokes) * np.count_nonzero(own))
        return result


def read_strokes(slides: Sequence[Slide], files: Sequence[Path], model: IdcModel, seed: int = 2020) -> Strokes:
    """Look at the slides under the strokes.

    Parameters
    ----------
    slides, files
        Slides, and the region file of each: areas classified IDC (Tumor, …) and areas of any other class.
    model
        The model to fit.
    seed
        Of the draw where a stroke is large.

    Raises
    ------
    DataSetError
        Where a stroke has no class, or there are fewer than two of either kind.
    Ki67Error
        Where a file cannot be read, or a stroke lies beside its slide.
    """
    generator = np.random.default_rng(seed)
    found: list[tuple[NDArray[np.float32], NDArray[np.float32], bool]] = []
    for slide, file in zip(slides, files, strict=True):
        check_resolution(slide.path, slide.mpp, model.card)
        for tumour, rects in _rects_of(slide, read_regions(file, slide.frame), file, model, generator):
            pixels = np.stack([pixels for _, pixels in read_ahead(slide, rects, model.card.mpp)])
            probabilities, features = model.features(pixels)
            found.append((probabilities[:, model.card.tumour_output], features, tumour))
    for kind, name in ((True, "tumour"), (False, "not tumour")):
        count = sum(tumour is kind for *_, tumour in found)
        if count < LEAST_STROKES:
            raise DataSetError(
                files[0],
                f"holds, with all files named, {count} stroke(s) of {name}",
                f"Draw {LEAST_STROKES} or more of each kind: tumour classified IDC, all else by any other class.",
            )
    probabilities = np.concatenate([part[0] for part in found]).astype(np.float64)
    return Strokes(
        np.concatenate([part[1] for part in found]).astype(np.float64),
        logit(np.clip(probabilities, LEAST_PROBABILITY, 1 - LEAST_PROBABILITY)),
        np.concatenate([np.full(len(part[0]), part[2]) for part in found]),
        np.concatenate([np.full(len(part[0]), number) for number, part in enumerate(found)]),
    )


def _rects_of(
    slide: Slide, regions: Regions, file: Path, model: IdcModel, generator: np.random.Generator
) -> list[tuple[bool, list[RectUm]]]:
    name = tumour_label(regions)
    if name == UNCLASSIFIED or any(region.label == UNCLASSIFIED for region in regions):
        raise DataSetError(
            file, "holds a stroke without a class", "Classify tumour as IDC and everything else by another class."
        )
    edge = model.card.patch_um
    result = []
    for region in track(list(regions), f"Strokes on {slide.path.name}", total=len(regions)):
        points = _points_in(region.geometry, STEP_SHARE * edge)
        points = points[generator.permutation(len(points))[:PATCHES_PER_STROKE]]
        rects = [RectUm(x - edge / 2, y - edge / 2, edge, edge) for x, y in points]
        bounds = slide.bounds_um
        rects = [rect for rect in rects if _meets(rect, bounds)]
        if not rects:
            raise DataSetError(file, f"holds a stroke beside the slide {slide.path.name}", "Was it drawn on another?")
        result.append((name is not None and region.label.casefold() == name.casefold(), rects))
    return result


def _meets(rect: RectUm, bounds: RectUm) -> bool:
    across = rect.right_um > bounds.x_um and rect.x_um < bounds.right_um
    return across and rect.bottom_um > bounds.y_um and rect.y_um < bounds.bottom_um


def _points_in(geometry: shapely.Geometry, step_um: float) -> NDArray[np.float64]:
    """Points of a regular grid inside, one in the middle where there are none, (N, 2)."""
    left, top, right, bottom = geometry.bounds
    columns, rows = np.arange(left + step_um / 2, right, step_um), np.arange(top + step_um / 2, bottom, step_um)
    grid = np.stack(np.meshgrid(columns, rows), axis=-1).reshape(-1, 2)
    shapely.prepare(geometry)
    inside = grid[shapely.contains_xy(geometry, grid)] if len(grid) else grid
    if len(inside):
        return np.asarray(inside, np.float64)
    middle = shapely.point_on_surface(geometry)
    return np.array([[middle.x, middle.y]])


@dataclass(frozen=True)
class Correction:
    """What is added to the log-odds: ``features @ weight + bias``."""

    weight: NDArray[np.float64]
    bias: float

    def of(self, strokes: Strokes) -> NDArray[np.float64]:
        """Corrected log-odds, (N,)."""
        return np.asarray(strokes.log_odds + strokes.features @ self.weight + self.bias)


def fit(strokes: Strokes, held: float = HELD) -> Correction:
    """Fit the correction; ``held`` as :data:`HELD`."""
    weights = strokes.weights()
    mean = weights @ strokes.features
    spread = np.sqrt(weights @ np.square(strokes.features - mean))
    spread[spread <= 1e-6 * max(spread.max(), 1e-12)] = np.inf
    spread *= float(np.count_nonzero(np.isfinite(spread)) or 1) ** 0.5
    scaled = (strokes.features - mean) / spread
    sign = np.where(strokes.tumour, 1.0, -1.0)

    def loss(parameters: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        length, offset = parameters[:-1], parameters[-1]
        margin = sign * (strokes.log_odds + scaled @ length + offset)
        slope = -sign * expit(-margin) * weights
        value = float(weights @ np.logaddexp(0, -margin) + held / 2 * (length @ length))
        return value, np.append(scaled.T @ slope + held * length, slope.sum())

    found = minimize(loss, np.zeros(scaled.shape[1] + 1), jac=True, method="L-BFGS-B", options={"maxiter": 500}).x
    weight = found[:-1] / spread
    return Correction(weight, float(found[-1] - mean @ weight))


def measure(strokes: Strokes, held: float = HELD) -> dict[str, Any]:
    """What the fit gives on strokes that it did not see: each stroke in turn is left out.

    Returns
    -------
    dict
        ``auc`` and ``balanced_accuracy`` (at even odds) of the patches, strokes weighing alike, each ``before`` and
        ``after``. The strokes are neighbours on the same slides: other slides are farther away.
    """
    after = np.empty(len(strokes.stroke))
    numbers = np.unique(strokes.stroke)
    for number in track(numbers, "Measuring on strokes left out", total=len(numbers)):
        after[strokes.stroke == number] = fit(strokes.without(number), held).of(strokes.only(number))
    figures: dict[str, Any] = {"auc": {}, "balanced_accuracy": {}}
    weights = strokes.weights()
    for name, values in (("before", strokes.log_odds), ("after", after)):
        figures["auc"][name] = rank_auc(strokes.tumour.astype(np.int64), values)
        right = (values > 0) == strokes.tumour
        figures["balanced_accuracy"][name] = float(weights @ right)
    return figures


def adapt_by_strokes(
    model: IdcModel,
    slides: Sequence[Slide],
    files: Sequence[Path],
    target: str | Path,
    *,
    seed: int = 2020,
) -> dict[str, Any]:
    """Fit a model by strokes and write it with its card.

    Parameters
    ----------
    model
        The model to fit; its card and graph must be of this version.
    slides, files
        H&E slides, and the strokes on each (:func:`read_strokes`).
    target
        ``.onnx`` file; its card goes beside it.
    seed
        Of the draws.

    Returns
    -------
    dict
        What the card says of it: ``strokes``, ``patches``, ``left_out`` (:func:`measure`).

    Raises
    ------
    DataSetError
        Where there are too few strokes.
    ModelError
        Where the graph cannot be changed, or then says something else than was fitted.
    """
    model = model.in_floats
    strokes = read_strokes(slides, files, model, seed)
    message(f"fitting the last layer to {len(np.unique(strokes.stroke))} strokes, {len(strokes.stroke)} patches")
    figures = measure(strokes)
    correction = fit(strokes)
    content = _corrected(model, strokes, correction)
    target = Path(target)
    with atomic_path(target) as temporary:
        temporary.write_bytes(content)
    tumour = np.unique(strokes.stroke[strokes.tumour])
    adapted = {
        "method": "strokes",
        "slides": [slide.path.name for slide in slides],
        "strokes": {"tumour": len(tumour), "other": len(np.unique(strokes.stroke)) - len(tumour)},
        "patches": len(strokes.stroke),
        "left_out": figures,
        "from_sha256": model.sha256,
        "threshold": "that of the model it was made from",
    }
    card = {name: value for name, value in model.card.details.items() if name not in MEASURED}
    card |= {"name": f"{model.card.name}_strokes", "adaptation": adapted, "sha256": sha256_of(target)}
    write_json(target.with_suffix(".json"), card)
    load_model(target)
    return adapted


def _corrected(model: IdcModel, strokes: Strokes, correction: Correction) -> bytes:
    """The graph with the correction in its last layer, multiplied by what the softmax divides by.

    Raises
    ------
    ModelError
        Where the graph has no such layer, or its numbers, rounded as they are stored, say something else than was
        fitted.
    """
    content = model.path.read_bytes()
    tumour, temperature = model.card.tumour_output, float(model.card.details.get("temperature", 1.0))
    try:
        stored = read_weights(content)
        name = _WEIGHT if _WEIGHT in stored else _WEIGHT + _HALF
        rows, bias = stored[name].astype(np.float64), stored[_BIAS].astype(np.float64)
        rows[tumour] += temperature * correction.weight
        bias[tumour] += temperature * correction.bias
        changed = {name: rows.astype(stored[name].dtype), _BIAS: bias.astype(stored[_BIAS].dtype)}
        result = replace_weights(content, changed)
    except (KeyError, ValueError) as error:
        raise ModelError(model.path, f"is no network whose last layer can be fitted ({error})", RETRAIN) from error
    logits = (strokes.features @ changed[name].astype(np.float64).T + changed[_BIAS]) / temperature
    others = np.logaddexp.reduce(np.delete(logits, tumour, axis=1), axis=1)
    apart = float(np.abs(expit(logits[:, tumour] - others) - expit(correction.of(strokes))).max())
    if apart > MOST_APART:
        found = f"would differ by {apart:.3f} in probability from what was fitted"
        raise ModelError(model.path, found, "Draw more strokes, on more places; nothing was written.")
    return result
