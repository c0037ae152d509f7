"""Cuts are found where they are and nowhere else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from synctalk.media import detect_cuts


def scene(seed: int, n: int, speed_px: float = 1.0, size: int = 128) -> Iterator[np.ndarray]:
    """A smooth random pattern that drifts, with noise."""
    rng = np.random.default_rng(seed)
    small = rng.uniform(0, 255, (12, 24))
    texture = np.kron(small, np.ones((size // 8, size // 8)))
    for k in range(n):
        start = int(k * speed_px)
        frame = texture[:size, start : start + size] + rng.normal(0, 1, (size, size))
        yield np.clip(frame, 0, 255).astype(np.uint8)


def test_each_change_of_scene_is_a_cut() -> None:
    frames = [f for seed, n in ((1, 40), (2, 25), (3, 60)) for f in scene(seed, n)]
    assert detect_cuts(frames) == [40, 65]


def test_colour_frames_are_accepted() -> None:
    frames = [np.repeat(f[..., None], 3, -1) for seed in (1, 2) for f in scene(seed, 30)]
    assert detect_cuts(frames) == [30]


def test_motion_noise_and_repeated_frames_are_no_cuts() -> None:
    drift = list(scene(4, 80, speed_px=1.0))
    assert detect_cuts(drift) == []
    assert detect_cuts([f for k, f in enumerate(drift[:40]) for _ in range(2 + k % 2)]) == []


def test_a_lamp_switched_on_is_no_cut() -> None:
    frames = list(scene(5, 60, speed_px=0))
    lit = [
        f if k < 30 else np.clip(f * 0.9 + 25, 0, 255).astype(np.uint8)
        for k, f in enumerate(frames)
    ]
    assert detect_cuts(lit) == []


@pytest.mark.parametrize("n", [0, 1, 2])
def test_almost_nothing_has_no_cuts(n: int) -> None:
    assert detect_cuts(list(scene(1, n))) == []


def test_jump_cuts_of_one_scene_are_found(shared_data: Path) -> None:
    assert detect_cuts(shared_data / "video" / "anchor_71s_512.mp4") == [176, 702, 953, 1429]


@pytest.mark.parametrize(
    "clip",
    [
        "video/speech_20s_450.mp4",
        "video/glasses_5s_524.mp4",
        "video/moving_background_8s_512.mp4",
        "virtual/subject_a/ood_truth.mp4",
        "virtual/subject_a/small.mp4",
        "video/grid_s1/bgig6n.mpg",
        "video/grid_s1/lbwr3s.mpg",
    ],
)
def test_uncut_footage_has_none(shared_data: Path, clip: str) -> None:
    assert detect_cuts(shared_data / clip) == []


def test_the_end_of_a_damaged_passage_is_a_cut(shared_data: Path) -> None:
    assert detect_cuts(shared_data / "video" / "grid_s1" / "brwg8p.mpg") == [12]
