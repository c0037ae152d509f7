"""What the heads learn from: labels that lie where the sound lies, disturbances that keep time."""

from __future__ import annotations

import torch

from synctalk.face_sync import speech
from synctalk.face_sync.augment import disturb
from synctalk.face_sync.corpus import Voice
from synctalk.face_sync.encoder import ARTICULATION, LAYOUT, AudioVisualEncoder
from synctalk.face_sync.examples import (
    Examples,
    examples_of_recordings,
    examples_of_voices,
    soft_labels,
)
from synctalk.face_sync.lip_features import GAP_PAIRS
from synctalk.face_sync.naming import teach
from synctalk.face_sync.pretrain import untaught
from synctalk.face_sync.recordings import Recording
from synctalk.face_sync.sounds import SOUNDS
from synctalk.face_sync.visemes import BILABIAL

B, SIL = SOUNDS.index("b"), SOUNDS.index("sil")


def bursts() -> Voice:
    """Noise where the label is b, nothing where it is silence, changing every 0.1 to 0.4 s."""
    generator = torch.Generator().manual_seed(2)
    steps = torch.randint(10, 40, (60,), generator=generator)
    sounds = torch.cat([torch.full((int(n),), B if i % 2 else SIL) for i, n in enumerate(steps)])
    loud = (sounds == B).float().repeat_interleave(speech.HOP)
    return Voice(0.2 * torch.randn(len(loud), generator=generator) * loud, sounds)


def taught(examples: Examples, lip_weight: float) -> AudioVisualEncoder:
    torch.manual_seed(0)
    encoder = untaught()
    teach(
        encoder.heads, examples, steps=120, batch=512, learning_rate=3e-3, weight_decay=0.01,
        lip_weight=lip_weight, generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    return encoder.requires_grad_(False)


def test_labels_lie_where_their_sound_lies():
    voice = bursts()
    frames = len(voice.sounds) // 4
    labels = soft_labels(voice.sounds, frames)
    torch.testing.assert_close(labels.sum(1), torch.ones(frames))
    loud = voice.wav[: frames * 640].reshape(frames, 640).square().mean(1).sqrt()
    found = [
        float(torch.corrcoef(torch.stack([loud.roll(-lag), labels[:, B]]))[0, 1])
        for lag in range(-3, 4)
    ]
    assert found.index(max(found)) == 3
    assert max(found) > 0.95


def test_examples_keep_sound_and_label_together_at_any_tempo():
    examples = examples_of_voices(
        AudioVisualEncoder.pretrained(), [bursts()], 2, torch.Generator().manual_seed(0)
    )
    assert len(examples) > 5 * len(bursts().sounds) // 4
    assert bool(examples.lips.isnan().all())
    known = examples.tokens.float()
    truth = examples.sounds[:, B]
    normal = torch.cat([(known - known.mean(0)) / known.std(0), torch.ones(len(known), 1)], dim=1)
    found = normal @ torch.linalg.lstsq(normal, truth[:, None]).solution
    assert float(torch.corrcoef(torch.stack([found[:, 0], truth]))[0, 1]) > 0.9


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


def test_heads_name_sounds_and_move_the_average_mouth():
    clip = filmed()
    encoder = AudioVisualEncoder.pretrained()
    examples = examples_of_recordings(encoder, [clip], 1, torch.Generator().manual_seed(0))
    frames = len(clip.valid)
    assert len(examples) == 4 * frames  # clean and disturbed, heard both ways
    seen = examples.lips.isfinite().all(1)
    assert not bool(seen[:10].any())
    assert bool(seen[10:frames].all())
    both = torch.stack([examples.sounds[seen][:, B], examples.lips[seen][:, 0]])
    assert float(torch.corrcoef(both)[0, 1]) > 0.9
    encoder = taught(examples, 0.5)
    rows = encoder.encode(clip.wav, frames)
    opening = rows[:, LAYOUT.articulation][:, ARTICULATION.index("opening")]
    truth = clip.lips[:, 0]
    assert float(torch.corrcoef(torch.stack([opening, truth]))[0, 1]) > 0.8
    shapes = encoder.heads.visemes(rows[:, LAYOUT.hidden])  # bursts of noise are no voice in rows
    closed = shapes.argmax(1) == BILABIAL
    said = clip.sounds.reshape(frames, 4).eq(B).float().mean(1)
    clear = (said == 0) | (said == 1)
    assert float((closed == (said > 0.5))[clear].float().mean()) > 0.9


def test_what_nobody_knows_is_not_asked():
    clip = filmed()
    silent = Recording("a", clip.wav, clip.sounds[:0], clip.mesh, clip.valid)
    examples = examples_of_recordings(
        AudioVisualEncoder.pretrained(), [silent], 0, torch.Generator().manual_seed(0)
    )
    assert bool(examples.sounds.isnan().all())
    heads = taught(examples, 0.5).heads
    assert all(bool(p.isfinite().all()) for p in heads.state_dict().values())


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
