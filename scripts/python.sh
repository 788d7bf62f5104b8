# Sourced by run.sh and test.sh: sets PYTHON to a Python of at least 3.11, or says what is missing and leaves.
PYTHON=
for candidate in "${EMOTAPE_PYTHON:-}" python3 python3.13 python3.12 python3.11 python; do
    if [ -n "$candidate" ] && "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
        PYTHON=$candidate
        break
    fi
done
if [ -z "$PYTHON" ]; then
    {
        echo "emotape needs Python 3.11 or later; found: $(python3 --version 2>/dev/null || echo none)."
        echo "Install one, or name it: EMOTAPE_PYTHON=/path/to/python3.12 $0"
        echo "emotape 需要 Python 3.11 或更高版本；当前：$(python3 --version 2>/dev/null || echo 未安装)。"
        echo "请安装，或指定其路径：EMOTAPE_PYTHON=/path/to/python3.12 $0"
    } >&2
    exit 1
fi
