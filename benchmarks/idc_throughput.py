"""``ki67 idc predict`` against the bare ONNX session on patches that lie ready in memory, in one run.

    python benchmarks/idc_throughput.py FOLDER [--slide HE_SLIDE] [--threads 2] [--rounds 1]

Without a slide one of 20 x 16 mm at 0.25 µm/px is made in the folder and kept; a round of it takes four minutes on
one core. Both see the same number of patches; rounds alternate, and the best of each counts, since other work on the
machine only ever slows down. Reading and decoding the slide, cutting and the heat map are part of the first; finding
the tissue is reported apart. Peak memory is that of the process.
"""

from __future__ import annotations

import argparse
import resource
import time
from pathlib import Path

import numpy as np

from ki67.idc import load_model, predict
from ki67.idc.model import BATCH, INPUT_NAME, OUTPUT_NAME, IdcModel
from ki67.jobs import Pool, job
from ki67.slides import open_slide, tissue_mask
from repeated_slide import make_slide

READY = 512
"""Patches kept ready, run over and over: they differ, and their memory does not distort the peak."""

BLOCKS = (10, 8)
"""Blocks of 2 mm across and down."""


def bare(model: IdcModel, ready: np.ndarray, count: int) -> float:
    """Seconds that the session alone takes for so many patches, batches side by side."""

    def run(done: int) -> None:
        first = done % READY
        batch = ready[first : first + min(BATCH, count - done)]
        model.runner.session.run([OUTPUT_NAME], {INPUT_NAME: batch})

    start = time.monotonic()
    with Pool("bare") as pool:
        list(pool.map(run, range(0, count, BATCH)))
    return time.monotonic() - start


class Counting:
    """Counts the patches that pass through a model."""

    def __init__(self, model: IdcModel) -> None:
        self.model, self.card, self.count = model, model.card, 0

    def all_probabilities(self, patches: np.ndarray) -> np.ndarray:
        """Pass patches on."""
        self.count += len(patches)
        return self.model.all_probabilities(patches)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--slide", type=Path)
    parser.add_argument("--mpp", type=float, default=None)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--rounds", type=int, default=1)
    chosen = parser.parse_args()
    chosen.folder.mkdir(parents=True, exist_ok=True)
    path = chosen.slide or make_slide(chosen.folder, "he", *BLOCKS)
    with job(threads=chosen.threads):
        model = load_model()
        _ = model.runner
    edge = model.card.patch_px
    ready = np.random.default_rng(0).integers(0, 256, (READY, edge, edge, 3), dtype=np.uint8)
    bare(model, ready, BATCH)
    with open_slide(path, chosen.mpp) as slide:
        start = time.monotonic()
        tissue = tissue_mask(slide)
        print(f"tissue: {tissue.area_mm2:.1f} mm² in {time.monotonic() - start:.1f} s")
        whole, alone = [], []
        for _ in range(chosen.rounds):
            counting = Counting(model)
            start = time.monotonic()
            predict(slide, tissue, counting)  # type: ignore[arg-type]  # what predict uses of a model is all there
            whole.append(time.monotonic() - start)
            alone.append(bare(model, ready, counting.count))
            print(f"  {counting.count} patches: predict {whole[-1]:.2f} s, bare session {alone[-1]:.2f} s")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"predict {counting.count / min(whole):.0f} patches/s, bare {counting.count / min(alone):.0f} patches/s")
    print(f"share of the bare session's speed: {min(alone) / min(whole):.3f}; peak memory {peak:.0f} MB")


if __name__ == "__main__":
    main()
