"""What schemathesis sends for a recording: real ones, and things that are none."""

import base64
from pathlib import Path

import schemathesis
from hypothesis import strategies as st

SPEECH = (Path(__file__).parents[1] / "data" / "audio" / "thorsten_neutral.opus").read_bytes()

recordings = st.sampled_from([SPEECH, SPEECH, SPEECH[:4000], b"", b"RIFF", b"text " * 50])
schemathesis.openapi.format("binary", recordings)
schemathesis.openapi.format("byte", recordings.map(base64.b64encode).map(bytes.decode))
for media_type in ("application/octet-stream", "audio/*"):
    schemathesis.openapi.media_type(media_type, recordings)
