"""Filmed speakers for pre-training: what they say, when, and what their lips do meanwhile."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import pad

from synctalk.errors import InputError
from synctalk.face import MeshFaceTracker
from synctalk.face_sync import speech
from synctalk.face_sync.align import Phone, align, grid_words
from synctalk.face_sync.lip_features import GAP_PAIRS
from synctalk.face_sync.sounds import SOUNDS, from_arpabet
from synctalk.media import VideoReader, read_audio
from synctalk.progress import ProgressCallback, StageProgress, ignore_progress

_SUFFIXES = (".mp4", ".mpg", ".mov", ".mkv", ".webm")


@dataclass(frozen=True)
class Recording:
    """A clip of one person speaking, 25 fps, sound and lips in time.

    Args:
        speaker: a folder's or a single file's name.
        wav: [n] audio at 16 kHz.
        sounds: [4 T] index of the sound heard in each 10 ms; empty if what is said is unknown.
        mesh: [T, 478, 2] tracked points, pixels.
        valid: [T] bool, frames in which the face was found.
    """

    speaker: str
    wav: Tensor
    sounds: Tensor
    mesh: Tensor
    valid: Tensor

    @property
    def lips(self) -> Tensor:
        """[T, 2] gap between the inner lips and width of the mouth over the eyes' distance."""

        def length(a: int, b: int) -> Tensor:
            distance: Tensor = (self.mesh[:, a] - self.mesh[:, b]).norm(dim=1)
            return distance

        eyes = length(33, 263).clamp_min(1.0)
        gap = torch.stack([length(a, b) for a, b in GAP_PAIRS]).mean(0)
        return torch.stack([gap / eyes, length(61, 291) / eyes], dim=1)


def load_recordings(
    data: Sequence[Path], progress: ProgressCallback = ignore_progress
) -> list[Recording]:
    """Track and align clips.

    Args:
        data: video files, each of a speaker of its own, and folders, each of one speaker's clips.
            What is said is known of the GRID corpus's clips, whose names spell it.
        progress: called with each clip.

    Raises:
        InputError: no clips there.
        MissingModelError: PocketSphinx is not installed.
    """
    clips = [(speaker, path) for item in data for speaker, path in _clips(item)]
    if not clips:
        raise InputError(
            f"No video clips in {', '.join(map(str, data))}.",
            reason="NO_CLIPS",
            remedy="Give clips of people speaking, or a folder of one person's clips.",
        )
    tracker = MeshFaceTracker(1)
    found = []
    shown = StageProgress(progress, "clips", len(clips))
    for speaker, path in clips:
        found.append(_load(speaker, path, tracker))
        shown.advance()
    return found


def _clips(item: Path) -> Iterator[tuple[str, Path]]:
    if item.is_dir():
        inside = sorted(p for p in item.iterdir() if p.suffix.lower() in _SUFFIXES)
        yield from ((item.name, path) for path in inside)
    else:
        yield item.stem, item


def _load(speaker: str, path: Path, tracker: MeshFaceTracker) -> Recording:
    with VideoReader(path) as reader:
        frames = list(reader.iter_rgb())
    found = tracker.track(frames)
    wav = read_audio(path)
    try:
        phones = align(wav, grid_words(path))
    except InputError:
        phones = []
    return Recording(
        speaker,
        torch.from_numpy(wav),
        labels_of(phones, speech.MELS_PER_FRAME * len(frames)),
        torch.from_numpy(found.mesh).float()[..., :2],
        torch.from_numpy(found.score > 0),
    )


def labels_of(phones: Sequence[Phone], count: int) -> Tensor:
    """[count] sound of each 10 ms; empty without phones. Diphthongs become two halves."""
    if not phones:
        return torch.zeros(0, dtype=torch.long)
    time = (torch.arange(count) + 0.5) / 100.0
    labels = torch.full((count,), SOUNDS.index("sil"))
    for phone in phones:
        sounds = from_arpabet(phone.name)
        share = ((time - phone.start_s) / (phone.end_s - phone.start_s) * len(sounds)).floor()
        for index, sound in enumerate(sounds):
            labels[share == index] = sound
    return labels


def pieces(recording: Recording, frames: int, lead: int) -> Iterator[tuple[Tensor, Tensor, slice]]:
    """Stretches of ``frames`` frames: audio with ``lead`` samples before, sounds, frames.

    The last is filled up with silence; sounds are empty if unknown.
    """
    per_frame = speech.HOP * speech.MELS_PER_FRAME
    total = len(recording.valid)
    for first in range(0, total, frames):
        rows = slice(first, min(total, first + frames))
        start, stop = first * per_frame - lead, (first + frames) * per_frame + lead
        wav = pad(recording.wav[max(0, start) : stop], (max(0, -start), 0))
        yield (
            pad(wav, (0, max(0, stop - start - len(wav)))),
            recording.sounds[rows.start * 4 : rows.stop * 4],
            rows,
        )
