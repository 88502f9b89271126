"""One pair with VALIS, for ``registration_peers.py``: run by a Python that has ``valis-wsi`` and need not have ours.

    valis_worker.py FIXED MOVING POINTS.json ANSWER.json FEATURES

Features VGG or BRISK and VALIS's own matcher. All else is VALIS's default. The default features (DISK with LightGlue)
are downloaded at import; here their networks stay without weights, and stop the run should anything ask for them.
"""

import json
import shutil
import sys
import tempfile
from pathlib import Path


def without_downloads() -> None:
    """Let VALIS be imported without a network."""
    import torch
    from kornia import feature

    class Absent(torch.nn.Module):
        """A network whose weights were not downloaded."""

        def __init__(self, *_: object, **__: object) -> None:
            super().__init__()

        @classmethod
        def from_pretrained(cls, *_: object, **__: object) -> "Absent":
            return cls()

        def forward(self, *_: object, **__: object) -> None:
            raise RuntimeError("the weights of VALIS's default features were not downloaded")

    feature.DISK = feature.LightGlueMatcher = Absent


def main(fixed: str, moving: str, points: str, answer: str, features: str) -> None:
    """Register, and carry the points of the moving image over to the fixed one."""
    without_downloads()
    import numpy as np
    from valis import feature_detectors, feature_matcher, registration

    detector = {"vgg": feature_detectors.VggFD, "brisk": feature_detectors.BriskFD}[features]
    with tempfile.TemporaryDirectory() as folder:
        slides = Path(folder) / "slides"
        slides.mkdir()
        for number, image in enumerate((fixed, moving)):
            shutil.copy(image, slides / f"{number}{Path(image).suffix}")
        names = [f"{number}{Path(image).suffix}" for number, image in enumerate((fixed, moving))]
        registrar = registration.Valis(
            str(slides),
            str(Path(folder) / "results"),
            reference_img_f=names[0],
            align_to_reference=True,
            matcher=feature_matcher.Matcher(
                feature_detector=detector(), match_filter_method=feature_matcher.DEFAULT_RANSAC_NAME
            ),
        )
        registrar.register()
        there, here = registrar.get_slide(names[1]), registrar.get_slide(names[0])
        # VALIS counts from the image's corner, the points given from the first pixel's centre.
        given = np.array(json.loads(Path(points).read_text(encoding="utf-8"))) + 0.5
        carried = there.warp_xy_from_to(given, here) - 0.5
        registration.kill_jvm()
    Path(answer).write_text(json.dumps({"accepted": True, "points": np.asarray(carried).tolist()}), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:6])
