"""Training batches: labels that lie where the sound lies, and disturbances that keep time."""

from __future__ import annotations

import torch

from synctalk.face_sync import speech
from synctalk.face_sync.augment import disturb
from synctalk.face_sync.corpus import Voice
from synctalk.face_sync.crops import draw, make_crops
from synctalk.face_sync.encoder import HISTORY_MELS
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
