from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from synctalk.errors import InputError
from synctalk.evaluation.landmarks import (
    correlations,
    head_mask,
    landmark_distance,
    lip_gap,
    mouth_mask,
    rms,
    rotation_errors,
    yaw_pitch_roll,
)


def mouths(n: int = 4) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.uniform(100, 200, (n, 68, 2)).astype(np.float32)


def test_lmd_ignores_where_the_mouth_is_and_the_rest_of_the_face() -> None:
    landmarks = mouths()
    moved = landmarks + np.float32([7, -3])
    moved[:, :48] += 50
    assert landmark_distance(moved, landmarks, 512) == pytest.approx(np.zeros(4), abs=1e-4)


def test_lmd_of_a_known_shape_error_is_in_pixels_at_512() -> None:
    landmarks = mouths()
    moved = landmarks.copy()
    moved[:, 48:68:2, 1] += 3  # ten of twenty points move by 3: 1.5 from the centroid each
    assert landmark_distance(moved, landmarks, 512) == pytest.approx(np.full(4, 1.5), abs=1e-4)
    assert landmark_distance(moved, landmarks, 256) == pytest.approx(np.full(4, 3.0), abs=1e-4)


def test_lip_gap_is_that_of_the_inner_lips() -> None:
    landmarks = mouths(1)
    landmarks[0, 62], landmarks[0, 66] = (120, 140), (120, 149)
    assert lip_gap(landmarks, 256) == pytest.approx([18])


def test_the_mouth_box_has_the_documented_margin() -> None:
    landmarks = np.zeros((68, 2), np.float32)
    landmarks[48:60] = [100.5, 150.5]
    landmarks[48], landmarks[54] = (90.5, 150.5), (110.5, 150.5)  # 20 wide: margin 5
    mask = mouth_mask(landmarks, 200, 220)

    rows, columns = np.nonzero(mask)
    assert mask.shape == (200, 220)
    assert (columns.min(), columns.max()) == (85, 115)
    assert (rows.min(), rows.max()) == (145, 155)


def test_the_mouth_box_ends_at_the_image() -> None:
    landmarks = np.zeros((68, 2), np.float32)
    landmarks[48:60, 0] = np.linspace(-20, 300, 12)
    landmarks[48:60, 1] = 10
    assert mouth_mask(landmarks, 64, 64).sum(1).max() == 64


def test_a_face_that_was_not_found_has_no_mouth() -> None:
    assert not mouth_mask(np.zeros((68, 2), np.float32), 64, 64).any()


def test_the_head_is_where_the_matte_is_more_than_half() -> None:
    matte = np.array([[0, 127, 128, 255]], np.uint8)
    assert head_mask(matte).tolist() == [[False, False, True, True]]


def test_yaw_pitch_roll_follow_the_truth_of_the_virtual_portrait(shared_data: Path) -> None:
    truth = np.load(shared_data / "virtual/subject_a/truth.npz", allow_pickle=False)
    assert yaw_pitch_roll(truth["R_head"]) == pytest.approx(truth["euler_ypr_deg"], abs=1e-3)


def test_a_constant_offset_of_the_head_frame_is_no_rotation_error() -> None:
    rotations = Rotation.random(50, rng=1).as_matrix()
    offset = Rotation.from_euler("xyz", [10, -20, 5], degrees=True).as_matrix()
    assert rotation_errors(rotations @ offset, rotations).max() < 1e-4


def test_rotation_errors_measure_the_angle_of_noise() -> None:
    rng = np.random.default_rng(2)
    rotations = Rotation.random(4000, rng=rng).as_matrix()
    noise = Rotation.from_rotvec(np.radians(rng.normal(0, 1, (4000, 3)))).as_matrix()
    assert rms(rotation_errors(rotations @ noise, rotations)) == pytest.approx(3**0.5, rel=0.03)


def test_correlations_of_related_unrelated_and_constant_columns() -> None:
    rng = np.random.default_rng(3)
    truth = rng.normal(size=(5000, 3))
    truth[:, 2] = 0.5
    estimate = np.stack([0.3 * truth[:, 0] + 2, rng.normal(size=5000), truth[:, 0]], 1)
    related, unrelated, constant = correlations(estimate, truth)
    assert related == pytest.approx(1)
    assert abs(unrelated) < 0.05
    assert np.isnan(constant)
    with pytest.raises(InputError):
        correlations(estimate, truth[:, :2])
