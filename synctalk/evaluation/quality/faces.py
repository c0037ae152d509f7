"""Metrics that need the tracked faces of a whole video."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import torch

from synctalk.evaluation.landmarks import landmark_distance
from synctalk.evaluation.quality.actions import (
    ActionErrors,
    OpenFacePair,
    blendshape_errors,
    openface_errors,
)
from synctalk.evaluation.quality.choose import (
    NO_AUDIO,
    NO_FACE,
    NO_OPENFACE,
    NO_SOURCE,
    NO_TRACKER,
    NOT_25_FPS,
    Inputs,
)
from synctalk.evaluation.quality.meters import TOO_SHORT, Measured, Series
from synctalk.evaluation.quality.motion import head_poses, pose_errors, pose_jitter
from synctalk.evaluation.quality.spec import Absent
from synctalk.evaluation.quality.syncnet import FPS
from synctalk.face.tracking import FaceTrack
from synctalk.face_sync import AudioVisualEncoder, SyncDiscriminator, lip_shapes
from synctalk.face_sync.discriminator import REACH

PAIRED = ("lmd", "aue_own", "aue_own_upper", "aue_own_lower", "pose_error")
"""Of both videos' faces."""
SINGLE = ("pose_jitter", "sync_own_confidence", "sync_own_lag")
"""Of the rendered video's faces alone."""
NO_MESH = Absent("TRACK_WITHOUT_MESH", "Track both videos with the mesh tracker.")


def measure_faces(names: Collection[str], inputs: Inputs, track: FaceTrack | None) -> Measured:
    """Those of the named metrics that faces have.

    Args:
        names: of any metrics.
        inputs: what the scorer was given; its source track is as long as ``track``.
        track: of the rendered frames, or None where there was no tracker.
    """
    wanted = [name for name in (*PAIRED, *SINGLE) if name in names]
    if track is None:
        return Measured(dict.fromkeys(wanted, NO_TRACKER), {})
    rows: dict[str, Series | Absent] = {}
    figures: dict[str, float | Absent] = {}
    if "pose_error" in wanted or "pose_jitter" in wanted:
        rows["pose_error"], figures["pose_jitter"] = _pose(track, inputs)
    if "lmd" in wanted:
        rows["lmd"] = _lmd(track, inputs.source)
    if any(name.startswith("aue_own") for name in wanted):
        rows |= _actions(track, inputs)
    if any(name.startswith("sync_own") for name in wanted):
        figures |= own_sync(track, inputs)
    figures |= {name: _mean(row) for name, row in rows.items()}
    series = {n: row for n, row in rows.items() if n in wanted and isinstance(row, np.ndarray)}
    return Measured({name: figures[name] for name in wanted}, series)


def _pose(track: FaceTrack, inputs: Inputs) -> tuple[Series | Absent, float | Absent]:
    """Pose error of every frame, and jitter."""
    head = head_poses(track)
    jitter = pose_jitter(head, inputs.cuts)
    error: Series | Absent = NO_SOURCE
    if inputs.source is not None:
        error = pose_errors(head, head_poses(inputs.source), len(track))
    return error, jitter if np.isfinite(jitter) else TOO_SHORT


def _lmd(track: FaceTrack, source: FaceTrack | None) -> Series | Absent:
    if source is None:
        return NO_SOURCE
    # frames that are not square are taken by their longer side
    lmd = landmark_distance(track.landmarks68, source.landmarks68, max(track.size))
    return np.where(source.found & track.found, lmd, np.nan).astype(np.float64)


def _actions(track: FaceTrack, inputs: Inputs) -> Mapping[str, Series | Absent]:
    names = [name for name in PAIRED if name.startswith("aue_own")]
    if inputs.source is None:
        return dict.fromkeys(names, NO_SOURCE)
    if inputs.source.mesh is None or track.mesh is None:
        return dict.fromkeys(names, NO_MESH)
    return {**_by_name("aue_own", blendshape_errors(inputs.source, track, inputs.cuts))}


def measure_actions(pair: OpenFacePair | None, n_frames: int) -> Measured:
    """AUE by OpenFace's tables, if there are any.

    Raises:
        InputError: a table is not OpenFace's or of another length.
    """
    if pair is None:
        return Measured(dict.fromkeys(("aue", "aue_upper", "aue_lower"), NO_OPENFACE), {})
    rows = _by_name("aue", openface_errors(pair, n_frames))
    return Measured({name: _mean(row) for name, row in rows.items()}, rows)


def _by_name(name: str, errors: ActionErrors) -> dict[str, Series]:
    return {name: errors.both, f"{name}_upper": errors.upper, f"{name}_lower": errors.lower}


def _mean(row: Series | Absent) -> float | Absent:
    if isinstance(row, Absent):
        return row
    return float(np.nanmean(row)) if np.isfinite(row).any() else NO_FACE


def own_sync(track: FaceTrack, inputs: Inputs) -> dict[str, float | Absent]:
    """Our own judge of lips and sound (``face_sync.discriminator``), on the whole video.

    The lag is given without its sign.
    """
    names = ("sync_own_confidence", "sync_own_lag")
    if inputs.audio is None:
        return dict.fromkeys(names, NO_AUDIO)
    if inputs.fps != FPS:
        return dict.fromkeys(names, NOT_25_FPS)
    if track.mesh is None:
        return dict.fromkeys(names, NO_MESH)
    if not track.found.any() or len(track) < 2 * REACH + 10:
        return dict.fromkeys(names, NO_FACE if not track.found.any() else TOO_SHORT)
    shapes = lip_shapes(torch.from_numpy(track.mesh), torch.from_numpy(track.found))
    sound = torch.from_numpy(np.ascontiguousarray(inputs.audio))
    features = AudioVisualEncoder.pretrained().encode(sound, len(track))
    score = SyncDiscriminator.pretrained().judge(features, shapes)
    return dict(zip(names, (score.confidence, float(abs(score.lag_frames))), strict=True))
