"""Batch dubbing: an avatar speaks an audio file (DESIGN §1, flow 2).

The source footage plays on under the new speech, forwards and backwards within its longest run of
one shot with a face in each frame, so that audio of any length never meets a jump. Head pose and
gaze come from the footage, the lips from the audio; so do blinks and brows, or they come from the
footage, too.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import repeat, tee
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from synctalk.avatar import Avatar, Driving, Scene
from synctalk.backdrop import Backdrop, Order, colour
from synctalk.bundle import BUNDLE_PLATES, SOURCE
from synctalk.dataset import FPS, SAMPLE_RATE_HZ
from synctalk.errors import InputError, MediaError
from synctalk.expression import (
    BLINKS_PER_MINUTE,
    STYLES,
    ProsodicExpression,
    measure_prosody,
    read_blendshapes,
)
from synctalk.face_sync import AudioVisualEncoder
from synctalk.media import VideoPreset, VideoWriter, Yuv420, read_audio, read_picture
from synctalk.media.ordered import ordered_frames
from synctalk.progress import ProgressCallback, StageProgress, ignore_progress
from synctalk.provenance import (
    Claim,
    Provenance,
    Stamp,
    provenance_from_environment,
    sign_file,
)
from synctalk.render.compositing import Cutout, straight
from synctalk.render.torso import Neck, lay_neck

MIN_AUDIO_S = 0.2
SOURCE_BACKGROUND, TRANSPARENT_BACKGROUND = "source", "transparent"
AUTO_EXPRESSION, SOURCE_EXPRESSION = "auto", "source"


@dataclass(frozen=True)
class DubResult:
    """What a dub made and what it cost.

    Args:
        path: the video.
        n_frames, duration_s: its length.
        fps: frames per second of wall-clock time, encoding included.
        timings_ms: milliseconds per frame by stage.
        mark_id: what the watermark of its frames carries; 0: they are not marked.
        signed: whether it is signed; what cannot hold a signature has it in ``NAME.c2pa``.
    """

    path: Path
    n_frames: int
    duration_s: float
    fps: float
    timings_ms: dict[str, float] = field(default_factory=dict)
    mark_id: int = 0
    signed: bool = False


def play_order(shot: range, length: int, first: int = 0) -> NDArray[np.int64]:
    """Source frame of each of ``length`` output frames from ``first`` on: to and fro in ``shot``.

    Neighbouring output frames show the same or neighbouring source frames, so nothing jumps.
    """
    start, span = shot.start, len(shot)
    period = max(2 * (span - 1), 1)
    phase = np.arange(first, first + length) % period
    return start + np.where(phase < span, phase, period - phase)


def dub(
    avatar: str | os.PathLike[str],
    audio: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    portrait: bool = True,
    torso: bool = True,
    background: str | os.PathLike[str] = SOURCE_BACKGROUND,
    expression: str | os.PathLike[str] = AUTO_EXPRESSION,
    blinks_per_minute: float = BLINKS_PER_MINUTE,
    seed: int = 0,
    device: str = "auto",
    provenance: Provenance | None = None,
    progress: ProgressCallback = ignore_progress,
) -> DubResult:
    """Make ``avatar`` speak ``audio`` and write the video ``out``.

    Args:
        avatar: folder of an AvatarBundle.
        audio: any audio file, or a video with sound.
        out: MP4 to write, or WebM or MOV where the background is transparent; appears when it is
            whole.
        portrait: blend the face into the source at its full resolution (METHOD row 11); without
            it the rendered crop alone is written.
        torso: restore the neck under a jaw that is lower in the source (METHOD row 13), if the
            avatar has it; those trained before there was a restorer have not.
        background: ``"source"``, ``"transparent"``, ``"#rrggbb"``, or a picture file, which is
            made to fill the frame.
        expression: what brows and lids do: ``"source"``, as in the footage; ``"natural"``,
            ``"calm"``, ``"emphatic"``, or ``"neutral"`` (blinks alone), by the voice; or a file of
            blendshapes (:func:`synctalk.expression.read_blendshapes`). ``"auto"`` is natural
            where the avatar has learnt its expressions, else source.
        blinks_per_minute: 0 to 60, where blinks are not the source's or a file's.
        seed: of blinks and brows; the same gives the same video.
        device: ``"auto"``, ``"cpu"`` or ``"cuda"``.
        provenance: how the video is marked and signed; None: as the environment's
            ``AVATAR_PROVENANCE__…`` say, and both where they say nothing.
        progress: receives events of the stage ``dub``.

    Raises:
        BundleError: the avatar is damaged, of another version, or too old for a background or
            an expression.
        MediaError: the audio or the picture cannot be decoded, or the audio is too short.
        InputError: ``out`` is no video of the right kind, the background no colour, the expression
            none of these, or its file not readable.
    """
    wav = read_audio(Path(audio), SAMPLE_RATE_HZ)
    if len(wav) < MIN_AUDIO_S * SAMPLE_RATE_HZ:
        raise MediaError(
            f"{audio}: {len(wav) / SAMPLE_RATE_HZ:.2f} s of audio.",
            reason="AUDIO_TOO_SHORT",
            remedy=f"Give at least {MIN_AUDIO_S} s of speech.",
        )
    clock = Stopwatch()
    person = Avatar.load(avatar, device)
    backdrop = _backdrop(person, background)
    _preset(Path(out), backdrop)
    clock.lap("load")
    n_frames = -(-len(wav) * FPS // SAMPLE_RATE_HZ)
    encoder = AudioVisualEncoder.pretrained()
    features = encoder.encode(torch.from_numpy(wav), n_frames).numpy()
    lips = person.lips_from_audio(features)
    clock.lap("audio")
    order = play_order(person.manifest.played, n_frames)
    driving = person.source[order]
    blendshapes = _blendshapes(person, expression, wav, n_frames, blinks_per_minute, seed)
    upper = driving.expression
    if blendshapes is not None:
        upper = person.expression.coefficients(order, blendshapes)
    driving = Driving(lips, upper, driving.R, driving.t)
    clock.lap("expression")
    provenance = provenance or provenance_from_environment()
    provenance.log_what_is_off()
    mark_id = _mark_id(person, wav, provenance) if provenance.watermark else 0
    with _signed(Path(out), person, provenance, mark_id) as path:
        _render(
            person, driving, order, wav, path, _preset(Path(out), backdrop), portrait, torso,
            backdrop, provenance, mark_id, progress,
        )  # fmt: skip
    clock.lap("frames")
    total_s = sum(clock.seconds.values())
    per_frame = {name: 1000 * s / n_frames for name, s in clock.seconds.items()}
    return DubResult(
        Path(out), n_frames, n_frames / FPS, n_frames / total_s, per_frame, mark_id, provenance.sign
    )


def _mark_id(person: Avatar, wav: NDArray[np.float32], provenance: Provenance) -> int:
    """Of this footage and this audio: the same dub has the same mark."""
    heard = sha256(wav.tobytes()).hexdigest()
    return provenance.mark_id(f"{person.manifest.source_sha256} {heard}")


@contextmanager
def _signed(out: Path, person: Avatar, provenance: Provenance, mark_id: int) -> Iterator[Path]:
    """Where to write the video, which is then signed and appears at ``out``."""
    if not provenance.sign:
        yield out
        return
    signer, manifest = provenance.signer(), person.manifest
    signer.check()  # before the frames, which take long
    unsigned = out.with_name(f".{out.name}.{os.getpid()}.unsigned")
    try:
        yield unsigned
        claim = Claim(out.name, mark_id, manifest.source_sha256, manifest.consent_id or "")
        sign_file(unsigned, out, claim, signer)
    finally:
        unsigned.unlink(missing_ok=True)


def _blendshapes(
    person: Avatar,
    expression: str | os.PathLike[str],
    wav: NDArray[np.float32],
    n_frames: int,
    blinks_per_minute: float,
    seed: int,
) -> NDArray[np.float32] | None:
    """[T, 52] of a dub; None keeps the source's expression."""
    name = os.fspath(expression)
    if name == AUTO_EXPRESSION:
        name = "natural" if person.has_expression else SOURCE_EXPRESSION
    if name == SOURCE_EXPRESSION:
        return None
    if name not in STYLES:
        return read_blendshapes(name, n_frames)
    generator = ProsodicExpression(name, blinks_per_minute, seed)
    return generator.generate(measure_prosody(wav, n_frames))


def _backdrop(person: Avatar, background: str | os.PathLike[str]) -> Backdrop | None:
    text = os.fspath(background)
    if text == SOURCE_BACKGROUND:
        return None
    if text == TRANSPARENT_BACKGROUND:
        return Backdrop(person.bundle, None)
    picture = colour(text) if text.startswith("#") else read_picture(text)
    return Backdrop(person.bundle, picture)


def _render(
    person: Avatar,
    driving: Driving,
    order: Order,
    wav: NDArray[np.float32],
    out: Path,
    preset: VideoPreset,
    portrait: bool,
    torso: bool,
    backdrop: Backdrop | None,
    provenance: Provenance,
    mark_id: int,
    progress: ProgressCallback,
) -> None:
    manifest = person.manifest
    size = (manifest.size, manifest.size)
    if portrait:
        size = (manifest.source_width, manifest.source_height)
    stage = StageProgress(progress, "dub", len(order))
    stamp = Stamp(provenance, mark_id, *size, label=provenance.label)
    out.parent.mkdir(parents=True, exist_ok=True)
    with VideoWriter(
        out, *size, FPS, preset=preset, audio=wav, sample_rate=SAMPLE_RATE_HZ
    ) as writer:
        if backdrop is not None and backdrop.transparent:
            cuts = cutouts(person, driving, order, backdrop, portrait=portrait, torso=torso)
            for cut in stage.wrap(cuts):
                stamp(cut.picture, cut.matte)
                writer.write_cutout(cut.picture, cut.matte)
        else:
            frames = dubbed_frames(person, driving, order, backdrop, portrait=portrait, torso=torso)
            for frame in stage.wrap(frames):
                stamp(frame)
                writer.write_yuv(frame)


def _preset(out: Path, backdrop: Backdrop | None) -> VideoPreset:
    presets = {".webm": VideoPreset.VP9_ALPHA, ".mov": VideoPreset.PRORES_4444}
    transparent = backdrop is not None and backdrop.transparent
    if transparent != (out.suffix.lower() in presets):
        raise InputError(
            f"{out}: {'a transparent' if transparent else 'an opaque'} background.",
            reason="VIDEO_FORMAT",
            remedy="Write .webm or .mov with a transparent background, .mp4 with any other.",
        )
    return presets.get(out.suffix.lower(), VideoPreset.DELIVERY)


def dubbed_frames(
    person: Avatar,
    driving: Driving,
    order: Order,
    backdrop: Backdrop | None,
    *,
    portrait: bool = True,
    torso: bool = True,
) -> Iterator[Yuv420]:
    """The frames of a dub: the source's [H,W] with the face blended in, or the crop's [S,S].

    Args:
        order: source frame of each frame of ``driving``.
        backdrop: what stands behind, not transparent; None: what was filmed.
        torso: restore the neck under the jaw, if the avatar can.
    """
    plates, necks = _plates(person, driving, order, torso)
    if backdrop is None:
        sources = ordered_frames(person.bundle.path / SOURCE, order)
    else:
        plates = (cut.picture for cut in backdrop.plates(order, plates))
        sources = (cut.picture for cut in backdrop.sources(order))
    if not portrait:
        del necks  # else they would be kept for it
        return person.render_yuv(driving, plates)
    return person.render_portraits(driving, map(Scene, order.tolist(), sources, plates, necks))


def _plates(
    person: Avatar, driving: Driving, order: Order, torso: bool
) -> tuple[Iterator[Yuv420], Iterator[Neck | None]]:
    """The plates of ``order``, their necks restored if so wished, and those necks."""
    necks = person.necks(order, driving.lip) if torso else repeat(None, len(order))
    now, later = tee(necks)
    plates = ordered_frames(person.bundle.path / BUNDLE_PLATES, order)
    return (_with_neck(p, n) for p, n in zip(plates, now, strict=True)), later


def _with_neck(plate: Yuv420, neck: Neck | None) -> Yuv420:
    if neck is not None:
        lay_neck(plate, neck)
    return plate


def cutouts(
    person: Avatar,
    driving: Driving,
    order: Order,
    backdrop: Backdrop,
    *,
    portrait: bool = True,
    torso: bool = True,
) -> Iterator[Cutout]:
    """As :func:`dubbed_frames`, before a transparent ``backdrop``; colours are straight."""
    for cut in _cutouts(person, driving, order, backdrop, portrait, torso):
        yield Cutout(straight(cut), cut.matte)


def _cutouts(
    person: Avatar,
    driving: Driving,
    order: Order,
    backdrop: Backdrop,
    portrait: bool,
    torso: bool,
) -> Iterator[Cutout]:
    plates, necks = _plates(person, driving, order, torso)
    cuts = backdrop.plates(order, plates)
    if not portrait:
        del necks
        return person.render_cutouts(driving, cuts)
    scenes = map(Scene, order.tolist(), backdrop.sources(order), cuts, necks)
    return person.render_portraits(driving, scenes)


class Stopwatch:
    """Seconds by name, from one lap to the next."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        """Note the time since the last lap under ``name``."""
        now = time.perf_counter()
        self.seconds[name] = self.seconds.get(name, 0.0) + now - self._last
        self._last = now
