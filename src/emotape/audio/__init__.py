"""Bytes become a `Waveform`; nothing here knows the network."""
