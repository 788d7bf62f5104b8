"""Recordings by the million: read as a stream, answered once each, kept in parts that a crash cannot spoil."""
