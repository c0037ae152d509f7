"""What a method has to show: which frames of the footage, under which sound."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from synctalk.benchmark.plan import Sound
from synctalk.dataset import FPS, SAMPLE_RATE_HZ, SubjectDataset
from synctalk.dubbing import play_order
from synctalk.errors import DatasetError, MediaError
from synctalk.evaluation.heard import heard_in
from synctalk.face_sync import AudioVisualEncoder
from synctalk.media import read_audio

SEGMENT_FRAMES = 250
"""Most frames that play to and fro under a foreign sound: they are held in memory."""
LEAST_SOUND_S = 1.0

Image = NDArray[np.uint8]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Scene:
    """T frames to show.

    Args:
        dataset: the footage.
        order: [T] its frame under each shown frame; moves by single steps.
        wav: [n] 16 kHz, from the first frame on.
        features: [N,D] audio-visual features; those of the shown frames are ``rows``.
        rows: into ``features``.
        own: whether it is the footage's own sound, so that its frames are the truth.
    """

    dataset: SubjectDataset
    order: NDArray[np.int64]
    wav: Floats
    features: Floats
    rows: slice
    own: bool

    def __len__(self) -> int:
        return len(self.order)

    def pictures(self) -> Iterator[tuple[Image, Image]]:
        """Source frame and plate [S,S,3] under each shown frame."""
        first = int(self.order.min())
        span = int(self.order.max()) + 1 - first
        stream = islice(self.dataset.frames_and_plates(first), span)
        if self.own:
            yield from stream
        else:
            held = list(stream)
            for index in self.order:
                yield held[index - first]

    def frames(self) -> Iterator[Image]:
        """The source frames [S,S,3] alone."""
        for frame, _ in self.pictures():
            yield frame

    def mattes(self) -> Iterator[Image]:
        """Soft alpha [S,S] of the head; of own sound alone."""
        yield from self.dataset.mattes(int(self.order[0]))

    @property
    def cuts(self) -> list[int]:
        """Shown frames that begin a new shot."""
        start = int(self.order[0])
        return [c - start for c in self.dataset.manifest.cuts if c > start] if self.own else []


def own_scene(dataset: SubjectDataset) -> Scene:
    """The last 1/11 of the footage under its own sound (section IV-A)."""
    span = dataset.held_out_range
    samples = SAMPLE_RATE_HZ // FPS
    return Scene(
        dataset,
        np.arange(span.start, span.stop),
        dataset.audio()[span.start * samples :],
        heard_in(dataset),
        slice(span.start, span.stop),
        own=True,
    )


def foreign_scene(dataset: SubjectDataset, sound: Sound) -> Scene:
    """What dubbing plays, to and fro under somebody else's speech.

    Raises:
        DatasetError: no face was found in the footage.
        MediaError: the sound cannot be read, or hardly lasts.
    """
    wav = sound_of(sound)
    n = len(wav) * FPS // SAMPLE_RATE_HZ
    wav = wav[: n * SAMPLE_RATE_HZ // FPS]
    shot = dubbed_part(dataset.played, dataset.held_out_range)
    if not shot:
        raise DatasetError(
            f"{dataset.path}: no face in any frame.",
            reason="NO_FACE_PLAYED",
            remedy="Preprocess footage in which a face is seen.",
        )
    order = shot.start + play_order(range(len(shot)), n)
    features = AudioVisualEncoder.pretrained().encode(torch.from_numpy(wav), n).numpy()
    return Scene(dataset, order, wav, features, slice(0, n), own=False)


def dubbed_part(played: range, held_out: range) -> range:
    """Frames of the shot that dubbing plays, ten seconds at most: those that were kept for testing.

    Where the shot has less than a second of those, its first frames. No other shot will do: only
    what dubbing plays has its neck restored.
    """
    kept = range(max(played.start, held_out.start), played.stop)
    return (kept if len(kept) >= FPS else played)[:SEGMENT_FRAMES]


def sound_of(sound: Sound) -> Floats:
    """[n] float32 at 16 kHz: the part of the file that the plan names.

    Raises:
        MediaError: it cannot be read, or is shorter than a second.
    """
    whole = read_audio(Path(sound.file), SAMPLE_RATE_HZ)
    first = round(sound.from_s * SAMPLE_RATE_HZ)
    wav = whole[first : first + round(sound.seconds * SAMPLE_RATE_HZ)]
    if len(wav) < LEAST_SOUND_S * SAMPLE_RATE_HZ:
        raise MediaError(
            f"{sound.file}: {len(wav) / SAMPLE_RATE_HZ:.2f} s from {sound.from_s:g} s on.",
            reason="AUDIO_TOO_SHORT",
            remedy="Correct from_s and seconds in the plan.",
        )
    return wav
