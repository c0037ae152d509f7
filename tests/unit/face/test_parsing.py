"""Parsing of a virtual person's clip against its exact truth."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

from synctalk.errors import FootageError
from synctalk.face import FaceTrack, MeshFaceTracker
from synctalk.face.parsing import ParsedFrame, PartLabel, PortraitParser, SceneModel
from synctalk.face.parsing_networks import HAIR_MODEL, HairSegmenter, PersonSegmenter
from synctalk.media.reader import VideoReader

TRUE_PART = np.array([0, 1, 3, 2, 4, 1, 1, 1, 1], np.uint8)
STEP = 50


@dataclass(frozen=True)
class Clip:
    """Every 50th frame of the virtual subject: each is its own shot."""

    frames: list[np.ndarray]
    labels: list[np.ndarray]
    alphas: list[np.ndarray]
    background: np.ndarray
    track: FaceTrack
    cuts: list[int]

    def __call__(self) -> Iterator[np.ndarray]:
        return iter(self.frames)


@dataclass(frozen=True)
class Parsed:
    parser: PortraitParser
    scene: SceneModel
    frames: list[ParsedFrame]


@pytest.fixture(scope="module")
def clip(shared_data: Path) -> Clip:
    subject = shared_data / "virtual" / "subject_a"
    video, mattes = VideoReader(subject / "train.mp4"), VideoReader(subject / "matte_train.mp4")
    frames = [video.read(i) for i in range(0, len(video), STEP)]
    alphas = [mattes.read(i)[..., 0].copy() for i in range(0, len(video), STEP)]
    paths = [subject / "labels_train" / f"{i * STEP:05d}.png" for i in range(len(frames))]
    labels = [TRUE_PART[cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)] for path in paths]
    background = cv2.cvtColor(cv2.imread(str(subject / "background.png")), cv2.COLOR_BGR2RGB)
    cuts = list(range(1, len(frames)))
    track = MeshFaceTracker().track(frames, cuts=cuts)
    return Clip(frames, labels, alphas, background, track, cuts)


def run(clip: Clip, hair: HairSegmenter | None) -> Parsed:
    parser = PortraitParser(PersonSegmenter(), hair)
    scene = parser.fit(clip, clip.track)
    return Parsed(parser, scene, list(parser.parse(clip, clip.track, scene, clip.cuts)))


@pytest.fixture(scope="module")
def parsed(clip: Clip) -> Parsed:
    return run(clip, None)


def intersection_over_union(clip: Clip, frames: list[ParsedFrame], part: PartLabel) -> float:
    ours = np.stack([frame.labels for frame in frames]) == part
    true = np.stack(clip.labels) == part
    return float((ours & true).sum() / (ours | true).sum())


@pytest.mark.parametrize(
    ("part", "least"),
    [
        (PartLabel.BACKGROUND, 0.99),
        (PartLabel.FACE, 0.92),
        (PartLabel.HAIR, 0.80),
        (PartLabel.NECK, 0.87),
        (PartLabel.TORSO, 0.97),
    ],
)
def test_labels_agree_with_truth_from_the_person_network_alone(
    clip: Clip, parsed: Parsed, part: PartLabel, least: float
) -> None:
    assert intersection_over_union(clip, parsed.frames, part) > least


def test_the_hair_network_improves_hair(clip: Clip, parsed: Parsed, shared_data: Path) -> None:
    hair = HairSegmenter(shared_data / "weights" / "mediapipe" / HAIR_MODEL)
    without = intersection_over_union(clip, parsed.frames, PartLabel.HAIR)
    with_network = intersection_over_union(clip, run(clip, hair).frames, PartLabel.HAIR)
    assert with_network > max(0.85, without)


def test_sixty_eight_landmarks_without_a_mesh_are_enough(clip: Clip) -> None:
    bare = replace(clip, track=replace(clip.track, mesh=None))
    frames = run(bare, None).frames
    assert intersection_over_union(clip, frames, PartLabel.FACE) > 0.88
    assert intersection_over_union(clip, frames, PartLabel.HAIR) > 0.7


def test_matte_is_the_true_alpha_away_from_neck_and_clothes(clip: Clip, parsed: Parsed) -> None:
    errors = []
    for frame, labels, alpha in zip(parsed.frames, clip.labels, clip.alphas, strict=True):
        body = np.isin(labels, (PartLabel.NECK, PartLabel.TORSO)).astype(np.uint8)
        clear = cv2.dilate(body, np.ones((25, 25), np.uint8)) == 0
        near = clear & (cv2.dilate(alpha, np.ones((9, 9), np.uint8)) > 0)
        errors.append(np.abs(frame.matte[near] - alpha[near].astype(float)).mean() / 255)
    assert np.mean(errors) < 0.03


def test_matte_holds_no_clothes(clip: Clip, parsed: Parsed) -> None:
    for frame, labels in zip(parsed.frames, clip.labels, strict=True):
        clothes = cv2.erode((labels == PartLabel.TORSO).astype(np.uint8), np.ones((5, 5), np.uint8))
        assert (frame.matte[clothes > 0] > 25).mean() < 0.002


def test_plate_is_the_source_outside_the_erased_head(clip: Clip, parsed: Parsed) -> None:
    for frame, result in zip(clip.frames, parsed.frames, strict=True):
        far = cv2.dilate(result.matte, np.ones((7, 7), np.uint8)) == 0
        assert far.mean() > 0.5
        assert np.array_equal(result.plate[far], frame[far])


def test_plate_shows_background_where_hair_and_forehead_were(clip: Clip, parsed: Parsed) -> None:
    for labels, points, result in zip(
        clip.labels, clip.track.landmarks68, parsed.frames, strict=True
    ):
        head = np.isin(labels, (PartLabel.FACE, PartLabel.HAIR))
        head[int(points[36:48, 1].mean()) :] = False
        error = np.abs(result.plate[head].astype(float) - clip.background[head])
        assert error.mean() < 12


def test_plate_continues_the_neck_under_the_jaw(clip: Clip, parsed: Parsed) -> None:
    for points, result in zip(clip.track.landmarks68, parsed.frames, strict=True):
        x, y = points[8].astype(int)
        under_lip = result.plate[y - 12 : y - 4, x - 8 : x + 8].reshape(-1, 3).mean(0)
        assert (result.labels[y + 10 : y + 24, x - 8 : x + 8] == PartLabel.NECK).mean() > 0.9
        neck = result.plate[y + 10 : y + 24, x - 8 : x + 8].reshape(-1, 3).mean(0)
        assert np.abs(under_lip - neck).max() < 40
        behind = clip.background[y - 8, x].astype(float)
        redness = (under_lip[0] - under_lip[2]) - (behind[0] - behind[2])
        assert redness > 40  # skin before a bluish wall


def test_clean_background_is_the_true_one_where_it_was_seen(clip: Clip, parsed: Parsed) -> None:
    background = parsed.scene.background
    error = np.abs(background.image.astype(float) - clip.background)
    assert background.coverage > 0.55
    assert error[background.seen].mean() < 1.5
    assert error[~background.seen].mean() < 12
    assert background.stillness > 0.95


def test_parsing_twice_gives_the_same_bytes(clip: Clip, parsed: Parsed) -> None:
    again = parsed.parser.parse(clip, clip.track, parsed.scene, clip.cuts)
    for first, second in zip(parsed.frames, again, strict=True):
        assert np.array_equal(first.labels, second.labels)
        assert np.array_equal(first.matte, second.matte)
        assert np.array_equal(first.plate, second.plate)


def test_a_frame_depends_on_its_neighbours_but_never_across_a_cut(
    clip: Clip, parsed: Parsed
) -> None:
    def first_matte(second: np.ndarray, cuts: list[int]) -> np.ndarray:
        frames = [clip.frames[0], second]
        track = FaceTrack(
            clip.track.landmarks68[:2],
            None if clip.track.mesh is None else clip.track.mesh[:2],
            clip.track.score[:2],
            clip.track.n_faces[:2],
            clip.track.size,
        )
        return next(parsed.parser.parse(lambda: frames, track, parsed.scene, cuts)).matte

    black = np.zeros_like(clip.frames[0])
    assert np.array_equal(first_matte(black, [1]), first_matte(clip.frames[1], [1]))
    assert not np.array_equal(first_matte(black, []), first_matte(clip.frames[1], []))


def test_a_shot_without_a_face_has_no_head_and_keeps_its_frames(clip: Clip, parsed: Parsed) -> None:
    score = clip.track.score.copy()
    score[1] = 0
    track = replace(clip.track, score=score)
    results = list(parsed.parser.parse(clip, track, parsed.scene, clip.cuts))
    assert results[1].matte.max() == 0
    assert np.array_equal(results[1].plate, clip.frames[1])
    assert results[0].matte.max() == 255


def test_a_clip_without_any_face_is_refused(clip: Clip) -> None:
    track = replace(clip.track, score=np.zeros_like(clip.track.score))
    with pytest.raises(FootageError) as error:
        PortraitParser(PersonSegmenter()).fit(clip, track)
    assert error.value.reason == "NO_FACE"


def test_the_silhouette_is_steady_in_consecutive_frames(parsed: Parsed, shared_data: Path) -> None:
    reader = VideoReader(shared_data / "virtual" / "subject_a" / "train.mp4")
    frames = list(reader.iter_rgb(0, 12))
    track = MeshFaceTracker().track(frames)
    mattes = [
        p.matte.astype(float) for p in parsed.parser.parse(lambda: frames, track, parsed.scene)
    ]
    truth = VideoReader(shared_data / "virtual" / "subject_a" / "matte_train.mp4")
    alphas = [a[:160, :, 0].astype(float) for a in truth.iter_rgb(0, 12)]  # above the shoulders
    ours = np.mean([np.abs(b[:160] - a[:160]).mean() for a, b in pairwise(mattes)])
    true = np.mean([np.abs(b - a).mean() for a, b in pairwise(alphas)])
    assert ours < 1.5 * true + 0.05
