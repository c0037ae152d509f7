"""Whether a person speaks: real speech in any language, against what is none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from silero_vad import load_silero_vad
from torch import Tensor

from synctalk.errors import MissingModelError
from synctalk.face_sync import LAYOUT, AudioVisualEncoder, voice
from synctalk.face_sync.lip_head import voice_activity
from synctalk.face_sync.visemes import SILENCE
from synctalk.face_sync.voice import (
    CAUSAL_HOLD_FRAMES,
    CHUNK,
    HOLD_FRAMES,
    VoiceNetwork,
    VoiceStream,
    _renamed,
    silenced,
    voice_network,
)
from synctalk.media import read_audio

torch.set_num_threads(1)

SPEECH = (
    "audio/english_60s.wav", "audio/german_9s.wav", "audio/narrative_clean.wav",
    "video/anchor_71s_512.mp4", "video/speech_20s_450.mp4", "virtual/subject_a/ood.wav",
)  # fmt: skip


def load(shared_data: Path, name: str) -> Tensor:
    return torch.from_numpy(read_audio(shared_data / name))


def shares_of(wav: Tensor, heard: int = 760) -> Tensor:
    stream = VoiceStream(causal=False)
    stream.push(torch.cat([wav, torch.zeros(heard)]))
    return stream.shares(0, len(wav) // 640, heard)


def test_it_computes_what_sileros_own_program_does(shared_data: Path) -> None:
    theirs = load_silero_vad()
    names = {
        "stft_conv.weight": "stft.forward_basis_buffer",
    }
    for part in ("weight", "bias"):
        names[f"final_conv.{part}"] = f"decoder.decoder.2.{part}"
        names |= {f"conv{i + 1}.{part}": f"encoder.{i}.reparam_conv.{part}" for i in range(4)}
    for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
        names[f"lstm_cell.{part}"] = f"decoder.rnn.{part}"
    weights = theirs.state_dict()
    ours = VoiceNetwork()
    ours.load_state_dict(_renamed({k: weights[f"_model.{v}"] for k, v in names.items()}))
    stream = VoiceStream(causal=False)
    stream._network = ours
    wav = load(shared_data, "audio/german_9s.wav")
    wav = wav[: len(wav) // CHUNK * CHUNK]
    stream.push(wav)
    with torch.inference_mode():
        expected = torch.cat([theirs(chunk, 16_000)[0] for chunk in torch.split(wav, CHUNK)])
    assert float(expected.std()) > 0.2
    torch.testing.assert_close(stream._known, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", SPEECH)
def test_speech_counts_as_speech(shared_data: Path, name: str) -> None:
    wav = load(shared_data, name)
    encoder = AudioVisualEncoder.pretrained()
    rows = encoder.encode(wav, len(wav) // 640)
    silence = encoder.heads.visemes(rows[:, LAYOUT.hidden])[:, SILENCE]
    speaking = (silence < 0.5) & (rows[:, LAYOUT.level] > -0.7)
    lost = speaking & (shares_of(wav, 2040) < 0.5)
    assert float(speaking.float().mean()) > 0.5
    assert float(lost.float().mean()) < 0.01


def music(n: int) -> Tensor:
    """A chord, struck twice a second."""
    time = torch.arange(n) / 16_000
    chord = torch.stack([torch.sin(2 * torch.pi * hz * time) for hz in (220.0, 277.2, 329.6)])
    return 0.1 * chord.sum(0) * torch.exp(-4 * (time % 0.5))


def breath(n: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    swell = torch.sin(torch.pi * torch.arange(n) / 32_000).clamp_min(0).square()
    return 0.02 * swell * torch.randn(n, generator=generator)


@pytest.mark.parametrize("sound", [music, breath, torch.zeros])
@pytest.mark.parametrize("causal", [False, True])
def test_what_is_no_voice_is_silence_soon_after_speech(
    shared_data: Path, sound: Callable[[int], Tensor], causal: bool
) -> None:
    said = load(shared_data, "virtual/subject_a/ood.wav")
    frames = len(said) // 640
    wav = torch.cat([said[: 640 * frames], sound(5 * 16_000)])
    rows = AudioVisualEncoder.pretrained().encode(wav, frames + 125, causal=causal)
    activity = voice_activity(rows)
    held = CAUSAL_HOLD_FRAMES if causal else HOLD_FRAMES
    assert float(activity[frames + held + 46 :].max()) < 0.05  # the head's own second and a half
    assert float(activity[:frames].mean()) > 0.8  # which speech keeps


def test_the_beginning_may_be_a_breath_before_the_first_word() -> None:
    shares = shares_of(breath(32_000))
    assert float(shares[:HOLD_FRAMES].min()) == 1.0
    assert float(shares[HOLD_FRAMES:].max()) == 0.0


@pytest.mark.parametrize("piece", [160, 5_000])
def test_a_stream_tells_what_the_whole_recording_does(shared_data: Path, piece: int) -> None:
    wav = load(shared_data, "audio/narrative_clean.wav")[: 640 * 120]
    stream, pushed = VoiceStream(causal=False), 0
    found: list[Tensor] = []
    for part in torch.split(wav, piece):
        stream.push(part)
        pushed += len(part)
        ready = (pushed - 760) // 640 + 1 - len(found)
        if ready > 0:
            found.extend(stream.shares(len(found), ready, 760))
        assert len(stream._known) < 2 * HOLD_FRAMES + piece // CHUNK  # nothing is kept for ever
    whole = shares_of(wav)[: len(found)]
    torch.testing.assert_close(torch.stack(found), whole, atol=1e-4, rtol=0)


def test_posteriors_stay_probabilities_and_speech_the_same_bits() -> None:
    visemes = torch.rand(3, 15).softmax(1)
    told = silenced(visemes, torch.tensor([1.0, 0.5, 0.0]))
    assert torch.equal(told[0], visemes[0])
    torch.testing.assert_close(told.sum(1), torch.ones(3))
    assert float(told[2].max()) == 1.0


def test_without_its_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(voice, "find_spec", lambda name: None)
    voice_network.cache_clear()
    with pytest.raises(MissingModelError, match="silero-vad") as caught:
        voice_network()
    assert caught.value.reason == "VOICE_WEIGHTS_UNUSABLE"


def test_rows_carry_it() -> None:
    rows = AudioVisualEncoder.pretrained().encode(music(48_000), 75)
    assert float(rows[HOLD_FRAMES + 5 :, LAYOUT.visemes][:, SILENCE].min()) > 0.95
