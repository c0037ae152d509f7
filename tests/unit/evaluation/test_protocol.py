from __future__ import annotations

import dataclasses
import math
import weakref
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from synctalk.dataset import SubjectDataset
from synctalk.errors import BundleError, Cancelled
from synctalk.evaluation.protocol import measure_reconstruction
from synctalk.evaluation.result import EvaluationResult, mean
from synctalk.face.mesh import MeshFaceTracker
from synctalk.face.tracking import Image
from synctalk.media import VideoReader, probe
from synctalk.progress import ProgressEvent

from .conftest import CUT, NOISE, N, NoisyAvatar, OneByOne

FIRST = N - 25


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("evaluation")


@pytest.fixture(scope="module")
def result(avatar: NoisyAvatar, subject: SubjectDataset, folder: Path) -> EvaluationResult:
    return measure_reconstruction(avatar, subject, folder, tracker=MeshFaceTracker())


def expected_psnr(sigma: float) -> float:
    return 10 * math.log10(255**2 / (sigma**2 + 1 / 12))  # rounding adds a twelfth


def test_only_the_last_eleventh_is_measured(result: EvaluationResult) -> None:
    assert result.first == FIRST
    assert len(result.tracked.plain.psnr) == len(result.audio.lmd) == 25
    assert result.pose_deg.shape == (N, 3)


@pytest.mark.parametrize("name", ["tracked", "audio"])
def test_known_noise_gives_the_known_psnr(result: EvaluationResult, name: str) -> None:
    drive = getattr(result, name)
    for region in (drive.plain.psnr, drive.plain.psnr_head, drive.plain.psnr_mouth):
        assert mean(region) == pytest.approx(expected_psnr(NOISE[name]), abs=0.15)
    # blending keeps the upper half only: half the error energy
    gain = mean(drive.portrait.psnr) - mean(drive.plain.psnr)
    assert gain == pytest.approx(10 * math.log10(2), abs=0.1)


def test_lmd_of_noise_is_small_and_grows_with_it(result: EvaluationResult) -> None:
    assert np.isfinite(result.tracked.lmd).all()
    assert 0 < mean(result.tracked.lmd) < mean(result.audio.lmd) < 2


def test_lip_gaps_of_source_and_rendering_agree(result: EvaluationResult) -> None:
    assert np.corrcoef(result.source_lip_gap, result.tracked.lip_gap)[0, 1] > 0.97
    assert result.source_lip_gap.max() > 8  # the virtual speaker opens her mouth


def test_examples_are_spread_and_the_worst_come_first(result: EvaluationResult) -> None:
    indices = [e.index for e in result.tracked.examples]
    assert len(indices) == 10
    assert (indices[0], indices[-1]) == (FIRST, N - 1)
    worst = result.tracked.worst
    order = np.argsort(result.tracked.plain.psnr)[:6]
    assert [e.index - FIRST for e in worst] == order.tolist()


def test_the_video_shows_both_with_sound(result: EvaluationResult, folder: Path) -> None:
    info = probe(folder / result.audio.video)
    assert info.video is not None
    assert (info.video.width, info.video.height) == (512, 256)
    assert info.audio is not None
    assert len(VideoReader(folder / result.audio.video)) == 25


def test_timings_name_every_stage_once(result: EvaluationResult) -> None:
    assert dict(result.timings.preprocess_s) == {"track": 4.0, "head_sync": 7.5}
    assert dict(result.timings.train_s) == {"canonical": 20.0, "joint": 70.0}
    assert set(result.timings.frame_ms) == {
        "lips_from_audio", "decode_plate", "render", "blend_portrait", "encode",
    }  # fmt: skip


def test_an_avatar_of_other_footage_is_refused(
    avatar: NoisyAvatar, subject: SubjectDataset, tmp_path: Path
) -> None:
    foreign = SimpleNamespace(
        manifest=dataclasses.replace(avatar.manifest, source_sha256="cd" * 32)
    )
    with pytest.raises(BundleError) as refused:
        measure_reconstruction(foreign, subject, tmp_path, tracker=OneByOne())  # type: ignore[arg-type]
    assert refused.value.reason == "AVATAR_OF_OTHER_FOOTAGE"


class Counted(NoisyAvatar):
    """Counts rendered frames that are alive at once."""

    alive = most_alive = 0

    def render(self, driving: object, plates: Iterable[Image]) -> Iterator[Image]:
        for image in super().render(driving, plates):  # type: ignore[arg-type]
            self.alive += 1
            self.most_alive = max(self.alive, self.most_alive)
            weakref.finalize(image, self._gone)
            yield image

    def _gone(self) -> None:
        self.alive -= 1


def test_frames_are_streamed(
    subject: SubjectDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("synctalk.evaluation.protocol.measure_stages", lambda *_: {})
    counted = Counted(subject)
    tracker = OneByOne()
    result = measure_reconstruction(counted, subject, tmp_path, tracker=tracker)
    assert counted.most_alive <= 5
    assert tracker.cuts == [(CUT - FIRST,)] * 3
    # a face that is not found has no mouth to measure, and nothing is made up for it
    assert math.isnan(mean(result.tracked.lmd))
    assert math.isnan(mean(result.tracked.plain.psnr_mouth))
    assert mean(result.tracked.plain.psnr) > 30


def test_progress_names_the_stages_and_can_cancel(
    avatar: NoisyAvatar, subject: SubjectDataset, tmp_path: Path
) -> None:
    seen: list[str] = []

    def stop_at_audio(event: ProgressEvent) -> None:
        seen.append(event.stage)
        if event.stage == "evaluate audio":
            raise Cancelled("stopped")

    with pytest.raises(Cancelled):
        measure_reconstruction(
            avatar, subject, tmp_path, tracker=OneByOne(), progress=stop_at_audio
        )
    assert list(dict.fromkeys(seen)) == ["evaluate source", "evaluate tracked", "evaluate audio"]
    assert not (tmp_path / "source_and_audio.mp4").exists()
