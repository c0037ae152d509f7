"""The encoder fed piece by piece, for live sessions: the same rows as for the whole recording."""

from __future__ import annotations

import torch
from torch import Tensor

from synctalk.face_sync import speech
from synctalk.face_sync.encoder import DELAY_FRAMES, HISTORY_MELS, LAYOUT, AudioVisualEncoder
from synctalk.face_sync.voice import VoiceStream, silenced


class EncoderStream:
    """Audio chunks in, feature rows out, each as soon as its look-ahead has been heard.

    ``stats`` may be replaced while the stream runs, once ``speech.measure`` has heard the speaker;
    with the recording's own from the start, the rows equal ``AudioVisualEncoder.encode``'s.
    """

    def __init__(
        self,
        encoder: AudioVisualEncoder,
        *,
        causal: bool = True,
        stats: speech.SpeechStats | None = None,
    ) -> None:
        """Open a stream.

        Args:
            encoder: the frozen encoder; streams may share one.
            causal: as in ``encode``; the default waits 27.5 ms, the other 107.5 ms.
            stats: level and spectrum of the speaker; the teachers' average by default.
        """
        self.stats = stats if stats is not None else encoder.prior_stats
        self._encoder = encoder
        self._causal = causal
        self._delay = 0 if causal else DELAY_FRAMES
        self._rows = 0
        self._voice = VoiceStream(causal=causal)
        self._ahead = encoder.samples_ahead(causal)
        # Silence came before. Windows overlap: the last mel of it hears the first samples.
        self._samples = torch.zeros(speech.LEAD + speech.HOP)
        self._mel = speech.log_mel(torch.zeros(speech.WINDOW)).repeat(HISTORY_MELS - 1, 1)

    @torch.inference_mode()
    def push(self, samples: Tensor) -> Tensor:
        """Rows [k, D], k >= 0, that became computable with ``samples`` [n] at 16 kHz."""
        self._voice.push(samples)
        self._samples = torch.cat([self._samples, samples])
        if len(self._samples) >= speech.WINDOW:
            fresh = speech.log_mel(self._samples)
            self._samples = self._samples[len(fresh) * speech.HOP :]
            self._mel = torch.cat([self._mel, fresh])
        per = speech.MELS_PER_FRAME
        known = (len(self._mel) - HISTORY_MELS) // per
        ready = known - (self._delay if self._rows == 0 else 0)
        if ready <= 0:
            return torch.zeros(0, LAYOUT.dim)
        return self._advance(ready)

    def finish(self, n_frames: int) -> Tensor:
        """The rows [k, D] still missing to ``n_frames`` in all, silence after the last sample."""
        missing = n_frames - self._rows
        if missing <= 0:
            return torch.zeros(0, LAYOUT.dim)
        frame = speech.HOP * speech.MELS_PER_FRAME
        tail = torch.zeros((missing + self._delay + 1) * frame + speech.WINDOW)
        return self.push(tail)[:missing]

    def _advance(self, count: int) -> Tensor:
        per = speech.MELS_PER_FRAME
        lead = HISTORY_MELS + per * (self._delay if self._rows == 0 else 0)
        used = self._mel[: lead + per * count]
        rows = self._encoder.rows(used, count, self._causal, self.stats)
        voice = self._voice.shares(self._rows, count, self._ahead)
        rows[:, LAYOUT.visemes] = silenced(rows[:, LAYOUT.visemes], voice)
        self._rows += count
        self._mel = self._mel[len(used) - HISTORY_MELS :]
        return rows
