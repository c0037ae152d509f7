"""Whether a person speaks: music, breath and noise move no lips.

The encoder was taught speech and hears some in everything. Silero's voice activity detector (MIT;
the weights are those of the package ``silero-vad``) was taught the difference. Its network runs
here and not by the package's own call: many chunks at once, and importing that package sets the
threads of the whole process.
"""

from __future__ import annotations

from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.functional import pad

from synctalk.errors import MissingModelError
from synctalk.face_sync.speech import FPS, SAMPLE_RATE_HZ
from synctalk.face_sync.visemes import SILENCE

CHUNK = 512  # samples, 32 ms
_CONTEXT = 64  # samples before a chunk that it is heard with
_WINDOW, _HOP = 256, 128
_BINS = _WINDOW // 2 + 1
_FRAME = SAMPLE_RATE_HZ // FPS
# A voice counts for so long after it was heard, and where a recording begins: people open the mouth
# to breathe in before they speak (docs/research/face-sync.md). Who does not hear what comes waits
# longer, or loses the beginning of the next word.
HOLD_FRAMES, CAUSAL_HOLD_FRAMES = 12, 25
_NOBODY, _SOMEBODY = 0.3, 0.6  # probability at which a frame is wholly silence, wholly speech

_STRIDES = (1, 2, 2, 1)

State = tuple[Tensor, Tensor]


class VoiceNetwork(nn.Module):
    """Silero VAD v6 for 16 kHz: spectrum, four convolutions, an LSTM over chunks.

    Convolutions are written as products: a stream brings one chunk at a time, and setting up a
    convolution takes longer than so little work.
    """

    def __init__(self) -> None:
        """Make an untrained network; :func:`voice_network` gives the trained one."""
        super().__init__()
        self.spectrum = nn.Linear(_WINDOW, 2 * _BINS, bias=False)
        sizes = ((_BINS, 128), (128, 64), (64, 64), (64, 128))
        self.layers = nn.ModuleList(nn.Linear(3 * inputs, outputs) for inputs, outputs in sizes)
        self.cell = nn.LSTMCell(128, 128)
        self.out = nn.Linear(128, 1)

    def forward(self, chunks: Tensor, state: State | None) -> tuple[Tensor, State | None]:
        """Chunks [N, 64 + 512] that follow each other to the probability of speech [N]."""
        heard = pad(chunks[:, None], (0, _WINDOW // 4), mode="reflect")[:, 0]
        x = torch.hypot(*self.spectrum(heard.unfold(1, _WINDOW, _HOP)).split(_BINS, dim=2))
        for layer, stride in zip(self.layers, _STRIDES, strict=True):
            x = layer(pad(x, (0, 0, 1, 1)).unfold(1, 3, stride).flatten(2)).relu()
        hidden = []
        for chunk in x:  # of which one time step is left
            state = self.cell(chunk, state)
            hidden.append(state[0])
        probability: Tensor = self.out(torch.cat(hidden).relu()).sigmoid()[:, 0]
        return probability, state


@lru_cache(maxsize=1)
def voice_network() -> VoiceNetwork:
    """The network with Silero's weights, frozen.

    Raises:
        MissingModelError: the package ``silero-vad`` is missing or another release.
    """
    network = VoiceNetwork()
    try:
        network.load_state_dict(_renamed(load_file(_weights())))
    except (OSError, SafetensorError, KeyError, RuntimeError) as error:
        raise MissingModelError(
            f"The voice detector's weights cannot be loaded ({error}).",
            reason="VOICE_WEIGHTS_UNUSABLE",
            remedy="Reinstall synctalk with its dependency silero-vad 6.2.",
        ) from error
    return network.requires_grad_(False).eval()


def _renamed(given: dict[str, Tensor]) -> dict[str, Tensor]:
    """Silero's tensors under our names."""
    found = {
        "spectrum.weight": given["stft_conv.weight"][:, 0],
        "out.weight": given["final_conv.weight"][..., 0],
        "out.bias": given["final_conv.bias"],
    }
    for i in range(len(_STRIDES)):
        found[f"layers.{i}.weight"] = given[f"conv{i + 1}.weight"].flatten(1)
        found[f"layers.{i}.bias"] = given[f"conv{i + 1}.bias"]
    for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
        found[f"cell.{name}"] = given[f"lstm_cell.{name}"]
    return found


def _weights() -> Path:
    spec = find_spec("silero_vad")  # found, not imported
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError("package silero-vad is not installed")
    return Path(spec.submodule_search_locations[0]) / "data" / "silero_vad_16k.safetensors"


class VoiceStream:
    """Sound in, and how much each video frame is speech."""

    def __init__(self, *, causal: bool) -> None:
        """Open a stream; as if somebody had spoken until now.

        Args:
            causal: for rows that hear 44 ms past their frame's centre.
        """
        self._hold = CAUSAL_HOLD_FRAMES if causal else HOLD_FRAMES
        self._network = voice_network()
        self._samples = torch.zeros(_CONTEXT)
        self._state: State | None = None
        self._known = torch.zeros(0)  # of the chunks from ``_first`` on
        self._first = 0

    @torch.inference_mode()
    def push(self, samples: Tensor) -> None:
        """Hear [n] samples at 16 kHz."""
        self._samples = torch.cat([self._samples, samples])
        count = (len(self._samples) - _CONTEXT) // CHUNK
        if count:
            chunks = self._samples[: _CONTEXT + count * CHUNK].unfold(0, _CONTEXT + CHUNK, CHUNK)
            probabilities, self._state = self._network(chunks, self._state)
            self._known = torch.cat([self._known, probabilities])
            self._samples = self._samples[count * CHUNK :]

    def shares(self, first: int, count: int, heard: int) -> Tensor:
        """How much of a voice is heard [count] in 0..1, 1 in speech; ``first`` never goes back.

        Args:
            first: a video frame.
            count: frames wanted.
            heard: samples after its beginning that a frame may hear; they were pushed before.
        """
        begin = (torch.arange(first - self._hold, first - self._hold + count) * _FRAME) // CHUNK
        end = (torch.arange(first, first + count) * _FRAME + heard) // CHUNK  # one past the last
        unneeded = int(begin[0].clamp_min(0)) - self._first
        self._known, self._first = self._known[unneeded:], self._first + unneeded
        reach = torch.arange(int((end - begin).max()))
        index = (end[:, None] - 1 - reach).maximum(begin[:, None]).clamp_min(0) - self._first
        loudest = self._known[index].amax(1).masked_fill(begin < 0, 1.0)
        return ((loudest - _NOBODY) / (_SOMEBODY - _NOBODY)).clamp(0.0, 1.0)


def silenced(visemes: Tensor, voice: Tensor) -> Tensor:
    """Posteriors [T, 15] where as much as is no voice [T] is silence; the same bits in speech."""
    told = visemes * voice[:, None]
    told[:, SILENCE] += 1.0 - voice
    return told
