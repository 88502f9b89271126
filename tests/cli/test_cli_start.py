"""Every command starts at once: what is heavy is imported by those that need it."""

import subprocess
import sys


def test_the_version_is_told(ki67):
    outcome = ki67("--version")
    assert outcome.code == 0
    assert outcome.stdout.startswith("ki67 ")


def test_nothing_heavy_is_imported_before_a_command_runs():
    heavy = {"numpy", "scipy", "cv2", "onnxruntime", "matplotlib", "torch", "pyarrow", "shapely", "SimpleITK"}
    program = f"import sys, ki67.cli; sys.exit(','.join(sorted({heavy!r} & set(sys.modules))))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == ""
