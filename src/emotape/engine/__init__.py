"""A `Waveform` becomes a `Prediction`: the tape, the plan, the runner, the scheduler and the results."""
