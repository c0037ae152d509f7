"""Audio-visual encoder: speech to one feature row per video frame (METHOD row 1).

A network that was taught to write down speech hears (``speech_network.py``, frozen), and two small
heads of our own say what its tokens mean for a mouth: which of fifteen shapes it takes (``PP`` is
the closing cue; what is no voice is silence, see ``voice.py``), and what the lips of the average
speaker do (:data:`ARTICULATION`, standardised). A row holds the token, interpolated at the frame's
centre, both heads, the frame's own normalised mels and its loudness; see :class:`FeatureLayout`.

There are two ways to hear. A recording is heard in blocks of ten seconds with two seconds around
them, in which every token attends to every other. Live speech is heard causally, 44 ms past a
frame's centre, by the same network looking back. Rows of both are alike enough for one lip
regressor that learnt from both.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from synctalk.errors import InputError, MissingModelError
from synctalk.face_sync import speech
from synctalk.face_sync.sounds import SOUNDS, VISEME_OF
from synctalk.face_sync.speech_network import CHANNELS, LEVEL, SPAN, TOKEN, Past, SpeechNetwork
from synctalk.face_sync.visemes import VISEMES
from synctalk.face_sync.voice import VoiceStream, silenced
from synctalk.threads import one_thread_an_operation

# The first twelve digits of the shipped weights' SHA-256. Heads are fitted to one encoder's rows:
# whoever keeps a head keeps this beside it, and refuses another.
ENCODER_VERSION = "21b663095543"
WEIGHTS = Path(__file__).parent / "weights" / "encoder.safetensors"
HIDDEN = 128
ARTICULATION = ("opening", "width")

_FRAME = speech.SAMPLE_RATE_HZ // speech.FPS  # samples
# Three frames are five tokens, and the first token begins four tokens before the sound: frame i is
# seen at token (5 i + 11) / 3, within 0.1 ms of its centre.
_LEAD = 4 * TOKEN
_BLOCK_FRAMES, _BLOCK_TOKENS, _AROUND = 249, 415, 85
_CAUSAL_AHEAD = 1023  # samples after a frame's beginning that its last token hears, at most
_BLOCK_AHEAD = TOKEN * (_BLOCK_TOKENS + 2 + _AROUND) + SPAN - _LEAD  # … of a block's first frame
_VOICE_AHEAD = 2040  # samples that ``voice.py`` hears ahead in a recording
_PIECE = 10 * speech.SAMPLE_RATE_HZ


class FeatureLayout(NamedTuple):
    """Columns of a feature row."""

    hidden: slice = slice(0, CHANNELS)
    visemes: slice = slice(CHANNELS, CHANNELS + len(VISEMES))
    mel: slice = slice(CHANNELS + len(VISEMES), CHANNELS + len(VISEMES) + speech.N_MELS)
    level: int = CHANNELS + len(VISEMES) + speech.N_MELS
    articulation: slice = slice(
        CHANNELS + len(VISEMES) + speech.N_MELS + 1,
        CHANNELS + len(VISEMES) + speech.N_MELS + 3,
    )

    @property
    def dim(self) -> int:
        """Length of a row."""
        return int(self.articulation.stop)


LAYOUT = FeatureLayout()


def shapes_of(sounds: Tensor) -> Tensor:
    """Shares of mouth shapes [..., 15] from those of sounds [..., 39]."""
    shapes = sounds.new_zeros(*sounds.shape[:-1], len(VISEMES))
    return shapes.index_add_(-1, torch.tensor(VISEME_OF, device=sounds.device), sounds)


class Heads(nn.Module):
    """What a token means for a mouth; all that is trained here."""

    mean: Tensor
    scale: Tensor

    def __init__(self) -> None:
        """Make untrained heads."""
        super().__init__()
        self.register_buffer("mean", torch.zeros(CHANNELS))
        self.register_buffer("scale", torch.ones(CHANNELS))
        self.hidden = nn.Linear(CHANNELS, HIDDEN)
        self.names = nn.Linear(HIDDEN, len(SOUNDS))
        self.articulation = nn.Linear(CHANNELS, len(ARTICULATION))

    def sounds(self, tokens: Tensor) -> Tensor:
        """Logits of the 39 sounds, [..., 39], of tokens [..., 288]."""
        logits: Tensor = self.names(nn.functional.gelu(self.hidden(self.normal(tokens))))
        return logits

    def mouth(self, tokens: Tensor) -> Tensor:
        """The average speaker's opening and width, [..., 2], in standard deviations."""
        found: Tensor = self.articulation(self.normal(tokens))
        return found

    def visemes(self, tokens: Tensor) -> Tensor:
        """Posteriors of the mouth shapes, [..., 15]."""
        return shapes_of(self.sounds(tokens).softmax(-1))

    def normal(self, tokens: Tensor) -> Tensor:
        """Tokens of about unit variance."""
        return (tokens - self.mean) / self.scale


class AudioVisualEncoder(nn.Module):
    """Speech to features at 25 fps.

    ``AudioVisualEncoder.pretrained()`` gives the shipped, frozen one.
    """

    prior_mean: Tensor
    prior_level: Tensor

    def __init__(self) -> None:
        """Make an untrained encoder."""
        super().__init__()
        self.speech = SpeechNetwork()
        self.heads = Heads()
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
            encoder.load_state_dict(load_file(path))  # halves become floats
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
        """Audio needed after a frame's centre in a recording: 12 s, or until its end."""
        return _after_centre_ms(_BLOCK_AHEAD)

    @property
    def causal_look_ahead_ms(self) -> float:
        """Audio needed after a frame's centre with ``causal=True``: 43.9 ms."""
        return _after_centre_ms(_CAUSAL_AHEAD)

    def listen(self, samples: Tensor, past: Past | None) -> tuple[Tensor, Past | None]:
        """Tokens of sound at the network's level.

        Args:
            samples: [B, n] at 16 kHz, n >= 895.
            past: what came before, of as many streams; None: every token attends to every other.

        Returns:
            [B, (n - 895) // 384 + 1, 288], and the past of what follows.
        """
        tokens = self.speech.front(samples)
        if past is None:
            return self.speech.whole(tokens), None
        return self.speech.causal(tokens, past)

    @torch.inference_mode()
    def encode(
        self,
        wav: Tensor,
        n_frames: int,
        *,
        causal: bool = False,
        stats: speech.SpeechStats | None = None,
    ) -> Tensor:
        """Features of a recording.

        Args:
            wav: [n] float32 mono audio at 16 kHz in [-1, 1]; silence is assumed beyond its ends.
            n_frames: video frames wanted, at 25 fps; frame i is centred at (i + 0.5) / 25 s.
            causal: hear 43.9 ms past a frame's centre, as live, instead of all around it.
            stats: the speaker's level and spectrum; measured over ``wav`` by default.

        Returns:
            [n_frames, D] float32; see :class:`FeatureLayout`.

        Raises:
            InputError: ``wav`` is not a one-dimensional finite float tensor, or n_frames < 1.
        """
        _check(wav, n_frames)
        known = stats if stats is not None else speech.measure(wav)
        stream = EncoderStream(self, causal=causal, stats=known)
        with one_thread_an_operation():
            rows = [stream.push(piece) for piece in torch.split(wav, _PIECE)]
            rows.append(stream.finish(n_frames))
        return torch.cat(rows)[:n_frames]

    def rows(self, tokens: Tensor, mel: Tensor, stats: speech.SpeechStats) -> Tensor:
        """Feature rows of tokens [T, 288], one a frame, and log-mels [4 T, 64].

        Whatever is heard counts as a voice here; callers apply ``voice.silenced``.
        """
        count, per = len(tokens), speech.MELS_PER_FRAME
        return torch.cat(
            [
                tokens,
                self.heads.visemes(tokens),
                speech.normalise(mel, stats).reshape(count, per, -1).mean(1),
                speech.relative_levels(mel, stats).reshape(count, per).mean(1, keepdim=True),
                self.heads.mouth(tokens),
            ],
            dim=1,
        )


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
            causal: as in ``encode``; the default waits 43.9 ms, the other 12 s.
            stats: level and spectrum of the speaker; the teachers' average by default.
        """
        self.stats = stats if stats is not None else encoder.prior_stats
        self._encoder = encoder
        self._voice = VoiceStream(causal=causal)
        self._voice_ahead = _CAUSAL_AHEAD if causal else _VOICE_AHEAD
        self._past = encoder.speech.silent_past() if causal else None
        self._rows = self._heard = 0
        # Silence came before. ``_samples`` begin where the next tokens do, or their surroundings.
        self._samples = torch.zeros(_LEAD)
        self._first = 0  # the token that ``_samples`` begin with
        self._tokens = torch.zeros(0, CHANNELS)  # causal ones of frames to come …
        self._known = 0  # … which begin with this one
        self._mel_samples = torch.zeros(speech.LEAD)
        self._mel = torch.zeros(0, speech.N_MELS)

    @torch.inference_mode()
    def push(self, samples: Tensor) -> Tensor:
        """Rows [k, D], k >= 0, that became computable with ``samples`` [n] at 16 kHz."""
        self._hear(samples)
        if self._past is not None:
            return self._advance((self._heard - _CAUSAL_AHEAD) // _FRAME + 1 - self._rows)
        rows = []
        while self._heard >= self._rows * _FRAME + _BLOCK_AHEAD:
            rows.append(self._advance(_BLOCK_FRAMES))
        return torch.cat(rows) if rows else torch.zeros(0, LAYOUT.dim)

    @torch.inference_mode()
    def finish(self, n_frames: int) -> Tensor:
        """The rows [k, D] still missing to ``n_frames`` in all, silence after the last sample."""
        rows = torch.zeros(0, LAYOUT.dim)
        while self._rows < n_frames:
            missing = min(n_frames - self._rows, _BLOCK_FRAMES)
            wanted = (self._rows + missing - 1) * _FRAME + max(_CAUSAL_AHEAD, self._voice_ahead)
            self._hear(torch.zeros(max(0, wanted - self._heard)))
            rows = torch.cat([rows, self._advance(missing)])
        return rows

    def _hear(self, samples: Tensor) -> None:
        self._heard += len(samples)
        self._voice.push(samples)
        self._samples = torch.cat([self._samples, samples])
        self._mel_samples = torch.cat([self._mel_samples, samples])
        if len(self._mel_samples) >= speech.WINDOW:
            fresh = speech.log_mel(self._mel_samples)
            self._mel_samples = self._mel_samples[len(fresh) * speech.HOP :]
            self._mel = torch.cat([self._mel, fresh])

    def _advance(self, count: int) -> Tensor:
        """The next ``count`` rows; what they hear was heard."""
        if count <= 0:
            return torch.zeros(0, LAYOUT.dim)
        frames = torch.arange(self._rows, self._rows + count)
        if self._past is None:
            tokens, first = self._block(int(frames[-1]))
        else:
            tokens, first = self._continue(), self._known
        used = count * speech.MELS_PER_FRAME
        rows = self._encoder.rows(_at(tokens, frames, first), self._mel[:used], self.stats)
        voice = self._voice.shares(self._rows, count, self._voice_ahead)
        rows[:, LAYOUT.visemes] = silenced(rows[:, LAYOUT.visemes], voice)
        self._mel = self._mel[used:]
        self._rows += count
        if self._past is not None:
            behind = _place(self._rows) // 3 - self._known
            self._tokens, self._known = self._tokens[behind:], self._known + behind
        return rows

    def _continue(self) -> Tensor:
        """Causal tokens from ``_known`` on, all that were heard."""
        if len(self._samples) >= SPAN:
            fresh, self._past = self._encoder.listen(self._fed(self._samples), self._past)
            self._samples = self._samples[fresh.shape[1] * TOKEN :]
            self._tokens = torch.cat([self._tokens, fresh[0]])
        return self._tokens

    def _block(self, last_frame: int) -> tuple[Tensor, int]:
        """Tokens of a block that ends with a frame, and which of them is the first."""
        begin = max(0, _place(self._rows) // 3 - _AROUND)
        self._samples = self._samples[(begin - self._first) * TOKEN :]
        self._first = begin
        reach = (-(-_place(last_frame) // 3) + _AROUND - begin) * TOKEN + SPAN
        tokens, _ = self._encoder.listen(self._fed(self._samples[:reach]), None)
        return tokens[0], begin

    def _fed(self, samples: Tensor) -> Tensor:
        """[1, n] at the level that the network is fed with."""
        gain = torch.tensor((LEVEL - self.stats.level) / 2.0).exp()
        return (samples * gain)[None]


def _place(frame: int) -> int:
    """Thirds of a token at a frame's centre."""
    return 5 * frame + 11


def _at(tokens: Tensor, frames: Tensor, first: int) -> Tensor:
    """Tokens [T, 288], which begin with ``first``, at the centres of ``frames`` [F]."""
    place = 5 * frames + 11 - 3 * first
    before, third = place // 3, (place % 3)[:, None] / 3.0
    after = torch.where(third[:, 0] > 0, before + 1, before)
    return torch.lerp(tokens[before], tokens[after], third)


def _after_centre_ms(samples: int) -> float:
    return (samples - _FRAME / 2) * 1000.0 / speech.SAMPLE_RATE_HZ


def _check(wav: Tensor, n_frames: int) -> None:
    if wav.ndim != 1 or not wav.is_floating_point() or not bool(wav.isfinite().all()):
        raise InputError(
            f"wav must be a finite float tensor [n], got {wav.dtype} {tuple(wav.shape)}.",
            reason="BAD_WAVEFORM",
            remedy="Decode to mono 16 kHz float32 in [-1, 1] first.",
        )
    if n_frames < 1:
        raise InputError(f"n_frames must be >= 1, got {n_frames}.", reason="BAD_FRAME_COUNT")
