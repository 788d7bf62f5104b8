"""The HTTP interface: one FastAPI application under /v1, assembled in `app.py` from one router an area."""
