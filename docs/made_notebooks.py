"""Notebooks as pages: run cell by cell in one folder, each page a notebook with what its cells gave."""

from __future__ import annotations

import ast
import contextlib
import io
import json
import os
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt

FOLDER = Path(__file__).parent / "notebooks"
ORDER = ("steps", "case")
"""Later ones find the files of earlier ones."""


def cells_of(name: str) -> list[tuple[str, str]]:
    """Kind (``markdown`` or ``code``) and text of each cell of a notebook."""
    notebook = json.loads((FOLDER / f"{name}.ipynb").read_text("utf-8"))
    return [(cell["cell_type"], "".join(cell["source"])) for cell in notebook["cells"]]


def run(name: str) -> dict[str, Any]:
    """Run the code of a notebook in the current folder and show nothing; return the names that it leaves."""
    plt.switch_backend("agg")
    names: dict[str, Any] = {}
    for kind, text in cells_of(name):
        if kind == "code":
            exec(compile(text, f"{name}.ipynb", "exec"), names)  # noqa: S102  our own
    plt.close("all")
    return names


def write_pages(pictures: Path, scratch: Path | None) -> None:
    """Write a page for each notebook: run in ``scratch``, its figures in ``pictures``; None shows the code alone."""
    for name in ORDER:
        names: dict[str, Any] = {}
        parts = []
        for number, (kind, text) in enumerate(cells_of(name)):
            parts.append(text if kind == "markdown" else f"```python\n{text}\n```")
            if kind == "code" and scratch is not None:
                parts += _shown(text, names, scratch, pictures / f"{name}-{number}")
        parts.append(f"As a notebook: {{download}}`{name}.ipynb`")
        (FOLDER / f"{name}.md").write_text("\n\n".join(parts) + "\n", "utf-8")


def _shown(text: str, names: dict[str, Any], scratch: Path, picture: Path) -> list[str]:
    """Run a cell as a notebook does: what it prints, the value of its last line, its figures."""
    plt.switch_backend("agg")
    tree = ast.parse(text)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    said, shown = io.StringIO(), ""
    with contextlib.chdir(scratch), contextlib.redirect_stdout(said):
        exec(compile(tree, picture.name, "exec"), names)  # noqa: S102  our own
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), picture.name, "eval"), names)  # noqa: S307  our own
            html = getattr(value, "_repr_html_", None)
            if value is not None:
                shown = f"```{{raw}} html\n{html()}\n```" if html else f"```text\n{value!r}\n```"
    found = [f"```text\n{said.getvalue()}```"] if said.getvalue() else []
    figures = plt.get_fignums()
    for number in figures:
        plt.figure(number).savefig(f"{picture}-{number}.png", dpi=100, bbox_inches="tight")
        found.append(f"![]({os.path.relpath(f'{picture}-{number}.png', FOLDER)})")
    plt.close("all")
    return found if figures or not shown else [*found, shown]
