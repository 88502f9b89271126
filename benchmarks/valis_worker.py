"""One pair with VALIS, for ``registration_peers.py``: run by a Python that has ``valis-wsi`` and need not have ours.

    valis_worker.py FIXED MOVING POINTS.json ANSWER.json FEATURES

Features VGG or BRISK and VALIS's own matcher: the default ones are downloaded at import. All else is VALIS's default.
"""

import json
import shutil
import sys
import tempfile
from pathlib import Path


def main(fixed: str, moving: str, points: str, answer: str, features: str) -> None:
    """Register, and carry the points of the moving image over to the fixed one."""
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
            feature_detector_cls=detector,
            matcher=feature_matcher.Matcher(),
        )
        registrar.register()
        there, here = registrar.get_slide(names[1]), registrar.get_slide(names[0])
        carried = there.warp_xy_from_to(np.array(json.loads(Path(points).read_text(encoding="utf-8"))), here)
        registration.kill_jvm()
    Path(answer).write_text(json.dumps({"accepted": True, "points": np.asarray(carried).tolist()}), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:6])
