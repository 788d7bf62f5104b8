"""Say what a WAV (16-bit, 16 kHz, mono) sounds like: python onnx_minimal.py model.onnx speech.wav.

Needs onnxruntime and numpy alone; `emotape export onnx --output model.onnx` makes the graph.
"""
# ruff: noqa: T201

import json
import sys
import wave

import numpy as np
import onnxruntime

graph, recording = sys.argv[1:]
with wave.open(recording, "rb") as file:
    if (file.getframerate(), file.getnchannels(), file.getsampwidth()) != (16_000, 1, 2):
        sys.exit("The recording must be 16-bit PCM, 16 kHz, mono.")
    samples = np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float32) / 32_768

session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
labels = json.loads(session.get_modelmeta().custom_metadata_map["labels"])
scores, frame_logits = session.run(["scores", "frame_logits"], {"samples": samples})
for place in scores.argsort()[::-1]:
    print(f"{labels[place]!s:<10} {scores[place]:.3f}")
print("every second:", [labels[second.argmax()] for second in frame_logits[::50]])
