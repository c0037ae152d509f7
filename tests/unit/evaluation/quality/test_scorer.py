"""The streaming scorer: what it measures, what it names absent, and what it refuses."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pytest

from synctalk.errors import FootageError, InputError
from synctalk.evaluation import metrics
from synctalk.evaluation.quality import METRICS, Absent, QualityModels, VideoScorer
from synctalk.face import FaceTrack, MeshFaceTracker
from synctalk.media import VideoReader, read_audio
from synctalk.progress import ProgressCallback, ignore_progress

from .seeded import Image, noisy, picture
from .test_faces import filmed

ROOT = Path(__file__).parents[4]
FRAMES = [picture(200, 220, seed) for seed in range(4)]
OTHERS = [noisy(frame, 5 + 3 * i) for i, frame in enumerate(FRAMES)]


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> QualityModels:
    """Nothing is found anywhere."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    return QualityModels(tmp_path)


class Fixed:
    """A tracker that has found a face already."""

    def __init__(self, track: FaceTrack, fails_at: int = -1) -> None:
        self.found, self.fails_at = track, fails_at
        self.seen: list[Image] = []

    def track(
        self,
        frames: Iterable[Image],
        *,
        cuts: Sequence[int] = (),
        progress: ProgressCallback = ignore_progress,
    ) -> FaceTrack:
        for frame in frames:
            if len(self.seen) == self.fails_at:
                raise FootageError("No.", reason="TEST")
            self.seen.append(frame)
        return self.found


def test_a_videos_figure_is_the_mean_of_its_frames(models: QualityModels) -> None:
    scorer = VideoScorer(metrics=["psnr", "ssim", "ms_ssim"], models=models)
    scorer.add_all(FRAMES, OTHERS)
    found = scorer.result()
    each = [metrics.psnr(o, f) for o, f in zip(OTHERS, FRAMES, strict=True)]
    assert found.n_frames == 4
    assert found.series["psnr"] == pytest.approx(each)
    assert found["psnr"] == pytest.approx(np.mean(each))
    assert found["ssim"] == pytest.approx(
        np.mean([metrics.ssim(o, f) for o, f in zip(OTHERS, FRAMES, strict=True)])
    )
    assert found["ms_ssim"] == pytest.approx(
        np.mean([metrics.ms_ssim(o, f) for o, f in zip(OTHERS, FRAMES, strict=True)])
    )


def test_regions_count_where_their_masks_are(models: QualityModels) -> None:
    mouth = np.zeros((200, 220), bool)
    mouth[100:150, 80:140] = True
    scorer = VideoScorer(metrics=["psnr_head", "psnr_mouth", "ssim_mouth"], models=models)
    scorer.add(FRAMES[0], OTHERS[0], mouth=mouth)
    scorer.add(FRAMES[1], OTHERS[1], mouth=np.zeros_like(mouth))
    found = scorer.result()
    assert found["psnr_mouth"] == pytest.approx(metrics.psnr(OTHERS[0], FRAMES[0], mouth))
    assert found["ssim_mouth"] == pytest.approx(metrics.ssim(OTHERS[0], FRAMES[0], mouth), abs=1e-6)
    assert np.isnan(found.series["psnr_mouth"][1])
    assert isinstance(found["psnr_head"], Absent)


def test_the_source_track_gives_the_mouth(models: QualityModels) -> None:
    frames = [picture(512, 512, 1)]
    scorer = VideoScorer(metrics=["psnr_mouth"], models=models, source=filmed(np.zeros((1, 3))))
    changed = frames[0].copy()
    changed[:100] = 0  # far from the mouth
    scorer.add_all(frames, [changed])
    assert scorer.result()["psnr_mouth"] == metrics.PSNR_CAP_DB


def test_everything_is_measured_or_named_absent(models: QualityModels) -> None:
    scorer = VideoScorer(models=models)
    scorer.add_all(FRAMES, OTHERS)
    found = scorer.result()
    assert list(found) == [name for name, spec in METRICS.items() if spec.kind == "video"]
    for name, value in found.items():
        if isinstance(value, Absent):
            assert value.reason
            assert value.remedy.endswith(".")
            assert set(METRICS[name].needs) - {"reference"}, name
        else:
            assert np.isfinite(value)
            assert set(METRICS[name].needs) <= {"reference"}, name


def test_flicker_is_not_taken_across_a_cut(models: QualityModels) -> None:
    still, bright = [FRAMES[0]] * 4, np.clip(FRAMES[0], 0, 200)
    frames = [bright, bright, bright + 10, bright + 10]
    for cuts, expected in (((), 10 / 3), ((2,), 0)):
        scorer = VideoScorer(metrics=["flicker"], models=models, cuts=cuts)
        scorer.add_all(still, frames)
        assert scorer.result()["flicker"] == pytest.approx(expected)


def test_small_frames_have_no_metric_of_large_windows(
    models: QualityModels, shared_data: Path
) -> None:
    scorer = VideoScorer(
        metrics=["ssim", "ms_ssim", "niqe"],
        models=QualityModels(shared_data / "weights" / "quality"),
    )
    scorer.add(FRAMES[0][:128, :128], OTHERS[0][:128, :128])
    found = scorer.result()
    assert isinstance(found["ssim"], float)
    for name in ("ms_ssim", "niqe"):
        value = found[name]
        assert isinstance(value, Absent)
        assert value.reason == "FRAME_TOO_SMALL"


@pytest.mark.parametrize(
    ("reference", "frame", "reason"),
    [
        (FRAMES[0], FRAMES[0][:-1], "IMAGE_SHAPE"),
        (FRAMES[0], FRAMES[0] / 255, "IMAGE_SHAPE"),
        (FRAMES[0][..., 0], FRAMES[0][..., 0], "IMAGE_SHAPE"),
        (FRAMES[0][:-1], FRAMES[0][:-1], "FRAME_SIZE_CHANGED"),
    ],
)
def test_frames_that_do_not_match_are_refused(
    models: QualityModels, reference: Image, frame: Image, reason: str
) -> None:
    scorer = VideoScorer(metrics=["psnr"], models=models)
    scorer.add(FRAMES[1], OTHERS[1])
    with pytest.raises(InputError) as caught:
        scorer.add(reference, frame)
    assert caught.value.reason == reason


@pytest.mark.parametrize(("n_source", "n_frames"), [(3, 4), (4, 3)])
def test_videos_of_unequal_length_are_refused(
    models: QualityModels, n_source: int, n_frames: int
) -> None:
    scorer = VideoScorer(metrics=["psnr"], models=models)
    with pytest.raises(InputError, match="ends after 3 frames"):
        scorer.add_all(FRAMES[:n_source], OTHERS[:n_frames])


@pytest.mark.parametrize("n_tracked", [3, 5])
def test_a_track_of_another_length_is_refused(models: QualityModels, n_tracked: int) -> None:
    source = filmed(np.zeros((n_tracked, 3)))
    scorer = VideoScorer(metrics=["psnr"], models=models, source=source)

    def score() -> None:
        scorer.add_all([picture(512, 512)] * 4, [picture(512, 512)] * 4)
        scorer.result()

    with pytest.raises(InputError) as caught:
        score()
    assert caught.value.reason == "LENGTHS_DIFFER"


def test_sound_of_another_length_is_refused(models: QualityModels) -> None:
    scorer = VideoScorer(metrics=["psnr"], models=models, audio=np.zeros(16000, np.float32))
    scorer.add_all(FRAMES, OTHERS)
    with pytest.raises(InputError, match=r"1\.00 s, the frames 0\.16 s"):
        scorer.result()


def test_a_track_of_another_size_is_refused(models: QualityModels) -> None:
    scorer = VideoScorer(metrics=["psnr"], models=models, source=filmed(np.zeros((4, 3))))
    with pytest.raises(InputError, match="512x512, frame 0 is 220x200"):
        scorer.add(FRAMES[0], OTHERS[0])


@pytest.mark.parametrize(
    "mask", [np.ones((100, 100), bool), np.ones((200, 220), np.uint8), np.ones((220, 200), bool)]
)
def test_masks_that_do_not_fit_are_refused(models: QualityModels, mask: np.ndarray) -> None:
    with pytest.raises(InputError) as caught:
        VideoScorer(metrics=["psnr"], models=models).add(FRAMES[0], OTHERS[0], mouth=mask)
    assert caught.value.reason == "MASK_SHAPE"


@pytest.mark.parametrize(
    "sound",
    [
        np.full(2560, 8000, np.float32),
        np.zeros(2560, np.int16),
        np.zeros((2, 2560), np.float32),
        np.full(2560, np.nan, np.float32),
    ],
)
def test_sound_of_another_kind_is_refused(models: QualityModels, sound: np.ndarray) -> None:
    with pytest.raises(InputError) as caught:
        VideoScorer(metrics=["psnr"], models=models, audio=sound)
    assert caught.value.reason == "BAD_WAVEFORM"


@pytest.mark.parametrize("name", ["sharpness", "train_s"])
def test_what_is_no_metric_of_a_video_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=name):
        VideoScorer(metrics=[name])


def test_no_frames_have_no_scores(models: QualityModels) -> None:
    with pytest.raises(InputError, match="No frame"):
        VideoScorer(models=models).result()


def test_faces_of_the_rendered_frames_are_followed_as_they_come(models: QualityModels) -> None:
    pose = np.linspace(0, 3, 12)[:, None] * [1, 0, 0]
    frames = [picture(512, 512, 1)] * 12
    tracker = Fixed(filmed(pose + np.array([1.0, 0, 0])))
    with VideoScorer(
        metrics=["lmd", "pose_error", "pose_jitter"],
        models=models,
        source=filmed(pose),
        tracker=tracker,
    ) as scorer:
        scorer.add_all(frames, frames)
        found = scorer.result()
    assert len(tracker.seen) == 12
    assert found["pose_error"] == pytest.approx(1, abs=0.02)
    assert found["pose_jitter"] == pytest.approx(0, abs=0.02)
    assert 0 < found["lmd"] < 1
    assert found.series["pose_error"].shape == (12,)


def test_a_tracker_that_fails_is_heard_of(models: QualityModels) -> None:
    tracker = Fixed(filmed(np.zeros((1, 3))), fails_at=2)
    scorer = VideoScorer(metrics=["pose_jitter"], models=models, tracker=tracker)
    with pytest.raises(FootageError):
        scorer.add_all(FRAMES[:1] * 50, OTHERS[:1] * 50)
    scorer.close()


def test_a_scorer_may_be_left_without_a_result(models: QualityModels) -> None:
    tracker = Fixed(filmed(np.zeros((2, 3))))
    with VideoScorer(metrics=["pose_jitter"], models=models, tracker=tracker) as scorer:
        scorer.add(FRAMES[0], OTHERS[0])
    assert len(tracker.seen) == 1


def test_a_real_face_is_followed_and_judged_with_its_sound(models: QualityModels) -> None:
    sample, n = ROOT / "samples" / "portrait.mp4", 45
    with VideoReader(sample) as reader:
        frames = [
            np.ascontiguousarray(f) for f, _ in zip(reader.iter_rgb(), range(n), strict=False)
        ]
    sound = read_audio(sample)
    tracker = MeshFaceTracker(1)
    wanted = ["lmd", "pose_error", "aue_own", "sync_own_confidence"]

    def score(audio: np.ndarray, shown: list[Image]) -> dict[str, float]:
        with VideoScorer(
            metrics=wanted, models=models, source=source, tracker=tracker, audio=audio
        ) as scorer:
            scorer.add_all(frames, shown)
            found = scorer.result()
        return {name: value for name, value in found.items() if isinstance(value, float)}

    source = tracker.track(frames)
    own = score(sound[: n * 640], frames)
    other = score(sound[12 * 640 : (12 + n) * 640], [frames[0]] * n)
    assert own["lmd"] == own["pose_error"] == own["aue_own"] == 0
    assert own["sync_own_confidence"] > 0.1
    assert other["lmd"] > 0.3
    assert other["pose_error"] > 0.3
    assert other["aue_own"] > 0.5
    assert other["sync_own_confidence"] < own["sync_own_confidence"]


def test_every_metric_is_documented() -> None:
    page = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    assert [name for name in METRICS if f"`{name}`" not in page] == []
