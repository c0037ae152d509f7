"""Judge footage before any long work."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from synctalk.face.tracking import FaceTrack
from synctalk.media import NormalisedMedia
from synctalk.quality.geometry import FaceMotion, face_motion
from synctalk.quality.pixels import Looks, look_at
from synctalk.quality.report import Level, QualityReport, Verdict
from synctalk.quality.sound import FPS, LipOffset, Sound, analyse_sound, lip_offset
from synctalk.quality.thresholds import QualityThresholds

Image = NDArray[np.uint8]
FloatArray = NDArray[np.float64]

_RECORD = "Record 2-5 minutes of one person speaking to the camera."
_RANGES_NAMED = 8


def assess_footage(
    media: NormalisedMedia,
    frames: Callable[[], Iterable[Image]],
    track: FaceTrack,
    wav: NDArray[np.float32],
    cuts: Sequence[int] = (),
    thresholds: QualityThresholds | None = None,
) -> QualityReport:
    """Measure everything that will show in the avatar, each with what to do about it.

    Reads the frames once and looks closely at five a second at most, so it takes seconds.

    Args:
        media: how the footage was normalised.
        frames: gives the normalised frames, RGB uint8 [H, W, 3], that were tracked.
        track: the face in each frame.
        wav: [n] float32, 16 kHz mono, as long as the frames.
        cuts: first frames of new shots.
        thresholds: bounds; the defaults are documented there.

    Returns:
        The report. Footage with ``refusals`` cannot become an avatar.
    """
    bounds = thresholds or QualityThresholds()
    motion = face_motion(track)
    sound = analyse_sound(wav, len(track.score))
    looks = look_at(frames(), motion, cuts, _worth_showing(track, motion))
    offset = lip_offset(motion.mouth_gap, wav)
    verdicts = [
        *_length(track, sound, bounds),
        *_faces(track, motion, bounds),
        *_pictures(looks, bounds),
        *_movement(motion, bounds),
        *_sounds(sound, bounds),
        _offset(offset, sound, bounds),
        _cuts(cuts),
        _background(looks, bounds),
        *_source(media, bounds),
    ]
    late = offset.sound_late_ms if offset and _trusted(offset, bounds) else None
    shift = -late if late is not None and abs(late) > bounds.step_ms else 0.0
    return QualityReport(tuple(verdicts), looks.samples, late, shift)


def name_ranges(frames: Iterable[int]) -> str:
    """``0-12, 40, 55-60``; long lists end in ``…``."""
    ranges: list[list[int]] = []
    for frame in frames:
        if ranges and frame == ranges[-1][1] + 1:
            ranges[-1][1] = frame
        else:
            ranges.append([frame, frame])
    named = [str(a) if a == b else f"{a}-{b}" for a, b in ranges[:_RANGES_NAMED]]
    return ", ".join(named + ["…"] * (len(ranges) > _RANGES_NAMED))


def _level(
    value: float,
    *,
    warn_below: float = -np.inf,
    refuse_below: float = -np.inf,
    warn_above: float = np.inf,
    refuse_above: float = np.inf,
) -> Level:
    if value < refuse_below or value > refuse_above:
        return "refuse"
    return "warn" if value < warn_below or value > warn_above else "good"


def _verdict(
    name: str, value: float | None, unit: str, level: Level, message: str, remedy: str
) -> Verdict:
    rounded = None if value is None else round(float(value), 5)
    return Verdict(name, rounded, unit, level, message, "" if level == "good" else remedy)


def _length(track: FaceTrack, sound: Sound, b: QualityThresholds) -> Iterator[Verdict]:
    usable = float((track.found & sound.speech).sum()) / FPS
    level = _level(usable, warn_below=b.warn_speech_s, refuse_below=b.refuse_speech_s)
    needed = {
        "refuse": f"; at least {b.refuse_speech_s:.0f} s are needed",
        "warn": "; 2-5 minutes are best",
        "good": "",
    }[level]
    yield _verdict(
        "usable_speech",
        usable,
        "s",
        level,
        f"{usable:.1f} s of visible speech{needed}.",
        _RECORD,
    )


def _faces(track: FaceTrack, motion: FaceMotion, b: QualityThresholds) -> Iterator[Verdict]:
    missing = np.flatnonzero(~track.found)
    share = float(track.found.mean()) if len(track.found) else 0.0
    yield _verdict(
        "face_found",
        share,
        "",
        "good" if share == 1 else _level(share, warn_below=2, refuse_below=b.refuse_face_share),
        "A face in every frame."
        if share == 1
        else f"No face in {len(missing)} of {len(track.found)} frames: {name_ranges(missing)}.",
        "Cut these passages out, or keep the face in the picture and uncovered.",
    )
    several = np.flatnonzero(track.n_faces > 1)
    share = len(several) / max(1, len(track.n_faces))
    yield _verdict(
        "single_face",
        share,
        "",
        _level(share, warn_above=b.warn_several_share, refuse_above=b.refuse_several_share),
        f"Several faces in {len(several)} frames: {name_ranges(several)}."
        if len(several)
        else "One face only.",
        "Film one person alone, without portraits or mirrors behind.",
    )
    distance = _quantile(motion.eye_distance_px, 50)
    if distance is not None:
        yield _verdict(
            "face_size",
            distance,
            "px",
            _level(
                distance,
                warn_below=b.warn_eye_distance_px,
                refuse_below=b.refuse_eye_distance_px,
            ),
            f"{distance:.0f} px between the eyes.",
            "Move closer, or film at a higher resolution: 100 px between the eyes are good.",
        )


def _pictures(looks: Looks, b: QualityThresholds) -> Iterator[Verdict]:
    if not looks.faces:
        return
    sharp = float(np.median([f.sharpness for f in looks.faces]))
    yield _verdict(
        "sharpness",
        sharp,
        "",
        _level(sharp, warn_below=b.warn_sharpness, refuse_below=b.refuse_sharpness),
        f"Sharpness of the face {sharp:.1f}" + (": soft." if sharp < b.warn_sharpness else "."),
        "Focus on the eyes, clean the lens, use more light or a higher bit rate.",
    )
    bright = float(np.median([f.brightness for f in looks.faces]))
    yield _verdict(
        "brightness",
        bright,
        "",
        _level(bright, warn_below=b.warn_dark, warn_above=b.warn_bright),
        f"The face's mean brightness is {bright:.0%}.",
        "Add soft light from the front, or lower the exposure if the face is too bright.",
    )
    burnt = float(np.median([f.burnt for f in looks.faces]))
    yield _verdict(
        "overexposed",
        burnt,
        "",
        _level(burnt, warn_above=b.warn_burnt_share),
        f"{burnt:.1%} of the face is overexposed.",
        "Lower the exposure: burnt-out skin has no shape that could be learnt.",
    )
    uneven = float(np.median([f.uneven for f in looks.faces]))
    yield _verdict(
        "even_light",
        uneven,
        "",
        _level(uneven, warn_above=b.warn_uneven),
        f"The sides of the face differ by {uneven:.0%} in brightness.",
        "Light the face from the front rather than from one side.",
    )


def _movement(motion: FaceMotion, b: QualityThresholds) -> Iterator[Verdict]:
    turn = _quantile(np.abs(motion.yaw_deg), 98)
    yaw, pitch = _range(motion.yaw_deg), _range(motion.pitch_deg)
    mouth, closed = _range(motion.mouth_gap), _quantile(motion.mouth_gap, 5)
    if turn is None or yaw is None or pitch is None or mouth is None or closed is None:
        return
    far, still = turn > b.warn_yaw_deg, yaw < b.warn_still_deg
    yield _verdict(
        "yaw_range",
        yaw,
        "deg",
        "warn" if far or still else "good",
        f"The head turns within {yaw:.0f}°, up to {turn:.0f}° away from the camera.",
        "Face the camera." if far else "Move the head naturally: the avatar learns its sides so.",
    )
    yield _verdict(
        "pitch_range",
        pitch,
        "deg",
        _level(pitch, warn_above=b.warn_pitch_range_deg),
        f"The head nods within {pitch:.0f}°.",
        "Keep the head level most of the time.",
    )
    yield _verdict(
        "mouth_range",
        mouth,
        "eye distances",
        _level(mouth, warn_below=b.warn_mouth_range),
        f"The lips open by up to {mouth:.2f} eye distances.",
        "Speak clearly and openly; read a text with many different sounds.",
    )
    yield _verdict(
        "mouth_closes",
        closed,
        "eye distances",
        _level(closed, warn_above=b.warn_mouth_closed),
        "The mouth is shut at times." if closed <= b.warn_mouth_closed else "It is never shut.",
        "Pause with closed lips now and then, or the avatar cannot close its mouth.",
    )


def _sounds(sound: Sound, b: QualityThresholds) -> Iterator[Verdict]:
    yield _verdict(
        "speech_level",
        sound.level_dbfs,
        "dBFS",
        _level(
            sound.level_dbfs,
            warn_below=b.warn_level_dbfs,
            refuse_below=b.refuse_level_dbfs,
        ),
        f"Speech at {sound.level_dbfs:.0f} dBFS.",
        "Bring the microphone closer or raise its level.",
    )
    yield _verdict(
        "speech_snr",
        sound.snr_db,
        "dB",
        _level(sound.snr_db, warn_below=b.warn_snr_db, refuse_below=b.refuse_snr_db),
        f"Speech stands {sound.snr_db:.0f} dB above the background sound.",
        "Record in a quiet room, without music, with the microphone close.",
    )
    yield _verdict(
        "clipping",
        sound.clipped_share,
        "",
        _level(sound.clipped_share, warn_above=b.warn_clipped_share),
        f"{sound.clipped_share:.3%} of the sound is clipped.",
        "Lower the recording level.",
    )
    share = float(sound.speech.mean()) if len(sound.speech) else 0.0
    yield _verdict(
        "speech_share",
        share,
        "",
        _level(share, warn_below=b.warn_speech_share),
        f"Speech in {share:.0%} of the time.",
        "Cut out long silences: they teach the avatar nothing.",
    )


def _trusted(offset: LipOffset, b: QualityThresholds) -> bool:
    return offset.confidence >= b.min_offset_confidence


def _offset(offset: LipOffset | None, sound: Sound, b: QualityThresholds) -> Verdict:
    if offset is not None and _trusted(offset, b):
        ms = offset.sound_late_ms
        side = "late" if ms > 0 else "early"
        moved = " and is moved into step" if abs(ms) > b.step_ms else ""
        said = f"The sound is {abs(ms):.0f} ms {side} (confidence {offset.confidence:.0%}){moved}."
        return _verdict("lip_audio_offset", ms, "ms", "good", said, "")
    suspicious = float(sound.speech.sum()) / FPS >= b.suspicious_after_s
    return _verdict(
        "lip_audio_offset",
        None,
        "ms",
        "warn" if suspicious else "good",
        "Lips and sound do not follow each other."
        if suspicious
        else "Too little speech to tell whether lips and sound are in step.",
        "Make sure that the person seen is the person heard, and that nothing was dubbed.",
    )


def _cuts(cuts: Sequence[int]) -> Verdict:
    times = ", ".join(f"{c / FPS:.1f} s" for c in cuts[:_RANGES_NAMED])
    more = ", …" if len(cuts) > _RANGES_NAMED else ""
    return _verdict(
        "cuts",
        float(len(cuts)),
        "",
        "warn" if cuts else "good",
        f"{len(cuts)} cuts, at {times}{more}." if cuts else "One continuous shot.",
        "One continuous shot is best; each piece between cuts is tracked on its own.",
    )


def _background(looks: Looks, b: QualityThresholds) -> Verdict:
    value = looks.background_levels
    moves = value is not None and value > b.warn_background_levels
    seen = "The background moves." if moves else "The background stands still."
    return _verdict(
        "background",
        value,
        "grey levels",
        "warn" if moves else "good",
        "No background is seen." if value is None else seen,
        "Film before a plain wall with the camera on a tripod.",
    )


def _source(media: NormalisedMedia, b: QualityThresholds) -> Iterator[Verdict]:
    repeated = media.duplicated / max(1, media.n_frames)
    yield _verdict(
        "frame_rate",
        repeated,
        "",
        _level(repeated, warn_above=b.warn_duplicated_share),
        f"{media.duplicated} of {media.n_frames} frames had to be repeated and {media.dropped}"
        f" left out to get from {media.source_fps:.3g} to {media.fps} fps.",
        "Record at 25, 30 or 50 fps, constant.",
    )
    yield _verdict(
        "damaged",
        float(media.damaged),
        "packets",
        _level(media.damaged, warn_above=b.warn_damaged - 1),
        f"{media.damaged} damaged packets.",
        "Copy or upload the file again.",
    )
    yield _verdict(
        "dynamic_range",
        float(media.source_is_hdr),
        "",
        "warn" if media.source_is_hdr else "good",
        "High dynamic range: colours will look flat."
        if media.source_is_hdr
        else "Standard dynamic range.",
        "Switch HDR off in the camera, or export the video as standard range (BT.709).",
    )


def _worth_showing(track: FaceTrack, motion: FaceMotion) -> dict[int, str]:
    """Frames that show the extremes, for the picture."""
    found = np.flatnonzero(track.found)
    chosen: dict[int, str] = {}
    missing = np.flatnonzero(~track.found)
    if len(missing):
        chosen[int(missing[len(missing) // 2])] = "no face"
    if len(found) == 0:
        return chosen
    chosen[int(found[0])] = "first"
    for label, values, quantile in (
        ("mouth open", motion.mouth_gap, 99.5),
        ("turned left", motion.yaw_deg, 99),
        ("turned right", motion.yaw_deg, 1),
        ("looking down", motion.pitch_deg, 99),
    ):
        target = np.nanpercentile(values, quantile)
        chosen.setdefault(int(np.nanargmin(np.abs(values - target))), label)
    return chosen


def _quantile(values: FloatArray, q: float) -> float | None:
    known = values[np.isfinite(values)]
    return float(np.percentile(known, q)) if len(known) else None


def _range(values: FloatArray) -> float | None:
    known = values[np.isfinite(values)]
    return float(np.ptp(np.percentile(known, [2, 98]))) if len(known) else None
