"""Audio-visual encoder: speech to one feature row per video frame (METHOD row 1).

A small dilated TCN on log-mels, taught phonetics from recorded and synthetic speech of many voices
and languages (``pretrain.py``): phonetics is what transfers between people, lip video is not. All
convolutions look back only. Two heads read the same trunk: the default head describes the frame
``DELAY_FRAMES`` ago and so hears its future; the causal head describes the present one and was
taught to give the same features, so that one lip regressor serves both.

A feature row holds the head's hidden layer, fifteen viseme posteriors (``PP`` is the closing
cue; what is no voice is silence, see ``voice.py``), the frame's own normalised mels, its loudness,
and what the lips of the average speaker do (:data:`ARTICULATION`, standardised); see
:class:`FeatureLayout`.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.functional import pad

from synctalk.errors import InputError, MissingModelError
from synctalk.face_sync import speech
from synctalk.face_sync.visemes import VISEMES
from synctalk.face_sync.voice import VoiceStream, silenced

# The first twelve digits of the shipped weights' SHA-256. Heads are fitted to one encoder's rows:
# whoever keeps a head keeps this beside it, and refuses another.
ENCODER_VERSION = "cb098dd16715"
WEIGHTS = Path(__file__).parent / "weights" / "encoder.safetensors"
WIDTH = 160
FEATURES = 128
FAST, SLOW = (1, 2, 4), (1, 2, 4, 1)  # dilations at 50 Hz and at 25 Hz
DELAY_FRAMES = 2
ARTICULATION = ("opening", "width")
_FRAME = speech.SAMPLE_RATE_HZ // speech.FPS  # samples
HISTORY_MELS = 98  # mel frames before its own four that a row of the trunk depends on


class FeatureLayout(NamedTuple):
    """Columns of a feature row."""

    hidden: slice = slice(0, FEATURES)
    visemes: slice = slice(FEATURES, FEATURES + len(VISEMES))
    mel: slice = slice(FEATURES + len(VISEMES), FEATURES + len(VISEMES) + speech.N_MELS)
    level: int = FEATURES + len(VISEMES) + speech.N_MELS
    articulation: slice = slice(
        FEATURES + len(VISEMES) + speech.N_MELS + 1,
        FEATURES + len(VISEMES) + speech.N_MELS + 3,
    )

    @property
    def dim(self) -> int:
        """Length of a row."""
        return int(self.articulation.stop)


LAYOUT = FeatureLayout()


class ChannelNorm(nn.Module):
    """LayerNorm over channels of [B, C, T], each time step by itself (keeps time causal)."""

    def __init__(self, channels: int) -> None:
        """Normalise ``channels`` channels."""
        super().__init__()
        self.norm = nn.LayerNorm(channels)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        normal: Tensor = self.norm(x.transpose(1, 2))
        return normal.transpose(1, 2)


class Block(nn.Module):
    """Residual dilated convolution without padding: 2 * dilation steps shorter."""

    def __init__(self, dilation: int) -> None:
        """Look ``2 * dilation`` steps back."""
        super().__init__()
        self.trim = 2 * dilation
        self.norm = ChannelNorm(WIDTH)
        self.conv = nn.Conv1d(WIDTH, WIDTH, 3, dilation=dilation)
        self.mix = nn.Conv1d(WIDTH, WIDTH, 1)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        change: Tensor = self.mix(nn.functional.gelu(self.conv(self.norm(x))))
        return x[..., self.trim :] + change


class VisemeHead(nn.Module):
    """Hidden layer and viseme logits from the trunk."""

    def __init__(self) -> None:
        """Make an untrained head."""
        super().__init__()
        self.norm = ChannelNorm(WIDTH)
        self.hidden = nn.Conv1d(WIDTH, FEATURES, 1)
        self.out = nn.Conv1d(FEATURES, len(VISEMES), 1)

    def forward(self, trunk: Tensor) -> tuple[Tensor, Tensor]:
        """[B, 160, M] trunk to hidden [B, 128, M] and logits [B, 15, M]."""
        hidden = nn.functional.gelu(self.hidden(self.norm(trunk)))
        return hidden, self.out(hidden)


class AudioVisualEncoder(nn.Module):
    """Speech to features at 25 fps; about 0.9 M parameters.

    ``AudioVisualEncoder.pretrained()`` gives the shipped, frozen one.
    """

    prior_mean: Tensor
    prior_level: Tensor

    def __init__(self) -> None:
        """Make an untrained encoder."""
        super().__init__()
        self.front = nn.Conv1d(speech.N_MELS, WIDTH, 4, stride=2)
        self.fast = nn.Sequential(*(Block(d) for d in FAST))
        self.down = nn.Conv1d(WIDTH, WIDTH, 4, stride=2)
        self.slow = nn.Sequential(*(Block(d) for d in SLOW))
        self.head = VisemeHead()
        self.causal_head = VisemeHead()
        # The average speaker's mouth, for either head: they give the same features.
        self.articulation = nn.Conv1d(FEATURES, len(ARTICULATION), 1)
        # What a stream assumes of a speaker before it has heard one.
        self.register_buffer("prior_mean", torch.zeros(speech.N_MELS))
        self.register_buffer("prior_level", torch.tensor(0.0))

    @classmethod
    def pretrained(cls, path: Path = WEIGHTS) -> AudioVisualEncoder:
        """The encoder with trained weights, frozen and in evaluation mode.

        Raises:
            MissingModelError: the weights are absent or not this network's.
        """
        encoder = cls()
        try:
            encoder.load_state_dict({k: v.float() for k, v in load_file(path).items()})
        except (OSError, SafetensorError, RuntimeError) as error:
            raise MissingModelError(
                f"The audio encoder's weights at {path} cannot be loaded.",
                reason="ENCODER_WEIGHTS_UNUSABLE",
                remedy="Reinstall synctalk, or run synctalk pretrain-encoder.",
            ) from error
        return encoder.requires_grad_(False).eval()

    @property
    def dim(self) -> int:
        """Length of a feature row, D."""
        return LAYOUT.dim

    @property
    def prior_stats(self) -> speech.SpeechStats:
        """Level and spectrum of the average teacher: what a stream assumes of a stranger."""
        return speech.SpeechStats(float(self.prior_level), self.prior_mean)

    @property
    def look_ahead_ms(self) -> float:
        """Audio needed after a frame's centre by the default head: 107.5 ms."""
        return self.causal_look_ahead_ms + 1000.0 * DELAY_FRAMES / speech.FPS

    @property
    def causal_look_ahead_ms(self) -> float:
        """Audio needed after a frame's centre with ``causal=True``: 27.5 ms."""
        last_centre_ms = 10.0 * (speech.MELS_PER_FRAME - 0.5) - 500.0 / speech.FPS
        return last_centre_ms + 500.0 * speech.WINDOW / speech.SAMPLE_RATE_HZ

    def samples_ahead(self, causal: bool) -> int:
        """16 kHz samples that a row hears, from the beginning of its frame."""
        ahead_ms = self.causal_look_ahead_ms if causal else self.look_ahead_ms
        return round((ahead_ms + 500.0 / speech.FPS) * speech.SAMPLE_RATE_HZ / 1000.0)

    def trunk(self, mel: Tensor) -> Tensor:
        """Normalised mels [B, T, 64] to [B, 160, (T - 98) // 4], row m ending at mel 4m + 101."""
        fast = self.fast(self.front(mel.transpose(1, 2)))
        trunk: Tensor = self.slow(self.down(fast))
        return trunk

    @torch.inference_mode()
    def encode(
        self,
        wav: Tensor,
        n_frames: int,
        *,
        causal: bool = False,
        stats: speech.SpeechStats | None = None,
        vocal_tract: float = 1.0,
        chunk_frames: int = 1500,
    ) -> Tensor:
        """Features of a recording.

        Args:
            wav: [n] float32 mono audio at 16 kHz in [-1, 1]; silence is assumed beyond its ends.
            n_frames: video frames wanted, at 25 fps; frame i is centred at (i + 0.5) / 25 s.
            causal: hear 27.5 ms instead of 107.5 ms past a frame's centre.
            stats: the speaker's level and spectrum; measured over ``wav`` by default.
            vocal_tract: hear it as from one so many times as long (0.85 to 1.15: other people).
            chunk_frames: frames computed at once; the result does not depend on it.

        Returns:
            [n_frames, D] float32; see :class:`FeatureLayout`.

        Raises:
            InputError: ``wav`` is not a one-dimensional finite float tensor, or n_frames < 1.
        """
        _check(wav, n_frames)
        known = stats if stats is not None else speech.measure(wav)
        voice, heard, ahead = VoiceStream(causal=causal), 0, self.samples_ahead(causal)
        chunks = []
        for first in range(0, n_frames, chunk_frames):
            last = min(n_frames, first + chunk_frames)
            rows = self._chunk(wav, first, last, causal, known, vocal_tract)
            until = last * _FRAME + ahead
            voice.push(pad(wav[heard:until], (0, until - max(heard, min(until, len(wav))))))
            heard = until
            told = silenced(rows[:, LAYOUT.visemes], voice.shares(first, last - first, ahead))
            rows[:, LAYOUT.visemes] = told
            chunks.append(rows)
        return torch.cat(chunks)

    def _chunk(
        self,
        wav: Tensor,
        first: int,
        last: int,
        causal: bool,
        stats: speech.SpeechStats,
        vocal_tract: float,
    ) -> Tensor:
        delay = 0 if causal else DELAY_FRAMES
        per = speech.MELS_PER_FRAME
        start = per * first + per * delay - HISTORY_MELS
        mel = speech.mel_span(wav, min(start, per * first), per * (last + delay))
        if vocal_tract != 1.0:
            mel = speech.stretch_bands(mel, vocal_tract)
            stats = speech.SpeechStats(stats.level, speech.stretch_bands(stats.mean, vocal_tract))
        return self.rows(mel, last - first, causal, stats)

    def rows(self, mel: Tensor, count: int, causal: bool, stats: speech.SpeechStats) -> Tensor:
        """The ``count`` feature rows whose trunk ends with the last of the log-mels [T, 64].

        Whatever is heard counts as a voice here; callers apply ``voice.silenced``.
        """
        per, delay = speech.MELS_PER_FRAME, 0 if causal else DELAY_FRAMES
        normal = speech.normalise(mel, stats)
        trunk = self.trunk(normal[-(per * count + HISTORY_MELS) :][None])
        hidden, logits = (self.causal_head if causal else self.head)(trunk)
        end = len(mel) - per * delay
        own = slice(end - per * count, end)
        return torch.cat(
            [
                hidden[0].T,
                logits[0].softmax(0).T,
                normal[own].reshape(count, per, -1).mean(1),
                speech.relative_levels(mel[own], stats).reshape(count, per).mean(1, keepdim=True),
                self.articulation(hidden)[0].T,
            ],
            dim=1,
        )


def _check(wav: Tensor, n_frames: int) -> None:
    if wav.ndim != 1 or not wav.is_floating_point() or not bool(wav.isfinite().all()):
        raise InputError(
            f"wav must be a finite float tensor [n], got {wav.dtype} {tuple(wav.shape)}.",
            reason="BAD_WAVEFORM",
            remedy="Decode to mono 16 kHz float32 in [-1, 1] first.",
        )
    if n_frames < 1:
        raise InputError(f"n_frames must be >= 1, got {n_frames}.", reason="BAD_FRAME_COUNT")
