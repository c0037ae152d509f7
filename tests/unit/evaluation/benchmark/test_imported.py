from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from synctalk.benchmark.imported import ImportedActor
from synctalk.benchmark.scene import Scene, own_scene
from synctalk.dataset import SubjectDataset
from synctalk.errors import InputError
from synctalk.media import VideoPreset, VideoWriter

Image = NDArray[np.uint8]


@pytest.fixture(scope="module")
def scene(subject: SubjectDataset) -> Scene:
    return own_scene(subject)


def film(path: Path, frames: Iterable[Image], fps: int = 25) -> ImportedActor:
    held = list(frames)
    size = (held[0].shape[1], held[0].shape[0])
    with VideoWriter(path, *size, fps, preset=VideoPreset.NEAR_LOSSLESS) as writer:
        for frame in held:
            writer.write(np.ascontiguousarray(frame))
    return ImportedActor(path)


def refusal(actor: ImportedActor, scene: Scene) -> InputError:
    with pytest.raises(InputError) as caught:
        next(actor.show(scene))
    assert caught.value.remedy
    return caught.value


@pytest.mark.parametrize("whole", [False, True], ids=["the held-out part", "the whole clip"])
def test_frames_meet_the_source_frames_that_they_stand_for(
    scene: Scene, subject: SubjectDataset, tmp_path: Path, whole: bool
) -> None:
    frames = subject.frames() if whole else scene.frames()
    actor = film(tmp_path / "peer.mp4", (cv2.flip(f, 0) for f in frames))
    shown = list(actor.show(scene))
    assert len(shown) == len(scene) == 25
    for frame in (shown[0], shown[-1]):
        assert frame.plain is not None
        assert np.abs(cv2.flip(frame.plain, 0).astype(int) - frame.source).mean() < 3


def test_another_frame_rate_is_refused(scene: Scene, tmp_path: Path) -> None:
    error = refusal(film(tmp_path / "peer.mp4", scene.frames(), fps=30), scene)
    assert error.reason == "IMPORT_FPS"
    assert "30 frames a second, the dataset has 25" in error.message


def test_another_size_is_refused(scene: Scene, tmp_path: Path) -> None:
    small = (cv2.resize(frame, (128, 128)) for frame in scene.frames())
    error = refusal(film(tmp_path / "peer.mp4", small), scene)
    assert error.reason == "IMPORT_SIZE"
    assert "128x128 px, 256x256" in error.message


def test_another_length_is_refused(scene: Scene, tmp_path: Path) -> None:
    error = refusal(film(tmp_path / "peer.mp4", islice(scene.frames(), 20)), scene)
    assert error.reason == "IMPORT_LENGTH"
    assert "20 frames, 25 or 275 are wanted" in error.message


def test_a_video_out_of_step_is_refused(
    scene: Scene, subject: SubjectDataset, tmp_path: Path
) -> None:
    late = subject.frames(scene.order[0] - 2)
    error = refusal(film(tmp_path / "peer.mp4", islice(late, len(scene))), scene)
    assert error.reason == "IMPORT_SHIFTED"
    assert "its frames are 2 late" in error.message
