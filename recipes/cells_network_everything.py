"""The last part of what makes the shipped cell network: all labelled fields, those of validation too.

``python recipes/cells_network_everything.py START.onnx OUT.onnx``

Goes on from a network that has not learnt from the validation fields, with all fields and eight more simulated
sections of high indices, and writes the mean of both networks' weights. No field is left that the result has not
seen, so the figures on its card are of a cross-validation over the validation patients: in each of three parts the
same from the same start, a third as long, without the patients that it then counts. Thresholds and curves stay the
start's, which has not learnt from the fields that chose them.

An hour and a half of one processor for the network, forty minutes for each part; what was cut short goes on.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from cells_network import (
    FIRST_INDICES,
    ONWARD_COMMAND,
    ONWARD_DECAY,
    ONWARD_RATE,
    draw_sections,
    network_field_names,
    patient,
    teaching_sets,
    training_sets,
    travelling,
    validation_sets,
    write_mean,
)
from cells_network_deviation import NEW_LABORATORY, held
from ki67.cells.engine import NetworkEngine
from ki67.cells.network import load_network
from ki67.files import sha256_of, write_json
from ki67.learning.cells.cross_validation import assign_folds
from ki67.learning.cells.network_training import NetworkOptions
from ki67.learning.cells.recipe import read_labels, read_pixels, refining
from ki67.learning.cells.unseen import UnseenField, count_fields, describe_unseen
from ki67.progress import configure, message

STEPS, PART_STEPS, PARTS, SHARE = 1800, 600, 3, 0.5
# More of what the part before gave up a little of: SHIDC, and high indices on simulated sections.
SHARES = (("bcdata", 1.5), ("deepliif", 0.25), ("glioma", 0.25), ("points", 3.5), ("shidc", 2.0), ("simulated", 2.0))
MORE_INDICES = (65.0, 80.0, 55.0, 90.0, 70.0, 45.0, 78.0, 58.0)


def options(steps: int) -> NetworkOptions:
    """The recipe at a length."""
    return replace(
        travelling(steps),
        architecture="unet",
        learning_rate=ONWARD_RATE,
        average_decay=ONWARD_DECAY,
        shares=SHARES,
    )


def main(start: Path, out: Path, sections: Path) -> None:
    """Train, cross-validate, write graph and card."""
    draw_sections(sections, (*FIRST_INDICES, *MORE_INDICES))
    origin = load_network(start).card
    folder = out.with_suffix(".training")
    always = read_pixels(read_labels([*training_sets(sections), *teaching_sets()], patient))
    judged = read_pixels(read_labels(validation_sets(), patient))
    part_of = assign_folds(judged, PARTS)
    counted: list[UnseenField] = []
    for part in range(PARTS):
        answers = folder / f"part-{part}.json"
        if not answers.exists():
            rest = [field for field, own in zip(judged, part_of, strict=True) if own != part]
            graph = folder / f"part-{part}.onnx"
            write_mean(start, graph, [*always, *rest], options(PART_STEPS), SHARE, folder / f"part-{part}")
            write_json(graph.with_suffix(".json"), dict(origin.details) | {"sha256": sha256_of(graph)})
            own = [field for field, its in zip(judged, part_of, strict=True) if its == part]
            found = count_fields(own, NetworkEngine(load_network(graph)))
            write_json(answers, [asdict(one) for one in found])
        counted += [UnseenField(**one) for one in json.loads(answers.read_text("utf-8"))]
        message(f"part {part + 1} of {PARTS}: {describe_unseen(counted)['as_counted']}")
    everything = [*always, *judged]
    write_mean(start, out, everything, options(STEPS), SHARE, folder)
    write_json(out.with_suffix(".json"), card_of(out, origin.details, network_field_names(everything), counted))


def card_of(out: Path, origin: Any, fields: list[str], counted: list[UnseenField]) -> dict[str, Any]:
    """The start's card with what is new."""
    told = describe_unseen(counted)
    deviation = told["index_deviation"]
    if deviation is not None:
        # It has learnt from every laboratory at hand, and its parts too.
        deviation = deviation | {"between": max(deviation["between"], NEW_LABORATORY)}
    inside, patients, _ = held(counted)
    parted = {"by": "validation patients", "parts": PARTS, "steps": PART_STEPS, "steps_of_the_network": STEPS}
    return dict(origin) | {
        "command": ONWARD_COMMAND,
        "options": asdict(options(STEPS)),
        "refining": asdict(refining(options(STEPS))),
        "start": {"sha256": origin["sha256"], "share": 1 - SHARE, "options": origin["options"]},
        "index_deviation": deviation,
        "unseen": {"as_counted": told["as_counted"], "interval_holds": [inside, patients], "cross_validated": parted},
        "fields": list(dict.fromkeys([*origin["fields"], *fields])),
        "sha256": sha256_of(out),
    }


if __name__ == "__main__":
    configure(quiet=False)
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[2]).with_suffix(".sections"))
