"""One video of many clips."""

from __future__ import annotations

import glob
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from synctalk.dataset import FPS, SAMPLE_RATE_HZ
from synctalk.errors import InputError
from synctalk.media import VideoPreset, VideoReader, VideoWriter, normalise, read_audio
from synctalk.progress import ProgressCallback, StageProgress


@dataclass(frozen=True)
class _Piece:
    frames: Path
    sound: NDArray[np.float32]


def clips_of(pattern: str) -> list[Path]:
    """The files of a pattern, by their names.

    Raises:
        InputError: there is none.
    """
    found = [Path(name) for name in sorted(glob.glob(pattern))]
    if not found:
        raise InputError(
            f"{pattern}: no such files.",
            reason="FILE_MISSING",
            remedy="Give a pattern of clips, such as clips/*.mpg.",
        )
    return found


def join_clips(
    clips: list[Path], out: Path, at_most_s: float | None, progress: ProgressCallback
) -> None:
    """Write the clips one after the other, without loss, as one video with their sound.

    Raises:
        MediaError: a clip cannot be decoded, or differs in size from the first.
    """
    most = None if at_most_s is None else round(at_most_s * FPS)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent) as folder:
        pieces: list[_Piece] = []
        n_frames = 0
        for clip in StageProgress(progress, "join clips", len(clips)).wrap(clips):
            if most is None or n_frames < most:
                pieces.append(_piece(clip, Path(folder) / str(len(pieces))))
                n_frames += len(pieces[-1].sound) * FPS // SAMPLE_RATE_HZ
        first = VideoReader(pieces[0].frames)
        sound = np.concatenate([piece.sound for piece in pieces])
        preset = VideoPreset.LOSSLESS
        with VideoWriter(
            out, first.width, first.height, FPS, preset=preset, audio=sound,
            sample_rate=SAMPLE_RATE_HZ,
        ) as writer:  # fmt: skip
            for piece in pieces:
                for picture in VideoReader(piece.frames).iter_yuv():
                    writer.write_yuv(picture)


def _piece(clip: Path, folder: Path) -> _Piece:
    folder.mkdir()
    frames, sound = folder / "frames.mp4", folder / "sound.wav"
    normalise(clip, frames, sound)
    return _Piece(frames, read_audio(sound, SAMPLE_RATE_HZ))
