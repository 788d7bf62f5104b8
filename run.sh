#!/usr/bin/env bash
# Sets everything up and serves the page on http://127.0.0.1:7860; arguments go to `emotape serve`. OMP_NUM_THREADS,
# MKL_NUM_THREADS and NUMEXPR_NUM_THREADS may be set: the server says in a line each what its plan makes of them.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
. scripts/python.sh
"$PYTHON" scripts/environment.py serve
unset EMOTAPE_PYTHON EMOTAPE_TORCH_INDEX # for the set-up; emotape refuses settings that it does not know
exec .venv/bin/emotape serve "$@"
