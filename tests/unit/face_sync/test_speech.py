"""Log-mels, their timing and their normalisation."""

from __future__ import annotations

import torch

from synctalk.face_sync import speech


def tone(hz: float, seconds: float = 1.0) -> torch.Tensor:
    return 0.3 * torch.sin(2 * torch.pi * hz * torch.arange(int(16000 * seconds)) / 16000)


def test_a_click_is_centred_in_its_own_mel_frame():
    wav = torch.zeros(16000)
    wav[37 * 160 + 80] = 1.0
    levels = speech.frame_levels(speech.mel_span(wav, 0, 100))
    assert int(levels.argmax()) == 37


def test_spans_do_not_depend_on_where_they_begin():
    wav = tone(300)
    whole = speech.mel_span(wav, -5, 110)
    torch.testing.assert_close(speech.mel_span(wav, 40, 60), whole[45:65])


def test_higher_tones_fill_higher_bands():
    bands = [int(speech.mel_span(tone(hz), 20, 21)[0].argmax()) for hz in (200, 1000, 4000, 7000)]
    assert bands == sorted(set(bands))


def test_measuring_in_chunks_gives_the_same_statistics():
    generator = torch.Generator().manual_seed(1)
    wav = 0.1 * torch.randn(50_000, generator=generator)
    whole, chunked = speech.measure(wav), speech.measure(wav, chunk_s=0.37)
    assert abs(whole.level - chunked.level) < 1e-5
    torch.testing.assert_close(whole.mean, chunked.mean, atol=1e-5, rtol=0)


def test_normalised_speech_has_no_average_spectrum():
    generator = torch.Generator().manual_seed(1)
    wav = 0.1 * torch.randn(50_000, generator=generator)
    normal = speech.normalise(speech.mel_span(wav, 5, 300), speech.measure(wav))
    assert float(normal.mean(0).abs().max()) < 0.05


def test_digital_silence_stays_at_the_floor():
    stats = speech.measure(torch.zeros(16000))
    level = speech.relative_levels(speech.mel_span(torch.zeros(16000), 0, 100), stats)
    assert float(level.max()) < -0.3
