"""From features that come one by one to what one frame of a live session needs of them.

A frame's lips depend on the 13 frames before it and the one after. Brows and lids would have to
wait for three, so they follow two frames later than they do in a segment.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.renderer.lips import FUTURE, PAST
from synctalk.avatar import Avatar
from synctalk.errors import InputError
from synctalk.expression.subject import AFTER
from synctalk.expression.vqvae import WINDOW
from synctalk.face import ARKIT_NAMES
from synctalk.face_sync import LAYOUT

FACE_DELAY = 2
"""Frames by which blendshapes act later."""
_FACE_PAST = FACE_DELAY + WINDOW - 1
_KEPT = 512  # of what has come, so that an interruption can go back

FloatRows = NDArray[np.float32]


class LiveFeatures(NamedTuple):
    """Of one frame.

    Args:
        frame: since the session began.
        row: [D] encoder features.
        blendshapes: [52]; None keeps the avatar's own expression.
    """

    frame: int
    row: FloatRows
    blendshapes: FloatRows | None = None


@dataclass(frozen=True)
class Moment:
    """What a frame needs of the features.

    Args:
        frame: since the session began.
        around: the features of up to 17 frames before it, its own, and of one after.
        at: which of them are its own.
    """

    frame: int
    around: tuple[LiveFeatures, ...]
    at: int

    def lip(self, person: Avatar) -> FloatRows:
        """Lip coefficients [K]."""
        low = max(0, self.at - PAST)
        rows = np.stack([each.row for each in self.around[low:]])
        lip: FloatRows = person.lips_from_audio(rows)[self.at - low]
        return lip

    def expression(self, person: Avatar, still: int) -> FloatRows | None:
        """Coefficients of brows and lids [E] over source frame ``still``; None: the source's."""
        if self.around[self.at].blendshapes is None or not person.has_expression:
            return None
        rows = np.stack([each.blendshapes for each in self.around if each.blendshapes is not None])
        own = max(0, self.at - FACE_DELAY)
        before, after = rows[:own], rows[own + 1 : own + 1 + AFTER]
        order = np.array([still])
        upper = person.expression.coefficients(order, rows[own : own + 1], before, after)
        return upper.reshape(-1)


class FeatureWindow:
    """The last features of a session.

    Args:
        before: of the frames before the first one to come.

    Raises:
        InputError: they do not follow each other, or are of wrong shape.
    """

    def __init__(self, before: Sequence[LiveFeatures]) -> None:
        self._known: list[LiveFeatures] = []
        for features in before:
            self._append(features)
        self._made = len(self._known)

    def push(self, features: LiveFeatures) -> Moment | None:
        """The moment of the frame before, which now has its successor.

        Raises:
            InputError: not the next frame's, or of wrong shape.
        """
        self._append(features)
        return self._moment() if self._made < len(self._known) - FUTURE else None

    def finish(self) -> Moment | None:
        """The moment of the last frame, which will have no successor."""
        return self._moment() if self._made < len(self._known) else None

    def resume(self, frame: int) -> None:
        """Go on with ``frame``: what is known of later ones is forgotten.

        Raises:
            InputError: there is no such frame.
        """
        if frame < 0:
            raise _wrong(f"resume_at is frame {frame}")
        expected = self._known[-1].frame + 1 if self._known else frame
        self._known = [each for each in self._known if each.frame < frame <= expected]
        self._made = len(self._known)

    def _moment(self) -> Moment:
        low = max(0, self._made - max(PAST, _FACE_PAST))
        around = tuple(self._known[low : self._made + 1 + FUTURE])
        moment = Moment(self._known[self._made].frame, around, self._made - low)
        self._made += 1
        return moment

    def _append(self, features: LiveFeatures) -> None:
        if features.row.shape != (LAYOUT.dim,):
            raise InputError(
                f"frame {features.frame} has {features.row.size} values, expected {LAYOUT.dim}",
                reason="FEATURE_SHAPE",
                remedy="Send the features of ExpressionService unchanged.",
            )
        shapes = features.blendshapes
        if shapes is not None and shapes.shape != (len(ARKIT_NAMES),):
            raise _face(f"frame {features.frame} has {shapes.size} blendshapes")
        if self._known:
            last = self._known[-1]
            if features.frame != last.frame + 1:
                raise _wrong(f"features of frame {features.frame} in place of {last.frame + 1}")
            if (shapes is None) != (last.blendshapes is None):
                raise _face(f"frames {last.frame} and {features.frame} differ in having any")
        elif features.frame < 0:
            raise _wrong(f"features of frame {features.frame}")
        self._known.append(features)
        if len(self._known) > 2 * _KEPT:
            surplus = min(_KEPT, self._made)
            self._known, self._made = self._known[surplus:], self._made - surplus


def _wrong(what: str) -> InputError:
    return InputError(
        what,
        reason="FEATURE_ORDER",
        remedy="Send the features of consecutive frames; an interruption says where they go on.",
    )


def _face(what: str) -> InputError:
    return InputError(
        what,
        reason="BLENDSHAPES",
        remedy=f"Send {len(ARKIT_NAMES)} blendshapes with every frame, or with none.",
    )
