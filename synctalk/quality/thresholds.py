"""Where footage stops being good, and where it stops being usable."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class QualityThresholds:
    """Bounds of every check. ``warn_*`` still makes an avatar, ``refuse_*`` does not.

    Set on the project's test footage: a broadcast close-up, a compressed web clip, eight lab
    recordings with small faces, a moving background, glasses, and rendered people.

    Args:
        refuse_speech_s: seconds of visible speech below which nothing can be learnt.
        warn_speech_s: seconds below which rare mouth shapes will be missing (2-5 min are best).
        refuse_face_share: share of frames with a face.
        warn_several_share: share of frames with more than one face.
        refuse_several_share: the same, beyond which it is unclear who is meant.
        warn_eye_distance_px: between the eyes' centres.
        refuse_eye_distance_px: the same.
        warn_sharpness: see :func:`synctalk.quality.pixels.sharpness_of`.
        refuse_sharpness: the same.
        warn_dark: mean brightness of the face, 0..1.
        warn_bright: the same.
        warn_burnt_share: share of the face's pixels at the end of the scale.
        warn_uneven: |left - right| / (left + right) of the face's brightness.
        warn_yaw_deg: 98th percentile of the turn away from the camera.
        warn_still_deg: range of yaw below which the avatar will not bear turning.
        warn_pitch_range_deg: range of nodding.
        warn_mouth_range: range of the inner lips' gap, in eye distances.
        warn_mouth_closed: gap at the 5th percentile, in eye distances: a mouth that never shuts.
        warn_level_dbfs: RMS of the speech.
        refuse_level_dbfs: the same.
        warn_snr_db: speech above background sound.
        refuse_snr_db: the same.
        warn_clipped_share: share of samples in flat tops.
        warn_speech_share: share of the time in which there is speech.
        step_ms: sound that is later or earlier than the lips by more is moved.
        min_offset_confidence: below it no offset can be told.
        suspicious_after_s: seconds of speech from which lips that follow no sound are suspicious.
        warn_background_levels: mean change of the background in 0.2 s, grey levels.
        warn_duplicated_share: share of frames that repeat their predecessor.
        warn_damaged: packets that could not be decoded.
    """

    refuse_speech_s: float = 10.0
    warn_speech_s: float = 120.0
    refuse_face_share: float = 0.6
    warn_several_share: float = 0.02
    refuse_several_share: float = 0.5
    warn_eye_distance_px: float = 60.0
    refuse_eye_distance_px: float = 24.0
    warn_sharpness: float = 4.0
    refuse_sharpness: float = 0.4
    warn_dark: float = 0.2
    warn_bright: float = 0.8
    warn_burnt_share: float = 0.05
    warn_uneven: float = 0.3
    warn_yaw_deg: float = 35.0
    warn_still_deg: float = 3.0
    warn_pitch_range_deg: float = 40.0
    warn_mouth_range: float = 0.08
    warn_mouth_closed: float = 0.06
    warn_level_dbfs: float = -36.0
    refuse_level_dbfs: float = -60.0
    warn_snr_db: float = 20.0
    refuse_snr_db: float = 5.0
    warn_clipped_share: float = 1e-4
    warn_speech_share: float = 0.5
    step_ms: float = 80.0
    min_offset_confidence: float = 0.35
    suspicious_after_s: float = 6.0
    warn_background_levels: float = 1.6
    warn_duplicated_share: float = 0.05
    warn_damaged: int = 1
