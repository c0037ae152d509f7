"""Preprocessing: an untrusted portrait video in, a SubjectDataset out.

locate → normalise → cuts → track → quality → pose → parse → audio features (:mod:`.pipeline`).
Each finished stage leaves its files in the working folder ``OUT.preprocessing`` (:mod:`.work`);
run again after an interruption, the stages already done are taken from there. ``OUT`` appears in
one rename when everything is whole. Input that is refused leaves nothing behind.
"""

from __future__ import annotations

import os
from pathlib import Path

from synctalk.dataset import MANIFEST, SubjectDataset
from synctalk.errors import DatasetError, FootageError, InputError
from synctalk.media import probe
from synctalk.media.pcm import no_audio
from synctalk.progress import ProgressCallback, ignore_progress

__all__ = ["preprocess"]

MIN_LENGTH_S = 10.0
SIZES = (128, 1024)
TRACKERS = ("auto", "mesh", "face-alignment")


def preprocess(
    video: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    tracker: str = "auto",
    size: int = 512,
    face_model: str | os.PathLike[str] | None = None,
    device: str = "auto",
    progress: ProgressCallback = ignore_progress,
) -> SubjectDataset:
    """Turn a portrait video into a dataset.

    Args:
        video: the footage: one person, static camera, 10 s of speech at least, 2–5 min at best.
        out: dataset folder to write; appears when everything is whole.
        tracker: ``"auto"``, ``"mesh"`` or ``"face-alignment"``.
        size: side of the square that is learnt and rendered, px; smaller where the source is.
        face_model: a Basel Face Model or ICT-FaceKit file whose mean face head tracking begins
            from, see :func:`synctalk.face.face_models.load_face_model`; the built-in one if None.
        device: for trackers that use a GPU.
        progress: receives events of the stages ``locate``, ``normalise``, ``cuts``, ``track``,
            ``quality``, ``head …``, ``scene``, ``parse`` and ``audio``, each with its total.

    Raises:
        MediaError: the file cannot be decoded or accepted.
        FootageError: no usable face, too short, …; each with a remedy.
        DatasetError: ``out`` exists and is not a dataset.
        InputError: ``size``, ``tracker`` or ``face_model`` cannot be used, or ``out`` not written.
        MissingModelError: a face network is not on this machine.
    """
    source, final = Path(video), Path(out)
    _refuse_settings(final, tracker, size)
    _refuse_unseen(source)
    # Only now: torch and the face networks take seconds to load, a refusal should not.
    from synctalk.preprocessing.pipeline import Pipeline, Settings

    model = None if face_model is None else Path(face_model)
    return Pipeline(source, final, Settings(tracker, size, model, device), progress).run()


def _refuse_settings(final: Path, tracker: str, size: int) -> None:
    if not SIZES[0] <= size <= SIZES[1] or size % 16:
        raise InputError(
            f"Size {size} is not possible.",
            reason="BAD_SIZE",
            remedy=f"Choose a multiple of 16 from {SIZES[0]} to {SIZES[1]}.",
        )
    if tracker not in TRACKERS:
        raise InputError(
            f"There is no face tracker called {tracker!r}.",
            reason="BAD_TRACKER",
            remedy=f"Choose one of {', '.join(TRACKERS)}.",
        )
    if final.exists() and not (final / MANIFEST).is_file():
        raise DatasetError(
            f"{final} exists and is not a dataset.",
            reason="OUTPUT_EXISTS",
            remedy="Choose another --out folder.",
        )


def _refuse_unseen(source: Path) -> None:
    """Refuse, without decoding it, what cannot be footage."""
    info = probe(source)
    if info.video is None:
        raise FootageError(
            f"{source}: no video stream.",
            reason="NO_VIDEO",
            remedy="Give a video of the person speaking.",
        )
    if info.audio is None:
        raise no_audio(source)
    if info.video.duration_s < MIN_LENGTH_S:
        raise too_short(source, info.video.duration_s)


def too_short(source: Path, seconds: float) -> FootageError:
    """The error for footage below ``MIN_LENGTH_S``."""
    return FootageError(
        f"{source}: {seconds:.1f} s long; at least {MIN_LENGTH_S:.0f} s are needed.",
        reason="TOO_SHORT",
        remedy="Record 2–5 minutes of one person speaking to the camera.",
    )
