"""Confidence intervals by the bootstrap, and Cronbach's alpha."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from synctalk.errors import InputError

Array = NDArray[np.float64]

RESAMPLES = 10_000
CONFIDENCE = 0.95
_SEED = 1


@dataclass(frozen=True)
class Estimate:
    """A mean and the interval that holds the true one with 95 % confidence.

    Args:
        mean: of all answers.
        low, high: 2.5th and 97.5th percentile of the means of resampled participants.
        n: participants.
    """

    mean: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Alpha:
    """Cronbach's alpha: how far the questions measure one thing.

    Args:
        raw: from covariances (Cronbach 1951).
        standardised: from the mean correlation, as the paper reports it; NaN when a question has
            the same answer from everyone.
        n_questions, n_participants: what it is computed from.
    """

    raw: float
    standardised: float
    n_questions: int
    n_participants: int


def resampled_means(totals: Array, counts: Array) -> Array:
    """[RESAMPLES] means of answers when participants are drawn anew, with replacement.

    Args:
        totals, counts: [P] sum and number of each participant's answers. Whole participants are
            drawn, because one person's answers are not independent of each other.
    """
    rng = np.random.default_rng(_SEED)
    drawn = rng.multinomial(len(totals), np.full(len(totals), 1 / len(totals)), RESAMPLES)
    return np.asarray((drawn @ totals) / (drawn @ counts))


def bootstrap(answers: list[Array]) -> Estimate:
    """Mean of all answers with its percentile interval.

    Args:
        answers: of each participant, [n] numbers each, none empty.

    Raises:
        InputError: no participant.
    """
    if not answers or any(not len(own) for own in answers):
        raise InputError("There are no answers to average.", reason="NO_ANSWERS")
    totals = np.array([own.sum() for own in answers], np.float64)
    counts = np.array([len(own) for own in answers], np.float64)
    means = resampled_means(totals, counts)
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(means, [tail, 100 - tail])
    return Estimate(float(totals.sum() / counts.sum()), float(low), float(high), len(answers))


def cronbach_alpha(answers: Array) -> Alpha:
    """Cronbach's alpha of a questionnaire.

    ``raw = k/(k-1) (1 - Σ var(question) / var(sum))``,
    ``standardised = k r / (1 + (k-1) r)`` with r the mean correlation between questions.

    Args:
        answers: [participants, questions], each at least 2.

    Raises:
        InputError: fewer, or everyone has the same sum.
    """
    n, k = answers.shape
    variances, whole = answers.var(0, ddof=1) if n > 1 else np.zeros(k), 0.0
    if n > 1:
        whole = float(answers.sum(1).var(ddof=1))
    if n < 2 or k < 2 or whole <= 0:
        raise InputError(
            f"{n} participants with {k} questions whose sums vary by {whole:g} have no alpha.",
            reason="NO_ALPHA",
            remedy="Ask at least two participants.",
        )
    raw = k / (k - 1) * (1 - float(variances.sum()) / whole)
    standardised = float("nan")
    if (variances > 0).all():
        r = np.corrcoef(answers, rowvar=False)
        mean = (r.sum() - k) / (k * (k - 1))
        standardised = float(k * mean / (1 + (k - 1) * mean))
    return Alpha(raw, standardised, k, n)
