"""Benchmarks: each sets emotape beside something else in one run, turn by turn, on the machine at hand."""
