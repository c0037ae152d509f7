"""A subject's lips from the frozen encoder's features: ridge regression with two safeguards.

Fine-tuning an encoder on one person's minute of speech destroys it; a strongly regularised linear
head on frozen features does not (METHOD, "What a spike on audio → lips learnt"). Three things that
least squares does not know are added after it. It shrinks towards the mean mouth, so the opening is
mapped back to the subject's own range, quantile by quantile, as learnt on speech that was left out;
lips close on p, b, m (the bilabial posterior pulls the mouth shut along the subject's own opening
movement); and a silent mouth rests.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn.functional import pad

from synctalk.errors import InputError
from synctalk.face_sync.encoder import LAYOUT
from synctalk.face_sync.lip_features import LipOpening
from synctalk.face_sync.visemes import BILABIAL, SILENCE

PAST_FRAMES = 3
FUTURE_FRAMES = 1
RIDGE = 3000.0

# Mels fit the subject's own voice and mislead on others: half weight kept most of both (anchor
# and GRID heads driven by nine strangers).
_MEL_WEIGHT = 0.5
_LEAST_FRAMES = 50
_LEAST_SILENT_FRAMES = 10
_SILENT = 0.1  # voice activity below which a frame counts as silent
_QUIET, _LOUD = -0.85, -0.70  # relative loudness (52 and 43 dB down) where activity is 0 and 1
_SURELY_SILENT = 0.9  # posterior of silence up to which a sound may still move the mouth
_HOLD_FRAMES, _FADE_FRAMES = 25, 12  # after a sound the head is believed, then the mouth rests
REACH_BACK = _HOLD_FRAMES + _FADE_FRAMES  # rows before its own that a frame depends on
_CUE_FROM, _CUE_FULL = 0.3, 0.7  # bilabial posterior where closing starts and is complete
_BESIDE = 0.8  # share of a neighbouring frame's posterior
_FOLDS = 5
_QUANTILES = torch.linspace(0.01, 0.99, 25)


@dataclass(frozen=True)
class LipRegressor:
    """Encoder features to lip coefficients; ``fit_lip_regressor`` makes it.

    Args:
        mean: [D] feature means.
        scale: [D] feature standard deviations, doubled for mels (see ``_MEL_WEIGHT``).
        weight: [(3 + 1 + 1) * D, K] ridge weights on stacked standardised features.
        bias: [K] mean coefficients.
        rest: [K] the subject's resting mouth.
        opening_weights: [K] mouth opening (mm) per coefficient.
        opening_bias: [] mouth opening (mm) of zero coefficients.
        closing: [K] the subject's movement that opens the mouth by 1 mm.
        closed_mm: [] mouth opening of the subject's closed lips.
        gap_predicted, gap_shown: [Q] mm, quantiles of the opening that least squares predicts for
            speech it was not fitted on, and of the subject's own.
    """

    mean: Tensor
    scale: Tensor
    weight: Tensor
    bias: Tensor
    rest: Tensor
    opening_weights: Tensor
    opening_bias: Tensor
    closing: Tensor
    closed_mm: Tensor
    gap_predicted: Tensor
    gap_shown: Tensor

    @property
    def look_ahead_ms(self) -> float:
        """What the head adds to the encoder's look-ahead: one frame."""
        return 40.0 * FUTURE_FRAMES

    def predict(self, features: Tensor) -> Tensor:
        """Lip coefficients, [T, K], of encoder features [T, D]."""
        coefs = _stack((features - self.mean) / self.scale) @ self.weight + self.bias
        closed = self._close(self._articulate(coefs), closing_cue(features))
        activity = voice_activity(features)[:, None]
        return activity * closed + (1.0 - activity) * self.rest

    def _gap(self, coefs: Tensor) -> Tensor:
        return coefs @ self.opening_weights + self.opening_bias

    def _articulate(self, coefs: Tensor) -> Tensor:
        gap = self._gap(coefs)
        wanted = _interpolate(gap, self.gap_predicted, self.gap_shown)
        return coefs + (wanted - gap)[:, None] * self.closing

    def _close(self, coefs: Tensor, cue: Tensor) -> Tensor:
        excess = (self._gap(coefs) - self.closed_mm).clamp_min(0.0)
        return coefs - (cue * excess)[:, None] * self.closing

    def state(self) -> dict[str, Tensor]:
        """Plain tensors, for safetensors."""
        return {field.name: getattr(self, field.name).contiguous() for field in fields(self)}

    @classmethod
    def from_state(cls, state: dict[str, Tensor]) -> LipRegressor:
        """The inverse of :meth:`state`."""
        return cls(**{field.name: state[field.name] for field in fields(cls)})


def fit_lip_regressor(
    features: Tensor | Sequence[Tensor],
    targets: Tensor,
    valid: Tensor,
    cuts: Sequence[int],
    opening: LipOpening,
    *,
    ridge: float = RIDGE,
) -> LipRegressor:
    """Fit a subject's head.

    Args:
        features: [T, D] encoder features of the subject's audio, or several such of the same
            speech with different disturbances (``augment``), the clean one
            first; it counts as much as all others together.
        targets: [T, K] standardised lip coefficients.
        valid: [T] bool, frames to learn from (tracked, not held out).
        cuts: first frame of every later shot; no context reaches across one.
        opening: mouth opening of the coefficients (``DrivingSpace.opening``).
        ridge: penalty on standardised inputs, for the sum over frames of one copy.

    Raises:
        InputError: shapes differ or fewer than two seconds of usable frames.
    """
    copies = [features] if isinstance(features, Tensor) else list(features)
    _check(copies, targets, valid)
    used = valid.bool() & ~_near_cut(len(targets), cuts)
    if int(used.sum()) < _LEAST_FRAMES:
        raise InputError(
            f"A lip head needs at least {_LEAST_FRAMES} usable frames, got {int(used.sum())}.",
            reason="TOO_FEW_SPEECH_FRAMES",
            remedy="Use footage in which the face is found in more frames.",
        )
    known = torch.cat([copy[used] for copy in copies])
    mean, scale = known.mean(0), known.std(0).clamp_min(1e-4)
    scale[LAYOUT.mel] /= _MEL_WEIGHT
    bias = targets[used].mean(0)
    stacks = [_stack((copy - mean) / scale)[used] for copy in copies]
    wanted = targets[used]
    folds = _normal_equations(stacks, wanted - bias)
    gap = opening(wanted)
    left_out = opening(_left_out(folds, stacks[0], ridge).to(targets) + bias)
    spread = gap - gap.mean()
    return LipRegressor(
        mean=mean,
        scale=scale,
        weight=_solve(folds, ridge).to(targets),
        bias=bias,
        rest=_resting(voice_activity(copies[0])[used], wanted, gap),
        opening_weights=opening.weights.to(targets),
        opening_bias=torch.tensor(opening.bias),
        closing=(wanted - bias).T @ spread / spread.square().sum().clamp_min(1e-6),
        closed_mm=gap.quantile(0.05),
        gap_predicted=left_out.quantile(_QUANTILES),
        gap_shown=gap.quantile(_QUANTILES),
    )


def voice_activity(features: Tensor) -> Tensor:
    """How far the head is believed, [T] in [0, 1]: 0 where the mouth rests instead.

    It rests where nothing audible but silence was heard for a second, after half a second of
    fading. In shorter pauses the rows know better: people do not shut their mouths between words,
    and resting after 0.2 s cost a tenth of the correlation (docs/research/face-sync.md).
    """
    loud = ((features[:, LAYOUT.level] - _QUIET) / (_LOUD - _QUIET)).clamp(0.0, 1.0)
    silence = features[:, LAYOUT.visemes][:, SILENCE]
    voiced = loud * ((1.0 - silence) / (1.0 - _SURELY_SILENT)).clamp(0.0, 1.0)
    fade = torch.linspace(1.0, 0.0, _FADE_FRAMES + 2)[1:-1]
    weights = torch.cat([torch.ones(FUTURE_FRAMES + 1 + _HOLD_FRAMES), fade]).flip(0)
    padded = pad(voiced[None], (len(weights) - 1 - FUTURE_FRAMES, FUTURE_FRAMES))[0]
    return (padded.unfold(0, len(weights), 1) * weights).amax(1)


def closing_cue(features: Tensor) -> Tensor:
    """How firmly p, b or m ask the lips to close, [T] in [0, 1].

    Lips close before the sound begins and open after it ends, so that a neighbour's counts too.
    """
    posterior = features[:, LAYOUT.visemes][:, BILABIAL]
    around = pad(posterior[None], (1, 1))[0].unfold(0, 3, 1)
    near = (around * torch.tensor([_BESIDE, 1.0, _BESIDE])).amax(1)
    return ((near - _CUE_FROM) / (_CUE_FULL - _CUE_FROM)).clamp(0.0, 1.0)


def _stack(features: Tensor) -> Tensor:
    """[T, D] to [T, (PAST + 1 + FUTURE) * D]; the ends repeat the first and last row."""
    padded = pad(features.T[None], (PAST_FRAMES, FUTURE_FRAMES), mode="replicate")[0].T
    reach = PAST_FRAMES + 1 + FUTURE_FRAMES
    return torch.cat([padded[i : i + len(features)] for i in range(reach)], dim=1)


def _near_cut(n: int, cuts: Sequence[int]) -> Tensor:
    """[n] bool, frames whose context reaches across a cut."""
    near = torch.zeros(n, dtype=torch.bool)
    for cut in cuts:
        near[max(0, cut - FUTURE_FRAMES) : cut + PAST_FRAMES] = True
    return near


@dataclass(frozen=True)
class _Equations:
    """Normal equations of a piece of the speech, float64."""

    rows: slice
    gram: Tensor
    moment: Tensor


def _normal_equations(stacks: list[Tensor], targets: Tensor) -> list[_Equations]:
    """Of ``_FOLDS`` consecutive pieces, for clean inputs and disturbed copies of them."""
    shares = [0.5, *[0.5 / (len(stacks) - 1)] * (len(stacks) - 1)] if len(stacks) > 1 else [1.0]
    edges = torch.linspace(0, len(targets), _FOLDS + 1).round().int().tolist()
    folds = []
    for rows in (slice(a, b) for a, b in pairwise(edges)):
        pieces = [stack[rows].double() for stack in stacks]
        gram = sum(s * (x.T @ x) for s, x in zip(shares, pieces, strict=True))
        moment = sum(
            s * (x.T @ targets[rows].double()) for s, x in zip(shares, pieces, strict=True)
        )
        assert isinstance(gram, Tensor)
        assert isinstance(moment, Tensor)
        folds.append(_Equations(rows, gram, moment))
    return folds


def _solve(folds: list[_Equations], ridge: float) -> Tensor:
    """Ridge weights of these pieces together, float64."""
    gram = torch.stack([fold.gram for fold in folds]).sum(0)
    moment = torch.stack([fold.moment for fold in folds]).sum(0)
    gram.diagonal().add_(ridge)
    weight: Tensor = torch.cholesky_solve(moment, torch.linalg.cholesky(gram))
    return weight


def _left_out(folds: list[_Equations], inputs: Tensor, ridge: float) -> Tensor:
    """Predictions [T, K], float64, for each piece by weights that the others gave."""
    return torch.cat(
        [
            inputs[fold.rows].double()
            @ _solve([other for other in folds if other is not fold], ridge)
            for fold in folds
        ]
    )


def _interpolate(x: Tensor, known: Tensor, values: Tensor) -> Tensor:
    """Piecewise linear through (known, values), both ascending [Q]; constant beyond the ends."""
    inside = x.clamp(float(known[0]), float(known[-1]))
    right = torch.searchsorted(known, inside).clamp(1, len(known) - 1)
    span = (known[right] - known[right - 1]).clamp_min(1e-6)
    share = ((inside - known[right - 1]) / span).clamp(0.0, 1.0)
    return torch.lerp(values[right - 1], values[right], share)


def _resting(activity: Tensor, targets: Tensor, gap: Tensor) -> Tensor:
    """[K] mean mouth of the silent frames' more closed half; without silence, of closed lips."""
    silent = activity <= _SILENT
    if int(silent.sum()) < _LEAST_SILENT_FRAMES:
        return targets[gap <= gap.quantile(0.1)].mean(0)
    narrow = gap[silent] <= gap[silent].median()
    return targets[silent][narrow].mean(0)


def _check(copies: list[Tensor], targets: Tensor, valid: Tensor) -> None:
    frames = len(targets)
    if valid.shape != (frames,) or any(copy.shape != (frames, LAYOUT.dim) for copy in copies):
        shapes = [tuple(copy.shape) for copy in copies]
        raise InputError(
            f"features {shapes}, targets {tuple(targets.shape)} and valid {tuple(valid.shape)} "
            f"must agree in T, and features have {LAYOUT.dim} columns.",
            reason="BAD_LIP_TRAINING_DATA",
        )
