"""The shipped IDC model: an ONNX graph and its card."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from ki67.errors import ModelError
from ki67.idc.appearance import Appearance
from ki67.idc.surroundings import Surroundings
from ki67.jobs import Pool, current
from ki67.model_files import INT8, CardFields, Runner, Signature, checked, read_fields, run_on, try_once
from ki67.vocabulary import Device, IdcArchitecture

_WEIGHTS = Path(__file__).parent.parent / "weights"

SHIPPED_MODEL = _WEIGHTS / "idc_efficientnet_lite0.onnx"
"""The model that is used where none is named (docs/decisions/030)."""

SHIPPED = {"shipped": SHIPPED_MODEL} | {name.value: _WEIGHTS / f"idc_{name.value}.onnx" for name in IdcArchitecture}
"""The models that come with the package, by the words that stand for them wherever a model is named."""

CARD_SCHEMA = 1
"""Version of the card's fields."""

INPUT_NAME, OUTPUT_NAME, FEATURES_NAME = "patches", "probabilities", "features"
"""Names in the graph: uint8 RGB (N, H, H, 3) in; float32 (N, classes) out, and what the last layer sees, float32
(N, channels), which graphs of older versions do not give. Scaling of pixels is inside the graph."""

TUMOUR_CLASS = "IDC"

AREA_THRESHOLDS = "area_thresholds"
"""Field of a card: thresholds at which as much is called as is labelled, one of each validation patient."""

MEASURED = ("validation", "appearance", AREA_THRESHOLDS, INT8)
"""Fields of a card that were measured on the weights it belongs to, or made of them, and hold for no others."""

MARKS_BEFORE = "patient_marks_before"
"""Field of a card: marks of the patients that a model it was made from had been trained on."""

PUBLIC_CLASSES = ("other", TUMOUR_CLASS)
"""Classes of the public IDC patches, in the order of their labels 0 and 1."""

T = TypeVar("T")
BATCH = 32
"""Patches the runtime takes at a time; more does not run faster on a CPU and costs memory."""

MOST_PATCH_PX = 1024
"""Edge of the largest patch; patches of 200 µm have 50 to 800 px."""

COARSEST_MPP = 50.0
"""No slide is scanned, and no tissue told, beyond this."""

SUM_ROUNDING = 0.01
"""Probabilities of all classes sum to 1 but for the rounding of half precision."""

REINSTALL = "Reinstall the package, or train and export the model again."


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What a model is and what it was measured to do; stored as JSON beside the graph.

    Parameters
    ----------
    name, architecture, licence
        As shown in reports.
    patch_px, mpp
        Edge length of the input in pixels and µm per pixel.
    core_px
        Edge of the square in the middle that the probabilities are of; what lies around it is only looked at.
    classes
        Names, in the order of the outputs.
    threshold
        Probability of ``IDC`` at and above which a patch is called invasive.
    surroundings
        How the patches around are listened to; None where the model judges every patch by itself.
    threshold_alone
        As ``threshold``, for a patch judged by itself; the same where there are no surroundings.
    area_thresholds
        Thresholds at which as much was called as is labelled on patients not trained on, in rising order; none where
        nobody measured them.
    appearance
        How slides that the model knows look to it; None where nobody measured it.
    sha256
        Of the graph.
    details
        The whole card: data, split, figures, training command.
    int8
        SHA-256 of the same network in whole numbers; None without one.
    """

    name: str
    architecture: str
    licence: str
    patch_px: int
    core_px: int
    mpp: float
    classes: tuple[str, ...]
    threshold: float
    threshold_alone: float
    area_thresholds: tuple[float, ...]
    surroundings: Surroundings | None
    appearance: Appearance | None
    sha256: str
    details: dict[str, Any]
    int8: str | None = None

    @property
    def patch_um(self) -> float:
        """Edge length of a patch in µm."""
        return self.patch_px * self.mpp

    @property
    def tumour_output(self) -> int:
        """Place of ``IDC`` among the outputs."""
        return self.classes.index(TUMOUR_CLASS)

    @property
    def patients_trained_on(self) -> frozenset[str]:
        """Marks (:func:`patient_mark`) of the patients whose patches had a say in the weights."""
        own = self.details.get("split", {}).get("training", {}).get("patient_marks", ())
        return frozenset([*own, *self.details.get(MARKS_BEFORE, ())])


def is_core(core_px: int, patch_px: int) -> bool:
    """Whether a square of whole pixels lies in the middle of a patch: it leaves as much on each side."""
    return 1 <= core_px <= patch_px and (patch_px - core_px) % 2 == 0


def patient_mark(patient: str) -> str:
    """What stands for a patient in a card: enough to tell that one was trained on, not who it was."""
    return hashlib.sha256(patient.encode()).hexdigest()[:12]


@dataclass(frozen=True)
class IdcModel:
    """A model ready to run; made by :func:`load_model`."""

    path: Path
    card: ModelCard
    device: Device = Device.cpu

    @property
    def sha256(self) -> str:
        """SHA-256 of the graph, as checked against the card."""
        return self.card.sha256

    @cached_property
    def runner(self) -> Runner:
        """The graph in ONNX Runtime, loaded when first used."""
        options = onnxruntime.SessionOptions()
        # Batches run side by side. Threads within one wait for each other by spinning, which is dear as soon as other
        # work wants a processor.
        options.intra_op_num_threads = 1
        edge, classes = self.card.patch_px, len(self.card.classes)
        signature = Signature(
            INPUT_NAME, OUTPUT_NAME, "tensor(uint8)", (None, edge, edge, 3), (None, classes), FEATURES_NAME
        )

        def run(graph: Path, sha256: str, device: Device) -> Runner:
            return Runner(graph, sha256, signature, options, device, REINSTALL)

        return run_on(self.device, self.path, self.card, run)

    @property
    def in_floats(self) -> IdcModel:
        """The same model without its graph in whole numbers: what it says is then what its weights say."""
        return replace(self, card=replace(self.card, int8=None))

    @property
    def provider(self) -> str:
        """What runs it, by ONNX Runtime's name: a processor runs whole numbers where it can."""
        return self.runner.provider

    @property
    def gives_features(self) -> bool:
        """Whether its graph gives what the last layer sees; those of older versions do not."""
        return self.runner.gives_besides

    @property
    def knows_its_slides(self) -> bool:
        """Whether it can tell a slide that it does not know: graph and card must both say what that takes."""
        return self.gives_features and self.card.appearance is not None

    def try_out(self) -> None:
        """Run it once, on a black patch and a white one."""
        edge, classes = self.card.patch_px, len(self.card.classes)
        patches = np.zeros((2, edge, edge, 3), np.uint8)
        patches[1] = 255
        sums = self.runner.run_alone(patches, (2, classes)).sum(axis=1)
        if np.abs(sums - 1).max() > SUM_ROUNDING:
            raise ModelError(self.path, f"gives probabilities that sum to {sums[0]:.3g}, expected 1", REINSTALL)
        if self.card.appearance is not None and self.gives_features:
            found, (expected, *others) = self.features(patches)[1].shape[1], self.card.appearance.lengths
            if found != expected or any(other != expected for other in others):
                raise ModelError(self.path, f"gives {found} features, its card tells of {expected}", REINSTALL)

    def probabilities(self, patches: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Probability of invasive carcinoma for each patch.

        Parameters
        ----------
        patches
            uint8 RGB (N, patch_px, patch_px, 3).

        Returns
        -------
        numpy.ndarray
            float32 (N,).
        """
        return self.all_probabilities(patches)[:, self.card.tumour_output]

    def all_probabilities(self, patches: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Probability of every class for each patch.

        Parameters
        ----------
        patches
            uint8 RGB (N, patch_px, patch_px, 3).

        Returns
        -------
        numpy.ndarray
            float32 (N, classes), in the order of the card's classes.
        """
        found = _in_batches(self.runner.run, patches)
        if not found:
            return np.empty((0, len(self.card.classes)), dtype=np.float32)
        return np.asarray(np.concatenate(found), dtype=np.float32)

    def features(self, patches: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Probability of every class, float32 (N, classes), and what the last layer sees, float32 (N, channels).

        Raises
        ------
        ModelError
            Where the graph is of an older version and does not give them.
        """
        if not self.gives_features:
            raise ModelError(self.path, f"does not give its {FEATURES_NAME}", "Train or export it with this version.")
        found = _in_batches(self.runner.run_both, patches)
        if not found:
            return np.empty((0, len(self.card.classes)), np.float32), np.empty((0, 0), np.float32)
        probabilities, features = (np.concatenate(part) for part in zip(*found, strict=True))
        return probabilities, features


def _in_batches(run: Callable[[NDArray[np.uint8]], T], patches: NDArray[np.uint8]) -> list[T]:
    """Run batches of patches side by side; what they give, in order."""

    def batch(start: int) -> T:
        return run(np.ascontiguousarray(patches[start : start + BATCH]))

    with Pool("carcinoma") as pool:
        return list(pool.map(batch, range(0, len(patches), BATCH)))


def load_model(path: str | Path | None = None, *, device: Device | None = None) -> IdcModel:
    """Load a model and check it against its card.

    Parameters
    ----------
    path
        The ``.onnx`` file; its card has the same name with ``.json``. None takes the shipped model; ``shipped``
        and the names of architectures stand for those that come with the package (:data:`SHIPPED`).
    device
        Where it runs; None leaves that to the job. Its threads are as many as the job has when it first runs.

    Returns
    -------
    IdcModel
        Tried once in this process.

    Raises
    ------
    ModelError
        Where the graph or the card is missing, damaged or no such model, or the two do not belong together.
    """
    graph = SHIPPED_MODEL if path is None else SHIPPED.get(str(path), Path(path))
    card = checked(graph, read_card, REINSTALL)
    device = device or current().device
    model = IdcModel(graph, card, device)
    told = card.appearance and card.appearance.lengths
    try_once(("idc", card.sha256, card.int8, card.patch_px, card.classes, told, device), model.try_out)
    return model


def read_card(path: str | Path) -> ModelCard:
    """Read a model's card.

    Raises
    ------
    ModelError
        Where it is missing, is no JSON, lacks a field or holds one of another kind or size.
    """
    fields = read_fields(Path(path), REINSTALL, CARD_SCHEMA)
    threshold = fields.number("threshold", 0, 1)
    patch_px = fields.whole("patch_px", 1, MOST_PATCH_PX)
    card = ModelCard(
        name=fields.text("name"),
        architecture=fields.text("architecture"),
        licence=fields.text("licence"),
        patch_px=patch_px,
        core_px=fields.whole("core_px", 1, patch_px) if "core_px" in fields else patch_px,
        mpp=fields.number("mpp", 0, COARSEST_MPP),
        classes=fields.texts("classes"),
        threshold=threshold,
        threshold_alone=fields.number("threshold_alone", 0, 1, default=threshold),
        area_thresholds=tuple(sorted(fields.numbers(AREA_THRESHOLDS, 0, 1))) if AREA_THRESHOLDS in fields else (),
        surroundings=_surroundings(fields.part("surroundings")) if "surroundings" in fields else None,
        appearance=_appearance(fields.part("appearance")) if "appearance" in fields else None,
        sha256=fields.text("sha256"),
        details=fields.fields,
        int8=fields.sha256_in(INT8),
    )
    if TUMOUR_CLASS not in card.classes or len(set(card.classes)) < max(2, len(card.classes)):
        found = (
            f"has the classes {', '.join(card.classes)}; expected two or more, each once, and a class {TUMOUR_CLASS}"
        )
        raise ModelError(path, found, REINSTALL)
    if not all(name.strip() and name.isprintable() for name in card.classes):
        raise ModelError(path, "has a class whose name cannot be shown", REINSTALL)
    if not is_core(card.core_px, card.patch_px):
        found = f"has a core of {card.core_px} px, expected the patch's {card.patch_px} or less by an even number"
        raise ModelError(path, found, REINSTALL)
    # Later they are taken as they are.
    fields.number("temperature", 0, math.inf, default=1.0)
    fields.part("split", {}).part("training", {}).texts("patient_marks", ())
    fields.texts(MARKS_BEFORE, ())
    return card


def _appearance(fields: CardFields) -> Appearance:
    return Appearance(
        other=fields.numbers("other", -math.inf, math.inf),
        tumour=fields.numbers("tumour", -math.inf, math.inf),
        spread=fields.numbers("spread", 0, math.inf),
        usual=fields.number("usual", 0, math.inf),
        believable=fields.number("believable", 0, math.inf),
    )


def _surroundings(fields: CardFields) -> Surroundings:
    return Surroundings(
        neighbours=fields.whole("neighbours", 1, 1000),
        reach_um=fields.number("reach_um", 0, math.inf),
        weight=fields.number("weight", -math.inf, math.inf),
        prior=fields.number("prior", 0, math.inf),
        scale=fields.number("scale", 0, math.inf),
    )
