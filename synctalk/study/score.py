"""From participants' files to the figures of a study."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from synctalk.errors import InputError
from synctalk.study.plan import ASPECTS, CHOICES, HIGHEST, LOWEST, Study
from synctalk.study.statistics import Alpha, Estimate, bootstrap, cronbach_alpha

Answers = Mapping[tuple[tuple[str, ...], str], float]
"""Of one participant: clips of a trial and aspect to the mark, or to the share that the first
clip of the trial wins (1, 0.5 or 0)."""


@dataclass(frozen=True)
class StudyScores:
    """What participants think.

    Args:
        kind: ``mos``: estimates are mean marks, 1 to 5. ``pairs``: the share of comparisons with
            any other method that a method wins, 0 to 1; "no difference" counts half.
        estimates: by method, then by aspect.
        alpha: over all questions; None where there are too few answers for it.
        n_participants: files that were scored.
    """

    kind: str
    estimates: Mapping[str, Mapping[str, Estimate]]
    alpha: Alpha | None
    n_participants: int


def score_study(key: Path, answers: Iterable[Path]) -> StudyScores:
    """Score the files that participants downloaded.

    Args:
        key: the study's ``key.json``.
        answers: participants' files, in any order.

    Raises:
        InputError: a file is of another study, incomplete or damaged; one participant twice; none.
    """
    study = Study.read(key)
    read = dict(_read(path, study) for path in _distinct(answers))
    if not read:
        raise InputError("No file of answers was given.", reason="NO_ANSWERS")
    people = list(read.values())
    estimates = {
        method: {aspect: _estimate(study, people, method, aspect) for aspect in ASPECTS}
        for method in study.methods
    }
    return StudyScores(study.kind, estimates, _alpha(people), len(people))


def _distinct(paths: Iterable[Path]) -> Sequence[Path]:
    seen: dict[str, Path] = {}
    for path in paths:
        person = str(_load(path).get("participant"))
        if person in seen:
            raise InputError(
                f"{path} and {seen[person]} are of one participant.",
                reason="PARTICIPANT_TWICE",
                remedy="Leave one of them out.",
            )
        seen[person] = path
    return list(seen.values())


def _load(path: Path) -> dict[str, object]:
    try:
        given = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _bad(path, str(error)) from error
    if not isinstance(given, dict):
        raise _bad(path, "it is no object")
    return given


def _read(path: Path, study: Study) -> tuple[str, Answers]:
    """Name and answers of one participant."""
    given = _load(path)
    if given.get("study") != study.study:
        raise _bad(path, "it belongs to another study")
    rows = given.get("answers")
    if not isinstance(rows, list):
        raise _bad(path, "it has no answers")
    trials = {frozenset(trial): trial for trial in study.trials}
    found: dict[tuple[tuple[str, ...], str], float] = {}
    for row in rows:
        try:
            shown = tuple(str(clip) for clip in row["clips"])
            question = trials[frozenset(shown)], str(row["aspect"])
            value = _value(study.kind, row["answer"], reverse=shown != question[0])
        except (KeyError, TypeError, ValueError) as error:
            raise _bad(path, f"answer {len(found) + 1} is not one of this study") from error
        if question in found or question[1] not in ASPECTS:
            raise _bad(path, f"answer {len(found) + 1} is given twice or of no aspect")
        found[question] = value
    expected = len(study.trials) * len(ASPECTS)
    if len(found) != expected:
        raise _bad(path, f"it has {len(found)} of {expected} answers")
    return str(given.get("participant")), found


def _value(kind: str, answer: object, *, reverse: bool) -> float:
    if kind == "mos":
        if isinstance(answer, bool) or answer not in range(LOWEST, HIGHEST + 1):
            raise ValueError(answer)
        return float(str(answer))
    share = 1 - CHOICES.index(str(answer)) / 2
    return 1 - share if reverse else share


def _bad(path: Path, why: str) -> InputError:
    return InputError(
        f"{path} cannot be scored: {why}.",
        reason="BAD_ANSWERS",
        remedy="Give the files that participants downloaded at the end of this study.",
    )


def _estimate(study: Study, people: list[Answers], method: str, aspect: str) -> Estimate:
    made = {clip.name: clip.method for clip in study.clips}
    own: list[NDArray[np.float64]] = []
    for answers in people:
        values = []
        for (trial, asked), value in answers.items():
            if asked == aspect and method in (made[name] for name in trial):
                values.append(value if made[trial[0]] == method else 1 - value)
        own.append(np.array(values, np.float64))
    return bootstrap(own)


def _alpha(people: list[Answers]) -> Alpha | None:
    questions = sorted(people[0])
    try:
        return cronbach_alpha(np.array([[one[q] for q in questions] for one in people]))
    except InputError:
        return None
