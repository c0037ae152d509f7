"""A subject that is small and real: footage, and what the library makes of it in seconds."""

from __future__ import annotations

import dataclasses
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import av

from synctalk import preprocess, train
from synctalk.bundle import MANIFEST
from synctalk.expression import VQVAETraining
from synctalk.training import preset

SAMPLES = Path(__file__).parents[1] / "samples"
SECONDS = 12  # at least 10 s of speech must be seen
SIDE = 256  # px of its frames
CONSENT = "tenants/acme/consents/con_tiny"  # as whoever shows it must find it in Redis
CONFIG = dataclasses.replace(
    preset("demo"), n_gaussians=2000, steps=60, canonical_share=0.2, evaluate_every=100,
    max_frames=60, torso_steps=10, expression=VQVAETraining(steps=100, batch=16),
)  # fmt: skip


@dataclass(frozen=True)
class TinySubject:
    """Footage and what the library made of it. Read only: tests share it."""

    video: Path
    dataset: Path
    avatar: Path


def make_tiny_subject(folder: Path) -> TinySubject:
    """The first 12 s of the sample portrait as dataset and avatar (a minute of CPU time).

    What ``folder`` already has is taken as it is: an avatar is published whole or not at all.
    """
    subject = TinySubject(folder / "portrait.mp4", folder / "dataset", folder / "avatar")
    if subject.avatar.exists():
        return subject
    folder.mkdir(exist_ok=True)
    shrink_video(SAMPLES / "portrait.mp4", subject.video, SECONDS, SIDE)
    preprocess(subject.video, subject.dataset, size=SIDE)
    train(subject.dataset, subject.avatar, config=CONFIG, consent_id=CONSENT)
    return subject


def consented(avatar: Path, consent: str, folder: Path) -> Path:
    """A copy of an avatar that names another consent, below ``folder``."""
    copy = folder / "consented"
    shutil.copytree(avatar, copy)
    manifest = copy / MANIFEST
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"consent_id": consent}))
    return copy


def cut_video(source: Path, out: Path, seconds: float) -> None:
    """The first ``seconds`` of a video with its sound, packet by packet."""
    with av.open(str(source)) as read, av.open(str(out), "w") as write:
        copies = {
            stream: write.add_stream_from_template(stream)
            for stream in read.streams
            if stream.type in ("video", "audio")
        }
        for packet in read.demux(list(copies)):
            if packet.dts is not None and float(packet.pts * packet.time_base) < seconds:
                packet.stream = copies[packet.stream]
                write.mux(packet)


def shrink_video(source: Path, out: Path, seconds: float, size: int) -> None:
    """The first ``seconds`` of a square video at ``size`` px, with its sound."""
    with av.open(str(source)) as read, av.open(str(out), "w") as write:
        video, audio = read.streams.video[0], read.streams.audio[0]
        pictures = write.add_stream("libx264", 25, options={"preset": "ultrafast", "crf": "18"})
        pictures.width = pictures.height = size
        pictures.pix_fmt = "yuv420p"
        sound = write.add_stream_from_template(audio)
        for packet in read.demux(video, audio):
            if packet.stream is video:
                for frame in packet.decode():
                    if frame.time < seconds:
                        write.mux(pictures.encode(frame.reformat(size, size)))
            elif packet.pts is not None and packet.pts * packet.time_base < seconds:
                packet.stream = sound
                write.mux(packet)
        write.mux(pictures.encode())
