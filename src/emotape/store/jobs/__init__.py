"""Jobs that outlive the process: every accepted recording is answered once, whatever happens in between."""

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
]
