"""Cells of a benchmark that dub with a trained avatar: long audio, the neck, brows and lids."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny import SAMPLES, TinySubject

from synctalk.benchmark import BenchReport, Plan, bench
from synctalk.benchmark.plan import Method, Sound, Subject
from synctalk.benchmark.result import CellResult
from synctalk.media import VideoReader

SPEECH = SAMPLES / "speech.wav"


@pytest.fixture(scope="module")
def made(tiny_subject: TinySubject, tmp_path_factory: pytest.TempPathFactory) -> BenchReport:
    paths = {"portrait": tiny_subject.avatar}
    switches = ("torso-restorer", "expression-generator", "audio-visual-encoder")
    plan = Plan(
        "Dubs",
        (Subject("portrait", dataset=tiny_subject.dataset, size=256),),
        (
            Method("ours", "avatar", paths=paths),
            *(Method(s, "avatar", paths=paths, without=(s,), base="ours") for s in switches),
        ),
        (
            Sound("speech", SPEECH, "Audio A", seconds=2.0),
            Sound("word", SPEECH, "long", from_s=1.0, seconds=1.0),
        ),
        ("cross-audio", "long"),
        metrics=("sync_own_confidence", "pose_jitter"),
        long_s=3.0,
    )
    return bench(plan, tmp_path_factory.mktemp("dubs"), cache=tmp_path_factory.mktemp("cache"))


def cell(made: BenchReport, protocol: str, method: str) -> CellResult:
    (found,) = [r for r in made.results if (r.protocol, r.method) == (protocol, method)]
    assert found.failure is None, found.failure
    return found


def film(made: BenchReport, protocol: str, name: str) -> np.ndarray:
    path: Path = made.path / "cells" / protocol / "portrait" / f"{name}-seed0" / "video.mp4"
    with VideoReader(path) as reader:
        return np.stack(list(reader.iter_rgb()))


def test_a_long_talk_is_looked_at_and_its_end_can_be_seen(made: BenchReport) -> None:
    long = cell(made, "long", "ours")
    assert long.points["minute"] == (0.0,)
    assert (long.points["fps"][0] or 0) > 0
    assert (long.run["fps_end_to_end"] or 0) > 0
    assert np.isfinite(long.points["pose_jitter"][0] or np.nan)
    assert film(made, "long", "word-ours").shape == (75, 256, 256, 3)
    folder = made.path / "cells" / "long" / "portrait" / "word-ours-seed0"
    assert {p.name for p in folder.iterdir()} == {"video.mp4", "result.json"}


def test_a_switch_of_the_dub_changes_what_it_says(made: BenchReport) -> None:
    whole = film(made, "cross-audio", "speech-ours").astype(float)
    changed = {
        name: np.abs(film(made, "cross-audio", f"speech-{name}") - whole).mean((0, 3))
        for name in ("torso-restorer", "expression-generator", "audio-visual-encoder")
    }
    assert all(d.max() > 1 for d in changed.values())
    rows = np.arange(256) / 256
    places = {name: float((d.sum(1) * rows).sum() / d.sum()) for name, d in changed.items()}
    assert places["expression-generator"] < min(
        places["torso-restorer"], places["audio-visual-encoder"]
    )
