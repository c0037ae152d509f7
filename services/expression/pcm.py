"""16-bit sound of any rate, piece by piece, to what the encoder hears."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
from torch import Tensor

from synctalk.face_sync.speech import SAMPLE_RATE_HZ, Sound

PIECE_SAMPLES = 10 * SAMPLE_RATE_HZ


class Resampler:
    """Little-endian 16-bit mono at ``sample_rate_hz`` to float32 at 16 kHz in [-1, 1).

    swresample is the one that reads files, too, and does not care where a chunk ends.
    """

    def __init__(self, sample_rate_hz: int) -> None:
        self._rate = sample_rate_hz
        self._pushed = 0
        self._swr = None
        if sample_rate_hz != SAMPLE_RATE_HZ:
            self._swr = av.AudioResampler("s16", "mono", SAMPLE_RATE_HZ)

    def push(self, data: bytes) -> Tensor:
        """Samples [n], n >= 0, that ``data`` completes."""
        samples = np.frombuffer(data, "<i2")
        if self._swr is None or not len(samples):
            return _as_float(samples)
        frame = av.AudioFrame.from_ndarray(samples[None].astype(np.int16), "s16", "mono")
        frame.sample_rate, frame.pts = self._rate, self._pushed
        frame.time_base = Fraction(1, self._rate)
        self._pushed += len(samples)
        return _joined(self._swr.resample(frame))

    def finish(self) -> Tensor:
        """The samples that were held back."""
        if self._swr is None or not self._pushed:
            return torch.zeros(0)
        return _joined(self._swr.resample(None))


class Recording:
    """Sound on disk while it is measured, read span by span: memory does not grow with its length.

    The file has no name that could be left behind, and is read, not mapped: pages of a mapping
    stay with the process.
    """

    def __init__(self, folder: Path | None) -> None:
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed by us
        self.n_samples = 0

    def append(self, samples: Tensor) -> None:
        """Add [n] float32 at 16 kHz."""
        self._file.write(samples.numpy().tobytes())
        self.n_samples += len(samples)

    def __len__(self) -> int:
        return self.n_samples

    def __getitem__(self, span: slice) -> Tensor:
        """[n] float32 of a span without a step."""
        start, stop, _ = span.indices(self.n_samples)
        self._file.flush()
        data = os.pread(self._file.fileno(), 4 * max(stop - start, 0), 4 * start)
        return torch.from_numpy(np.frombuffer(data, np.float32).copy())

    def close(self) -> None:
        """Give the disk back."""
        self._file.close()


def pieces(samples: Sound) -> Iterator[Tensor]:
    """``samples`` in stretches of ten seconds."""
    for start in range(0, len(samples), PIECE_SAMPLES):
        yield samples[start : start + PIECE_SAMPLES]


def _joined(frames: list[av.AudioFrame]) -> Tensor:
    parts = [frame.to_ndarray().reshape(-1) for frame in frames]
    return _as_float(np.concatenate(parts) if parts else np.zeros(0, np.int16))


def _as_float(samples: np.ndarray[tuple[int], np.dtype[np.int16]]) -> Tensor:
    return torch.from_numpy(samples.astype(np.float32) / 32768.0)
