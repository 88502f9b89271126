"""``ki67 idc``: the invasive region on an H&E slide."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from ki67.cli.common import (
    App,
    DeviceOption,
    HeSlide,
    Json,
    Mpp,
    MppOverridesFile,
    Out,
    OutlineLeastArea,
    OutlineLeastHole,
    OutlineSmoothing,
    OutlineThreshold,
    Quiet,
    begin,
    emit,
    outline_of,
    require_training,
    slide_of,
    warning_lines,
)
from ki67.vocabulary import AdaptMethod, Device, IdcArchitecture

ModelOption = Annotated[
    Path | None,
    typer.Option("--model", help="Another model (.onnx), or inception_v1 for the paper's; default: the shipped one."),
]


app = App(help="Find invasive ductal carcinoma (IDC) on H&E slides.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Find invasive ductal carcinoma (IDC) on H&E slides."""


@app.command()
def predict(
    he: HeSlide,
    out: Out,
    mpp: Mpp = None,
    mpp_overrides_file: MppOverridesFile = False,
    model: ModelOption = None,
    device: DeviceOption = Device.cpu,
    stride_px: Annotated[
        int | None,
        typer.Option(
            "--stride-px", help="Distance of patches in pixels of the model's resolution; default: half of a core."
        ),
    ] = None,
    outline_threshold: OutlineThreshold = None,
    outline_smoothing: OutlineSmoothing = None,
    outline_least_area: OutlineLeastArea = None,
    outline_least_hole: OutlineLeastHole = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write the IDC heat map and the outline of the invasive region."""
    from ki67.idc import load_model
    from ki67.pipeline import run_idc

    begin(quiet=quiet)
    edge = load_model(model).card.core_px
    if stride_px is not None and (stride_px < 1 or edge % stride_px):
        raise typer.BadParameter(
            f"--stride-px must divide the edge of what a patch is judged for, {edge} px, found {stride_px}"
        )
    outline = outline_of(outline_threshold, outline_smoothing, outline_least_area, outline_least_hole)
    result = run_idc(
        he,
        out,
        mpp=mpp,
        mpp_overrides_file=mpp_overrides_file,
        model=model,
        stride_px=stride_px,
        outline=outline,
        device=device,
    )
    lines = [
        f"invasive carcinoma: {result['area_mm2']:.3g} mm² in {result['polygons']} region(s)",
        *(f"{other['name']}: {other['area_mm2']:.3g} mm²" for other in result.get("other_classes", ())),
        f"tissue: {result['tissue_mm2']:.3g} mm²",
        *warning_lines(result),
        f"regions: {result['regions']}",
        f"heat map: {result['heatmap']}",
    ]
    if "other_classes_file" in result:
        lines.append(f"heat maps of the other classes: {result['other_classes_file']}")
    emit(result, as_json=as_json, lines=lines)


@app.command()
def sample(
    slides: Annotated[
        Path, typer.Argument(help="CSV with columns patient, slide, regions and perhaps split (train/val/test), mpp.")
    ],
    out: Annotated[Path, typer.Argument(help="Folder for the patches, index.csv and patches.json.")],
    classes: Annotated[
        str, typer.Option("--classes", help="Labels of regions that are classes, commas between; one is IDC.")
    ] = "IDC",
    rest: Annotated[
        str, typer.Option("--rest", help="Name of the class for tissue outside all of them; '' for none.")
    ] = "other",
    patch_px: Annotated[int, typer.Option("--patch-px", min=1, help="Edge of a patch in pixels.")] = 128,
    mpp: Annotated[float, typer.Option("--mpp", help="Resolution of the patches in µm per pixel.")] = 2.0,
    stride_px: Annotated[
        int | None,
        typer.Option("--stride-px", help="Distance of neighbouring patches; default: the edge of their core."),
    ] = None,
    per_class: Annotated[int, typer.Option("--per-class", help="Most patches per class and slide.")] = 2000,
    cover: Annotated[
        float,
        typer.Option("--cover", help="Share of a patch, or of its core, that its class, or the rest, must cover."),
    ] = 0.75,
    core_px: Annotated[
        int | None,
        typer.Option(
            "--core-px",
            min=1,
            help="Edge of the square in the middle of a patch that its class is of, so that more than what is "
            "labelled can be looked at; default: the whole patch.",
        ),
    ] = None,
    mpp_overrides_file: MppOverridesFile = False,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the draws.")] = 2020,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Cut labelled patches out of slides with outlined regions, split by patient."""
    from ki67.fields.patch_sampling import SampleOptions, sample
    from ki67.fields.slide_list import read_slide_list, split_by_patient

    begin(quiet=quiet)
    names = tuple(name.strip() for name in classes.split(",") if name.strip())
    entries = read_slide_list(slides, overrides_file=mpp_overrides_file)
    try:
        options = SampleOptions(
            names, rest.strip() or None, patch_px, mpp, stride_px, per_class, cover, seed, core_px
        )
        entries = split_by_patient(entries, seed=seed)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    result = sample(entries, out, options)
    lines = [
        *_table1_lines(result["table"]),
        *warning_lines(result),
        f"index: {result['index']}",
    ]
    emit(result, as_json=as_json, lines=lines)


def _table1_lines(table: list[dict[str, Any]]) -> list[str]:
    """Lay out Table 1: patches of each class, in brackets the slides they come from."""
    columns = "".join(f" {name + ' (slides)':>18s}" for name in table[0]["classes"])
    lines = [f"{'split':8s} {'patients':>8s} {'slides':>8s} {'without':>8s} {'patches':>9s}" + columns]
    for row in table:
        counts = (f"{count:,} ({row['class_slides'][name]})" for name, count in row["classes"].items())
        whole = f"{row['patients']:8d} {row['slides']:8d} {row['slides_without_patches']:8d} {row['patches']:9,d}"
        lines.append(f"{row['split']:8s} {whole}" + "".join(f" {text:>18s}" for text in counts))
    return lines


@app.command()
def train(
    patches: Annotated[Path, typer.Argument(help="Folder of patches with an index.csv that has a column split.")],
    out: Annotated[
        Path, typer.Argument(help="Folder for checkpoint, log and model; a killed training goes on in it.")
    ],
    mpp: Annotated[
        float | None,
        typer.Option(
            "--mpp",
            min=0.05,
            max=50,
            help="µm per pixel of the patches, where 'ki67 idc sample' did not say it.",
        ),
    ] = None,
    patch_px: Annotated[
        int | None, typer.Option("--patch-px", min=8, help="Edge of a patch, likewise; default: 50.")
    ] = None,
    data: Annotated[str, typer.Option("--data", help="What the patches are, for the model's card.")] = "own patches",
    epochs: Annotated[int, typer.Option("--epochs", min=1, help="Length of the training.")] = 18,
    patches_per_epoch: Annotated[
        int, typer.Option("--patches-per-epoch", min=1, help="Drawn anew each epoch.")
    ] = 11_000,
    batch: Annotated[int, typer.Option("--batch", min=2, help="Patches per step.")] = 64,
    learning_rate: Annotated[
        float | None,
        typer.Option(
            "--learning-rate",
            min=1e-8,
            max=1,
            help="Highest learning rate; default: 0.002 or 0.0007, by architecture.",
        ),
    ] = None,
    architecture: Annotated[
        IdcArchitecture, typer.Option("--architecture", help="Which network; the shipped model is the second.")
    ] = IdcArchitecture.inception_v1,
    width: Annotated[float, typer.Option("--width", min=0.01, max=8, help="Factor on the network's channels.")] = 1.0,
    patience: Annotated[
        int, typer.Option("--patience", min=0, help="Stop after so many epochs without a better AUC; 0: never.")
    ] = 0,
    start: Annotated[
        Path | None, typer.Option("--start", help="Model (.onnx) to go on from, or 'shipped'; default: from scratch.")
    ] = None,
    label_smoothing: Annotated[
        float, typer.Option("--label-smoothing", min=0, max=0.9, help="Share of a label given to all classes alike.")
    ] = 0.1,
    mixup: Annotated[float, typer.Option("--mixup", min=0, max=8, help="Strength of mixing patches; 0: none.")] = 0.2,
    teacher_share: Annotated[
        float, typer.Option("--teacher-share", min=0, max=1, help="Share of a label the starting model has a say in.")
    ] = 0.0,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of everything random.")] = 2020,
    threads: Annotated[int | None, typer.Option("--threads", min=1, help="CPU threads; default: all cores.")] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train a network on labelled patches, and export it with its card."""
    begin(quiet=quiet)
    require_training("Training a model")
    from ki67.fields.patches import PatchFacts, read_facts
    from ki67.idc import load_model
    from ki67.idc.model import PUBLIC_CLASSES, read_card
    from ki67.learning.idc.adaptation import load_network
    from ki67.learning.idc.checkpoint import options_for
    from ki67.learning.idc.recipe import train_model
    from ki67.learning.idc.training import use_threads

    facts = read_facts(patches)
    if facts is None:
        if mpp is None:
            raise typer.BadParameter("the patches do not say their resolution; give it with --mpp")
        facts = PatchFacts(patch_px or 50, mpp, PUBLIC_CLASSES, patch_px or 50)
    elif mpp not in (None, facts.mpp) or patch_px not in (None, facts.patch_px):
        raise typer.BadParameter(
            f"{patches} holds patches of {facts.patch_px} px at {facts.mpp:g} µm; leave --patch-px and --mpp out"
        )
    if threads:
        use_threads(threads)
    options = options_for(
        architecture,
        facts.patch_px,
        facts.classes,
        core_px=facts.core_px,
        width=width,
        learning_rate=learning_rate,
        epochs=epochs,
        patches_per_epoch=patches_per_epoch,
        batch=batch,
        patience=patience,
        label_smoothing=label_smoothing,
        mixup=mixup,
        teacher_share=teacher_share,
        seed=seed,
    )
    source = None if start is None else load_model(start)
    begun = None if source is None else load_network(source)
    if begun is None and teacher_share > 0:
        raise typer.BadParameter("--teacher-share needs a model to start from (--start)")
    if begun is not None and begun.options != options.network:
        raise typer.BadParameter(
            f"{start} has another network ({begun.options}) than these patches ({options.network})"
        )
    before = frozenset() if source is None else source.card.patients_trained_on
    model = train_model(patches, out, options, mpp=facts.mpp, data=data, start=begun, marks_before=before)
    card = read_card(model.with_suffix(".json")).details
    figures = card["validation"]
    result: dict[str, Any] = {"model": str(model), "classes": list(facts.classes), "threshold": card["threshold"]}
    result |= {"temperature": card["temperature"], "validation": figures, "split": card["split"]}
    lines = [
        f"validation AUC: {figures['auc']:.4f} (threshold {card['threshold']:.3f})",
        f"model: {model}",
    ]
    emit(result, as_json=as_json, lines=lines)


@app.command()
def adapt(
    model: Annotated[Path, typer.Argument(help="Model to adapt (.onnx), or 'shipped'.")],
    slides: Annotated[
        list[Path], typer.Argument(parser=slide_of, help="Unlabelled H&E slides of the other laboratory.")
    ],
    out: Annotated[Path, typer.Option("--out", help="The adapted model (.onnx); its card goes beside it.")],
    method: Annotated[AdaptMethod, typer.Option("--method", help="How to adapt.")] = AdaptMethod.adabn,
    source: Annotated[
        Path | None, typer.Option("--source", help="Labelled patches the model was trained on (dann needs them).")
    ] = None,
    strokes: Annotated[
        list[Path] | None,
        typer.Option(
            "--strokes",
            help="Region file with a few strokes on the slide, tumour classified IDC and the rest otherwise: fits "
            "the last layer to them, without PyTorch. Once for each slide, in their order.",
        ),
    ] = None,
    patches: Annotated[int, typer.Option("--patches", min=2, help="Patches drawn per slide.")] = 1000,
    mix: Annotated[
        float, typer.Option("--mix", min=0, max=1, help="Weight of the new slides' statistics; 1 forgets the old.")
    ] = 0.3,
    steps: Annotated[int | None, typer.Option("--steps", min=1, help="Steps of dann; default: 400.")] = None,
    mpp: Mpp = None,
    mpp_overrides_file: MppOverridesFile = False,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the draws.")] = 2020,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Fit a model to another laboratory's slides: by a few strokes, or without any label of theirs."""
    begin(quiet=quiet)
    if out.suffix != ".onnx":
        raise typer.BadParameter(f"the adapted model must end in .onnx, found {out.name}")
    if strokes:
        if method is not AdaptMethod.adabn or source is not None or steps is not None:
            raise typer.BadParameter("--strokes fit the last layer; leave --method, --source and --steps out")
        _adapt_by_strokes(model, slides, strokes, out, mpp, mpp_overrides_file, seed, as_json)
        return
    require_training("Training a model")
    from ki67.fields.patches import read_patches, rows_for_model
    from ki67.idc import load_model
    from ki67.learning.idc.adaptation import AdaptOptions, adapt_model, draw_slides
    from ki67.learning.idc.recipe import INDEX, split_rows
    from ki67.learning.idc.training import PatchSet

    if method is AdaptMethod.dann and source is None:
        raise typer.BadParameter("dann learns on from labelled patches; name them with --source")
    if method is not AdaptMethod.dann and (source is not None or steps is not None):
        raise typer.BadParameter("--source and --steps are for --method dann; leave them out, or choose it")
    base = load_model(model)
    options = AdaptOptions(method, patches=patches, mix=mix, seed=seed)
    if steps is not None:
        options = replace(options, steps=steps)
    labelled = None
    if source is not None:
        rows = rows_for_model(read_patches(source, source / INDEX), source, base.card)
        labelled = PatchSet.load(split_rows(rows, source / INDEX)[0], base.card.patch_px)
    pixels, seen, warnings = draw_slides(slides, base.card, options, mpp, overrides_file=mpp_overrides_file)
    target = adapt_model(base, pixels, out, options, source=labelled, slides=seen)
    result = {
        "model": str(target),
        "method": method.value,
        "patches": len(pixels),
        "slides": seen,
        "warnings": warnings,
    }
    lines = [f"{len(pixels)} patches of {len(seen)} slide(s)", *warning_lines(result), f"model: {target}"]
    emit(result, as_json=as_json, lines=lines)


def _adapt_by_strokes(
    model: Path,
    slides: list[Path],
    strokes: list[Path],
    out: Path,
    mpp: float | None,
    overrides_file: bool,
    seed: int,
    as_json: bool,
) -> None:
    from ki67.idc import load_model
    from ki67.learning.idc.strokes import adapt_by_strokes
    from ki67.slides import open_slide

    if len(strokes) != len(slides):
        raise typer.BadParameter(f"{len(slides)} slide(s) and {len(strokes)} file(s) of --strokes; give one for each")
    base = load_model(model)
    with ExitStack() as opened:
        sections = [opened.enter_context(open_slide(path, mpp, overrides_file=overrides_file)) for path in slides]
        warnings = [line for section in sections for line in section.named_warnings]
        adapted = adapt_by_strokes(base, sections, strokes, out, seed=seed)
    before, after = (adapted["left_out"]["balanced_accuracy"][name] for name in ("before", "after"))
    if after <= before:
        warnings.append("on strokes left out the model is no better than before: draw more, in more places")
    result = {"model": str(out), "warnings": warnings, **adapted}
    lines = [
        f"{adapted['patches']} patches under {sum(adapted['strokes'].values())} strokes of {len(slides)} slide(s)",
        f"balanced accuracy on strokes left out: {after:.1%} (before {before:.1%}); other slides lie farther away",
        *warning_lines(result),
        f"model: {out}",
    ]
    emit(result, as_json=as_json, lines=lines)
