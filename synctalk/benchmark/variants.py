"""Datasets that differ from a subject's own in one thing: how poses were found, or how much is
learnt from. All else is shared by hard links."""

from __future__ import annotations

import dataclasses
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from synctalk import dataset as parts
from synctalk.dataset import FPS, SubjectDataset, Tracks, publish
from synctalk.errors import FootageError
from synctalk.face import FaceTrack, load_canonical_face
from synctalk.face.canonical import Region
from synctalk.head_sync import HeadSyncConfig, PhotometricConfig, PointsConfig, stabilize
from synctalk.progress import ProgressCallback, ignore_progress

LENGTH_SLACK = 1.02
"""Footage hardly longer than what is asked for is not a measurement of its own."""


@dataclass(frozen=True)
class EvenFace:
    """The default face whose brows and eyes weigh as much as its most rigid points."""

    vertices: NDArray[np.float32]
    triangles: NDArray[np.int32]
    rigid_weight: NDArray[np.float32]

    @classmethod
    def make(cls) -> EvenFace:
        """From the default face."""
        face = load_canonical_face()
        weights = face.rigid_weight.copy()
        weights[np.isin(face.regions, (Region.BROW, Region.EYE))] = 1.0
        return cls(face.vertices, face.triangles, weights)


def with_other_poses(
    dataset: SubjectDataset,
    switch: str,
    out: Path,
    progress: ProgressCallback = ignore_progress,
) -> SubjectDataset:
    """``dataset`` with its head poses found anew.

    Args:
        switch: ``"head-sync-stabilizer"`` takes each frame's landmarks alone;
            ``"semantic-weighting"`` lets brows and eyes count in full.
        out: the dataset to write.
    """
    config, face = HeadSyncConfig(), None
    if switch == "head-sync-stabilizer":
        config = HeadSyncConfig(
            points=PointsConfig(enabled=False), photometric=PhotometricConfig(enabled=False)
        )
    else:
        face = EvenFace.make()
    tracks, facts = dataset.tracks, dataset.manifest
    head = stabilize(
        dataset.frames, _face_track(tracks, facts.size), cuts=facts.cuts, size=facts.size,
        config=config, face_model=face, progress=progress,
    )  # fmt: skip
    changed = dataclasses.replace(
        tracks, R=head.R, t=head.t, valid=head.valid, K=head.K, vertices=head.vertices
    )
    return _derived(dataset, changed, out)


def with_less_footage(dataset: SubjectDataset, seconds: float, out: Path) -> SubjectDataset:
    """``dataset`` with the last ``seconds`` before its held-out part alone to learn from.

    The held-out frames stay the same. Tracking and plates are those of the whole footage.

    Raises:
        FootageError: there is not more than that anyway (``FOOTAGE_SHORTER``).
    """
    last, n = dataset.held_out_range.start, round(seconds * FPS)
    if last < LENGTH_SLACK * n:
        raise FootageError(
            f"{dataset.manifest.source_name}: {last / FPS:.0f} s to learn from, "
            f"not more than {seconds:g}.",
            reason="FOOTAGE_SHORTER",
            remedy="Nothing is wrong: the row of all footage says it.",
        )
    valid = dataset.tracks.valid.copy()
    valid[: last - n] = False
    return _derived(dataset, dataclasses.replace(dataset.tracks, valid=valid), out)


def _face_track(tracks: Tracks, size: int) -> FaceTrack:
    faces = (tracks.score > 0).astype(np.int32)
    return FaceTrack(tracks.landmarks68, tracks.mesh, tracks.score, faces, (size, size))


def _derived(dataset: SubjectDataset, tracks: Tracks, out: Path) -> SubjectDataset:
    partial = out.with_name(out.name + ".writing")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for name in parts.PARTS:
        if name != parts.TRACKS:
            _link_or_copy(dataset.path / name, partial / name)
    tracks.save(partial / parts.TRACKS)
    return publish(partial, out, dataset.manifest)


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source.resolve(), target)
    except OSError:  # another disk
        shutil.copyfile(source, target)
