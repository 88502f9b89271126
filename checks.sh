#!/usr/bin/env bash
# All checks: style, types, one-way dependencies, tests. Needs the extras 'train', 'figures', 'serve' and 'dev'.
# --fast leaves out the slow tests (tests/conftest.py names their files); further words go to pytest.
set -euo pipefail
cd "$(dirname "$0")"
lane=()
if [ "${1:-}" = --fast ]; then
  lane=(-m 'not slow')
  shift
fi
# Types are checked beside the tests; what is found is told at the end.
told=$(mktemp)
trap 'rm -f "$told"' EXIT
mypy >"$told" 2>&1 & types=$!
ruff check .
ruff format --check .
lint-imports
# A file's tests stay together, since they share what is slow to make; the slowest files come first.
outcome=0
pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder "${lane[@]}" "$@" || outcome=$?
wait "$types" || outcome=$?
cat "$told"
exit "$outcome"
