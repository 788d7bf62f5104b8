"""Make .venv from requirements.lock, with emotape and the extras named as arguments; for run.sh and test.sh.

Standard library only: it runs before anything is installed. A second run finds its stamp and returns at once;
a changed lock, a moved checkout, another Python or an installation that broke off halfway start it afresh.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from collections.abc import Iterator

STAMP = "emotape-stamp.json"
ROOT = Path(__file__).resolve().parent.parent
FREE_BYTES = 3 * 1024**3  # a CPU environment takes about 1.6 GB, and pip unpacks beside it

# PyTorch's builds for processors. Its build on the index that pip knows brings gigabytes for graphics cards on Linux.
PROCESSOR_BUILDS = "https://download.pytorch.org/whl/cpu"
DRIVERS = ("/proc/driver/nvidia/version", "/dev/dxg")  # of a card: NVIDIA's, or what Windows lends to its Linux

# What pip says, and which of the texts below tells a person what that means.
DIAGNOSES = {
    "disk": r"No space left on device|Disk quota exceeded",
    "offline": (
        r"NewConnectionError|NameResolutionError|Temporary failure in name resolution|Network is unreachable"
        r"|ConnectTimeout|ReadTimeout|ProxyError|SSLError|Max retries exceeded"
        r"|Connection (refused|reset|broken)|from versions: none"
    ),
}
TEXTS = {
    "installing": """\
Setting up .venv with [{extras}]; the first time takes a few minutes …
正在准备 .venv（[{extras}]），首次需要几分钟……
""",
    "waiting": """\
Another run is setting up .venv; waiting for it …
另一个进程正在准备 .venv，等待其完成……
""",
    "rebuilding": """\
The .venv is incomplete, or was made for other versions or another place: building it anew.
现有的 .venv 不完整，或对应其他版本、其他目录：重新创建。
""",
    "disk": """\
The disk is full: about {gigabytes} GB must be free in {root} and in the temporary folder.
Free some space and run this again.
磁盘空间不足：{root} 和临时目录需要约 {gigabytes} GB 可用空间。
请清理后重新运行。
""",
    "unwritable": """\
{path} cannot be written: {reason}. run.sh and test.sh keep everything in .venv, inside the checkout.
Take a checkout of your own, or run this as the user to whom this one belongs.
无法写入 {path}：{reason}。run.sh 和 test.sh 会把所需的一切放在代码目录下的 .venv 中。
请使用属于您自己的代码目录，或以该目录所有者的身份运行。
""",
    "offline": """\
The package index cannot be reached. Check the network or the proxy (HTTPS_PROXY), or name a mirror with
PIP_INDEX_URL, and run this again. Once set up, emotape needs no network.
无法连接软件包索引。请检查网络或代理（HTTPS_PROXY），
或用 PIP_INDEX_URL 指定镜像，然后重新运行。安装完成后 emotape 无需联网。
""",
    "no_pip": """\
This Python ({python}) has neither the venv module's pip nor a pip of its own.
On Debian and Ubuntu: sudo apt install python3-venv
当前 Python（{python}）的 venv 模块不带 pip，也没有安装 pip。
Debian 或 Ubuntu 上请运行：sudo apt install python3-venv
""",
    "failed": """\
The installation failed; pip's last lines are above. Mend what they name and run this again: it starts afresh.
安装失败，pip 的最后几行输出见上。请按其提示处理后重新运行，脚本会从头开始。
""",
    "done": """\
Ready. 准备就绪。
""",
}


def say(key: str, **facts: object) -> None:
    """Tell a person, in English and Chinese."""
    sys.stderr.write(TEXTS[key].format(**facts))
    sys.stderr.flush()


def give_up(key: str, **facts: object) -> NoReturn:
    """Say what is wrong and leave with an exit status that tells."""
    say(key, **facts)
    raise SystemExit(1)


def fingerprint(root: Path) -> str:
    """Return a digest that changes when the environment must be made anew."""
    parts = [sys.version, sys.executable, str(root), os.environ.get("EMOTAPE_TORCH_INDEX", "")]
    content = [(root / name).read_bytes() for name in ("pyproject.toml", "requirements.lock")]
    return hashlib.sha256(b"\0".join([part.encode() for part in parts] + content)).hexdigest()


def read_stamp(venv: Path) -> dict[str, Any]:
    """Return the fingerprint and the extras of a finished environment; empty where it is not finished."""
    try:
        stamp: dict[str, Any] = json.loads((venv / STAMP).read_text())
    except (OSError, ValueError):
        return {}
    return stamp if python_of(venv).exists() and (venv / "bin" / "emotape").exists() else {}


def with_contained(extras: list[str]) -> set[str]:
    """Return `extras` and what they hold: [dev] holds [serve]."""
    return {*extras, *(["serve"] if "dev" in extras else [])}


def python_of(venv: Path) -> Path:
    """Return the environment's own interpreter."""
    return venv / "bin" / "python"


@contextlib.contextmanager
def only_one(lock: Path) -> Iterator[None]:
    """Hold `lock`, so that two runs at once do not build in the same folder."""
    import fcntl

    with lock.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            say("waiting")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def require_space(root: Path) -> None:
    """Refuse before a download fails halfway."""
    for folder in (root, Path(tempfile.gettempdir())):
        if shutil.disk_usage(folder).free < FREE_BYTES:
            give_up("disk", gigabytes=FREE_BYTES // 1024**3, root=root)


def create(venv: Path) -> None:
    """Make an empty environment; without a pip of its own where Debian left that out of Python."""
    import venv as venv_module

    bundled_pip = importlib.util.find_spec("ensurepip") is not None
    if not bundled_pip and importlib.util.find_spec("pip") is None:
        give_up("no_pip", python=sys.executable)
    venv_module.create(venv, with_pip=bundled_pip, symlinks=True)


def pip_of(venv: Path) -> list[str]:
    """Return the command of the pip that installs into `venv`: its own, or else the system's."""
    if any(venv.glob("lib/python*/site-packages/pip")):
        return [str(python_of(venv)), "-m", "pip"]
    return [sys.executable, "-m", "pip", "--python", str(python_of(venv))]


def torch_requirement(lock: Path) -> str:
    """Return torch's line of the lock."""
    found = re.search(r"^torch==[^\s;]+", lock.read_text(), re.MULTILINE)
    if found is None:
        raise SystemExit(f"{lock} does not pin torch")
    return found.group()


def torch_source() -> list[str]:
    """Return pip's options for where PyTorch comes from: what EMOTAPE_TORCH_INDEX names, or what suits the machine.

    Where it is set to nothing, PyTorch comes from where everything comes. Without a card the builds for processors are
    one more place to look, so that a machine that cannot reach them takes what it finds, as it would without.
    """
    index = os.environ.get("EMOTAPE_TORCH_INDEX")
    if index is not None:
        return ["--index-url", index] if index else []
    has_card = any(Path(driver).exists() for driver in DRIVERS)
    return ["--extra-index-url", PROCESSOR_BUILDS] if sys.platform == "linux" and not has_card else []


def install(venv: Path, root: Path, extras: list[str]) -> None:
    """Install emotape, editable, with `extras`, at the versions of the lock."""
    pip = [*pip_of(venv), "install", "--quiet", "--no-input", "--disable-pip-version-check"]
    lock = root / "requirements.lock"
    source = torch_source()
    if source:
        run_pip([*pip, "--no-deps", *source, torch_requirement(lock)], root)
    run_pip([*pip, "--constraint", str(lock), "--editable", f"{root}[{','.join(extras)}]"], root)
    point_relatively(venv, root)


def point_relatively(venv: Path, root: Path) -> None:
    """Let `venv` name the checkout from where it stands, in ASCII.

    Python reads .pth files in the locale's encoding. Under LC_ALL=C, or with a locale that is not installed, it would
    not even start if the absolute path of the checkout, as pip notes it, held Chinese.
    """
    for note in venv.glob("lib/python*/site-packages/*.pth"):
        for source in (root / "src", root):
            if note.read_bytes().strip() == os.fsencode(source):
                note.write_text(os.path.relpath(source, note.parent) + "\n", encoding="ascii")


def run_pip(command: list[str], root: Path) -> None:
    """Run pip; where it fails, show its last lines and say what they mean."""
    process = subprocess.run(  # noqa: S603 - our own interpreter and fixed arguments
        command, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True, check=False
    )
    if process.returncode == 0:
        return
    sys.stderr.write("".join(process.stderr.splitlines(keepends=True)[-15:]))
    for key, pattern in DIAGNOSES.items():
        if re.search(pattern, process.stderr):
            give_up(key, gigabytes=FREE_BYTES // 1024**3, root=root)
    give_up("failed")


def build(venv: Path, root: Path, wanted: set[str]) -> None:
    """Make `venv` anew, or add what it lacks; its stamp is absent while pip is at work."""
    stamp = read_stamp(venv)
    (venv / STAMP).unlink(missing_ok=True)
    require_space(root)
    if stamp.get("fingerprint") != fingerprint(root):
        if venv.exists():
            say("rebuilding")
            shutil.rmtree(venv)
        create(venv)
    extras = sorted(wanted.union(stamp.get("extras", [])))
    say("installing", extras=", ".join(extras))
    install(venv, root, extras)
    (venv / STAMP).write_text(json.dumps({"fingerprint": fingerprint(root), "extras": extras}))
    say("done")


def main(extras: list[str], root: Path = ROOT) -> None:
    """Leave a whole .venv with `extras` behind, doing nothing where it already is."""
    venv, wanted = root / ".venv", set(extras)

    def is_ready() -> bool:
        stamp = read_stamp(venv)
        return stamp.get("fingerprint") == fingerprint(root) and wanted <= with_contained(stamp.get("extras", []))

    if is_ready():
        return
    try:
        with only_one(root / ".venv.lock"):
            if not is_ready():
                build(venv, root, wanted)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            give_up("unwritable", path=error.filename or root, reason=error.strerror)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            give_up("disk", gigabytes=FREE_BYTES // 1024**3, root=root)
        raise


if __name__ == "__main__":
    main(sys.argv[1:] or ["serve"])
