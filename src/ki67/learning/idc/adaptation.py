"""Fit a model to another laboratory's slides without any label of theirs.

* ``adabn``: the means and variances of batch normalisation are taken from the new slides (Li et al., "Revisiting
  batch normalization for practical domain adaptation", 2016). Needs nothing but the slides; the default.
* ``dann``: the network goes on learning from labelled patches while a second head, through a reversed gradient,
  makes its features the same for old and new slides (Ganin et al., "Domain-adversarial training of neural
  networks", JMLR 17, 2016).

Feng et al. 2020 name "unsupervised domain adaptation" and do not describe theirs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import Tensor, nn
from torch.nn import functional

from ki67.errors import DataSetError, ModelError, TissueError
from ki67.geometry import RectUm
from ki67.idc.model import MARKS_BEFORE, MEASURED, IdcModel, ModelCard, patient_mark
from ki67.learning.idc.augment import AugmentOptions, augment
from ki67.learning.idc.lite import build_network
from ki67.learning.idc.network import NetworkOptions, PatchNetwork, normalise
from ki67.learning.idc.network_export import export
from ki67.learning.idc.training import PatchSet, draw_weights
from ki67.model_files import taking_apart
from ki67.progress import track
from ki67.slides import Slide, TissueMask, open_slide, read_ahead, tissue_mask
from ki67.vocabulary import AdaptMethod

GRAPH_PREFIX, HALF_SUFFIX, HEADS = "network.", ".half", "auxiliary."
"""Names of weights in an exported graph; the auxiliary heads are not in it."""

MINIMUM_TISSUE = 0.5
"""Patches that the statistics come from are at least half tissue; glass would pull them towards white."""

DOMAIN_HIDDEN = 256
"""Width of the domain head; a quarter of the features it looks at."""

LEAST_PATCHES = 64
"""Fewer say little of a laboratory's stain."""

RETRAIN = "Train or export the model with this version of the program."


@dataclass(frozen=True, slots=True)
class AdaptOptions:
    """How to adapt.

    Parameters
    ----------
    method
        ``adabn`` or ``dann``.
    patches
        Patches drawn from the tissue of each slide.
    mix
        Weight of the new slides' statistics against the model's own; 1 forgets the old ones. The default is the
        one that never cost anything where it was measured (``benchmarks/idc_adaptation.py``).
    steps, batch, learning_rate, strength
        Of ``dann``: ``strength`` is the weight of the reversed gradient, which climbs to it as in the paper.
    seed
        Of everything random.
    """

    method: AdaptMethod = AdaptMethod.adabn
    patches: int = 1000
    mix: float = 0.3
    steps: int = 400
    batch: int = 64
    learning_rate: float = 2e-4
    strength: float = 0.3
    seed: int = 2020


def load_network(model: IdcModel) -> PatchNetwork:
    """Rebuild the network of an exported model, ready to be adapted.

    Parameters
    ----------
    model
        A model of :func:`ki67.learning.idc.recipe.train_model`, or the shipped one.

    Returns
    -------
    PatchNetwork
        In evaluation mode; the auxiliary heads are fresh, they are not exported.

    Raises
    ------
    ModelError
        Where the graph is no network of this program.
    """
    try:
        fields = model.card.details["training"]["options"]["network"]
        network = build_network(NetworkOptions(**fields))
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ModelError(model.path, f"its card does not say how it was built ({error})", RETRAIN) from error
    with taking_apart(model.path, RETRAIN):
        stored = {
            tensor.name.removesuffix(HALF_SUFFIX).removeprefix(GRAPH_PREFIX): numpy_helper.to_array(tensor)
            for tensor in onnx.load(str(model.path)).graph.initializer
            if tensor.name.startswith(GRAPH_PREFIX)
        }
    state = network.state_dict()
    for name, value in state.items():
        if name.startswith(HEADS) or name.endswith("num_batches_tracked"):
            continue
        if name not in stored or stored[name].shape != tuple(value.shape):
            raise ModelError(model.path, f"lacks the weights {name}", RETRAIN)
        state[name] = torch.from_numpy(stored[name].astype(np.float32))
    network.load_state_dict(state)
    return network.eval()


def draw_patches(
    slide: Slide, tissue: TissueMask, card: ModelCard, count: int, generator: np.random.Generator
) -> NDArray[np.uint8]:
    """Draw patches from a slide's tissue.

    Parameters
    ----------
    slide, tissue
        Slide and its tissue.
    card
        Gives patch size and resolution.
    count
        Patches; fewer where the tissue is small.
    generator
        Source of the draw.

    Returns
    -------
    numpy.ndarray
        uint8 RGB (N, patch_px, patch_px, 3).

    Raises
    ------
    TissueError
        Where no patch is at least half tissue.
    """
    edge = card.patch_um
    bounds = slide.bounds_um
    columns, rows = int(bounds.width_um // edge), int(bounds.height_um // edge)
    rects = [RectUm(column * edge, row * edge, edge, edge) for row in range(rows) for column in range(columns)]
    rects = [rect for rect in rects if tissue.fraction(rect) >= MINIMUM_TISSUE]
    if not rects:
        raise TissueError(slide.path, f"holds no patch of {edge:.0f} µm that is half tissue", "Leave the slide out.")
    chosen = np.sort(generator.permutation(len(rects))[:count])
    reads = read_ahead(slide, [rects[place] for place in chosen], card.mpp)
    return np.stack([pixels for _, pixels in track(reads, f"Patches of {slide.path.name}", total=len(chosen))])


def draw_slides(
    paths: Sequence[str | Path],
    card: ModelCard,
    options: AdaptOptions,
    mpp: float | None = None,
    *,
    overrides_file: bool = False,
) -> tuple[NDArray[np.uint8], list[dict[str, Any]], list[str]]:
    """Draw patches from the tissue of several slides.

    Parameters
    ----------
    paths
        Slides.
    card, options
        Patch size and resolution; patches per slide and seed.
    mpp
        Pixel size of the slides, where their files have none.
    overrides_file
        Take ``mpp`` although a slide's file says otherwise.

    Returns
    -------
    tuple
        Patches of all slides, per slide its name and number of patches, and warnings.

    Raises
    ------
    DataSetError
        Where there are too few patches in all.
    """
    generator = np.random.default_rng(options.seed)
    drawn, seen = [], []
    warnings: list[str] = []
    for path in paths:
        with open_slide(path, mpp, overrides_file=overrides_file) as slide:
            warnings += slide.named_warnings
            drawn.append(draw_patches(slide, tissue_mask(slide), card, options.patches, generator))
        seen.append({"slide": slide.path.name, "patches": len(drawn[-1])})
    pixels = np.concatenate(drawn)
    if len(pixels) < LEAST_PATCHES:
        raise DataSetError(
            paths[0],
            f"gives, with all slides named, {len(pixels)} patches of {card.patch_um:.0f} µm that are half tissue",
            f"Adapting needs {LEAST_PATCHES}: name more slides, larger ones, or a larger --patches.",
        )
    return pixels, seen, warnings


def adapt_statistics(network: PatchNetwork, pixels: NDArray[np.uint8], *, mix: float = 1.0, batch: int = 128) -> None:
    """Take the statistics of batch normalisation from new patches, in place (AdaBN).

    Parameters
    ----------
    network
        Network to adapt.
    pixels
        Patches of the new slides, uint8 RGB (N, H, H, 3).
    mix
        Weight of the new statistics; the rest stays as it was.
    batch
        Patches at a time; the statistics are averaged over all of them.
    """
    # Those of the auxiliary heads would be read off a part of the network that is not used.
    norms = {
        name: module
        for name, module in network.named_modules()
        if isinstance(module, nn.BatchNorm2d) and not name.startswith(HEADS)
    }
    before = {name: (_mean_of(module).clone(), _variance_of(module).clone()) for name, module in norms.items()}
    network.eval()
    for module in norms.values():
        module.reset_running_stats()
        module.momentum = None  # a plain average over all batches
        module.train()
    starts = range(0, len(pixels), batch)
    with torch.inference_mode():
        for start in track(starts, "Statistics of the new slides", total=len(starts)):
            if len(pixels) - start > 1:
                network(normalise(torch.from_numpy(pixels[start : start + batch])))
    network.eval()
    for name, module in norms.items():
        mean, variance = before[name]
        _mean_of(module).mul_(mix).add_(mean, alpha=1 - mix)
        _variance_of(module).mul_(mix).add_(variance, alpha=1 - mix)
        module.momentum = 0.1


def _mean_of(module: nn.BatchNorm2d) -> Tensor:
    assert module.running_mean is not None  # every layer of the network keeps its statistics
    return module.running_mean


def _variance_of(module: nn.BatchNorm2d) -> Tensor:
    assert module.running_var is not None
    return module.running_var


class _Reverse(torch.autograd.Function):
    """The identity; its gradient is turned round and scaled."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, strength: float) -> Tensor:
        ctx.strength = strength
        return features.view_as(features)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return -ctx.strength * gradients[0], None


def adapt_adversarial(
    network: PatchNetwork, source: PatchSet, pixels: NDArray[np.uint8], options: AdaptOptions
) -> None:
    """Go on learning from labelled patches with features that do not tell old from new slides (DANN), in place.

    Parameters
    ----------
    network
        Network to adapt.
    source
        Labelled patches of the old slides.
    pixels
        Patches of the new slides, uint8 RGB (N, H, H, 3).
    options
        Steps, batch, learning rate, strength, seed.
    """
    torch.manual_seed(options.seed)
    generator = torch.Generator().manual_seed(options.seed)
    domain = nn.Sequential(nn.Linear(network.head.in_features, DOMAIN_HIDDEN), nn.ReLU(), nn.Linear(DOMAIN_HIDDEN, 2))
    optimiser = torch.optim.AdamW([*network.parameters(), *domain.parameters()], lr=options.learning_rate)
    weights = torch.from_numpy(draw_weights(source, 0.5))
    half = options.batch // 2
    network.train()
    for step in track(range(options.steps), "Adapting", total=options.steps):
        old = torch.multinomial(weights, half, replacement=True, generator=generator).numpy()
        new = torch.randint(0, len(pixels), (half,), generator=generator).numpy()
        patches = torch.from_numpy(np.concatenate([source.pixels[old], pixels[new]]))
        features = network.features(normalise(augment(patches, AugmentOptions(), generator)))
        # Equation 14 of the paper: the strength climbs from 0 to its full value.
        strength = options.strength * (2 / (1 + math.exp(-10 * step / options.steps)) - 1)
        labels = functional.cross_entropy(
            network.head(network.dropout(features[:half])), torch.from_numpy(source.labels[old])
        )
        origin = torch.arange(2 * half) // half
        reverse: Any = _Reverse.apply
        loss = labels + functional.cross_entropy(domain(reverse(features, strength)), origin)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    network.eval()
    # The running statistics are those of both kinds mixed; prediction is on the new kind only.
    adapt_statistics(network, pixels, mix=options.mix)


def adapt_model(
    model: IdcModel,
    pixels: NDArray[np.uint8],
    target: str | Path,
    options: AdaptOptions,
    *,
    source: PatchSet | None = None,
    slides: Sequence[Mapping[str, Any]] = (),
) -> Path:
    """Adapt a model to patches of new slides and export it.

    Threshold and temperature stay: nothing could be chosen without labels.

    Parameters
    ----------
    model
        Model to adapt.
    pixels
        Patches of the new slides, from :func:`draw_patches`.
    target
        ``.onnx`` file; its card goes beside it.
    options
        How to adapt.
    source
        Labelled patches of the old slides; ``dann`` needs them.
    slides
        What the card says of the new slides.

    Returns
    -------
    pathlib.Path
        ``target``.

    Raises
    ------
    ModelError
        Where the model cannot be rebuilt.
    ValueError
        Where ``dann`` has no labelled patches.
    """
    network = load_network(model)
    marks = set(model.card.patients_trained_on)
    if options.method == "dann":
        if source is None:
            raise ValueError("the adversarial method needs labelled patches of the slides the model was trained on")
        adapt_adversarial(network, source, pixels, options)
        marks |= set(map(patient_mark, source.patients))
    else:
        adapt_statistics(network, pixels, mix=options.mix)
    card = model.card
    figures = {name: card.details[name] for name in ("validation",) if name in card.details}
    details = {name: value for name, value in card.details.items() if name not in MEASURED}
    adapted = {
        "method": options.method,
        "patches": len(pixels),
        "slides": list(slides),
        "from_sha256": model.sha256,
        "measured_before": figures,
        "threshold": "that of the model it was made from; no label of the new slides was used",
    }
    export(
        network,
        target,
        details | {"name": f"{card.name}_{options.method}", "adaptation": adapted, MARKS_BEFORE: sorted(marks)},
        patch_px=card.patch_px,
        core_px=card.core_px,
        mpp=card.mpp,
        threshold=card.threshold,
        temperature=float(card.details.get("temperature", 1.0)),
        classes=card.classes,
    )
    return Path(target)
