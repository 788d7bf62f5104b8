"""Every setting, declared once: flag > environment > ./emotape.toml > the user's emotape.toml > default.

The environment variables (`EMOTAPE_…`), the keys of the TOML files, the flags' help and docs/settings.md all derive
from `Settings`. It is read once, at the edge; what lies below gets its own frozen options.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from emotape.errors import BadRequest, Phrase

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from emotape.recognizer import RecognizerOptions
    from emotape.store.cache.options import CacheOptions

PREFIX: Final = "EMOTAPE_"
FILE_NAME: Final = "emotape.toml"
SCRIPT_VARIABLES: Final = frozenset({"python", "torch_index", "test_complete", "screenshots"})
"""Names after the prefix that belong to run.sh and test.sh, and are no settings."""


def _home_expanded(value: object) -> object:
    return Path(value).expanduser() if isinstance(value, str) else value


def _names(value: object) -> object:
    return tuple(filter(None, map(str.strip, value.split(",")))) if isinstance(value, str) else value


Folder = Annotated[Path, BeforeValidator(_home_expanded)]
Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_names)]


class Settings(BaseSettings):
    """What a user can set. Frozen; an unknown key is an error (see `read_settings`)."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, extra="forbid", frozen=True, protected_namespaces=()
    )

    model: str | None = Field(
        None,
        description="Model to use: a name of `emotape models list`, or a folder. Unset: plus-large where it is"
        " present, else the bundled one.",
    )
    models_folder: Folder | None = Field(
        None, description="Folder that holds pulled and converted models. Unset: the user's data folder."
    )
    language: Literal["en", "zh"] | None = Field(
        None, description="Language of texts: en or zh. Unset: zh in a Chinese locale, else en."
    )
    device: str = Field("auto", description="Where the network runs: auto, cpu, cuda or cuda:N.")
    dtype: Literal["auto", "float32", "bfloat16", "float16", "float8", "int8"] = Field(
        "auto", description="Arithmetic of the network: auto, float32, bfloat16, float16, int8, or float8 on a GPU."
    )
    threads: int | None = Field(
        None, ge=1, description="Threads of the network on a CPU, in all. Unset: as many as can run at once."
    )
    offload: int | None = Field(
        None,
        ge=0,
        description="Blocks of the network whose weights stay in the machine's memory, to spare a GPU's. Unset: as many"
        " as it takes to fit.",
    )
    queue_seconds: float | None = Field(
        None, gt=0, description="Seconds of audio that may wait before more is refused. Unset: as the machine can take."
    )
    decode_processes: int | None = Field(
        None,
        ge=0,
        description="Processes that decode recordings at most; 0 decodes in threads. Unset: 0 on a machine with fewer"
        " than 4 cores and no GPU, else one for each core, up to 8, or to 32 with a GPU.",
    )
    decoded_megabytes: float | None = Field(
        None,
        gt=0,
        description="Memory for recordings that are decoded or wait decoded, in megabytes; a single long one may take"
        " three quarters more. Unset: half of what is free beside the model, and at least a tenth of the memory.",
    )
    adapt: bool = Field(
        default=True,
        description="Follow what is measured while running: recordings decoded at once, length of tapes, and what"
        " memory allows to wait and to be cached. Never beyond the other settings.",
    )
    idle_unload_minutes: float = Field(
        0.0,
        ge=0,
        description="Minutes without a request after which the model is let go, until the next request loads it again;"
        " 0 keeps it.",
    )
    max_bytes: int = Field(2 * 1024**3, gt=0, description="Largest recording taken, in bytes.")
    max_seconds: float = Field(14_400.0, gt=0, description="Longest recording taken, in seconds.")
    max_channels: int = Field(32, ge=1, description="Most channels that a recording may have.")
    host: str = Field("127.0.0.1", description="Address at which the page listens.")
    port: int = Field(7860, ge=0, le=65_535, description="Port at which the page listens; 0 takes a free one.")
    output_folder: Folder = Field(Path("outputs"), description="Folder in which the page keeps its result folders.")
    keep_hours: float = Field(
        24.0, ge=0, description="Hours after which the page deletes uploads and results; 0 keeps them."
    )

    # the cache of results
    cache_megabytes: float | None = Field(
        None,
        ge=0,
        description="Memory in which a server keeps results, in megabytes; 0 keeps none there. Unset: a 256th of the"
        " memory, from 16 to 256.",
    )
    cache_ttl_hours: float = Field(24.0, gt=0, description="Hours for which a server keeps a result.")
    redis_url: str | None = Field(
        None,
        description="Redis in which servers share results and count callers' limits, such as redis://localhost:6379/0."
        " Unset: memory alone.",
    )

    # the service
    max_request_bytes: int = Field(2 * 1024**3, gt=0, description="Largest request that the interface takes, in bytes.")
    max_files: int = Field(64, ge=1, description="Most recordings in one request to the interface.")
    upload_seconds: float = Field(
        30.0,
        gt=0,
        description="Seconds that an upload may pause; in all it may take as long and a second for every 16 kB.",
    )
    drain_seconds: float = Field(
        30.0, ge=0, description="Seconds that a stopping server waits for answers that are under way."
    )
    api_keys_file: Folder | None = Field(
        None, description="File of the API keys that `emotape keys` makes. Unset: in the user's data folder."
    )
    insecure: bool = Field(
        default=False, description="Serve other machines without API keys; for a network in which everybody is trusted."
    )
    allowed_hosts: Names = Field(
        (),
        description="Names, separated by commas, under which the server may be called beside this machine's own; a"
        " reverse proxy's, for example.",
    )
    allowed_origins: Names = Field(
        (), description="Origins of other pages, separated by commas, whose scripts may call the interface."
    )

    # jobs, webhooks and history
    jobs_folder: Folder | None = Field(
        None, description="Folder in which a server keeps jobs and history. Unset: in the user's data folder."
    )
    jobs_keep_hours: float = Field(72.0, gt=0, description="Hours after its end at which a job is deleted.")
    jobs_max_megabytes: float = Field(
        10_240.0,
        gt=0,
        description="Room for the recordings and results of jobs, in megabytes; the oldest ended ones go.",
    )
    jobs_max_files: int = Field(1000, ge=1, description="Most recordings in one job.")
    jobs_keep_audio: bool = Field(
        default=False, description="Keep a job's recordings until the job is deleted, instead of until it ends."
    )
    webhook_hosts: Names = Field(
        (),
        description="Hosts, separated by commas, that may be called when a job ends: names, whose addresses must be"
        " public, and addresses or networks, which may be private.",
    )
    webhook_secret: SecretStr | None = Field(
        None, description="What signs those calls: whsec_ and at least 24 bytes in base64. Unset: no calls are made."
    )
    history: bool = Field(default=True, description="Keep a line, without audio, about every answer of a server.")
    history_days: float = Field(30.0, gt=0, description="Days for which those lines are kept.")

    # logs and traces
    log_format: Literal["text", "json"] = Field(
        "text", description="Form of a server's log on standard error: text, or json with one object a line."
    )
    log_level: Literal["debug", "info", "warning", "error"] | None = Field(
        None,
        description="Least level that is logged: debug, info (every request), warning, error. Unset: warning for text,"
        " info for json.",
    )
    traces_endpoint: str | None = Field(
        None,
        description="OpenTelemetry collector that gets traces by OTLP over HTTP, such as http://localhost:4318. Unset:"
        " OTEL_EXPORTER_OTLP_ENDPOINT; without either, none are made.",
    )

    # the client
    server_url: str | None = Field(
        None, description="Server that answers instead of this machine, such as http://127.0.0.1:7860. Unset: none."
    )
    api_key: SecretStr | None = Field(None, description="Key to show to that server. Unset: none.")

    # what several servers share
    database_url: SecretStr | None = Field(
        None,
        description="PostgreSQL in which servers share jobs and history, such as postgresql://user@host/database."
        " Unset: an SQLite file in the folder of jobs.",
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the framework's signature
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Put flags first, then the environment, then the files, nearest first."""
        files = (_file_source(settings_cls, path) for path in settings_files())
        return (init_settings, env_settings, *files)


def settings_files() -> tuple[Path, ...]:
    """Return the TOML files that count, nearest first: the working folder's, then the user's."""
    import platformdirs

    return Path(FILE_NAME), platformdirs.user_config_path("emotape", appauthor=False) / FILE_NAME


def read_settings(**flags: object) -> Settings:
    """Read the settings from flags (None counts as not given), environment and files.

    Raises BadRequest: "unknown_setting", "bad_setting", "bad_settings_file" or "unreadable".
    """
    named = {name.removeprefix(PREFIX).lower() for name in os.environ if name.startswith(PREFIX)}
    _refuse_unknown(sorted(named - SCRIPT_VARIABLES), Phrase("setting_environment"))
    try:
        return Settings(**{name: value for name, value in flags.items() if value is not None})  # type: ignore[arg-type]
    except ValidationError as error:
        raise _bad_setting(error) from error


def recognizer_options(settings: Settings) -> RecognizerOptions:
    """Return the options of the recognizer and of its stages."""
    from emotape.audio.decode import DecodeLimits
    from emotape.engine.resident import EngineOptions
    from emotape.recognizer import RecognizerOptions

    return RecognizerOptions(
        decode=DecodeLimits(bytes=settings.max_bytes, seconds=settings.max_seconds, channels=settings.max_channels),
        engine=EngineOptions(
            device=settings.device,
            dtype=settings.dtype,
            compute_threads=settings.threads,
            queue_seconds=settings.queue_seconds,
            offload=settings.offload,
            decode_processes=settings.decode_processes,
            decoded_megabytes=settings.decoded_megabytes,
        ),
        models_folder=settings.models_folder,
        adapt=settings.adapt,
        idle_unload_seconds=60 * settings.idle_unload_minutes or None,
    )


def cache_options(settings: Settings) -> CacheOptions:
    """Return what a server keeps, where and how long."""
    from emotape.engine.machine import look_at_machine
    from emotape.engine.plan import cache_megabytes
    from emotape.store.cache.options import CacheOptions

    wanted = settings.cache_megabytes
    megabytes = cache_megabytes(look_at_machine()) if wanted is None else wanted
    return CacheOptions(megabytes, settings.cache_ttl_hours, settings.redis_url)


def flag_help(key: str) -> str:
    """Return the help of the flag that overrides a setting."""
    return Settings.model_fields[key].description or ""


def variable(key: str) -> str:
    """Return the environment variable of a setting."""
    return PREFIX + key.upper()


def documentation() -> str:
    """Return docs/settings.md."""
    rows = [
        f"| `{key}` | `{variable(key)}` | {_shown(field.default)} | {field.description} |"
        for key, field in Settings.model_fields.items()
    ]
    return "\n".join([_INTRODUCTION, *rows, ""])


_INTRODUCTION: Final = """\
# Settings

Each setting has one name in three places: a key in `emotape.toml`, a variable in the environment and, where a command
takes it, a flag. A flag counts before the environment, the environment before `emotape.toml` in the working folder, and
that before `emotape.toml` in the user's configuration folder (Linux: `~/.config/emotape/`). A key that does not exist
is an error, so a typing mistake never passes in silence. Paths may begin with `~`. `emotape settings` prints what is in
force. (`EMOTAPE_PYTHON` and `EMOTAPE_TORCH_INDEX` are not settings: `run.sh` and `test.sh` use them.)

```toml
# emotape.toml
language = "zh"
device = "cpu"
threads = 4
```

| key | variable | default | meaning |
|---|---|---|---|"""


# pydantic's kinds of problems
_BOUNDS: Final = {"greater_than_equal": "ge", "greater_than": "gt", "less_than_equal": "le"}
_WANTED: Final = {
    **dict.fromkeys(("int_parsing", "int_parsing_size", "int_type", "int_from_float", "finite_number"), "setting_int"),
    **dict.fromkeys(("float_parsing", "float_type"), "setting_float"),
    **dict.fromkeys(("bool_parsing", "bool_type"), "setting_bool"),
    **dict.fromkeys(("string_type", "path_type", "tuple_type"), "setting_text"),
}


def _shown(default: object) -> str:
    return "unset" if default in (None, ()) else f"`{default}`"


def _file_source(settings: type[BaseSettings], path: Path) -> TomlConfigSettingsSource:
    try:
        source = TomlConfigSettingsSource(settings, path)
    except OSError as error:
        raise BadRequest("unreadable", path=str(path), reason=error.strerror or str(error)) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadRequest("bad_settings_file", path=str(path), reason=str(error)) from error
    _refuse_unknown(source.toml_data, str(path))
    return source


def _refuse_unknown(keys: Iterable[str], place: str | Phrase) -> None:
    known = list(Settings.model_fields)
    for key in keys:
        if key not in known:
            likely = _likely(key, known)
            raise BadRequest("unknown_setting", key=key, place=place, likely=likely, known=", ".join(known))


def _likely(key: str, known: Sequence[str]) -> str:
    """Return the known key nearest to a mistyped one, or the first known one."""
    return next(iter(difflib.get_close_matches(key, known, n=1, cutoff=0.0)), known[0])


def _bad_setting(error: ValidationError) -> BadRequest:
    problem: Any = error.errors(include_url=False)[0]
    key = str(problem["loc"][0])
    return BadRequest(
        "bad_setting", key=key, value=repr(problem["input"]), reason=_reason(problem), variable=variable(key)
    )


def _reason(problem: Any) -> Phrase | str:
    """Return why a value will not do; in pydantic's words where it is none of what the settings' fields can meet."""
    kind, facts = problem["type"], problem.get("ctx", {})
    if kind in _BOUNDS:
        return Phrase(f"setting_{kind}", bound=facts[_BOUNDS[kind]])
    if kind == "literal_error":
        return Phrase("setting_literal_error", choices=facts["expected"].replace(" or ", ", ").replace("'", ""))
    return Phrase(_WANTED[kind]) if kind in _WANTED else problem["msg"]
