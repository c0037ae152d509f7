"""Training batches: labels that lie where the sound lies, and disturbances that keep time."""

from __future__ import annotations

import torch

from synctalk.face_sync import speech
from synctalk.face_sync.augment import disturb
from synctalk.face_sync.corpus import Voice
from synctalk.face_sync.crops import draw, make_crops
from synctalk.face_sync.encoder import ARTICULATION, HISTORY_MELS, LAYOUT, AudioVisualEncoder
from synctalk.face_sync.lip_features import GAP_PAIRS
from synctalk.face_sync.recordings import Recording
from synctalk.face_sync.refine import Refining, draw_filmed, film, refine
from synctalk.face_sync.sounds import SOUNDS

B, SIL = SOUNDS.index("b"), SOUNDS.index("sil")
FRAMES = 75


def bursts() -> Voice:
    """Noise where the label is b, nothing where it is silence, changing every 0.1 to 0.4 s."""
    generator = torch.Generator().manual_seed(2)
    steps = torch.randint(10, 40, (60,), generator=generator)
    sounds = torch.cat([torch.full((int(n),), B if i % 2 else SIL) for i, n in enumerate(steps)])
    loud = (sounds == B).float().repeat_interleave(speech.HOP)
    return Voice(0.2 * torch.randn(len(loud), generator=generator) * loud, sounds)


def lag_of_best_match(augmented: bool) -> int:
    generator = torch.Generator().manual_seed(0)
    crops = make_crops([bursts()], 20, FRAMES, generator, augmented=augmented)
    mel, labels = draw(crops, 12, FRAMES, generator, augmented=augmented)
    assert mel.shape[0] == labels.shape[0] == 12
    torch.testing.assert_close(labels.sum(2), torch.ones(12, FRAMES))
    own = mel[:, HISTORY_MELS : HISTORY_MELS + 4 * FRAMES].mean(2)
    level = own.reshape(12, FRAMES, 4).mean(2).flatten()
    found = [
        float(torch.corrcoef(torch.stack([level.roll(-lag), labels[..., B].flatten()]))[0, 1])
        for lag in range(-3, 4)
    ]
    assert max(found) > (0.7 if augmented else 0.9)
    return found.index(max(found)) - 3


def test_labels_lie_where_their_sound_lies():
    assert lag_of_best_match(augmented=False) == 0
    assert lag_of_best_match(augmented=True) == 0


def filmed() -> Recording:
    """A mouth that opens with each burst, and is seen in all frames but the first ten."""
    voice = bursts()
    frames = len(voice.sounds) // 4
    loud = (voice.sounds[: 4 * frames].reshape(frames, 4) == B).float().mean(1)
    mesh = torch.zeros(frames, 478, 2)
    mesh[:, 263, 0] = 100.0
    mesh[:, 291, 0] = 50.0 + 5.0 * loud
    for _, lower in GAP_PAIRS:
        mesh[:, lower, 1] = 20.0 * loud
    valid = torch.arange(frames) >= 10
    return Recording("a", voice.wav, voice.sounds[: 4 * frames], mesh, valid)


def test_filmed_lips_lie_where_their_sound_lies():
    film_of = film([filmed()], Refining(copies=1), torch.Generator().manual_seed(0))
    mel, labels, known, lips = draw_filmed(film_of, 6, torch.Generator().manual_seed(1))
    assert mel.shape[:2] == (6, HISTORY_MELS + 4 * (FRAMES + 2))
    assert bool(known.all())
    seen = lips[..., 0].isfinite()
    both = torch.stack([labels[..., B][seen], lips[..., 0][seen]])
    assert float(torch.corrcoef(both)[0, 1]) > 0.9


def test_refining_teaches_the_average_mouth():
    torch.manual_seed(0)
    crops = make_crops([bursts()], 10, FRAMES, torch.Generator().manual_seed(0), augmented=False)
    refining = Refining(steps=12, batch=4, learning_rate=3e-3, copies=0)
    encoder = refine(AudioVisualEncoder(), crops, [filmed()], refining, seed=3)
    recording = filmed()
    rows = encoder.encode(recording.wav, len(recording.valid))
    opening = rows[:, LAYOUT.articulation][:, ARTICULATION.index("opening")]
    truth = recording.lips[:, 0]
    assert float(torch.corrcoef(torch.stack([opening, truth]))[0, 1]) > 0.6


def test_disturbed_speech_keeps_time_and_level():
    wav = bursts().wav[:64000].repeat(6, 1)
    changed = disturb(wav, torch.Generator().manual_seed(1))
    assert changed.shape == wav.shape
    assert bool(changed.isfinite().all())
    for before, after in zip(wav, changed, strict=True):
        spectra = torch.fft.rfft(before.abs()) * torch.fft.rfft(after.abs()).conj()
        shift = int(torch.fft.irfft(spectra).argmax())
        assert min(shift, 64000 - shift) <= 160
        assert 0.3 < float(after.std() / before.std()) < 3.0
