"""Say what a path holds, in words: a media file, a dataset folder or an avatar bundle."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from synctalk.errors import InputError
from synctalk.media import MediaInfo, probe

Kind = Literal["video", "audio", "dataset", "avatar"]
Value = str | int | float | bool


@dataclass(frozen=True)
class Fact:
    """One thing worth knowing.

    Args:
        name: stable identifier for programs, unit included, e.g. ``"duration_s"``.
        value: for programs.
        words: the same for people.
    """

    name: str
    value: Value
    words: str


@dataclass(frozen=True)
class Description:
    """What a path holds.

    Args:
        path: as given.
        kind: what it is.
        facts: in the order a person would want them.
    """

    path: Path
    kind: Kind
    facts: tuple[Fact, ...]

    def fact(self, name: str) -> Value:
        """The value of the fact called ``name``.

        Raises:
            KeyError: there is no such fact.
        """
        return {fact.name: fact.value for fact in self.facts}[name]


def describe(path: str | os.PathLike[str]) -> Description:
    """Describe a video or audio file, a dataset or an avatar.

    Raises:
        InputError: the path does not exist, or is a folder of another kind.
        MediaError: a file that is not usable media.
        DatasetError, BundleError: a damaged or incomplete folder, or of another version.
    """
    path = Path(path)
    if not path.is_dir():
        return _describe_media(path)
    # Imported here: the artifacts bring torch, which a look at a video does not need.
    from synctalk import bundle, dataset

    if (path / bundle.WEIGHTS).is_file():
        return _describe_avatar(path)
    if (path / dataset.MANIFEST).is_file():
        return _describe_dataset(path)
    raise InputError(
        f"{path} is neither a dataset nor an avatar.",
        reason="UNKNOWN_FOLDER",
        remedy="Give a video or audio file, or a folder written by preprocess or train.",
    )


def _describe_media(path: Path) -> Description:
    info = probe(path)
    facts = [_duration(info.duration_s), Fact("container", info.container, info.container)]
    facts += _video_facts(info) + _audio_facts(info)
    return Description(path, "video" if info.video else "audio", tuple(facts))


def _video_facts(info: MediaInfo) -> list[Fact]:
    video = info.video
    if video is None:
        return []
    turned = f", turned by {video.rotation_deg}°" if video.rotation_deg else ""
    pace = "variable, on average " if video.is_vfr else ""
    facts = [
        Fact("video_codec", video.codec, f"{video.codec}, {video.pix_fmt}"),
        Fact("width_px", video.width, f"{video.width} px wide, as shown{turned}"),
        Fact("height_px", video.height, f"{video.height} px high"),
        Fact("fps", round(video.fps, 3), f"{pace}{video.fps:g} frames a second"),
        Fact("n_frames", video.n_frames, f"{video.n_frames} frames"),
    ]
    if video.is_hdr:
        facts.append(Fact("is_hdr", True, "high dynamic range: colours will look flat"))
    return facts


def _audio_facts(info: MediaInfo) -> list[Fact]:
    audio = info.audio
    if audio is None:
        return [Fact("has_audio", False, "no sound: an avatar needs speech")]
    words = f"{audio.codec}, {audio.sample_rate} Hz, {_plural(audio.channels, 'channel')}"
    return [
        Fact("has_audio", True, words),
        Fact("sample_rate_hz", audio.sample_rate, f"{audio.sample_rate} Hz"),
    ]


def _describe_dataset(path: Path) -> Description:
    from synctalk.dataset import QUALITY, SubjectDataset

    dataset = SubjectDataset.open(path)
    facts = dataset.manifest
    tracked = float(dataset.tracks.valid.mean())
    held_out = len(dataset.held_out_range)
    description = [
        Fact("source", facts.source_name, f"made from {facts.source_name}"),
        _duration(facts.n_frames / facts.fps),
        Fact("n_frames", facts.n_frames, f"{facts.n_frames} frames at {facts.fps} a second"),
        Fact("held_out_frames", held_out, f"the last {held_out} are kept for testing"),
        Fact("size_px", facts.size, f"face crop of {facts.size} × {facts.size} px"),
        Fact(
            "source_size_px",
            f"{facts.source_width}x{facts.source_height}",
            f"source of {facts.source_width} × {facts.source_height} px",
        ),
        Fact("cuts", len(facts.cuts), _plural(len(facts.cuts), "cut")),
        Fact("tracker", facts.tracker, f"tracked by {facts.tracker}"),
        Fact("tracked_share", round(tracked, 4), f"head pose known in {tracked:.1%} of the frames"),
        *_timing_facts(facts.timings_s, "preprocessing took"),
        *_quality_facts(path / QUALITY),
    ]
    return Description(path, "dataset", tuple(description))


def _quality_facts(path: Path) -> list[Fact]:
    """The footage report's verdicts that are not simply good."""
    from synctalk.quality import QualityReport

    report = QualityReport.from_json(path.read_text())
    return [
        Fact(f"quality_{v.name}", v.level, f"{v.message} {v.remedy}".strip())
        for v in report.warnings
    ]


def _describe_avatar(path: Path) -> Description:
    from synctalk.bundle import AvatarBundle

    manifest = AvatarBundle.open(path).manifest
    metrics = [
        Fact(name, round(value, 4), f"{name.replace('_', ' ')} {value:.4g}")
        for name, value in manifest.metrics.items()
    ]
    preset = str(manifest.settings.get("preset", "custom"))
    splats = int(manifest.settings.get("n_gaussians", 0))
    consent = manifest.consent_id
    description = [
        Fact("subject", manifest.subject, f"learnt from {manifest.subject}"),
        Fact("preset", preset, f"preset {preset}"),
        Fact("n_gaussians", splats, f"about {splats} Gaussians"),
        Fact("size_px", manifest.size, f"face crop of {manifest.size} × {manifest.size} px"),
        Fact(
            "source_size_px",
            f"{manifest.source_width}x{manifest.source_height}",
            f"renders into {manifest.source_width} × {manifest.source_height} px",
        ),
        Fact(
            "played_s",
            len(manifest.played) / manifest.fps,
            f"plays {spoken_duration(len(manifest.played) / manifest.fps)} of its footage",
        ),
        Fact("consent_id", consent or "", f"consent {consent}" if consent else "no consent record"),
        *metrics,
        *_timing_facts(manifest.timings_s, "making it took"),
    ]
    return Description(path, "avatar", tuple(description))


def _timing_facts(timings_s: Mapping[str, float], label: str) -> list[Fact]:
    total = float(sum(timings_s.values()))
    if total == 0:
        return []
    return [Fact("total_s", round(total, 2), f"{label} {spoken_duration(total)}")]


def _duration(seconds: float) -> Fact:
    return Fact("duration_s", round(seconds, 3), f"{spoken_duration(seconds)} long")


def spoken_duration(seconds: float) -> str:
    """E.g. ``"25.8 s"`` or ``"3 min 05 s"``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{int(seconds) // 60} min {int(seconds) % 60:02d} s"


def _plural(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"
