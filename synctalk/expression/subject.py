"""Whose face it is: blendshapes of anyone to the driving coefficients of one subject.

Learnt on the subject's own tracked frames: the VQ-VAE that brings tracks into this face's range,
and a ridge regression from blendshapes to eye, brow and iris coefficients. The footage's own
expression is kept under the new one with its blinks and brow movements taken out: gaze, which
goes with the head's motion, and all the small motion that no blendshape describes.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from synctalk.expression.vqvae import (
    STANDARD,
    WINDOW,
    CodebookUsage,
    ExpressionVQVAE,
    VQVAETraining,
    fit_vqvae,
)
from synctalk.face import ARKIT_NAMES
from synctalk.threads import one_thread_an_operation

COLUMN_NAMES = (
    *("browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight"),
    *("eyeBlinkLeft", "eyeBlinkRight", "eyeSquintLeft", "eyeSquintRight"),
    *("eyeWideLeft", "eyeWideRight"),
)
"""The blendshapes that are taken from a track: gaze is the footage's, the mouth the lips'."""
COLUMNS = [ARKIT_NAMES.index(name) for name in COLUMN_NAMES]
LOOKS = [index for index, name in enumerate(ARKIT_NAMES) if name.startswith("eyeLook")]
BLINKS = [COLUMN_NAMES.index("eyeBlinkLeft"), COLUMN_NAMES.index("eyeBlinkRight")]
PARTS = (
    tuple(index for index, name in enumerate(COLUMN_NAMES) if name.startswith("brow")),
    tuple(index for index, name in enumerate(COLUMN_NAMES) if name.startswith("eye")),
)

BLOCK = 4
BATCH = 16  # windows computed at a time
BEFORE, AFTER = 16, 4
"""Frames around a stretch that its coefficients depend on (fewer at a video's ends)."""
RIDGE = 30.0  # of standardised features; best on left-out fifths of two subjects
LEAST_WINDOWS = 10
BLINK_KNOTS = (0.2, 0.4, 0.6, 0.8)
BLINK_SEEN = 0.3
BLINK_MARGIN = 3  # frames that a blink reaches beyond those where it is plain
BLINK_DRAWN = 2.0  # windows with a blink are drawn so much more often
OWN_SHARE = 0.998  # of the training frames lie within the range that is kept to

FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class SubjectExpression:
    """A subject's own way to move brows and lids.

    Args:
        vqvae: brings blendshapes into the subject's range.
        weight: [F, K] what features of blendshapes add to the coefficients.
        calm: [T, K] the footage's coefficients without blinks and brow movements.
        low, high: [K] range of the subject's own coefficients.
    """

    vqvae: ExpressionVQVAE
    weight: Tensor
    calm: Tensor
    low: Tensor
    high: Tensor

    def coefficients(
        self,
        order: NDArray[np.int64],
        blendshapes: FloatArray,
        before: FloatArray | None = None,
        after: FloatArray | None = None,
    ) -> FloatArray:
        """Expression coefficients [n, K].

        A stretch that begins at a multiple of 4 frames and brings its context gets, bit by bit,
        what it gets within the whole video.

        Args:
            order: [n] frame of the footage under each frame.
            blendshapes: [n, 52].
            before, after: [<= 16, 52], [<= 4, 52] of the frames around; nothing at a video's ends.
        """
        rows = self.in_range(blendshapes, before, after)
        base = self.calm[torch.from_numpy(order)]
        moved = [
            base[i : i + BLOCK] + _features(rows[i : i + BLOCK]) @ self.weight
            for i in range(0, len(rows), BLOCK)
        ]
        kept = torch.cat(moved).clamp(self.low, self.high)
        return np.asarray(kept.numpy(), np.float32)

    @torch.no_grad()
    def in_range(
        self,
        blendshapes: FloatArray,
        before: FloatArray | None = None,
        after: FloatArray | None = None,
    ) -> Tensor:
        """``COLUMNS`` of blendshapes [n, 52] in this subject's range, [n, 11].

        Every frame is the mean of four windows, one to four frames before their ends: single
        windows differ by the codebook's grain. Always as many windows are computed at a time,
        because matrix products round differently for other numbers of rows.
        """
        n = len(blendshapes)
        rows = _with_context(blendshapes, before, after)
        # windows[i] ends after frame i; those behind the last make the batch full
        windows = rows.unfold(0, WINDOW, 1)[: n + BLOCK - 1].transpose(1, 2)
        full = torch.zeros(-(-len(windows) // BATCH) * BATCH, *windows.shape[1:])
        full[: len(windows)] = windows
        with one_thread_an_operation():
            tails = torch.cat(
                [self.vqvae(batch)[0][:, -BLOCK:] for batch in torch.split(full, BATCH)]
            )
        frames = torch.arange(n)
        parts = [tails[frames + j, BLOCK - 1 - j] for j in range(BLOCK)]
        return torch.stack(parts).mean(0).clamp(0, 1)

    def state(self) -> dict[str, Tensor]:
        """Plain tensors, for safetensors."""
        vqvae = {f"vqvae.{name}": tensor for name, tensor in self.vqvae.state_dict().items()}
        return {
            **vqvae,
            "weight": self.weight,
            "calm": self.calm,
            "low": self.low,
            "high": self.high,
        }

    @classmethod
    def from_state(cls, state: dict[str, Tensor]) -> SubjectExpression:
        """The inverse of :meth:`state`."""
        vqvae = ExpressionVQVAE(PARTS)
        prefix = "vqvae."
        vqvae.load_state_dict(
            {name[len(prefix) :]: t for name, t in state.items() if name.startswith(prefix)}
        )
        vqvae.requires_grad_(False).eval()
        return cls(vqvae, *(state[name] for name in ("weight", "calm", "low", "high")))


def fit_subject_expression(
    coefficients: Tensor,
    blendshapes: FloatArray,
    learn: NDArray[np.bool_],
    cuts: tuple[int, ...],
    training: VQVAETraining = STANDARD,
) -> tuple[SubjectExpression, CodebookUsage] | None:
    """Learn a subject's expressions; None where too few frames follow each other.

    Args:
        coefficients: [T, K] of the tracked frames.
        blendshapes: [T, 52] of the same.
        learn: [T] frames to learn from (tracked, not held out).
        cuts: first frame of every shot but the first.
        training: of the VQ-VAE.
    """
    rows = torch.from_numpy(np.ascontiguousarray(blendshapes[:, COLUMNS]))
    windows = _windows(rows, learn, cuts)
    if len(windows) < LEAST_WINDOWS:
        return None
    # what seems a look while the lids are closed is the blink's
    looks = _without_blinks(torch.from_numpy(blendshapes[:, LOOKS]), rows, cuts)
    chosen = torch.from_numpy(np.ascontiguousarray(learn))
    weight = _regress(_features(rows), looks, coefficients, chosen)
    calm = _without_blinks(coefficients - _features(rows) @ weight, rows, cuts)
    tail = (1 - OWN_SHARE) / 2
    own = coefficients[chosen]
    low, high = torch.quantile(own, tail, dim=0), torch.quantile(own, 1 - tail, dim=0)
    blinking = windows[..., BLINKS].mean(-1).amax(1) > 0.5
    drawn = torch.where(blinking, BLINK_DRAWN, 1.0)
    vqvae, usage = fit_vqvae(windows, drawn, PARTS, training)
    return SubjectExpression(vqvae, weight, calm, low, high), usage


def _features(rows: Tensor) -> Tensor:
    """[n, 15] the blendshapes, and the lids' closure beyond four degrees of it: as lids close, the
    lid's edge and the hidden iris move neither evenly nor alike.
    """
    closed = rows[:, BLINKS].mean(1, keepdim=True)
    return torch.cat([rows, *((closed - knot).clamp_min(0) for knot in BLINK_KNOTS)], dim=1)


def _regress(features: Tensor, looks: Tensor, target: Tensor, chosen: Tensor) -> Tensor:
    """[F, K] ridge weights of ``features``; what gaze explains is left to it."""
    both = torch.cat([features, looks], dim=1)[chosen].double()
    centred = both - both.mean(0)
    spread = centred.std(0)
    scaled = centred / spread.clamp_min(1e-3)
    gram = scaled.T @ scaled
    gram.diagonal().add_(RIDGE)
    wanted = target[chosen].double()
    weight = torch.linalg.solve(gram, scaled.T @ (wanted - wanted.mean(0)))
    unscaled: Tensor = (weight / spread.clamp_min(1e-3)[:, None])[: features.shape[1]]
    return unscaled.float()


def _without_blinks(coefficients: Tensor, rows: Tensor, cuts: tuple[int, ...]) -> Tensor:
    """Coefficients with those of blinks replaced by a straight line across, shot by shot."""
    blinking = (rows[:, BLINKS].amax(1) > BLINK_SEEN).numpy()
    reach = np.ones(2 * BLINK_MARGIN + 1)
    calm = coefficients.numpy().copy()
    for start, stop in pairwise([0, *cuts, len(calm)]):
        seen = np.convolve(blinking[start:stop], reach, "same")[: stop - start] < 0.5
        if not seen.any():
            continue
        at, known = np.arange(stop - start), np.flatnonzero(seen)
        for column in calm[start:stop].T:
            column[:] = np.interp(at, known, column[known])
    return torch.from_numpy(calm)


def _windows(rows: Tensor, learn: NDArray[np.bool_], cuts: tuple[int, ...]) -> Tensor:
    """[W, WINDOW, columns] all windows of learnt frames that no cut divides."""
    begins = [
        i
        for start, stop in pairwise([0, *cuts, len(rows)])
        for i in range(start, stop - WINDOW + 1)
        if learn[i : i + WINDOW].all()
    ]
    return torch.stack([rows[i : i + WINDOW] for i in begins]) if begins else rows[:0]


def _with_context(
    blendshapes: FloatArray, before: FloatArray | None, after: FloatArray | None
) -> Tensor:
    """[15 + 4 * blocks + 4, columns] rows from 15 frames before the first on.

    Where there is no context, the first or last row is repeated.
    """
    n = len(blendshapes)
    empty = blendshapes[:0]
    early = (empty if before is None else before)[-(WINDOW - 1) :]
    late = (empty if after is None else after)[:AFTER]
    known = np.concatenate([early, blendshapes, late])[:, COLUMNS]
    wanted = BLOCK * (-(-n // BLOCK) + 1)
    lead = WINDOW - 1 - len(early)
    rows = np.pad(known, ((lead, max(0, wanted - n - len(late))), (0, 0)), mode="edge")
    return torch.from_numpy(np.ascontiguousarray(rows, np.float32))
