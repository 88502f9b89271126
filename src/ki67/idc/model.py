"""The shipped IDC model: an ONNX graph and its card."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from ki67.errors import ModelError
from ki67.idc.surroundings import Surroundings
from ki67.model_files import card_fields, checked, open_session

SHIPPED_MODEL = Path(__file__).parent.parent / "weights" / "idc_inception_v1.onnx"
"""The model that comes with the package."""

CARD_SCHEMA = 1
"""Version of the card's fields."""

INPUT_NAME, OUTPUT_NAME = "patches", "probabilities"
"""Names in the graph: uint8 RGB (N, H, H, 3) in, float32 (N, classes) out. Scaling of pixels is inside the graph."""

TUMOUR_CLASS = "IDC"

MARKS_BEFORE = "patient_marks_before"
"""Field of a card: marks of the patients that a model it was made from had been trained on."""

PUBLIC_CLASSES = ("other", TUMOUR_CLASS)
"""Classes of the public IDC patches, in the order of their labels 0 and 1."""

BATCH = 64
"""Patches the runtime takes at a time; more does not run faster on a CPU and costs memory."""

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
    classes
        Names, in the order of the outputs.
    threshold
        Probability of ``IDC`` at and above which a patch is called invasive.
    surroundings
        How the patches around are listened to; None where the model judges every patch by itself.
    threshold_alone
        As ``threshold``, for a patch judged by itself; the same where there are no surroundings.
    sha256
        Of the graph.
    details
        The whole card: data, split, figures, training command.
    """

    name: str
    architecture: str
    licence: str
    patch_px: int
    mpp: float
    classes: tuple[str, ...]
    threshold: float
    threshold_alone: float
    surroundings: Surroundings | None
    sha256: str
    details: dict[str, Any]

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


def patient_mark(patient: str) -> str:
    """What stands for a patient in a card: enough to tell that one was trained on, not who it was."""
    return hashlib.sha256(patient.encode()).hexdigest()[:12]


@dataclass(frozen=True)
class IdcModel:
    """A model ready to run; made by :func:`load_model`."""

    path: Path
    card: ModelCard
    threads: int

    @property
    def sha256(self) -> str:
        """SHA-256 of the graph, as checked against the card."""
        return self.card.sha256

    @cached_property
    def session(self) -> onnxruntime.InferenceSession:
        """The ONNX Runtime session, opened when first used."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        return open_session(self.path, options, _providers(), REINSTALL)

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
        found = [
            self.session.run([OUTPUT_NAME], {INPUT_NAME: np.ascontiguousarray(patches[start : start + BATCH])})[0]
            for start in range(0, len(patches), BATCH)
        ]
        if not found:
            return np.empty((0, len(self.card.classes)), dtype=np.float32)
        return np.asarray(np.concatenate(found), dtype=np.float32)


def load_model(path: str | Path | None = None, *, threads: int | None = None) -> IdcModel:
    """Load a model and check it against its card.

    Parameters
    ----------
    path
        The ``.onnx`` file; its card has the same name with ``.json``. None takes the shipped model.
    threads
        Threads of the runtime; None takes as many as there are cores.

    Returns
    -------
    IdcModel
        The session is opened at the first prediction.

    Raises
    ------
    ModelError
        Where the graph or the card is missing or damaged, or the two do not belong together.
    """
    graph = SHIPPED_MODEL if path is None else Path(path)
    card = checked(graph, read_card, REINSTALL)
    return IdcModel(graph, card, threads or len(os.sched_getaffinity(0)))


def read_card(path: str | Path) -> ModelCard:
    """Read a model's card.

    Raises
    ------
    ModelError
        Where it is missing, is no JSON, or lacks a field.
    """
    source = Path(path)
    with card_fields(source, REINSTALL) as fields:
        card = ModelCard(
            name=str(fields["name"]),
            architecture=str(fields["architecture"]),
            licence=str(fields["licence"]),
            patch_px=int(fields["patch_px"]),
            mpp=float(fields["mpp"]),
            classes=tuple(str(name) for name in fields["classes"]),
            threshold=float(fields["threshold"]),
            threshold_alone=float(fields.get("threshold_alone", fields["threshold"])),
            surroundings=_surroundings(fields.get("surroundings")),
            sha256=str(fields["sha256"]),
            details=fields,
        )
        schema = int(fields["schema"])
    _check_card(source, card, schema)
    return card


def _surroundings(fields: dict[str, Any] | None) -> Surroundings | None:
    if fields is None:
        return None
    sizes = {name: float(fields[name]) for name in ("reach_um", "weight", "prior", "scale")}
    return Surroundings(int(fields["neighbours"]), **sizes)


def _check_card(source: Path, card: ModelCard, schema: int) -> None:
    if schema != CARD_SCHEMA:
        raise ModelError(
            source, f"has schema {schema}, this program reads {CARD_SCHEMA}", "Export the model with this version."
        )
    around = card.surroundings
    sizes: list[float] = [card.patch_px, card.mpp]
    sizes += [around.neighbours, around.reach_um, around.prior, around.scale] if around else []
    thresholds = (card.threshold, card.threshold_alone)
    if min(sizes) <= 0 or not all(0 < value < 1 for value in thresholds) or TUMOUR_CLASS not in card.classes:
        found = f"patch_px {card.patch_px}, mpp {card.mpp}, thresholds {thresholds}, {around}, classes {card.classes}"
        raise ModelError(
            source,
            f"holds {found}",
            f"Expected sizes above 0, a threshold between 0 and 1, and a class {TUMOUR_CLASS}.",
        )


def _providers() -> list[str]:
    wanted = ("CUDAExecutionProvider", "CPUExecutionProvider")
    available = onnxruntime.get_available_providers()
    return [name for name in wanted if name in available]
