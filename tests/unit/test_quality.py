"""Each fault of footage is noticed, named and comes with a remedy; good footage passes.

The clip is the small virtual person's, its face track the exact truth; faults are made by hand.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from synctalk.face.tracking import FaceTrack
from synctalk.media import NormalisedMedia, VideoReader, read_audio
from synctalk.quality import QualityReport, assess_footage, draw_quality_picture

FPS = 25


@dataclass(frozen=True)
class Footage:
    media: NormalisedMedia
    frames: tuple[np.ndarray, ...]
    track: FaceTrack
    wav: np.ndarray
    cuts: tuple[int, ...] = ()

    def report(self) -> QualityReport:
        return assess_footage(
            self.media, lambda: iter(self.frames), self.track, self.wav, self.cuts
        )

    def level(self, name: str) -> str:
        return self.report().verdict(name).level

    def first(self, seconds: float) -> Footage:
        n = round(seconds * FPS)
        track = replace(
            self.track,
            landmarks68=self.track.landmarks68[:n],
            score=self.track.score[:n],
            n_faces=self.track.n_faces[:n],
        )
        return replace(
            self,
            media=replace(self.media, n_frames=n),
            frames=self.frames[:n],
            track=track,
            wav=self.wav[: n * 640],
        )

    def seen_through(self, change: Callable[[np.ndarray, int], np.ndarray]) -> Footage:
        frames = tuple(np.ascontiguousarray(change(f, i)) for i, f in enumerate(self.frames))
        return replace(self, frames=frames)

    def heard_through(self, change: Callable[[np.ndarray], np.ndarray]) -> Footage:
        return replace(self, wav=change(self.wav).astype(np.float32))


def facts(n: int, size: int, **changes: object) -> NormalisedMedia:
    good = NormalisedMedia(
        width=size, height=size, fps=FPS, n_frames=n, duplicated=0, dropped=0, damaged=0,
        samples=n * 640, audio_lead_s=0.0, audio_tail_s=0.0, lossless=True, source_width=size,
        source_height=size, source_fps=25.0, source_is_vfr=False, source_is_hdr=False,
        source_audio_rate=16000,
    )  # fmt: skip
    return replace(good, **changes)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def good(shared_data: Path) -> Footage:
    """20 s of the virtual person, 256 px, in perfect sync."""
    folder = shared_data / "virtual" / "subject_a"
    frames = tuple(VideoReader(folder / "small.mp4"))
    n = len(frames)
    truth = np.load(folder / "truth.npz")
    landmarks = ((truth["lm2d"][:n] + 0.5) / 2).astype(np.float32)
    score, one = np.ones(n, np.float32), np.ones(n, np.int32)
    track = FaceTrack(landmarks, None, score, one, (256, 256))
    wav = read_audio(folder / "small.mp4")[: n * 640]
    return Footage(facts(n, 256), frames, track, wav)


def test_good_footage_is_not_refused_and_warned_of_its_size_alone(
    good: Footage, shared_data: Path
) -> None:
    report = good.report()
    assert report.refusals == ()
    assert {v.name for v in report.warnings} <= {"usable_speech", "face_size", "sharpness"}
    truth = np.load(shared_data / "virtual" / "subject_a" / "truth.npz")
    eyes_mm = np.linalg.norm(
        truth["lm3d_neutral"][36:42].mean(0) - truth["lm3d_neutral"][42:48].mean(0)
    )
    wanted_px = eyes_mm * 1200 / 2 / np.median(truth["lm3d_cam"][:500, 36:48, 2])
    assert report.verdict("face_size").value == pytest.approx(wanted_px, rel=0.02)
    assert all(v.remedy for v in report.warnings)
    assert all(not v.remedy for v in report.verdicts if v.level == "good")


def test_the_report_survives_json(good: Footage) -> None:
    report = good.first(12).report()
    content = json.loads(report.to_json())
    assert content["level"] == "warn"
    assert QualityReport.from_json(report.to_json()).verdicts == report.verdicts


@pytest.mark.parametrize("shift_ms", [-320, -120, 0, 120, 240])
def test_late_or_early_sound_is_measured(good: Footage, shift_ms: int) -> None:
    report = good.heard_through(lambda wav: np.roll(wav, shift_ms * 16)).report()
    assert report.sound_late_ms == pytest.approx(shift_ms, abs=15)
    verdict = report.verdict("lip_audio_offset")
    assert verdict.level == "good"
    moved = abs(shift_ms) > 80
    assert ("moved" in verdict.message) == moved
    assert report.sound_shift_ms == pytest.approx(-shift_ms if moved else 0, abs=15)


def test_sound_of_somebody_else_is_noticed(good: Footage, shared_data: Path) -> None:
    other = read_audio(shared_data / "audio" / "english_60s.wav")[: len(good.wav)]
    report = good.heard_through(lambda wav: other).report()
    assert report.sound_late_ms is None
    assert report.sound_shift_ms == 0
    assert report.verdict("lip_audio_offset").level == "warn"


def test_a_few_seconds_are_refused_for_their_length(good: Footage) -> None:
    verdict = good.first(4.9).report().verdict("usable_speech")
    assert verdict.level == "refuse"
    assert "at least 10 s" in verdict.message
    assert "minutes" in verdict.remedy


def test_frames_without_a_face_are_named(good: Footage) -> None:
    score = good.track.score.copy()
    score[40:60] = score[300] = 0
    landmarks = good.track.landmarks68.copy()
    landmarks[score == 0] = 0
    report = replace(good, track=replace(good.track, score=score, landmarks68=landmarks)).report()
    verdict = report.verdict("face_found")
    assert verdict.level == "warn"
    assert "40-59, 300" in verdict.message
    assert "no face" in [s.label for s in report.samples]


def test_a_video_without_any_face_is_refused(good: Footage) -> None:
    nothing = replace(
        good.track,
        score=np.zeros_like(good.track.score),
        n_faces=np.zeros_like(good.track.n_faces),
        landmarks68=np.zeros_like(good.track.landmarks68),
    )
    report = replace(good, track=nothing).report()
    assert {"face_found", "usable_speech"} <= {v.name for v in report.refusals}
    json.loads(report.to_json())


@pytest.mark.parametrize(("frames", "level"), [(3, "good"), (50, "warn"), (400, "refuse")])
def test_several_faces_are_noticed(good: Footage, frames: int, level: str) -> None:
    n_faces = good.track.n_faces.copy()
    n_faces[:frames] = 2
    assert replace(good, track=replace(good.track, n_faces=n_faces)).level("single_face") == level


PICTURE_FAULTS = {
    "sharpness": lambda f, i: cv2.GaussianBlur(f, (0, 0), 0.7),
    "brightness": lambda f, i: f // 5,
    "overexposed": lambda f, i: np.minimum(f.astype(int) * 2, 255).astype(np.uint8),
    "even_light": lambda f, i: (f * np.where(np.arange(256) < 128, 0.3, 1)[:, None]).astype(
        np.uint8
    ),
    "background": lambda f, i: np.roll(f, 3 * i, axis=1),
}


@pytest.mark.parametrize("check", PICTURE_FAULTS)
def test_a_fault_of_the_picture_is_noticed(good: Footage, check: str) -> None:
    clip = good.first(12)
    faulty = clip.seen_through(PICTURE_FAULTS[check])
    before, after = clip.report().verdict(check), faulty.report().verdict(check)
    assert after.level == "warn"
    assert after.value != before.value
    assert check == "sharpness" or before.level == "good"


def test_hopeless_blur_is_refused(good: Footage) -> None:
    blurred = good.first(12).seen_through(lambda f, i: cv2.GaussianBlur(f, (0, 0), 3))
    assert blurred.level("sharpness") == "refuse"


NOISE = np.random.default_rng(0).standard_normal(20 * 16000) * 0.05


@pytest.mark.parametrize(
    ("check", "level", "change"),
    [
        ("speech_level", "refuse", lambda wav: wav * 1e-4),
        ("speech_level", "warn", lambda wav: wav * 0.03),
        ("speech_snr", "warn", lambda wav: wav + NOISE[: len(wav)]),
        ("speech_snr", "refuse", lambda wav: NOISE[: len(wav)]),
        ("clipping", "warn", lambda wav: np.clip(wav * 8, -1, 1)),
        ("speech_share", "warn", lambda wav: wav * (np.arange(len(wav)) < len(wav) * 0.4)),
        ("usable_speech", "refuse", lambda wav: wav * 0),
    ],
)
def test_a_fault_of_the_sound_is_noticed(
    good: Footage, check: str, level: str, change: Callable[[np.ndarray], np.ndarray]
) -> None:
    assert good.heard_through(change).level(check) == level


def test_the_noise_level_is_measured(good: Footage) -> None:
    speech_db = good.report().verdict("speech_level").value or 0
    noise_db = 20 * np.log10(0.05)
    noisy = good.heard_through(lambda wav: wav + NOISE[: len(wav)])
    assert noisy.report().verdict("speech_snr").value == pytest.approx(speech_db - noise_db, abs=2)


def test_a_real_noisy_room_is_told_from_a_quiet_one(good: Footage, shared_data: Path) -> None:
    clip = good.first(6)
    levels = [
        clip.heard_through(lambda wav, name=name: read_audio(shared_data / "audio" / name))
        .report()
        .verdict("speech_snr")
        .level
        for name in ("narrative_clean.wav", "narrative_cafeteria_0db.wav")
    ]
    assert levels == ["good", "warn"]


def test_a_mouth_that_hardly_moves_or_never_shuts_is_noticed(good: Footage) -> None:
    still = good.track.landmarks68.copy()
    still[:, 60:] = still[:, 60:].mean(1, keepdims=True)
    open_ = good.track.landmarks68.copy()
    open_[:, 65:68, 1] += 6
    assert (
        replace(good, track=replace(good.track, landmarks68=still)).level("mouth_range") == "warn"
    )
    assert (
        replace(good, track=replace(good.track, landmarks68=open_)).level("mouth_closes") == "warn"
    )


def test_head_turns_are_measured_against_the_truth(good: Footage, shared_data: Path) -> None:
    truth = np.load(shared_data / "virtual" / "subject_a" / "truth.npz")["euler_ypr_deg"][:500]
    wanted = float(np.ptp(np.percentile(truth[:, 0], [2, 98])))
    assert good.report().verdict("yaw_range").value == pytest.approx(wanted, rel=0.25)


@pytest.mark.parametrize(
    ("changes", "check"),
    [
        ({"duplicated": 300, "source_fps": 10.0}, "frame_rate"),
        ({"damaged": 3}, "damaged"),
        ({"source_is_hdr": True}, "dynamic_range"),
    ],
)
def test_a_fault_of_the_file_is_reported(
    good: Footage, changes: dict[str, object], check: str
) -> None:
    clip = good.first(12)
    assert clip.level(check) == "good"
    assert replace(clip, media=facts(300, 256, **changes)).level(check) == "warn"


def test_cuts_are_named_by_their_time(good: Footage) -> None:
    verdict = replace(good.first(12), cuts=(50, 100)).report().verdict("cuts")
    assert (verdict.level, verdict.value) == ("warn", 2)
    assert "2.0 s, 4.0 s" in verdict.message


def test_frames_are_read_once_and_in_a_stream(good: Footage) -> None:
    handed_out: list[int] = []

    def frames() -> Iterator[np.ndarray]:
        for i, frame in enumerate(good.frames[:300]):
            handed_out.append(i)
            yield frame

    clip = good.first(12)
    assess_footage(clip.media, frames, clip.track, clip.wav)
    assert handed_out == list(range(300))


def drawn_levels(picture: np.ndarray, colours: Sequence[tuple[int, int, int]]) -> list[int]:
    return [int((np.abs(picture.astype(int) - c).max(2) < 3).sum()) for c in colours]


def test_the_picture_shows_faces_curves_and_every_verdict(good: Footage) -> None:
    report = good.report()
    picture = draw_quality_picture(report, good.track, good.wav)
    assert picture.dtype == np.uint8
    assert picture.shape[1:] == (1280, 3)
    green, amber, red = drawn_levels(picture, [(34, 139, 84), (203, 125, 10), (200, 40, 48)])
    assert green > 80 * (len(report.verdicts) - len(report.warnings))
    assert amber > 80 * len(report.warnings)
    assert red == 0
    landmarks = int((np.abs(picture.astype(int) - (60, 255, 120)).max(2) < 12).sum())
    assert landmarks > 3 * 68 * len(report.samples)


def test_the_picture_is_drawn_even_without_any_face(good: Footage) -> None:
    track = replace(good.track, score=np.zeros_like(good.track.score))
    report = replace(good, track=track).report()
    assert draw_quality_picture(report, track, good.wav).shape[1] == 1280


def test_a_real_moving_background_is_noticed_and_a_real_studio_is_not(shared_data: Path) -> None:
    # A fixed face suffices here: the check leaves out a wide oval around it.
    levels = []
    for name in ("moving_background_8s_512.mp4", "glasses_5s_524.mp4"):
        frames = tuple(VideoReader(shared_data / "video" / name).iter_rgb(0, 120))
        points = np.full((len(frames), 68, 2), 270, np.float32)
        points[:, 36:42] = (205, 215)
        points[:, 42:48] = (315, 215)
        ones = np.ones(len(frames))
        size = frames[0].shape[0]
        track = FaceTrack(
            points, None, ones.astype(np.float32), ones.astype(np.int32), (size, size)
        )
        silent = np.zeros(len(frames) * 640, np.float32)
        levels.append(Footage(facts(len(frames), size), frames, track, silent).level("background"))
    assert levels == ["warn", "good"]


def test_late_sound_of_a_real_clip_is_noticed(shared_data: Path) -> None:
    from synctalk.face.mesh import MeshFaceTracker

    path = shared_data / "video" / "speech_20s_450.mp4"
    n = 350
    frames = tuple(VideoReader(path).iter_rgb(0, n))
    track = MeshFaceTracker().track(iter(frames))
    report = Footage(facts(n, 450), frames, track, read_audio(path)[: n * 640]).report()
    assert report.refusals == ()
    assert report.sound_late_ms == pytest.approx(240, abs=20)
    assert report.sound_shift_ms == pytest.approx(-240, abs=20)
