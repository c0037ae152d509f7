"""Speech to blendshapes (S §III-E; METHOD row 12): prosody → events → 52 ARKit coefficients.

The paper uses EmoTalk, whose weights we may not use; ours is an own model with the same
interface. It moves brows and lids; gaze and the lower face stay at rest, because a dub takes them
from the footage and from the lip regressor.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from synctalk.errors import InputError
from synctalk.expression.events import (
    BLINKS_PER_MINUTE,
    STYLES,
    Blink,
    BrowAccent,
    Style,
    StyleSettings,
    plan_blinks,
    plan_brows,
)
from synctalk.expression.prosody import FPS, FloatArray, Prosody
from synctalk.face import ARKIT_NAMES

CLOSING_S, CLOSED_S, OPENING_S = 0.10, 0.03, 0.20
RISE_S, FALL_S = 0.22, 0.45
DRIFT_KNOT_S = 1.6
REACH_S = 1.0  # no event reaches further from its time

_COLUMN = {name: index for index, name in enumerate(ARKIT_NAMES)}
_BLINK = [_COLUMN["eyeBlinkLeft"], _COLUMN["eyeBlinkRight"]]
_FROWN = [_COLUMN["browDownLeft"], _COLUMN["browDownRight"]]
_RAISE = [_COLUMN["browInnerUp"], _COLUMN["browOuterUpLeft"], _COLUMN["browOuterUpRight"]]

Times = NDArray[np.float64]
Event = TypeVar("Event")


@dataclass(frozen=True)
class ExpressionPlan:
    """What the upper face does during a recording; small, so frames are made when wanted.

    Args:
        n_frames: of the recording.
        seed: of the drift.
        style: how much the brows do.
        blinks, accents: in order.
    """

    n_frames: int
    seed: int
    style: StyleSettings
    blinks: tuple[Blink, ...]
    accents: tuple[BrowAccent, ...]

    def blendshapes(self, first: int = 0, stop: int | None = None) -> FloatArray:
        """[stop - first, 52] in [0, 1]; the same whatever else is asked for."""
        stop = self.n_frames if stop is None else stop
        times = (np.arange(first, stop) + 0.5) / FPS
        rows = np.zeros((len(times), len(ARKIT_NAMES)))
        rows[:, _BLINK] = self._lids(times)[:, None]
        raised, frown = self._brows(times)
        rows[:, _RAISE], rows[:, _FROWN] = raised, frown[:, None]
        return np.clip(rows, 0, 1).astype(np.float32)

    def _lids(self, times: Times) -> Times:
        closed = np.zeros(len(times))
        for blink in _during(self.blinks, [b.closed_s for b in self.blinks], times):
            near = _near(times, blink.closed_s - CLOSING_S, blink.closed_s + 0.5)
            shape = blink_shape(times[near] - blink.closed_s)
            closed[near] = np.maximum(closed[near], blink.depth * shape)
        return closed

    def _brows(self, times: Times) -> tuple[Times, Times]:
        """[n, 3] inner, left and right raise, and [n] frown."""
        raised = np.zeros((len(times), 3))
        frown = np.zeros(len(times))
        for accent in _during(self.accents, [a.peak_s for a in self.accents], times):
            near = _near(times, accent.peak_s - RISE_S, accent.peak_s + accent.hold_s + FALL_S)
            shape = _accent_shape(times[near] - accent.peak_s, accent.hold_s)
            sizes = np.array([accent.raise_inner, accent.raise_left, accent.raise_right])
            raised[near] = np.maximum(raised[near], shape[:, None] * sizes)
            frown[near] = np.maximum(frown[near], shape * accent.frown)
        drift = self.style.drift * self._drift(times)
        return raised + np.maximum(drift, 0)[:, None], frown + np.maximum(-drift, 0)

    def _drift(self, times: Times) -> Times:
        """Smooth noise of about unit size: between random knots, as fast as brows settle."""
        if not self.style.drift or not len(times):
            return np.zeros(len(times))
        place = times / DRIFT_KNOT_S
        knots = np.arange(int(place[0]), int(place[-1]) + 2)
        values = np.array([_knot(self.seed, int(knot)) for knot in knots])
        index = place.astype(int) - knots[0]
        mix = _smooth(place - place.astype(int))
        return np.asarray(values[index] * (1 - mix) + values[index + 1] * mix)


class ProsodicExpression:
    """An :class:`~synctalk.expression.ExpressionGenerator`.

    Args:
        style: ``"natural"``, ``"neutral"`` (blinks alone), ``"calm"`` or ``"emphatic"``.
        blinks_per_minute: 0 to 60.
        seed: another one gives other blinks and brows, the same one the same.

    Raises:
        InputError: no such style, or a rate outside 0 to 60.
    """

    def __init__(
        self,
        style: Style = "natural",
        blinks_per_minute: float = BLINKS_PER_MINUTE,
        seed: int = 0,
    ) -> None:
        if style not in STYLES:
            raise InputError(
                f"No expression style {style!r}.",
                reason="EXPRESSION_STYLE",
                remedy=f"Choose one of {', '.join(STYLES)}.",
            )
        self._style, self._rate, self._seed = STYLES[style], blinks_per_minute, seed
        plan_blinks(_SILENCE, seed, blinks_per_minute)  # refuse a wrong rate at once

    def plan(self, prosody: Prosody) -> ExpressionPlan:
        """What the upper face is to do."""
        return ExpressionPlan(
            len(prosody),
            self._seed,
            self._style,
            plan_blinks(prosody, self._seed, self._rate),
            plan_brows(prosody, self._seed, self._style),
        )

    def generate(self, prosody: Prosody) -> FloatArray:
        """[T, 52] blendshapes in [0, 1]."""
        return self.plan(prosody).blendshapes()


_SILENCE = Prosody(*(np.zeros(0, np.float32),) * 3)


def blink_shape(since_s: Times) -> Times:
    """Closure in [0, 1] by the time since the lids met: fast down, slow and slowing up."""
    closing = _smooth(np.clip(1 + since_s / CLOSING_S, 0, 1))
    opened = np.clip((since_s - CLOSED_S) / OPENING_S, 0, 1)
    return np.asarray(np.where(since_s < 0, closing, (1 - opened) ** 2 * (1 + opened)))


def _accent_shape(since_s: Times, hold_s: float) -> Times:
    rise = _smooth(np.clip(1 + since_s / RISE_S, 0, 1))
    fall = 1 - _smooth(np.clip((since_s - hold_s) / FALL_S, 0, 1))
    return np.asarray(np.where(since_s < 0, rise, fall))


def _smooth(x: Times) -> Times:
    return x * x * (3 - 2 * x)


def _during(events: Sequence[Event], at_s: list[float], times: Times) -> Sequence[Event]:
    """Those of ``events`` (in order, at ``at_s``) that may be seen at ``times``."""
    if not len(times):
        return ()
    first, stop = times[0] - REACH_S, times[-1] + REACH_S
    return events[bisect_left(at_s, first) : bisect_right(at_s, stop)]


def _near(times: Times, begin_s: float, end_s: float) -> slice:
    return slice(*np.searchsorted(times, [begin_s, end_s]).tolist())


def _knot(seed: int, index: int) -> float:
    draws = np.random.Generator(np.random.Philox(key=[seed, (1 << 40) + index]))
    return float(draws.uniform(-1, 1))
