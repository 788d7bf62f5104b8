"""Looks up what `checks` judges. Changes nothing: what it writes is a temporary file in the cache folder, and gone."""

from __future__ import annotations

import shutil
import socket
import tempfile
from contextlib import closing, suppress
from dataclasses import dataclass
from importlib import resources
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from emotape.delivery.doctor import checks
from emotape.delivery.doctor.checks import Finding, Memory, Process, TorchFacts
from emotape.engine.machine import lines_of, look_at_machine, meminfo
from emotape.errors import EmotapeError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic import SecretStr

    from emotape.delivery.planning.outlook import Outlook
    from emotape.settings import Settings

_FORMATS: Final = {  # container and codec of each
    "wav": ("wav", "pcm_s16le"),
    "flac": ("flac", "flac"),
    "mp3": ("mp3", "libmp3lame"),
    "m4a": ("mp4", "aac"),
    "ogg": ("ogg", "libvorbis"),
    "opus": ("ogg", "libopus"),
    "webm": ("webm", "libopus"),
}
_ROOT: Final = Path("/")
_MOST_HOGS: Final = 3
_REDIS_SECONDS: Final = 2.0


@dataclass(frozen=True)
class Examined:
    """What all checks need: the settings, and the plan with what it expects to take; None where no model is usable."""

    settings: Settings
    outlook: Outlook | None


def examine(settings: Settings) -> Iterator[Finding]:
    """Yield one finding after another, as soon as each is known. Never raises for what is amiss on the machine."""
    yield checks.decoding({"opus (bundled)": _bundled_decodes()} | {name: decodes(name) for name in _FORMATS})
    yield checks.torch_build(torch_facts())
    yield from checks.models(*_models(settings))
    outlook, problem = _outlook(settings)
    if problem is not None:
        yield Finding("plan", "red", "plan_failed", {"reason": problem}, "emotape plan")
    yield _port(settings)
    yield from (checks.disk(str(folder), shutil.disk_usage(folder).free) for folder in _folders(settings))
    yield checks.cache_folder(*_cache_folder())
    yield checks.redis(*_redis(settings.redis_url))
    yield checks.database(*_database(settings.database_url))
    yield from _of_machine(Examined(settings, outlook))
    yield checks.workers(outlook.planned.plan.decode_processes if outlook else 0, started=_workers_start())


def _of_machine(examined: Examined) -> Iterator[Finding]:
    machine = examined.outlook.planned.machine if examined.outlook else look_at_machine()
    memory = memory_facts(examined.outlook.expected.memory if examined.outlook else 0)
    if memory is not None:
        yield from checks.limits(machine.quota, machine.cores, memory)
        yield checks.free_memory(memory, hogs())
        yield checks.swapping(memory)
    yield checks.open_files(_own_files(), _number(_ROOT / "proc/sys/fs/file-max"))


def decodes(name: str) -> str | None:
    """Write a tone in a format, decode it, and return what went wrong; None also where this FFmpeg cannot write it."""
    container, codec = _FORMATS[name]
    try:
        made = _tone(container, codec)
    except (ValueError, OSError):  # a build without this encoder may still decode it
        return None
    return _decoded(made)


def _tone(container: str, codec: str) -> bytes:
    """Return half a second of a tone. PyAV's errors are ValueErrors or OSErrors."""
    import av
    import numpy as np

    made, rate = BytesIO(), 48_000
    tone = (8_000 * np.sin(np.arange(rate // 2) * (2 * np.pi * 440 / rate))).astype(np.int16)
    with av.open(made, "w", format=container) as file:
        stream: Any = file.add_stream(codec, rate=rate, layout="mono")
        frame = av.AudioFrame.from_ndarray(tone[None], format="s16", layout="mono")
        frame.sample_rate = rate
        for packet in (*stream.encode(frame), *stream.encode(None)):
            file.mux(packet)
    return made.getvalue()


def _bundled_decodes() -> str | None:
    folder = resources.files("emotape") / "samples"
    return _decoded(next(file for file in folder.iterdir() if file.name.endswith(".opus")).read_bytes())


def _decoded(recording: bytes) -> str | None:
    try:
        from emotape.audio.decode import decode

        return None if decode(recording).waveforms[0].seconds > 0 else "nothing was decoded"
    except (EmotapeError, ImportError, OSError) as error:
        return str(error)


def torch_facts(root: Path = _ROOT) -> TorchFacts:
    """Return torch's build beside NVIDIA's driver."""
    import torch

    version = next(iter(lines_of(root / "proc/driver/nvidia/version")), "")
    driver = next((word for word in version.split() if word[:1].isdigit() and "." in word), None)
    works = False
    with suppress(RuntimeError):
        if torch.cuda.is_available():
            torch.ones(1, device="cuda")  # a kernel: torch lists cards that it has none for, too
            works = True
    return TorchFacts(torch.__version__, torch.version.cuda, works, driver)


def _models(settings: Settings) -> tuple[dict[str, str | None], str]:
    """Read the models of this machine whole; return what is wrong with each, and which one is in use."""
    from emotape.model.weights import verify
    from emotape.store.catalogue import list_models, resolve

    entries = {}
    try:
        entries = {each.name: each.entry for each in list_models(settings.models_folder) if each.entry}
        chosen = resolve(settings.model, settings.models_folder)
    except EmotapeError as error:
        return {settings.model or "–": str(error)}, settings.model or "–"
    entries[chosen.name] = chosen
    return {name: "; ".join(verify(entry.path).problems) or None for name, entry in entries.items()}, chosen.name


def _outlook(settings: Settings) -> tuple[Outlook | None, str | None]:
    from emotape.delivery.planning.outlook import look_out

    try:
        return look_out(settings, 10.0, measure=False), None
    except EmotapeError as error:
        return None, str(error)


def _port(settings: Settings) -> Finding:
    """Try to take the port, and let it go."""
    free, family = True, socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with closing(socket.socket(family, socket.SOCK_STREAM)) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((settings.host, settings.port))
        except OSError:
            free = False
    return checks.port(settings.port, free=free, other=settings.port + 1 if settings.port < 65_535 else 7861)


def _folders(settings: Settings) -> tuple[Path, ...]:
    """Return the folders that are written to, one for each disk."""
    from emotape.store.catalogue import default_folder

    wanted = (settings.output_folder, settings.models_folder or default_folder(), Path(tempfile.gettempdir()))
    present = [
        next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists()) for folder in wanted
    ]
    return tuple({place.stat().st_dev: place for place in reversed(present)}.values())


def _cache_folder() -> tuple[str, str | None]:
    import platformdirs

    folder = platformdirs.user_cache_path("emotape", appauthor=False)
    place = next(each for each in (folder, *folder.parents) if each.exists())
    try:
        with tempfile.TemporaryFile(dir=place):
            return str(folder), None
    except OSError as error:
        return str(folder), error.strerror or str(error)


def _redis(url: str | None) -> tuple[str | None, str | None]:
    """Return host and port of the Redis that is named, never its password, and what is wrong."""
    if url is None:
        return None, None
    try:
        from redis import Redis, RedisError
    except ImportError:
        return "redis:6379", "pip install redis"
    place = "redis:6379"
    try:
        with closing(
            Redis.from_url(url, socket_timeout=_REDIS_SECONDS, socket_connect_timeout=_REDIS_SECONDS)
        ) as client:
            about = client.connection_pool.connection_kwargs
            place = f"{about.get('host', 'localhost')}:{about.get('port', 6379)}"
            client.ping()
    except (RedisError, OSError, ValueError) as error:
        return place, type(error).__name__
    return place, None


def _database(url: SecretStr | None) -> tuple[str | None, str | None]:
    """Return host, port and name of the PostgreSQL that is named, never its password, and what is wrong."""
    if url is None:
        return None, None
    try:
        from emotape.store.postgres import PostgresDatabase

        database = PostgresDatabase(url.get_secret_value())
    except EmotapeError as error:
        return "PostgreSQL", error.text().cause
    try:
        database.probe()
    except EmotapeError as error:
        return database.place, str(error.facts.get("reason", error.text().cause))
    finally:
        database.close()
    return database.place, None


def memory_facts(needed: int, root: Path = _ROOT) -> Memory | None:
    """Return what Linux counts; None elsewhere."""
    machine = look_at_machine(root=root)
    if machine.memory is None or machine.memory_free is None:
        return None
    known = meminfo(root)
    total, swap, swap_free = (known.get(name, 0) for name in ("MemTotal", "SwapTotal", "SwapFree"))
    return Memory(
        total=total,
        free=machine.memory_free,
        needed=needed,
        swap=swap,
        swap_used=swap - swap_free,
        swappiness=_number(root / "proc/sys/vm/swappiness"),
        limit=machine.memory if machine.memory < total else None,
    )


def hogs() -> tuple[Process, ...]:
    """Return the processes that hold the most memory, where psutil is here to tell."""
    try:
        import psutil
    except ImportError:
        return ()
    found = []
    for process in psutil.process_iter(("pid", "name", "memory_info")):
        memory = process.info["memory_info"]
        if memory is not None:
            found.append(Process(process.info["pid"], process.info["name"] or "?", memory.rss))
    return tuple(sorted(found, key=lambda each: -each.resident)[:_MOST_HOGS])


def _own_files() -> int | None:
    try:
        import resource
    except ImportError:  # Windows
        return None
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else soft


def _workers_start() -> bool:
    from emotape.audio.processes import DecodingProcesses

    with closing(DecodingProcesses(1)) as decoding:
        decoding.warm_up()
        return bool(decoding.pids)


def _number(file: Path) -> int | None:
    with suppress(ValueError, IndexError):
        return int(lines_of(file)[0])
    return None
