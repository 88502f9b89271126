#!/usr/bin/env bash
# All checks: style, types, one-way dependencies, tests. Needs the extras 'train', 'figures' and 'dev'.
set -euo pipefail
cd "$(dirname "$0")"
ruff check .
ruff format --check .
mypy
lint-imports
# A file's tests stay together, since they share what is slow to make; the slowest files come first (tests/conftest.py).
pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder "$@"
