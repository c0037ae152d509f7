"""One stream of speech on its way to features: what the servicer wraps in messages."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from services.common.errors import FailedPrecondition
from services.expression.batching import BatchingEncoder
from services.expression.pcm import Recording, Resampler, pieces
from services.expression.voice import VoiceChange, VoiceDetector
from synctalk.errors import InputError
from synctalk.expression import ExpressionPlan, ProsodicExpression, measure_prosody
from synctalk.face_sync import EncoderStream, measure
from synctalk.face_sync.speech import FPS, SAMPLE_RATE_HZ

RATES_HZ = (8_000, 192_000)
_BLOCK = 250  # frames whose blendshapes are made at once


@dataclass(frozen=True)
class Features:
    """What drives one frame: row [D], and blendshapes [52] where they were asked for."""

    frame: int
    row: Tensor
    blendshapes: NDArray[np.float32] | None = None


Output = Features | VoiceChange


@dataclass(frozen=True)
class Request:
    """How a stream is to be heard.

    Args:
        causal: hear 44 ms past a frame's centre instead of ten seconds around it.
        sample_rate_hz: of the sound that will come.
        whole_recording: measure the speaker over all of it before the first feature.
        expression: makes blendshapes; None: none are wanted.
    """

    causal: bool
    sample_rate_hz: int
    whole_recording: bool
    expression: ProsodicExpression | None = None

    def __post_init__(self) -> None:
        low, high = RATES_HZ
        if not low <= self.sample_rate_hz <= high:
            raise InputError(
                f"header.audio_format.sample_rate_hz is {self.sample_rate_hz}",
                reason="SAMPLE_RATE",
                remedy=f"Send sound of {low} to {high} Hz.",
            )
        if self.expression is not None and not self.whole_recording:
            raise FailedPrecondition(
                "blendshapes were asked for without header.whole_recording",
                reason="BLENDSHAPES_NEED_RECORDING",
                remedy="Ask for the whole recording, or without blendshapes.",
            )


class Generation:
    """Sound in, features and voice changes out, in the order of their frames.

    Rows equal ``AudioVisualEncoder.encode``'s: with ``whole_recording`` those of the recording
    itself, otherwise those for the average speaker. Its methods block: the encoder is shared.
    """

    def __init__(
        self, encoder: BatchingEncoder, request: Request, max_audio_s: float, spool: Path | None
    ) -> None:
        self.sample_count = 0
        self.frame_count = 0
        self._encoder = encoder
        self._request = request
        self._max_samples = int(max_audio_s * request.sample_rate_hz)
        self._resampler = Resampler(request.sample_rate_hz)
        self._heard = 0
        self._voice = VoiceDetector()
        self._recording = Recording(spool) if request.whole_recording else None
        self._stream = EncoderStream(encoder, causal=request.causal)
        self._plan: ExpressionPlan | None = None
        self._block = np.zeros((0, 0), np.float32)

    def push(self, data: bytes, first_sample: int) -> Iterator[Output]:
        """What a chunk completes.

        Raises:
            InputError: half a sample, a gap or an overlap, or more audio than allowed.
        """
        if len(data) % 2 or first_sample != self.sample_count:
            raise InputError(
                f"{len(data)} bytes from sample {first_sample}, expected {self.sample_count}",
                reason="AUDIO_GAP",
                remedy="Send whole samples, each once and in order.",
            )
        self.sample_count += len(data) // 2
        if self.sample_count > self._max_samples:
            raise InputError(
                f"more than {self._max_samples / self._request.sample_rate_hz:.0f} s of audio",
                reason="AUDIO_TOO_LONG",
                remedy="Send shorter audio, or raise AVATAR_EXPRESSION_MAX_AUDIO_S.",
            )
        samples = self._resampler.push(data)
        if self._recording is not None:
            self._recording.append(samples)
        else:
            yield from self._hear(samples)

    def finish(self) -> Iterator[Output]:
        """All that is left; silence follows the last sample."""
        rest = self._resampler.finish()
        if self._recording is None:
            yield from self._hear(rest)
        else:
            self._recording.append(rest)
            recorded = self._recording
            if len(recorded):
                self._stream.stats = measure(recorded)
            if self._request.expression is not None:
                prosody = measure_prosody(recorded, _frames(len(recorded)))
                self._plan = self._request.expression.plan(prosody)
            for piece in pieces(recorded):
                yield from self._hear(piece)
        yield from self._features(self._stream.finish(_frames(self._heard)))
        yield from self._voice.finish()

    def close(self) -> None:
        """Let go of what lies on disk."""
        if self._recording is not None:
            self._recording.close()

    def _hear(self, samples: Tensor) -> Iterator[Output]:
        self._heard += len(samples)
        yield from self._features(self._stream.push(samples))

    def _features(self, rows: Tensor) -> Iterator[Output]:
        for row in rows:
            change = self._voice.push(row)
            if change is not None:
                yield change
            yield Features(self.frame_count, row, self._blendshapes(self.frame_count))
            self.frame_count += 1

    def _blendshapes(self, frame: int) -> NDArray[np.float32] | None:
        """[52] of a frame; frames are asked for in order."""
        if self._plan is None:
            return None
        if frame % _BLOCK == 0:
            self._block = self._plan.blendshapes(frame, frame + _BLOCK)
        row: NDArray[np.float32] = self._block[frame % _BLOCK]
        return row


def _frames(n_samples: int) -> int:
    return -(-n_samples * FPS // SAMPLE_RATE_HZ)
