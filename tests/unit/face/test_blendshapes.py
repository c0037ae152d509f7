"""Blendshapes against the virtual subject's truth."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from synctalk.errors import InputError, MissingModelError
from synctalk.face import ARKIT_NAMES, CORE_NAMES, FaceTrack, GeometricCapturer
from synctalk.face.blendshapes import finish
from synctalk.face.task import INPUT_POINTS, TaskCapturer

from .clips import Truth


def _correlation(scores: np.ndarray, truth: Truth, name: str) -> float:
    return float(np.corrcoef(scores[:, ARKIT_NAMES.index(name)], truth.coeffs[name])[0, 1])


@pytest.fixture(scope="module")
def geometric(virtual_track: FaceTrack) -> np.ndarray:
    return GeometricCapturer().capture(virtual_track)


def test_the_names_are_arkits_52_in_the_truths_spelling(virtual_truth: Truth) -> None:
    assert len(ARKIT_NAMES) == 52
    assert set(ARKIT_NAMES) == set(virtual_truth.coeffs)
    assert set(CORE_NAMES) < set(ARKIT_NAMES)


@pytest.mark.parametrize("side", ["Left", "Right"])
def test_blinks_follow_the_truth(geometric: np.ndarray, virtual_truth: Truth, side: str) -> None:
    assert _correlation(geometric, virtual_truth, f"eyeBlink{side}") > 0.93


@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("browInnerUp", 0.75),
        ("browOuterUpLeft", 0.75),
        ("browOuterUpRight", 0.7),
        ("browDownLeft", 0.7),
        ("browDownRight", 0.6),
        ("jawOpen", 0.75),
        ("mouthPucker", 0.7),
        ("mouthSmileLeft", 0.8),
        ("mouthSmileRight", 0.8),
        ("eyeLookOutLeft", 0.8),
        ("eyeLookInLeft", 0.8),
    ],
)
def test_other_shapes_follow_the_truth(
    geometric: np.ndarray, virtual_truth: Truth, name: str, least: float
) -> None:
    assert _correlation(geometric, virtual_truth, name) > least


def test_scores_are_in_range(geometric: np.ndarray, virtual_track: FaceTrack) -> None:
    assert geometric.shape == (len(virtual_track), 52)
    assert geometric.dtype == np.float32
    assert geometric.min() >= 0
    assert geometric.max() <= 1


def test_the_filter_never_crosses_a_cut() -> None:
    step = np.zeros((20, 52))
    step[10:] = 1
    found = np.ones(20, bool)
    assert np.allclose(finish(step, found, cuts=[10]), step, atol=1e-6)
    smeared = finish(step, found, cuts=[])
    assert np.abs(smeared - step).max() > 0.05


def test_frames_without_a_face_are_interpolated_within_their_shot() -> None:
    found = np.array([True, False, True, False, False, True])
    scores = np.zeros((3, 52))
    scores[:, 0] = 0.2, 0.6, 0.9
    filled = finish(scores, found, cuts=[3])[:, 0]
    assert np.allclose(filled, [0.2, 0.4, 0.6, 0.9, 0.9, 0.9], atol=1e-6)


def test_a_track_without_a_face_scores_zero(virtual_track: FaceTrack) -> None:
    nothing = replace(virtual_track, score=np.zeros_like(virtual_track.score))
    assert not GeometricCapturer().capture(nothing).any()


def test_a_68_point_track_is_refused(virtual_track: FaceTrack) -> None:
    with pytest.raises(InputError) as caught:
        GeometricCapturer().capture(replace(virtual_track, mesh=None))
    assert caught.value.reason == "TRACK_WITHOUT_MESH"


def test_the_task_files_network_sees_blinks_and_smiles(
    shared_data: Path, virtual_track: FaceTrack, virtual_truth: Truth
) -> None:
    assert len(set(INPUT_POINTS)) == 146
    task = shared_data / "weights" / "mediapipe" / "face_landmarker.task"
    scores = TaskCapturer(task).capture(virtual_track)
    for name in ("eyeBlinkLeft", "eyeBlinkRight"):
        assert _correlation(scores, virtual_truth, name) > 0.93
    for name in ("mouthSmileLeft", "mouthSmileRight", "eyeLookOutLeft"):
        assert _correlation(scores, virtual_truth, name) > 0.75


def test_a_file_that_is_no_task_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "face_landmarker.task"
    path.write_bytes(b"not a zip")
    with pytest.raises(MissingModelError, match=r"face_landmarker\.task"):
        TaskCapturer(path)
