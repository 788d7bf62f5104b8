#!/usr/bin/env bash
# Makes requirements.lock anew: exact versions for every extra, on every platform, for Python 3.11 and later.
# Needs uv (pip install uv) and a package index; torch is held at the version that the results were measured with.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
TORCH=${TORCH:-2.13.0}
echo "torch==$TORCH" | uv pip compile pyproject.toml --constraint - --universal --python-version 3.11 --all-extras --upgrade \
    --no-annotate --no-emit-index-url --no-emit-find-links \
    --custom-compile-command "scripts/lock.sh" --output-file requirements.lock "$@"
