"""Sounds for tests."""

import io

import numpy as np
import soundfile

RATE = 16_000


def sound(kind: str = "WAV", pitch: int = 440, seconds: float = 1.5) -> bytes:
    """A sine; `pitch` in hertz."""
    times = np.arange(int(seconds * RATE)) / RATE
    # Integers, which every lossless format keeps as they are.
    samples = np.int16(16_000 * np.sin(2 * np.pi * pitch * times))
    file = io.BytesIO()
    soundfile.write(file, samples, RATE, format=kind)
    return file.getvalue()
