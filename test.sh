#!/usr/bin/env bash
# Sets everything up and runs every check; arguments go to pytest.
#
# Some tests need more than Python packages: redis-server, PostgreSQL and chromium (fetched through apt where that is
# allowed) and the reference package funasr (extra [peer]). What cannot be had is named, and its tests are skipped. With
# EMOTAPE_TEST_COMPLETE=1, as .ci/run sets it, everything is fetched, and whatever is missing or skipped is a failure.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
. scripts/python.sh
COMPLETE=${EMOTAPE_TEST_COMPLETE:-}

missing() {  # name, what is skipped
    if [ -n "$COMPLETE" ]; then
        echo "FAILED: $1 is missing, and EMOTAPE_TEST_COMPLETE allows no skipped test." >&2
        exit 1
    fi
    printf '\n*** %s is not here: %s are SKIPPED.\n*** 缺少 %s：相关测试将被跳过。\n\n' "$1" "$2" "$1" >&2
}

as_root() {
    if [ "$(id -u)" = 0 ]; then env DEBIAN_FRONTEND=noninteractive "$@"
    else sudo -n env DEBIAN_FRONTEND=noninteractive "$@"; fi
}

fetch_system_packages() {  # best effort: a machine without apt, root or network goes on without
    command -v apt-get >/dev/null || return 0
    [ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null || return 0
    echo "Fetching with apt: $*" >&2
    { as_root apt-get update -qq && as_root apt-get install -y -qq --no-install-recommends "$@"; } \
        </dev/null >.venv/apt.log 2>&1 || { tail -n 5 .venv/apt.log >&2; return 0; }
}

"$PYTHON" scripts/environment.py dev ${COMPLETE:+peer}

wanted=()
command -v redis-server >/dev/null || wanted+=(redis-server)
command -v chromium >/dev/null || command -v chromium-browser >/dev/null || wanted+=(chromium fonts-noto-cjk fonts-noto-color-emoji)
here_is_postgres() { command -v initdb >/dev/null || compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null; }
here_is_postgres || wanted+=(postgresql)
[ ${#wanted[@]} -eq 0 ] || fetch_system_packages "${wanted[@]}"
command -v redis-server >/dev/null || missing redis-server "the Redis tests"
here_is_postgres || missing postgresql "the PostgreSQL tests"
command -v chromium >/dev/null || command -v chromium-browser >/dev/null || missing chromium "the browser tests"
.venv/bin/python -c 'import importlib.util, sys; sys.exit(not importlib.util.find_spec("funasr"))' ||
    missing "funasr (pip install -e '.[peer]')" "the tests against the reference package"

unset EMOTAPE_PYTHON EMOTAPE_TORCH_INDEX EMOTAPE_TEST_COMPLETE # emotape refuses settings that it does not know
export PATH="$PWD/.venv/bin:$PATH" PYTHONDONTWRITEBYTECODE=1
failed=()
check() {  # every check runs, so that one round tells everything
    echo "== $*"
    "$@" || failed+=("$1")
}
tests() {
    local report status=0
    report=$(mktemp)
    python -m pytest --numprocesses auto --maxprocesses 4 --dist loadgroup "$@" | tee "$report" || status=$?
    if [ -n "$COMPLETE" ] && tail -n 1 "$report" | grep -Eq '[0-9]+ skipped'; then
        echo "FAILED: some tests were skipped, and EMOTAPE_TEST_COMPLETE allows none." >&2
        status=1
    fi
    rm -f "$report"
    return "$status"
}

check ruff check .
check ruff format --check .
check mypy
check lint-imports
check tests "$@"

if [ ${#failed[@]} -gt 0 ]; then
    echo "FAILED: ${failed[*]}" >&2
    exit 1
fi
echo "All checks passed."
