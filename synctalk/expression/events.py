"""When eyes blink and brows move: a plan of events, drawn from a seed and timed by the voice.

Blinks are a renewal process: log-normal gaps (mean 60 s over the rate, the variation that tracked
speakers show), none shorter than the eye needs to rest. A blink that falls near the end of a phrase
waits for it, as people's do. Brow accents begin shortly before the syllables that loudness and
pitch make stand out; see docs/research/expression.md for what was measured.

Every draw is counted from the seed, so a plan depends on the seed and the voice alone, and what
comes later changes nothing before it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from synctalk.errors import InputError
from synctalk.expression.prosody import FPS, Prosody, smoothed

Style = Literal["natural", "neutral", "calm", "emphatic"]

BLINKS_PER_MINUTE = 17.0
MOST_BLINKS_PER_MINUTE = 60.0
GAP_SPREAD = 0.45  # standard deviation of log gaps; tracked speakers show 0.3 to 0.6
LEAST_GAP_S = 0.6
PHRASE_END_REACH_S = 0.5
AFTER_PHRASE_END_S = 0.06

LEAD_S = 0.12  # a brow begins to move so long before the syllable it stresses
RELATIVE_S = 1.0  # loudness and pitch stand out against so much of the speech around them


@dataclass(frozen=True)
class StyleSettings:
    """How much the brows do.

    Args:
        accents_per_minute: of speech, at most.
        strength: of the strongest accent's brow movement, as a blendshape.
        drift: of what brows do by themselves.
    """

    accents_per_minute: float
    strength: float
    drift: float


STYLES: dict[Style, StyleSettings] = {
    "natural": StyleSettings(accents_per_minute=14, strength=0.55, drift=0.04),
    "neutral": StyleSettings(accents_per_minute=0, strength=0.0, drift=0.0),
    "calm": StyleSettings(accents_per_minute=8, strength=0.3, drift=0.03),
    "emphatic": StyleSettings(accents_per_minute=24, strength=0.9, drift=0.06),
}


@dataclass(frozen=True)
class Blink:
    """A blink; ``closed_s`` is when the lids are down, ``depth`` how far (1: closed)."""

    closed_s: float
    depth: float


@dataclass(frozen=True)
class BrowAccent:
    """A brow movement that peaks at ``peak_s``.

    Args:
        raise_inner, raise_left, raise_right, frown: blendshapes at the peak.
        hold_s: how long it stays there.
    """

    peak_s: float
    raise_inner: float
    raise_left: float
    raise_right: float
    frown: float
    hold_s: float


def plan_blinks(
    prosody: Prosody, seed: int, per_minute: float = BLINKS_PER_MINUTE
) -> tuple[Blink, ...]:
    """Blinks of a whole recording.

    Raises:
        InputError: the rate is negative or above 60 a minute.
    """
    if not 0 <= per_minute <= MOST_BLINKS_PER_MINUTE:
        raise InputError(
            f"{per_minute:g} blinks a minute.",
            reason="BLINK_RATE",
            remedy=f"Choose 0 to {MOST_BLINKS_PER_MINUTE:.0f}; people who speak do 8 to 25.",
        )
    draws = np.random.Generator(np.random.Philox(key=[seed, 0]))
    ends_s = prosody.pauses[:, 0] / FPS + AFTER_PHRASE_END_S
    blinks: list[Blink] = []
    duration_s = len(prosody) / FPS
    due_s = 0.0
    while per_minute:
        gap_s = 60 / per_minute * float(np.exp(GAP_SPREAD * draws.normal() - GAP_SPREAD**2 / 2))
        # the first comes after part of a gap: nobody has just blinked when a video begins
        due_s += max(gap_s, LEAST_GAP_S) * (1 if blinks else 0.3 + 0.7 * draws.random())
        if due_s >= duration_s:
            break
        before_s = blinks[-1].closed_s if blinks else -LEAST_GAP_S
        depth = 1.0 - 0.12 * draws.random()
        blinks.append(Blink(max(_at_phrase_end(due_s, ends_s), before_s + LEAST_GAP_S), depth))
    return tuple(blinks)


def _at_phrase_end(due_s: float, ends_s: NDArray[np.float64]) -> float:
    if not len(ends_s):
        return due_s
    nearest = float(ends_s[np.abs(ends_s - due_s).argmin()])
    return nearest if abs(nearest - due_s) <= PHRASE_END_REACH_S else due_s


def emphasis(prosody: Prosody) -> NDArray[np.float64]:
    """[T] how much each frame stands out from the speech around it; about unit variance."""
    if not len(prosody):
        return np.zeros(0)
    speech = ~prosody.quiet
    loud = _standing_out(prosody.loudness_db.astype(np.float64), 4.0)
    high = _standing_out(prosody.pitch_semitones.astype(np.float64), 2.0)
    return np.where(speech, 0.6 * loud + 0.8 * high, -3.0)


def _standing_out(values: NDArray[np.float64], typical: float) -> NDArray[np.float64]:
    return np.asarray((smoothed(values, 1.5) - smoothed(values, RELATIVE_S * FPS)) / typical)


def plan_brows(prosody: Prosody, seed: int, style: StyleSettings) -> tuple[BrowAccent, ...]:
    """Brow accents of a whole recording, in order."""
    stress = emphasis(prosody)
    speech_minutes = float((~prosody.quiet).sum()) / FPS / 60
    wanted = round(style.accents_per_minute * speech_minutes)
    if not wanted:
        return ()
    spacing = max(1, int(0.6 * 60 * FPS / style.accents_per_minute))
    chosen = _highest_peaks(stress, 0.5, spacing, wanted)
    return tuple(_accent(frame, float(stress[frame]), seed, style) for frame in chosen)


def _highest_peaks(values: NDArray[np.float64], least: float, spacing: int, most: int) -> list[int]:
    """Where ``values`` has its highest peaks, in order, ``spacing`` or more apart.

    As ``scipy.signal.find_peaks`` would: importing it takes longer than a short dub.
    """
    inner = values[1:-1]
    is_peak = (inner > values[:-2]) & (inner >= values[2:]) & (inner >= least)
    peaks = 1 + np.flatnonzero(is_peak)
    chosen: list[int] = []
    for peak in peaks[np.argsort(-values[peaks], kind="stable")].tolist():
        if len(chosen) == most:
            break
        if all(abs(peak - other) >= spacing for other in chosen):
            chosen.append(peak)
    return sorted(chosen)


def _accent(frame: int, stress: float, seed: int, style: StyleSettings) -> BrowAccent:
    draws = np.random.Generator(np.random.Philox(key=[seed, 1 + frame]))
    size = style.strength * min(1.0, 0.35 + 0.25 * stress) * (0.8 + 0.4 * draws.random())
    tilt = 0.3 * (draws.random() - 0.5)
    hold_s = 0.08 + 0.25 * float(draws.random())
    peak_s = (frame + 0.5) / FPS - LEAD_S / 2
    if draws.random() < 0.15:
        return BrowAccent(peak_s, 0.0, 0.0, 0.0, 0.8 * size, hold_s)
    return BrowAccent(peak_s, size, size * (0.85 + tilt), size * (0.85 - tilt), 0.0, hold_s)
