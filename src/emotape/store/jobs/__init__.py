"""Jobs that outlive the process: every accepted recording is answered once, whatever happens in between."""

from emotape.store.jobs.backing import Backing, in_folder, in_postgres
from emotape.store.jobs.store import EVENTS, JobStore
from emotape.store.jobs.values import (
    FINAL,
    Callback,
    Claim,
    Event,
    FileResult,
    Job,
    Outcome,
    State,
    StoreOptions,
    Submission,
    Upload,
)

__all__ = [
    "EVENTS",
    "FINAL",
    "Backing",
    "Callback",
    "Claim",
    "Event",
    "FileResult",
    "Job",
    "JobStore",
    "Outcome",
    "State",
    "StoreOptions",
    "Submission",
    "Upload",
    "in_folder",
    "in_postgres",
]
