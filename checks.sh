#!/usr/bin/env bash
# All checks: style, types, one-way dependencies, tests. Needs the extras 'train' and 'dev'.
set -euo pipefail
cd "$(dirname "$0")"
ruff check .
ruff format --check .
mypy
lint-imports
pytest "$@"
